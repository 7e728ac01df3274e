"""What can be subscribed to, the lines that do it, and who listens."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
import streamlit as st
from msgspec import Struct

from domain.errors import Refused
from services import schema
from services.bus.consumers import Consuming, consumers
from services.config import Settings
from services.projections.queries import Position, Reader
from services.stack.status import ServiceReport, ask_services
from services.viewing.contract import Entry, contract, entry
from ui.page import process
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html
from ui.page.parts.subscribing import origin, server

T = TypeVar("T")
#: How long what was heard is shown to all viewers before it is asked for again, in seconds.
HEARD_S: Final = 1.0


def draw(context: Context) -> Watch:
    name = st.query_params.get("event", "")
    one = entry(name)
    if one is not None:
        _event(context, one)
        return Watch((one.name,))
    heard = _heard() if context.present and process.market().settings is not None else None
    html.show(
        "subscribers.html",
        context,
        unknown=name[:60],
        contract=contract(),
        heard=heard,
        origin=origin(),
        server=server(),
    )
    return Watch(still=heard is None)


def _event(context: Context, one: Entry) -> None:
    """One event's contract, with the last one of its kind that happened."""
    last = context.view.latest(one.name, 1)
    body = last[-1].data if last else msgspec.json.encode(schema.examples()[one.stored].payload)
    html.show(
        "subscribers_event.html",
        context,
        one=one,
        last=last[-1] if last else None,
        example=msgspec.json.format(body).decode(),
        document=msgspec.json.format(msgspec.json.encode(schema.one(one.stored))).decode(),
        origin=origin(),
        server=server(),
    )


# --------------------------------------------------------------------------------------------------------- who listens
class Heard(Struct, frozen=True):
    """Attributes:
    unheard: What did not answer, and what to do.
    """

    at: datetime
    services: Sequence[ServiceReport]
    models: Sequence[Position]
    consumers: Sequence[Consuming]
    unheard: Sequence[str]


@st.cache_data(ttl=HEARD_S, show_spinner=False)
def _heard() -> Heard:
    market = process.running()
    assert market.settings is not None, "only a market that runs is asked"
    return market.ask(_listen(market.settings, market.reader, market.clock.now()))


async def _listen(settings: Settings, reader: Reader, now: datetime) -> Heard:
    unheard: list[str] = []

    async def of(work: Coroutine[Any, Any, Sequence[T]]) -> Sequence[T]:
        try:
            return await work
        except Refused as refused:
            unheard.append(str(refused))
            return []

    services, models, found = await asyncio.gather(
        of(ask_services(settings)), of(reader.positions()), of(consumers(settings))
    )
    return Heard(now, services, models, found, unheard)
