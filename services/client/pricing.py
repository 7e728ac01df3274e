"""From goods and terms to a quote, and from a quote to work: the same for a terminal, a notebook and a page."""

import asyncio
from typing import Protocol, assert_never

from domain.quote import Needs, Reason
from services.bus.inspection import Finding
from services.client import quotes
from services.client.bill import Quote, of_quote
from services.client.session import Work
from services.client.terms import Terms
from services.client.words import count, sat
from services.projections.queries import Reader


class Wares(Protocol):
    """What is to be run, as ``Goods`` and a notebook's calls hold it."""

    @property
    def program(self) -> bytes: ...
    @property
    def shared(self) -> bytes | None: ...
    @property
    def mapped(self) -> bytes | None: ...
    @property
    def tasks(self) -> int: ...


async def quote(reader: Reader, client: str, name: str, wares: Wares, terms: Terms, finding: Finding) -> Quote:
    """What it would cost ``client`` if it were posted now; it reserves nothing.

    Args:
        name: What the quote calls the program. finding: What the inspector says of it.
    """
    memory_mb = terms.memory_mb if terms.memory_mb is not None else quotes.memory_mb(finding.meter)
    needs = Needs(wares.tasks, terms.replicas, terms.platforms, memory_mb, terms.stake_msat, terms.price_msat)
    wanted = None
    if terms.reuse:
        inputs = (wares.shared, wares.mapped)
        wanted = await asyncio.to_thread(quotes.wanted, client, finding.identity, inputs, wares.tasks, terms.platforms)
    found = await quotes.quote_now(reader, finding.meter, needs, wanted)
    timeout_s = terms.timeout_s if terms.timeout_s is not None else quotes.timeout_s(found.slowest_s)
    return of_quote(found, function=name, budget_msat=terms.budget_msat, timeout_s=timeout_s, memory_mb=memory_mb)


def work(wares: Wares, terms: Terms, quoted: Quote) -> Work:
    """What is posted: the wares on these terms, at the price that was quoted or that the client names."""
    return Work(
        program=wares.program,
        shared=wares.shared,
        mapped=wares.mapped,
        tasks=wares.tasks,
        price_msat=terms.price_msat or quoted.price_msat,
        stake_msat=terms.stake_msat,
        replicas=terms.replicas,
        timeout_s=quoted.timeout_s,
        memory_mb=quoted.memory_mb,
        platforms=terms.platforms,
        deadline=terms.deadline,
        budget_msat=terms.budget_msat,
        reuse=terms.reuse,
    )


def remedies(quoted: Quote) -> list[str]:
    """What would bring workers in, or the quote within its budget; nothing if nothing is in the way."""
    if quoted.original:
        return []
    found = []
    if not quoted.possible:
        found = [_remedy(reason) for reason in quoted.reasons]
        if quoted.eligible:
            found.append(f"run each task by {count(quoted.eligible, 'worker')} instead of {quoted.replicas}")
        if not quoted.reasons:
            missing = quoted.replicas - quoted.workers
            found.append(f"start {count(missing, 'more worker')} with `pasar worker run`")
    elif quoted.budget_msat is not None and quoted.due_msat > quoted.budget_msat:
        found.append(f"raise the budget to {sat(quoted.due_msat)}")
        if quoted.replicas > 1:
            found.append("run each task by fewer workers")
        found.append("run fewer tasks")
    return found


def _remedy(reason: Reason) -> str:
    """What brings in a worker that the reason keeps out."""
    match reason.hindrance:
        case "asks_nothing":
            return "wait until one takes work again, `pasar worker resume` one, or start one with `pasar worker run`"
        case "platform":
            return f"post for {reason.nearest} from a notebook, with platforms="
        case "memory":
            return f"give a run {reason.nearest:,} MB of memory or less"
        case "stake":
            return f"ask for {sat(int(reason.nearest))} at stake or less"
        case "price":
            return f"pay {sat(int(reason.nearest))} a run or more"
    assert_never(reason.hindrance)


def passes(quoted: Quote) -> bool:
    """Whether it could be posted so, were it funded."""
    return quoted.possible and (quoted.budget_msat is None or quoted.due_msat <= quoted.budget_msat)
