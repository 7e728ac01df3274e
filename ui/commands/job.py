"""``pasar job``: work that a client buys; how it is priced and posted is in ``posting``."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from domain.errors import Refused, UnknownJob
from services.client import sentences
from ui.commands import posting
from ui.commands.running import CLIENT, As, ask, attached, run, shown
from ui.format import AsJson, ago, columns, count, print_json, sat, say, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.client.waiting import Waiting
    from services.projections.queries import Job, Reader, Task

app = typer.Typer(name="job", help="Work that a client buys: post it, follow it, cancel it.", no_args_is_help=True)
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The job's id or its beginning.")]
#: Rows of tasks that are shown when nobody asks for more.
TASKS_SHOWN = 40


def add_to(root: typer.Typer) -> None:
    app.command()(posting.quote)
    app.command()(posting.post)
    root.add_typer(app)


@app.command()
def show(
    job: JobName,
    upto: Annotated[
        int | None, typer.Option(min=1, metavar="POSITION", help="As it was after this event of the log.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows of tasks to show.")] = TASKS_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show a job, its money and its tasks.

    Examples:

      pasar job show 3fa2

      pasar job show 3fa2 --upto 120

      pasar job show 3fa2 --json | jq '.tasks[] | select(.state == "rejected")'
    """
    if upto is not None:
        _show_then(run(_then(job, upto)), as_json)
        return

    async def look(reader: "Reader") -> "tuple[Job, list[Task], Waiting | None]":
        found = await reader.job(job.lower())
        tasks = await reader.tasks(found.job, None if as_json or found.state == "open" else limit)
        return found, tasks, await _waiting(reader, found, tasks)

    found, tasks, waiting = ask(look)
    if as_json:
        print_json({"sentence": sentences.of_job(found), "job": found, "tasks": tasks, "waiting": waiting})
    else:
        _show(found, tasks, waiting, limit)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 20,
    state: Annotated[str | None, typer.Option(help="Only open, cancelled, expired or completed ones.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the latest jobs, newest first.

    Examples:

      pasar job list

      pasar job list --state open --json | jq -r '.[].job'
    """
    if state is not None and state not in _STATES:
        raise NoSuchState(state=state, states=", ".join(_STATES))
    found = ask(lambda reader: reader.jobs(limit, state))
    if as_json:
        print_json(found)
        return
    heading = ("job", "state", "verified", "replicas", "price", "earned", "posted")
    print(columns([heading, *map(_row, found)]))
    if not found:
        print("no job was posted" if state is None else f"no job is {state}")


@app.command()
def watch(job: JobName, as_json: AsJson = False) -> None:
    """Follow a job until its end. Exit status 1 if a task was not verified.

    Examples:

      pasar job watch 3fa2

      pasar job watch 3fa2 --json | jq -r .sentence
    """
    ended = ask(lambda reader: _watch(reader, job.lower(), quiet=as_json))
    if as_json:
        print_json({"sentence": sentences.of_job(ended), "job": ended})
    else:
        print(sentences.of_job(ended))
    if ended.failed:
        say(f"see which ones with `pasar job show {ended.job[:8]}`")
        raise typer.Exit(1)


@app.command()
def cancel(job: JobName, as_: As = CLIENT, as_json: AsJson = False) -> None:
    """Ask for no further work on a job.

    What workers hold is still taken and paid; the rest is free again.

    Examples:

      pasar job cancel 3fa2 --as alice
    """
    found = ask(lambda reader: reader.job(job.lower()))
    settings = attached()

    async def send() -> None:
        from services.client.session import session

        async with session(settings, as_) as client:
            await client.cancel(found.job)
        await shown(settings, client.position)

    run(send())
    after = ask(lambda reader: reader.job(found.job))
    if as_json:
        print_json({"sentence": sentences.of_job(after), "job": after})
    else:
        print(sentences.of_job(after))


_STATES = ("open", "cancelled", "expired", "completed")


class NoSuchState(Refused):
    template: ClassVar[str] = "no job is ever {state}; its states are {states}"


# -------------------------------------------------------------------------------------------------------------- showing
async def _watch(reader: "Reader", job: str, *, quiet: bool) -> "Job":
    """The job at its end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    found = await reader.job(job)
    job = found.job
    console = Console(stderr=True)
    live = console.is_terminal and not quiet
    fields = (TextColumn("verified"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rest]}"))
    said: object = None
    with Progress(*fields, TimeElapsedColumn(), console=console, disable=not live, transient=True) as bar:
        shown_ = bar.add_task("verified", total=found.tasks, rest="")
        async for now in reader.watch(found.job):
            unchanged, found = now == found, now
            trouble = sentences.of_trouble(await reader.tasks(job, TASKS_SHOWN)) if unchanged else ""
            rest = trouble or (f"rejected {found.rejected}" if found.rejected else "")
            bar.update(shown_, completed=found.verified, rest=rest)
            counted = trouble or (found.state, found.verified)
            if not live and not quiet and counted != said and found.state != "completed":
                say(trouble or sentences.of_job(found))
            said = counted
    return found


def _row(one: "Job") -> tuple[str, ...]:
    return (
        one.job,
        one.state,
        f"{one.verified} of {one.tasks}",
        str(one.replicas),
        sat(one.price_msat),
        sat(one.paid_msat),
        f"{ago(one.posted_at)} ago",
    )


async def _waiting(reader: "Reader", job: "Job", tasks: "list[Task]") -> "Waiting | None":
    """Why nobody takes its tasks, if nobody does."""
    from services.client import waiting

    last = await reader.latest(job.job, 1)
    since = last[-1].recorded_at if last else job.posted_at
    if not waiting.waits(job, tasks, since=since, now=datetime.now(UTC)):
        return None
    program, workers = await reader.program(job.program), await reader.workers()
    meter = None if program is None else program.meter
    return waiting.why(job, meter, workers, fee_ppm=(await reader.fees()).fee_ppm, since=since)


def _show(job: "Job", tasks: "list[Task]", waiting: "Waiting | None", limit: int) -> None:
    from services.client.names import known

    names = known(attached())
    print(f"job {job.job} of {_named(names, job.client)}, posted {ago(job.posted_at)} ago")
    print(sentences.of_job(job))
    if job.state != "completed" and (trouble := sentences.of_trouble(tasks)):
        print(trouble)
    if waiting is not None:
        print(waiting.sentence(datetime.now(UTC)))
        print(waiting.fix)
    each = f"{count(job.tasks, 'task')}, each by {count(job.replicas, 'worker')}"
    miners = f" and {sat(job.chain_msat)} for miners" if job.chain_msat else ""
    left_msat = job.reserved_msat - job.paid_msat - job.charged_msat - job.freed_msat
    for what, said in {
        "terms": f"{each}, {sat(job.price_msat)} a run, {sat(job.fee_msat)} fee{miners}, "
        f"{sat(job.stake_msat)} at stake",
        "limits": f"{job.timeout_s} s and {job.memory_mb:,} MB a task, on {job.platforms}",
        "results": f"{job.accepted} verified, {job.rejected} rejected, {count(job.disputes, 'dispute')}",
        "money": f"{sat(job.paid_msat)} earned by workers, {sat(job.charged_msat)} fees, "
        f"{sat(left_msat)} still reserved, {sat(job.freed_msat)} freed",
        "program": job.program,
    }.items():
        print(f"  {what:<8} {said}")
    if not tasks:
        return
    listed = tasks[:limit]
    rows = [
        (str(one.task), str(one.replica), _named(names, one.worker), str(one.attempts), sentences.of_run(one))
        for one in listed
    ]
    print()
    print(columns([("task", "replica", "worker", "attempts", ""), *rows]))
    if len(listed) < job.tasks * job.replicas:
        print(f"{count(len(listed), 'row')} shown; --limit shows more, --json shows all that were ever given out")


def _named(names: "Mapping[str, str]", key: str) -> str:
    return names.get(key) or short(key)


async def _then(prefix: str, upto: int) -> dict[str, Any]:
    """A job as the log tells it up to a position."""
    from collections import Counter

    from services.projections.queries import Reader
    from services.replay import replay

    settings = attached()
    assert settings.database_url is not None, "a stack that is up has a database"
    async with await Reader.open(settings.database_url) as reader:
        id_ = (await reader.job(prefix.lower())).job
        was = await replay(reader.log, upto)
    job = was.world.jobs.get(id_)
    if job is None:
        raise NotYetPosted(job=id_, position=was.position)
    phases = Counter(slot.phase.name.lower() for task in was.world.tasks_in(id_) for slot in task.slots)
    return {
        "job": id_,
        "position": was.position,
        "at": was.at,
        "state": job.state,
        "tasks": job.terms.tasks,
        "verified": job.verified,
        "left_msat": job.left_msat,
        "replicas": dict(phases),
    }


class NotYetPosted(UnknownJob):
    template: ClassVar[str] = "job {job} was not posted yet at position {position}; look at a later one"


def _show_then(was: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(was)
        return
    print(f"job {was['job']} after event {was['position']}, at {was['at']:%Y-%m-%d %H:%M:%S} UTC")
    print(f"It was {was['state']}: {was['verified']} of {count(was['tasks'], 'task')} verified.")
    print(f"  replicas {', '.join(f'{number} {phase}' for phase, number in was['replicas'].items())}")
    print(f"  money    {sat(was['left_msat'])} still reserved")
