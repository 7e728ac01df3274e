"""What commands on a running market share."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

import typer

from domain.errors import Refused
from ui.format import say

if TYPE_CHECKING:
    from services.config import Settings
    from services.projections.queries import Reader

#: Who signs a command.
As = Annotated[
    str, typer.Option("--as", metavar="NAME", help="Party of this machine that acts; its key is made on first use.")
]
#: Who acts when nobody is named.
CLIENT = "client"
Answer = TypeVar("Answer")


class NoAnswer(Refused):
    template: ClassVar[str] = (
        "the market does not answer ({reason}); see `pasar status`, and look whether it was done before you try again"
    )


def attached() -> "Settings":
    """The settings of the market that runs in PASAR_HOME, or of the one that the environment names.

    What this process logs goes to a file, apart from its output.

    Raises:
        NotRunning: There is none.
    """
    from services import logs
    from services.config import from_environment
    from services.stack.state import attach

    settings = attach(from_environment())
    logs.configure(settings, "cli", terminal=False)
    return settings


def run(work: Coroutine[None, None, Answer]) -> Answer:
    """Do it, and say what to do when the market does not answer.

    Raises:
        NoAnswer: It does not.
    """
    import asyncio

    from services.bus.wire import BusError
    from services.ledger.errors import LogLost

    try:
        return asyncio.run(work)
    except (BusError, TimeoutError, LogLost) as error:
        raise NoAnswer(reason=str(error) or "no reply in time") from error


def ask(question: "Callable[[Reader], Coroutine[None, None, Answer]]") -> Answer:
    """Put a question to the read side of the running market."""
    from services.projections.queries import Reader

    settings = attached()
    assert settings.database_url is not None, "a stack that is up has a database"
    url = settings.database_url

    async def put() -> Answer:
        async with await Reader.open(url) as reader:
            return await question(reader)

    return run(put())


async def shown(settings: "Settings", position: int) -> None:
    """Wait until the read models show what was just done; if they do not, say so, for it is done all the same."""
    from services.projections.queries import Reader

    assert settings.database_url is not None, "a stack that is up has a database"
    try:
        async with await Reader.open(settings.database_url) as reader:
            await reader.wait_for(position)
    except Refused as refused:
        say(f"it is done, but {refused}")


def database_url() -> str:
    """Where the running market's log and read models are."""
    url = attached().database_url
    assert url is not None, "a stack that is up has a database"
    return url


@contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, on a terminal only; the yielded function takes what is done and what there is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        shown = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)
