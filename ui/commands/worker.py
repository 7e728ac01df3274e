"""``pasar worker``: run one here, and look at those of the market."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from domain.errors import Refused
from services.client import sentences
from services.worker.options import GB_MSAT, PRICE_MSAT, TFLOP_MSAT
from ui.commands.running import attached, run, shown
from ui.format import AsJson, columns, count, parse_msat, print_json, sat, say, short
from ui.limits import lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.commands import Command
    from domain.events import Platform
    from services.projections.queries import Worker

app = typer.Typer(name="worker", help="Workers: run one on this machine, look at all of them.", no_args_is_help=True)
WorkerName = Annotated[str, typer.Argument(metavar="WORKER", help="Name on this machine or key, or its beginning.")]


class NoSuchPlatform(Refused):
    template: ClassVar[str] = "{platform!r} is no device that programs run on; choose cpu, cuda or tpu"


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


@app.command("run")
def run_(
    name: Annotated[str, typer.Option(help="What the worker is called here; its key is made on first use.")] = "worker",
    price: Annotated[
        int, typer.Option(parser=parse_msat, metavar="SAT", help="The least it takes for a task.")
    ] = f"{PRICE_MSAT}msat",  # type: ignore[assignment]
    tflop: Annotated[
        int, typer.Option(parser=parse_msat, metavar="SAT", help="For 10^12 operations of a task.")
    ] = f"{TFLOP_MSAT}msat",  # type: ignore[assignment]
    gb: Annotated[
        int, typer.Option(parser=parse_msat, metavar="SAT", help="For 10^9 bytes that a task moves.")
    ] = f"{GB_MSAT}msat",  # type: ignore[assignment]
    slots: Annotated[int, typer.Option(min=1, max=64, help="Tasks that it takes at a time.")] = 64,
    lanes: Annotated[int, typer.Option(min=1, max=16, help="Such leases in work at a time.")] = 2,
    sandboxes: Annotated[int, typer.Option(min=1, max=64, help="Tasks that run at a time, one a core.")] = 1,
    stake: Annotated[
        int,
        typer.Option(parser=parse_msat, metavar="SAT", help="Stake, from the faucet when it registers first."),
    ] = "1000",  # type: ignore[assignment]
    payout: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where it is paid; a wallet of its own in PASAR_HOME if absent.")
    ] = "",
    memory: Annotated[int, typer.Option(min=64, metavar="MB", help="Memory that a task may use.")] = 2048,
    platform: Annotated[
        str, typer.Option(help="Device that tasks run on: cpu, cuda or tpu; only cpu has been tried so far.")
    ] = "cpu",
    measure: Annotated[bool, typer.Option(help="Measure this machine's speed first.")] = True,
) -> None:
    """Work for the running market until Ctrl-C, which hands back the tasks that are not done.

    Examples:

      pasar worker run

      pasar worker run --name anna --price 2 --stake 5000

      pasar worker run --name ben --price 1500msat --slots 8 --memory 4096
    """
    import os

    from services import bootstrap, logs
    from services.keys import party
    from services.stack.roles import ONE_THREAD
    from services.worker.options import WorkerOptions

    settings = attached()
    logs.configure(settings, name)
    for variable, value in ONE_THREAD.items():
        os.environ.setdefault(variable, value)
    options = WorkerOptions(
        price_msat=price,
        tflop_msat=tflop,
        gb_msat=gb,
        slots=slots,
        lanes=max(lanes, 2 * sandboxes),  # one lease runs while the next is on its way
        sandboxes=sandboxes,
        platform=_platform(platform),
        memory_mb=memory,
        stake_msat=stake,
        payout_address=payout,
        measure=measure,
    )
    who = party(settings, name)
    say(f"worker {name} ({short(who.key)}) prepares its sandbox")

    def ready() -> None:
        say(
            f"it takes tasks from {sat(price)} on, at {sat(tflop)} for 10^12 operations; "
            "Ctrl-C hands back what it has not done"
        )

    run(bootstrap.run_worker(settings, name, options, ready=ready))
    say("it has handed back what it had not done")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the workers of the market, with what they ask, did and earned.

    Examples:

      pasar worker list

      pasar worker list --json | jq '.[] | select(.asking) | .ask_msat'
    """
    from services.client.names import known
    from ui.commands.running import ask

    found = ask(lambda reader: reader.workers())
    if as_json:
        print_json(found)
        return
    names = known(attached())
    heading = ("worker", "name", "state", "asks", "slots", "in hand", "verified", "rejected", "earned", "stake")
    print(columns([heading, *(_row(one, names) for one in found)]))
    if not found:
        print("no worker has registered; start one with `pasar worker run`")


