"""What the parties of this machine are called here; everybody else is known by key alone."""

from collections.abc import Mapping
from typing import ClassVar

from domain.errors import UnknownWorker
from services.config import Settings
from services.keys import party
from services.projections.queries import Ambiguous, Reader, Worker


class NoSuchWorker(UnknownWorker):
    template: ClassVar[str] = "no worker's name or key begins with {worker!r}; `pasar worker list` shows all of them"


def known(settings: Settings) -> Mapping[str, str]:
    """Names of this machine's parties by their keys."""
    names = sorted(file.stem for file in settings.keys.glob("*.seed"))
    return {party(settings, name).key: name for name in names}


async def find_worker(reader: Reader, settings: Settings, text: str) -> Worker:
    """The worker of this name or key, or whose name or key begins so.

    Raises:
        NoSuchWorker, Ambiguous: None or several do.
    """
    if not text:
        raise NoSuchWorker(worker=text)
    named = known(settings)
    workers = {named.get(one.worker, ""): one for one in await reader.workers() if one.worker in named}
    if text in workers:
        return workers[text]
    found = [one for name, one in workers.items() if name.startswith(text)]
    if len(found) > 1:
        raise Ambiguous(what="worker", prefix=text)
    if found:
        return found[0]
    try:
        return await reader.worker(text.upper())
    except UnknownWorker:
        raise NoSuchWorker(worker=text) from None
