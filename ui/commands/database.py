"""What commands on the log and the read models share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from domain.errors import Refused


class NoDatabase(Refused):
    template = "no database is known; start the market with `pasar up` or set PASAR_DATABASE_URL"


def database_url() -> str:
    """Where the log and the read models are.

    Raises:
        NoDatabase: Nothing says so.
    """
    from services.config import from_environment

    url = from_environment().database_url
    if url is None:
        raise NoDatabase
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
