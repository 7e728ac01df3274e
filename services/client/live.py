"""A card that changes in place in a notebook, at most four times a second, and ends in its last state."""

import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from services.client.cards import Card, bundle

EVERY_S: Final = 0.25


class Live:
    """Where one object's card is shown.

    Args:
        card: Makes the card as it is now.
        later: ``later(seconds, function)`` calls the function after that time, in some thread.
    """

    def __init__(self, card: Callable[[], Card], later: Callable[[float, Callable[[], None]], None]) -> None:
        self._card, self._later = card, later
        self._lock = threading.Lock()
        self._handle: Any = None
        self._said: dict[str, str] = {}
        self._said_at = 0.0
        self._due = False

    def show(self) -> None:
        """Show it from now on, in the cell that runs.

        Raises:
            NotImplementedError: No notebook runs here; IPython then shows the object by its other forms.
        """
        if not in_notebook():
            raise NotImplementedError
        from IPython.display import display

        with self._lock:
            self._said = bundle(self._card())
            self._handle = display(self._said, raw=True, display_id=True)

    def changed(self) -> None:
        """Something in it changed: show it soon."""
        if self._handle is None or self._due:
            return
        self._due = True
        self._later(max(0.0, self._said_at + EVERY_S - monotonic()), self.flush)

    def flush(self) -> None:
        """Show it as it is now, if that differs from what is shown."""
        self._due = False
        with self._lock:
            if self._handle is None:
                return
            now = bundle(self._card())
            self._said_at = monotonic()
            if now != self._said:
                self._said = now
                self._handle.update(now, raw=True)


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this: a terminal cannot change what it has printed."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
