"""What commands on a running market share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.config import Settings


def attached() -> "Settings":
    """The settings of the market that runs in PASAR_HOME, or of the one that the environment names.

    Raises:
        NotRunning: There is none.
    """
    from services.config import from_environment
    from services.stack.state import attach

    return attach(from_environment())


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
