"""What a job costs, said item by item."""

from datetime import timedelta
from typing import Any

from msgspec import structs

from domain import quote as quotes
from domain.orders import operations
from services.client.cards import Card, Line, bundle, text
from services.client.words import count, in_sat, sat, span
from services.projections.queries import Job


class Quote(quotes.Quote, frozen=True, kw_only=True):
    """What a call would cost if it were posted now; nothing is reserved.

    Attributes:
        function: What is called.
        budget_msat: The most that it may cost; absent: no bound.
        timeout_s, memory_mb: What one run would get.
    """

    function: str
    budget_msat: int | None
    timeout_s: int
    memory_mb: int

    def card(self) -> Card:
        runs = f"{count(self.tasks, 'task')}" + (f", each by {self.replicas} workers" if self.replicas > 1 else "")
        lines: list[Line] = [("work", f"{runs}: {_work(self)}")]
        if self.possible:
            lines += [("earlier", f"job {self.original} has the results")] if self.original else bill(self)
            lines.append(("time", f"about {seconds(self.eta_s)} once workers are free" if self.eta_s else "not known"))
        who = f"{self.eligible} of {count(self.workers, 'worker')} would run it"
        lines.append(("workers", who))
        lines += [("not", in_sat(str(reason))) for reason in self.reasons]
        limits = f"{self.timeout_s} s and {self.memory_mb:,} MB a run"
        return Card(title=f"quote for {self.function}", sentence=self.sentence, lines=lines, more=[("limits", limits)])

    @property
    def sentence(self) -> str:
        """Whether it can be had, and for what."""
        if self.original:
            return f"The same work was verified before: its results cost {sat(self.reuse_msat)}."
        if not self.workers:
            return "Nobody can run it now: the market has no worker; start one with `pasar worker run`."
        if not self.possible:
            return f"Nobody can run it now: {self.eligible} of {count(self.replicas, 'needed worker')} would."
        if self.budget_msat is not None and self.due_msat > self.budget_msat:
            return f"{sat(self.total_msat)} in all, which is more than the budget of {sat(self.budget_msat)}."
        return f"{sat(self.total_msat)} in all; what is not used is free again."

    def __repr__(self) -> str:
        return text(self.card())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return bundle(self.card())


def of_quote(found: quotes.Quote, **terms: Any) -> Quote:
    """A quote of the domain, with the terms that it was asked for."""
    return Quote(**structs.asdict(found), **terms)


def bill(quote: quotes.Quote) -> list[Line]:
    """The items and their sum."""
    items = [("compute", f"{sat(quote.compute_msat)} ({sat(quote.price_msat)} a run)")]
    if quote.checking_msat:
        items.append(("checking", f"{sat(quote.checking_msat)} (the same again by others)"))
    items.append(("fee", sat(quote.fees_msat)))
    if quote.miners_msat:
        items.append(("chain", f"{sat(quote.miners_msat)} (kept for the miners of the payouts)"))
    return [*items, ("total", sat(quote.total_msat))]


def of_job(job: Job) -> list[Line]:
    """Where a job's money is: what was reserved is paid, charged, free again or still reserved, to the msat."""
    left_msat = job.reserved_msat - job.paid_msat - job.charged_msat - job.freed_msat
    if job.original:
        full_msat = job.tasks * job.replicas * (job.price_msat + job.fee_msat + job.chain_msat)
        return [
            ("reused from", f"job {job.original}, verified earlier"),
            ("new, it would have cost", sat(full_msat)),
            ("reused, it costs", sat(job.reserved_msat)),
            ("saved", sat(full_msat - job.reserved_msat)),
        ]
    parts = (
        ("to workers", job.paid_msat),
        ("fees", job.charged_msat),
        ("free again", job.freed_msat),
        ("still reserved", left_msat),
    )
    return [("reserved", sat(job.reserved_msat)), *((name, sat(amount)) for name, amount in parts if amount)]


def _work(quote: quotes.Quote) -> str:
    meter = quote.meter
    size = f"{_metric(operations(meter), 'FLOP')}, {_metric(meter.bytes_moved, 'B')} moved"
    return f"{size}, {_metric(meter.memory_bytes, 'B')} of memory a run"


def _metric(number: int, unit: str) -> str:
    for prefix, size in (("P", 10**15), ("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number} {unit}"


def seconds(length_s: float) -> str:
    """A length of time, also a short one."""
    return f"{length_s * 1000:.3g} ms" if length_s < 1 else f"{length_s:.3g} s" if length_s < 120 else _long(length_s)


def _long(length_s: float) -> str:
    return span(timedelta(seconds=length_s))
