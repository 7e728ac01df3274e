"""``pasar job quote`` and ``pasar job post``: what work would cost, and buying it."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from domain.errors import EscrowTooSmall, Refused, UnknownEscrow
from services.client.goods import BadInput
from ui.commands.running import CLIENT, As, attached, run, shown
from ui.format import AsJson, count, parse_duration, parse_msat, print_json, sat

if TYPE_CHECKING:
    from services.client.bill import Quote
    from services.client.goods import File, Goods
    from services.client.session import Session, Work
    from services.client.terms import Terms

Program = Annotated[
    str, typer.Argument(metavar="PROGRAM", help="File of an exported program, or the name of one in the catalogue.")
]
Chosen = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=NUMBER", help="Of a program in the catalogue; repeat it.")
]
Seed = Annotated[int, typer.Option(min=0, help="From which the inputs of a program in the catalogue are drawn.")]
Price = Annotated[
    int | None,
    typer.Option(parser=parse_msat, metavar="SAT", help="For one verified run of one task; the quoted one if absent."),
]
Shared = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Arrays that every task gets whole, as .safetensors.")
]
Mapped = Annotated[Path | None, typer.Option(metavar="FILE", help="Arrays with a row for each task, as .safetensors.")]
Tasks = Annotated[int | None, typer.Option(min=1, help="How many; the rows of --mapped if absent.")]
Replicas = Annotated[int, typer.Option(min=1, max=5, help="Different workers that run each task.")]
Stake = Annotated[int, typer.Option(parser=parse_msat, metavar="SAT", help="What a worker risks on each task.")]
Memory = Annotated[int | None, typer.Option(min=64, metavar="MB", help="For one task; what its meter says if absent.")]
Reuse = Annotated[bool, typer.Option(help="Take results of yours for the same work, verified before, for a tenth.")]
NO_STAKE: Any = "0"


class BadChoice(Refused):
    template: ClassVar[str] = "{text!r} chooses nothing; write --set NAME=NUMBER, as --set side=64"


class NotEnough(Refused):
    template: ClassVar[str] = (
        "the job needs {needed} and the escrow of {name} has {free} free; "
        "fund it first: `pasar escrow fund {missing}{as_}`"
    )


def quote(
    program: Program,
    price: Price = None,
    shared: Shared = None,
    mapped: Mapped = None,
    tasks: Tasks = None,
    chosen: Chosen = None,
    seed: Seed = 0,
    replicas: Replicas = 1,
    stake: Stake = NO_STAKE,
    memory: Memory = None,
    reuse: Reuse = True,
    as_: As = CLIENT,
    as_json: AsJson = False,
) -> None:
    """Say what a job would cost, by when it would be done and who could run it. It is free and reserves nothing.

    Exit status 1 if nobody could run it; then it says why.

    Examples:

      pasar job quote square.program --mapped x.safetensors

      pasar job quote option --set paths=1000000 --tasks 9

      pasar job quote sweep.program --shared data.safetensors --tasks 9 --replicas 2 --json | jq .total_msat
    """
    from services.client.terms import Terms

    goods = _goods(program, shared, mapped, tasks, chosen, seed)
    terms = Terms(price_msat=price, stake_msat=stake, replicas=replicas, memory_mb=memory, reuse=reuse)
    found = run(_quote(goods, terms, as_))
    if as_json:
        print_json({"possible": found.possible, "quote": found})
    else:
        print(found)
    if not found.possible:
        raise typer.Exit(1)


def post(
    program: Program,
    price: Price = None,
    shared: Shared = None,
    mapped: Mapped = None,
    tasks: Tasks = None,
    chosen: Chosen = None,
    seed: Seed = 0,
    replicas: Replicas = 1,
    stake: Stake = NO_STAKE,
    timeout: Annotated[
        timedelta | None,
        typer.Option(parser=parse_duration, metavar="TIME", help="For one task: 90, 5min; by its meter if absent."),
    ] = None,
    deadline: Annotated[
        timedelta, typer.Option(parser=parse_duration, metavar="TIME", help="For the whole job: 1h, 2d.")
    ] = "1h",  # type: ignore[assignment]
    memory: Memory = None,
    budget: Annotated[
        int | None, typer.Option(parser=parse_msat, metavar="SAT", help="The most that all of it may cost.")
    ] = None,
    reuse: Reuse = True,
    as_: As = CLIENT,
    as_json: AsJson = False,
) -> None:
    """Buy runs of a program.

    Each task is paid from the client's escrow when its result is verified. The program is what
    services.programs.export.export_program makes of a JAX function of (shared, row), or one of the catalogue with
    inputs drawn from a seed. Without --price it is posted at the price that `pasar job quote` names.

    Examples:

      pasar job post square.program --mapped x.safetensors

      pasar job post mandelbrot --set side=128 --set rounds=500 --tasks 16 --seed 1

      pasar job post sweep.program --shared data.safetensors --tasks 9 --price 2 --replicas 2 --budget 50

      pasar job post pi.program --tasks 9 --price 1500msat --json | jq -r .job
    """
    from services.client import pricing
    from services.client.errors import NobodyEligible
    from services.client.terms import Terms

    goods = _goods(program, shared, mapped, tasks, chosen, seed)
    terms = Terms(
        budget_msat=budget,
        price_msat=price,
        stake_msat=stake,
        replicas=replicas,
        timeout_s=None if timeout is None else int(timeout.total_seconds()),
        memory_mb=memory,
        reuse=reuse,
        deadline=deadline,
    )
    quoted = run(_quote(goods, terms, as_))
    if price is None and not quoted.possible:
        raise NobodyEligible(quoted.reasons, quoted.eligible, quoted.replicas)
    work = pricing.work(goods, terms, quoted)
    job, position, reserved_msat = run(_post(work, as_, quoted.due_msat))
    if as_json:
        print_json({"job": job, "tasks": work.tasks, "reserved_msat": reserved_msat, "position": position})
        return
    each = (
        f"{count(work.tasks, 'task')} by {count(replicas, 'worker')} each"
        if replicas > 1
        else count(work.tasks, "task")
    )
    print(f"posted job {job}: {each} at {sat(work.price_msat)}; {sat(reserved_msat)} are reserved for it")
    print(f"follow it with `pasar job watch {job[:8]}`")


# --------------------------------------------------------------------------------------------------------------- inputs
def _goods(
    program: str, shared: Path | None, mapped: Path | None, tasks: int | None, chosen: list[str] | None, seed: int
) -> "Goods":
    """What is bought: a file's program with its inputs, or one of the catalogue, which a file of its name hides."""
    from domain.kernels.menu import MENU
    from services.client import goods

    if program in MENU and not Path(program).exists():
        return goods.of_catalogue(program, dict(map(_choice, chosen or ())), tasks=tasks or 1, seed=seed)
    return goods.of_files(_file(Path(program)), _maybe(shared), _maybe(mapped), tasks)


