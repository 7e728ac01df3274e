"""``pasar job quote`` and ``pasar job post``: what work would cost, and buying it."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from domain.errors import EscrowTooSmall, Refused, UnknownEscrow
from ui.commands.running import CLIENT, As, attached, run, shown
from ui.format import AsJson, count, parse_duration, parse_msat, print_json, sat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.quote import Quote
    from services.client.session import Session, Work

ProgramFile = Annotated[Path, typer.Argument(metavar="PROGRAM_FILE", help="An exported program.")]
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


class BadInput(Refused):
    template: ClassVar[str] = "{file} cannot be used: {reason}"


class SayHowMany(Refused):
    template: ClassVar[str] = "say how many tasks the job has with --tasks, or give --mapped arrays with a row for each"


class NotEnough(Refused):
    template: ClassVar[str] = (
        "the job needs {needed} and the escrow of {name} has {free} free; "
        "fund it first: `pasar escrow fund {missing}{as_}`"
    )


def quote(
    program: ProgramFile,
    price: Price = None,
    shared: Shared = None,
    mapped: Mapped = None,
    tasks: Tasks = None,
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

      pasar job quote sweep.program --shared data.safetensors --tasks 9 --replicas 2 --json | jq .total_msat
    """
    from services.client import bill, quotes

    shared_bytes, mapped_bytes = _arrays(shared), _arrays(mapped)
    number = _tasks(tasks, mapped, mapped_bytes)
    inputs = (shared_bytes, mapped_bytes)
    found = run(_quote(_bytes(program), inputs, number, replicas, stake, memory, price, as_, reuse=reuse))
    if as_json:
        print_json({"possible": found.possible, "quote": found})
    else:
        print(
            bill.of_quote(
                found,
                function=program.name,
                budget_msat=None,
                timeout_s=quotes.timeout_s(found.slowest_s),
                memory_mb=memory or quotes.memory_mb(found.meter),
            )
        )
    if not found.possible:
        raise typer.Exit(1)


def post(
    program: ProgramFile,
    price: Price = None,
    shared: Shared = None,
    mapped: Mapped = None,
    tasks: Tasks = None,
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
    services.programs.export.export_program makes of a JAX function of (shared, row). Without --price it is posted at
    the price that `pasar job quote` names.

    Examples:

      pasar job post square.program --mapped x.safetensors

      pasar job post sweep.program --shared data.safetensors --tasks 9 --price 2 --replicas 2 --budget 50

      pasar job post pi.program --tasks 9 --price 1500msat --json | jq -r .job
    """
    from services.client import quotes
    from services.client.errors import NobodyEligible
    from services.client.session import Work

    mapped_bytes = _arrays(mapped)
    content, number = _bytes(program), _tasks(tasks, mapped, mapped_bytes)
    shared_bytes = _arrays(shared)
    inputs = (shared_bytes, mapped_bytes)
    quoted = run(_quote(content, inputs, number, replicas, stake, memory, price, as_, reuse=reuse))
    if price is None and not quoted.possible:
        raise NobodyEligible(quoted.reasons, quoted.eligible, quoted.replicas)
    work = Work(
        program=content,
        shared=shared_bytes,
        mapped=mapped_bytes,
        tasks=number,
        price_msat=price or quoted.price_msat,
        stake_msat=stake,
        replicas=replicas,
        timeout_s=int(timeout.total_seconds()) if timeout is not None else quotes.timeout_s(quoted.slowest_s),
        memory_mb=memory or quotes.memory_mb(quoted.meter),
        deadline=deadline,
        budget_msat=budget,
        reuse=reuse,
    )
    job, position, reserved_msat = run(_post(work, as_))
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
def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(file=file, reason=error.strerror) from None


def _arrays(file: Path | None) -> bytes | None:
    """A file of packed arrays, read to see that it is one."""
    from services import arrays

    if file is None:
        return None
    packed = _bytes(file)
    try:
        arrays.unpack(packed)
    except arrays.BadArrays as error:
        raise BadInput(file=file, reason=error) from None
    return packed


def _tasks(tasks: int | None, file: Path | None, mapped: bytes | None) -> int:
    """How many tasks there are, by the option or by the rows of the mapped arrays, which have to agree."""
    from services import arrays

    if mapped is None:
        if tasks is None:
            raise SayHowMany
        return tasks
    rows = {array.shape[0] if array.ndim else 0 for array in arrays.unpack(mapped).values()}
    if len(rows) != 1 or 0 in rows:
        raise BadInput(file=file, reason="mapped arrays need the same number of rows, one for each task")
    (found,) = rows
    if tasks is not None and tasks > found:
        raise BadInput(file=file, reason=f"it has {count(found, 'row')} for {count(tasks, 'task')}")
    return tasks or int(found)


async def _quote(
    program: bytes,
    inputs: "Sequence[bytes | None]",
    tasks: int,
    replicas: int,
    stake_msat: int,
    memory_mb: int | None,
    price_msat: int | None,
    name: str,
    *,
    reuse: bool,
) -> "Quote":
    """A quote for the program as it would be posted."""
    from domain.quote import Needs
    from services.client import quotes
    from services.client.session import session
    from services.projections.queries import Reader

    settings = attached()
    assert settings.database_url is not None, "a stack that is up has a database"
    async with session(settings, name) as client, await Reader.open(settings.database_url) as reader:
        found = await client.inspect(program)
        memory = memory_mb or quotes.memory_mb(found.meter)
        needs = Needs(tasks, replicas, ("cpu",), memory, stake_msat, price_msat)
        wanted = quotes.wanted(client.key, found.identity, inputs, tasks, needs.platforms) if reuse else None
        return await quotes.quote_now(reader, found.meter, needs, wanted)


async def _post(work: "Work", name: str) -> tuple[str, int, int]:
    """Post it, and wait until it can be seen.

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
            raise await _not_enough(client, work, name) from None
        await shown(settings, client.position)
        assert settings.database_url is not None, "a stack that is up has a database"
        async with await Reader.open(settings.database_url) as reader:
            return job, client.position, (await reader.job(job)).reserved_msat


async def _not_enough(client: "Session", work: "Work", name: str) -> Refused:
    from domain.job import fee_msat
    from services.projections.queries import Reader

    settings = attached()
    assert settings.database_url is not None, "a stack that is up has a database"
    async with await Reader.open(settings.database_url) as reader:
        try:
            free_msat = (await reader.escrow(client.escrow)).free_msat
        except UnknownEscrow:
            free_msat = 0
        fee = fee_msat(work.price_msat, await reader.fee_ppm())
    needed_msat = work.tasks * work.replicas * (work.price_msat + fee)
    missing = sat(needed_msat - free_msat).replace(",", "").removesuffix(" sat")
    as_ = "" if name == CLIENT else f" --as {name}"
    return NotEnough(needed=sat(needed_msat), free=sat(free_msat), name=name, missing=missing, as_=as_)
