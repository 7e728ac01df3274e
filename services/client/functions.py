"""A function that can be called here, or bought from the market."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from services.client.bill import Quote
from services.client.calls import Axes, Calls
from services.client.cards import Card, Shown
from services.client.jobs import Job
from services.client.terms import Terms
from services.client.words import sat

if TYPE_CHECKING:
    from services.client.market import Market

P = ParamSpec("P")
R = TypeVar("R")


class Function(Shown, Generic[P, R]):
    """The function itself when it is called; ``quote``, ``submit`` and ``map`` are about buying the call."""

    def __init__(
        self, market: "Market", function: Callable[P, R], terms: Terms, static_argnames: Sequence[str] = ()
    ) -> None:
        self._market, self._function, self.terms = market, function, terms
        self._calls = Calls(function, static_argnames, terms.platforms)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here."""
        return self._function(*args, **kwargs)

    def quote(self, *args: P.args, **kwargs: P.kwargs) -> Quote:
        """What this call would cost now, when it would be done and who would run it, or why nobody does.

        It is free and reserves nothing.

        Raises:
            NotExportable, Inadmissible: The market does not run such a function.
        """
        return self._market._quote(self._name, self._calls.single(args, kwargs), self.terms)

    def quote_map(self, *args: Any, in_axes: Axes = ..., **kwargs: Any) -> Quote:  # type: ignore[assignment]
        """As ``quote``, for ``map``."""
        return self._market._quote(self._name, self._calls.mapped(args, kwargs, in_axes), self.terms)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Buy the call; returns at once, and what goes wrong later is raised by the job's ``result``.

        Raises:
            NotExportable: It is no pure function of arrays.
        """
        return self._market._submit(self._name, self._calls.single(args, kwargs), self.terms, mapped=False)

    def map(self, *args: Any, in_axes: Axes = ..., **kwargs: Any) -> Job:  # type: ignore[assignment]
        """Buy a call for each row of the last positional argument's leading axis: one job with a task for each.

        Args:
            in_axes: Which positional arguments are mapped over which axis, as of ``jax.vmap``. Keyword arguments are
                shared.
        Raises:
            NotExportable: It is no pure function of arrays, or the rows do not agree.
        """
        return self._market._submit(self._name, self._calls.mapped(args, kwargs, in_axes), self.terms, mapped=True)

    @property
    def _name(self) -> str:
        return getattr(self._function, "__name__", "function")

    def card(self) -> Card:
        terms, bought = self.terms, "nobody runs it again" if self.terms.replicas == 1 else "results are compared"
        budget = "none" if terms.budget_msat is None else sat(terms.budget_msat)
        return Card(
            title=f"{self._name}, which the market can run",
            sentence=f"{self._name}(...) runs here; .quote(...) asks for a price, .submit(...) and .map(...) buy.",
            lines=[("budget", budget), ("replicas", f"{terms.replicas}: {bought}")],
        )