def _choice(text: str) -> tuple[str, int | float]:
    name, _, number = text.partition("=")
    for kind in (int, float):
        with suppress(ValueError):
            return name, kind(number)
    raise BadChoice(text=text)


def _file(path: Path) -> "File":
    from domain.kernels.menu import MENU
    from services.client.goods import File

    try:
        return File(str(path), path.read_bytes())
    except OSError as error:
        names = f"; the catalogue has {', '.join(MENU)}" if isinstance(error, FileNotFoundError) else ""
        raise BadInput(file=path, reason=f"{error.strerror}{names}") from None


def _maybe(path: Path | None) -> "File | None":
    return None if path is None else _file(path)


async def _quote(goods: "Goods", terms: "Terms", name: str) -> "Quote":
    """A quote for the goods as they would be posted."""
    from services.client import pricing
    from services.client.session import session
    from services.projections.queries import Reader

    settings = attached()
    assert settings.database_url is not None, "a stack that is up has a database"
    async with session(settings, name) as client, await Reader.open(settings.database_url) as reader:
        found = await client.inspect(goods.program)
        return await pricing.quote(reader, client.key, Path(goods.name).name, goods, terms, found)


async def _post(work: "Work", name: str, due_msat: int) -> tuple[str, int, int]:
    """Post it, and wait until it can be seen.

    Args:
        due_msat: What the quote said; 0 where nobody would run it.

    Returns:
        The job, the position at which it stands, and what is reserved for it.
    """
    from services.bus.client import RefusedByMarket
    from services.client.session import session
    from services.projections.queries import Reader

    settings = attached()
    async with session(settings, name) as client:
        try:
            job = await client.post(work)
        except RefusedByMarket as refused:
            if refused.name not in (EscrowTooSmall.__name__, UnknownEscrow.__name__):
                raise
            raise await _not_enough(client, work, name, due_msat) from None
        await shown(settings, client.position)
        assert settings.database_url is not None, "a stack that is up has a database"
        async with await Reader.open(settings.database_url) as reader:
            return job, client.position, (await reader.job(job)).reserved_msat


async def _not_enough(client: "Session", work: "Work", name: str, due_msat: int) -> Refused:
    from domain.deposits import deposit_sat
    from domain.job import fee_msat
    from services.projections.queries import Reader

    settings = attached()
    assert settings.database_url is not None, "a stack that is up has a database"
    async with await Reader.open(settings.database_url) as reader:
        try:
            free_msat = (await reader.escrow(client.escrow)).usable_msat
        except UnknownEscrow:
            free_msat = 0
        fees = await reader.fees()
        fee = fee_msat(work.price_msat, fees.fee_ppm) + fee_msat(work.price_msat, fees.chain_ppm)
    needed_msat = due_msat or work.tasks * work.replicas * (work.price_msat + fee)
    missing = deposit_sat(needed_msat - free_msat)
    as_ = "" if name == CLIENT else f" --as {name}"
    return NotEnough(needed=sat(needed_msat), free=sat(free_msat), name=name, missing=missing, as_=as_)
