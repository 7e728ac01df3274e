"""Who works: standing, record, machine, ask, earnings and uptime of every worker."""

from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple

import streamlit as st

from domain.errors import Refused
from services.projections.queries import Worker
from services.viewing import uptime
from services.viewing.uptime import DAY
from ui.page import acting
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html


class Shown(NamedTuple):
    """Attributes:
    name: On this machine; empty for workers of other ones.
    standing: One word. rate: Rejected of all judged results. uptime: Of the last day, 0 to 1.
    """

    row: Worker
    name: str
    standing: str
    rate: float | None
    uptime: float | None


class NoSuchOrder(Refused):
    template: ClassVar[str] = "workers cannot be sorted by {sort}; sort by {known}, with - in front for the other way"


_ORDERS: Final[dict[str, Callable[[Shown], Any]]] = {
    "joined": lambda one: one.row.registered_at,
    "standing": lambda one: one.standing,
    "verified": lambda one: -one.row.verified,
    "rejected": lambda one: (-(one.rate or 0), -one.row.rejected),
    "speed": lambda one: -(one.row.flops_per_s or 0),
    "memory": lambda one: -(one.row.ask_memory_mb or one.row.memory_mb),
    "price": lambda one: (one.standing != "active", one.row.ask_msat or 0, one.row.tflop_msat or 0),
    "places": lambda one: -one.row.open,
    "earned": lambda one: -one.row.earned_msat,
    "stake": lambda one: -one.row.stake_msat,
    "uptime": lambda one: -(one.uptime or 0),
}


def draw(context: Context) -> Watch:
    """``?sort=`` orders them, ``-`` in front the other way; ``?takes=work`` leaves those that take work now."""
    chosen, takes = st.query_params.get("sort", "joined"), st.query_params.get("takes", "")
    sort, falling = chosen.removeprefix("-"), chosen.startswith("-")
    if sort not in _ORDERS:
        raise NoSuchOrder(sort=sort, known=", ".join(_ORDERS))
    all_ = shown(context)
    taking = [one for one in all_ if one.standing == "active"]
    rows = sorted(taking if takes else all_, key=_ORDERS[sort], reverse=falling)
    facts = {"sort": sort, "falling": falling, "chosen": chosen, "takes": takes}
    html.show("workers.html", context, rows=rows, count_all=len(all_), taking=len(taking), **facts)
    return Watch()


def shown(context: Context) -> list[Shown]:
    """Every worker with what is made of its row and of its own events."""
    now, turns, names = context.at, uptime.of_all(context.view), acting.names()
    return [
        Shown(
            row,
            names.get(row.worker, ""),
            standing(row),
            rate(row),
            uptime.share(turns.get(row.worker, ()), now - DAY, now),
        )
        for row in context.view.workers()
    ]


def standing(row: Worker) -> str:
    """A worker's state in one word; one that is active and asks for nothing is idle."""
    return "idle" if row.state == "active" and not row.asking else row.state


def rate(row: Worker) -> float | None:
    """Rejected of all judged results; absent before the first one."""
    judged = row.verified + row.rejected
    return row.rejected / judged if judged else None
