"""``pasar events``: the log, to read or to follow."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from domain.errors import Refused
from ui.commands.running import attached, run
from ui.format import sat, short

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from services.config import Settings
    from services.ports import Stored
    from services.projections.queries import Reader

#: Events before the last one that are shown when nobody says where to begin.
LATEST = 20


def add_to(app: typer.Typer) -> None:
    """It has no noun: it stands at the root."""
    app.command()(events)


class OneFilter(Refused):
    template: ClassVar[str] = "choose one of --job, --worker and --name"


class NoSuchEvent(Refused):
    template: ClassVar[str] = "there is no event {name}; `pasar schema ls` lists them"


def events(
    after: Annotated[
        int | None, typer.Option(min=0, metavar="POSITION", help=f"Begin behind it; else with the last {LATEST}.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    job: Annotated[str | None, typer.Option(help="Only of this job, its tasks and its money.")] = None,
    worker: Annotated[str | None, typer.Option(help="Only those that name this worker.")] = None,
    name: Annotated[str | None, typer.Option(help="Only of this name, as JobPosted.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line, as CloudEvents.")] = False,
) -> None:
    """Read the log: every fact of the market, in order.

    Examples:

      pasar events

      pasar events --after 0 --json | jq -r .type | sort | uniq -c

      pasar events --follow --job 3fa2

      pasar events --name StakeSlashed --after 0
    """
    if sum(choice is not None for choice in (job, worker, name)) > 1:
        raise OneFilter
    settings = attached()
    show = _as_line() if as_json else _as_text(settings)

    async def read() -> None:
        left = limit
        async for stored in _events(settings, after, follow, job, worker, name):
            print(show(stored), flush=follow)
            left = None if left is None else left - 1
            if left == 0:
                return

    try:
        run(read())
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _events(
    settings: "Settings", after: int | None, go_on: bool, job: str | None, worker: str | None, name: str | None
) -> "AsyncIterator[Stored]":
    """The events asked for: from the log by their index as far as that has come, then as they are published."""
    from services.client.session import follow, read
    from services.projections.event_index import keys
    from services.projections.queries import Reader

    assert settings.database_url is not None, "a stack that is up has a database"
    async with await Reader.open(settings.database_url) as reader:
        key = await _key(reader, settings, job, worker, name)
        last = await reader.log.head()
        if key is not None:
            last = next(one.position for one in await reader.positions() if one.name == "event_index")
        async for stored in _known(reader, key, after, last):
            yield stored
    if go_on:
        async for stored in follow(settings, after=max(last, after or 0)):
            if key is None or key in keys(read(stored)):
                yield stored


async def _known(reader: "Reader", key: str | None, after: int | None, last: int) -> "AsyncIterator[Stored]":
    """What is recorded already, up to ``last``."""
    if after is None:
        found = await reader.latest(key, LATEST)
        for stored in found:
            yield stored
        return
    position = after
    while position < last:
        page = [stored for stored in await reader.events(key, after=position) if stored.position <= last]
        if not page:
            return
        for stored in page:
            yield stored
        position = page[-1].position


async def _key(
    reader: "Reader", settings: "Settings", job: str | None, worker: str | None, name: str | None
) -> str | None:
    """By what the index finds them."""
    from services.client.names import find_worker
    from services.ledger.codec import EVENTS

    if job is not None:
        return (await reader.job(job.lower())).job
    if worker is not None:
        return (await find_worker(reader, settings, worker)).worker
    if name is not None and name.partition(".")[0] not in {event.__name__ for event in EVENTS}:
        raise NoSuchEvent(name=name)
    return name and name.partition(".")[0]


def _as_line() -> "Callable[[Stored], str]":
    import msgspec

    from services.client.envelope import envelope

    encode = msgspec.json.Encoder().encode
    return lambda stored: encode(envelope(stored)).decode()


def _as_text(settings: "Settings") -> "Callable[[Stored], str]":
    import msgspec

    from services.client.names import known

    names = known(settings)

    def line(stored: "Stored") -> str:
        fields = msgspec.json.decode(stored.data)
        name = fields.pop("type").partition(".")[0]
        said = "  ".join(f"{_label(field)} {_value(field, value, names)}" for field, value in fields.items())
        return f"{stored.position:>7}  {stored.recorded_at:%H:%M:%S}  {name:<19} {said}"

    return line


def _label(field: str) -> str:
    for unit in ("_msat", "_s", "_at"):
        field = field.removesuffix(unit)
    return field.replace("_", " ")


def _value(field: str, value: Any, names: "Mapping[str, str]") -> str:
    match value:
        case int() if field.endswith("_msat"):
            return sat(value)
        case {"address": str(address)}:
            return short(address)
        case int() if field.endswith("_s"):
            return f"{value} s"
        case str() if field.endswith(("_at", "_by")):
            return f"{value[:19]}Z"
        case str() if value in names:
            return names[value]
        case str():
            return value[:8] + "…" if field in ("job", "escrow") else short(value)
        case list():
            return ",".join(_value(field, one, names) for one in value)
        case None:
            return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
