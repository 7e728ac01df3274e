"""The rows of a view as of an event beside the market's own rules folded up to there.

``by_rules`` and ``as_shown`` write the same facts down, one from ``replay`` and from sums of plain events, one from a
view; a test compares them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from domain import events as e
from domain import job, task
from domain.market import World
from services.ledger import codec
from services.ports import Stored
from services.viewing.view import View

_PHASES = {
    task.Phase.ASSIGNED: {"assigned"},
    task.Phase.COMMITTED: {"committed"},
    task.Phase.SUBMITTED: {"submitted"},
    task.Phase.VERIFIED: {"verified"},
}
#: What the last attempt of a replica came to that nobody holds now; absent: it was never given out.
_LOOSE = {"expired", "returned", "failed", "rejected", None}
_MONEY = (e.EscrowReserved, e.EscrowReleased, e.FeeCharged, e.EscrowFreed)
_TERMS = ("job", "client", "escrow", "tasks", "replicas", "price_msat", "fee_msat", "stake_msat", "timeout_s")
Facts = dict[str, Any]


def by_rules(world: World, records: Sequence[Stored]) -> Facts:
    """What the rules make of the log, and what its events add up to."""
    told = [(codec.decode_stored(stored), stored) for stored in records]
    events = [event for event, _ in told]
    sums = {kind: _sums(event for event in events if type(event) is kind) for kind in _MONEY}
    moment = {(type(event), event.job): s.recorded_at for event, s in told if isinstance(event, e.JobEvent)}
    earned, given = Counter[str](), Counter[str]()
    paid: Counter[tuple[str, int, int]] = Counter()
    for event in events:
        if isinstance(event, e.EscrowReleased):
            earned[event.worker] += event.amount_msat
            paid[event.job, event.task, event.replica] += event.amount_msat
        if isinstance(event, e.TaskAssigned):
            given[event.worker] += 1
    jobs = {
        key: (
            *(getattr(found.terms, name) for name in _TERMS),
            found.terms.program.address,
            found.terms.work_key,
            found.terms.expires_at,
            _state(found, moment),
            found.verified,
            found.original or None,
            tuple(sums[kind][key] for kind in _MONEY),
            found.left_msat,
            moment[e.JobPosted, key],
            moment.get((e.JobCompleted, key)),
        )
        for key, found in world.jobs.items()
    }
    workers = {
        key: (
            found.state.value,
            found.platform,
            found.memory_mb,
            found.jax_version,
            (found.ask.price_msat, found.ask.slots, found.ask.tflop_msat) if found.ask else None,
            len(world.holding(key).tasks),
            given[key],
            earned[key],
            tuple(
                getattr(world.stake_of(key), f"{part}_msat") for part in ("held", "deposited", "slashed", "withdrawn")
            ),
        )
        for key, found in world.workers.items()
    }
    escrows = {
        key: tuple(getattr(found, name) for name in ("id", "client", *_ESCROW)) for key, found in world.escrows.items()
    }
    tasks = {
        (key, index, replica): (slot, found.closed, paid[key, index, replica])
        for key, all_ in world.tasks_of.items()
        for index, found in enumerate(all_)
        for replica, slot in enumerate(found.slots)
    }
    posted = Counter(found.terms.program.address for found in world.jobs.values())
    programs = {key: (found.identity, posted[key]) for key, found in world.programs.items()}
    return {
        "jobs": jobs,
        "workers": workers,
        "escrows": escrows,
        "tasks": tasks,
        "programs": programs,
        "fee": world.fee_ppm,
    }


_ESCROW = ("funded_msat", "free_msat", "reserved_msat", "released_msat", "charged_msat", "refunded_msat")


def _sums(events: Iterable[Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in events:
        found[event.job] += event.amount_msat
    return found


def _state(found: job.Job, moment: dict[tuple[type, str], Any]) -> str:
    if found.state is not job.State.CLOSING:
        return found.state.value
    key = found.terms.job
    ended = {"cancelled": moment.get((e.JobCancelled, key)), "expired": moment.get((e.JobExpired, key))}
    known = [name for name, at in ended.items() if at is not None]
    return known[0] if known else "open"  # answered by earlier work, and complete with the next event


def as_shown(view: View) -> Facts:
    """The same facts out of a view."""
    jobs = {
        one.job: (
            *(getattr(one, name) for name in _TERMS),
            one.program,
            one.work_key,
            one.expires_at,
            one.state,
            one.verified,
            one.original,
            (one.reserved_msat, one.paid_msat, one.charged_msat, one.freed_msat),
            one.reserved_msat - one.paid_msat - one.charged_msat - one.freed_msat,
            one.posted_at,
            one.completed_at,
        )
        for one in view.jobs(10**6)
    }
    workers = {
        one.worker: (
            one.state,
            one.platform,
            one.memory_mb,
            one.jax_version,
            (one.ask_msat, one.slots, one.tflop_msat) if one.asking else None,
            one.open,
            one.assigned,
            one.earned_msat,
            (one.stake_msat, one.deposited_msat, one.slashed_msat, one.withdrawn_msat),
        )
        for one in view.workers()
    }
    escrows = {
        one.escrow: tuple(getattr(one, name) for name in ("escrow", "client", *_ESCROW)) for one in view.escrows()
    }
    tasks = {(one.job, one.task, one.replica): one for key in jobs for one in view.tasks(key)}
    addresses = {one.program for one in view.jobs(10**6)}
    programs = {
        address: (found.identity, found.jobs) for address in addresses if (found := view.program(address)) is not None
    }
    return {
        "jobs": jobs,
        "workers": workers,
        "escrows": escrows,
        "tasks": tasks,
        "programs": programs,
        "fee": view.fee_ppm(),
    }


def differ(rules: Facts, shown: Facts) -> list[str]:
    """Where they differ, in words; nothing if the view shows what the rules say."""
    plain = [name for name in ("jobs", "workers", "escrows", "fee") if rules[name] != shown[name]]
    found = [f"{name}: {rules[name]} is shown as {shown[name]}" for name in plain]
    posted = {address: kept for address, kept in rules["programs"].items() if kept[1]}
    if posted != shown["programs"]:
        found.append(f"programs: {posted} are shown as {shown['programs']}")
    if not shown["tasks"].keys() <= rules["tasks"].keys():
        found.append(f"tasks that there are not: {shown['tasks'].keys() - rules['tasks'].keys()}")
    for place, (slot, closed, paid_msat) in rules["tasks"].items():
        row = shown["tasks"].get(place)
        if (row.state if row else None) not in _PHASES.get(slot.phase, _LOOSE):
            found.append(f"{place} is {slot.phase.name} and shown as {row and row.state}")
        if row is None:
            continue
        if (row.closed, row.paid_msat) != (closed, paid_msat):
            found.append(f"{place}: closed {closed}, paid {paid_msat} is shown as {row.closed}, {row.paid_msat}")
        if slot.phase in _PHASES and row.worker != slot.worker:
            found.append(f"{place} is in the hands of {slot.worker}, {row.worker} is shown")
        if slot.phase is task.Phase.ASSIGNED and row.expires_at != slot.expires_at:
            found.append(f"{place} expires at {slot.expires_at}, shown is {row.expires_at}")
        if slot.phase is task.Phase.COMMITTED and row.commitment != slot.commitment:
            found.append(f"{place} is bound to {slot.commitment}, shown is {row.commitment}")
        if slot.phase is task.Phase.COMMITTED and len(slot.commitment) and slot.expires_at not in (None, row.reveal_by):
            alone = row.reveal_by is None and slot.expires_at == row.expires_at
            if not alone:
                found.append(f"{place} is to be shown by {slot.expires_at}, shown is {row.reveal_by}")
        if slot.result is not None and (row.result_address, row.result_offset, row.equality) != (
            slot.result.address,
            slot.result.offset,
            slot.equality,
        ):
            found.append(f"{place} has another result")
    return found