@app.command()
def status(worker: WorkerName, as_json: AsJson = False) -> None:
    """Show one worker: what it is, what it did, what it has at stake, and if it runs, which limits hold its sandbox.

    Examples:

      pasar worker status worker-1

      pasar worker status worker-1 --json | jq .limits

      pasar worker status UABC --json | jq .earned_msat
    """
    found, names = _find(worker)
    limits = _limits(found.worker)
    if as_json:
        told = {"sentence": sentences.of_worker(found), "name": names.get(found.worker), "worker": found}
        print_json({**told, "limits": limits})
        return
    print(f"{found.worker}" + (f", called {names[found.worker]} here" if found.worker in names else ""))
    print(sentences.of_worker(found))
    speed = _speed(found.flops_per_s, found.bytes_per_s or 0) if found.flops_per_s else "not measured"
    for what, said in {
        "machine": f"{found.platform}, {count(found.cores, 'core')}, {found.memory_mb:,} MB, jax {found.jax_version}",
        "speed": speed,
        "results": f"{found.verified} verified, {found.rejected} rejected",
        "not done": f"{found.failed} failed, {found.expired} too late, {found.returned} handed back",
        "earned": sat(found.earned_msat),
        "stake": f"{sat(found.stake_msat)}, {sat(found.slashed_msat)} lost",
    }.items():
        print(f"  {what:<9} {said}")
    if limits is None:
        print("  sandbox   its process does not answer now, so nobody can say which limits hold")
    else:
        print("  sandbox   its limits:")
        print("\n".join(lines(limits)))


@app.command()
def pause(worker: WorkerName, as_json: AsJson = False) -> None:
    """Let a worker of this machine take no new tasks; those in its hands go on.

    Examples:

      pasar worker pause worker-1
    """
    from domain.worker import PauseWorker

    _order(worker, PauseWorker(), as_json)


@app.command()
def resume(worker: WorkerName, as_json: AsJson = False) -> None:
    """Let a paused worker of this machine take tasks again.

    Examples:

      pasar worker resume worker-1
    """
    from domain.worker import ResumeWorker

    _order(worker, ResumeWorker(), as_json)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Tell what this machine would offer as a worker, and which limits its sandbox can apply. Needs no market.

    Examples:

      pasar worker check

      pasar worker check --json | jq .limits
    """
    from services.worker import device

    limits, speed = run(_try_sandbox())
    found = {
        "platform": device.platform(),
        "cores": device.cores(),
        "memory_mb": device.memory_mb(),
        "jax_version": device.jax_version(),
        "flops_per_s": speed[0],
        "bytes_per_s": speed[1],
        "limits": limits,
    }
    if as_json:
        print_json(found)
        return
    print(f"platform  {found['platform']}, {count(device.cores(), 'core')}, {device.memory_mb():,} MB of memory")
    print(f"jax       {found['jax_version']}")
    print(f"speed     {_speed(*speed)} on one core")
    print("sandbox   it starts and runs programs; its limits:")
    print("\n".join(lines(limits)))


async def _try_sandbox() -> "tuple[dict[str, bool], tuple[int, int]]":
    import tempfile
    from pathlib import Path

    from services.worker import device
    from services.worker.executor import Executor

    with tempfile.TemporaryDirectory(prefix="pasar-check-") as folder:
        async with Executor(Path(folder)) as executor:
            await executor.warm()
            return dict(executor.applied), await device.measure(executor)


def _platform(text: str) -> "Platform":
    match text:
        case "cpu" | "cuda" | "tpu":
            return text
        case _:
            raise NoSuchPlatform(platform=text)


def _find(text: str) -> "tuple[Worker, Mapping[str, str]]":
    from services.client.names import find_worker, known
    from ui.commands.running import ask

    settings = attached()
    return ask(lambda reader: find_worker(reader, settings, text)), known(settings)


def _limits(worker: str) -> "dict[str, bool] | None":
    """Which limits hold the sandbox of this worker, as its process says; absent if none answers."""
    from services.stack.status import ask_services

    for service in run(ask_services(attached())):
        if service.data.get("worker") == worker:
            return dict(service.data.get("limits", {}))
    return None


def _order(text: str, command: "Command", as_json: bool) -> None:
    """Send a worker's own command, and show the worker afterwards."""
    from domain.errors import Unauthorised
    from services import bootstrap
    from services.keys import party

    found, names = _find(text)
    if found.worker not in names:
        raise Unauthorised(needed=f"the machine that holds the key of worker {short(found.worker)}")
    settings, name = attached(), names[found.worker]

    async def send() -> None:
        async with bootstrap.commander(settings, party(settings, name)) as market:
            reply = await market.send([command])
        await shown(settings, reply.position)

    run(send())
    after, _ = _find(found.worker)
    if as_json:
        print_json({"sentence": sentences.of_worker(after), "name": name, "worker": after})
    else:
        print(f"{name}: {sentences.of_worker(after)}")


def _speed(flops_per_s: int, bytes_per_s: int) -> str:
    return f"{flops_per_s / 1e9:.1f} GFLOP/s, {bytes_per_s / 1e9:.1f} GB/s"


def _row(one: "Worker", names: "Mapping[str, str]") -> tuple[str, ...]:
    asks = sat(one.ask_msat) if one.asking and one.ask_msat is not None else "-"
    counts = (one.slots or 0, one.open, one.verified, one.rejected)
    money = (sat(one.earned_msat), sat(one.stake_msat))
    return short(one.worker), names.get(one.worker, "-"), one.state, asks, *map(str, counts), *money
