"""What must always hold, each checked on the recorded events alone, by books of its own rather than the market's."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from services.ports import Stored


class Broken(Exception):
    """An event contradicts an invariant; says how."""


Check = Callable[[Any, Stored], None]


class Invariant:
    """One thing that must always hold, with the books that it needs to see whether it does."""

    name: str

    def checks(self) -> Mapping[type, Check]:
        """What is looked at on each kind of event."""
        raise NotImplementedError

    def finish(self, *, cut: bool = False) -> None:
        """What can only be seen at the end.

        Args:
            cut: The log goes on, and what a command began may end behind this part of it.
        """


def each(kinds: Iterable[type], check: Check) -> dict[type, Check]:
    """One check for several kinds of events."""
    return dict.fromkeys(kinds, check)


def need(condition: object, what: str) -> None:
    if not condition:
        raise Broken(what)
