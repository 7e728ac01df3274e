"""What a text can mean on the chain: a transaction, an output, an address, a block, an anchor, or its beginning."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from domain.bitcoin import Network, NoAddress, OutPoint, address, reference, script_beginnings
from domain.events import PayoutBroadcast
from services.ledger.codec import decode_stored
from services.projections.settled import Named
from services.viewing.view import View

_OUTPUT: Final = re.compile(r"([0-9a-f]{64}):([0-9]{1,9})")
_DIGITS: Final = re.compile(r"[0-9a-f]{3,72}")
#: Transactions that were sent, among which one that another rung replaced is looked for.
_SENT_MAX: Final = 10_000


class Place(NamedTuple):
    """Attributes:
    query: Where it is looked at on the page of money.
    """

    name: str
    what: str
    query: dict[str, str]


def seek(view: View, text: str) -> Iterator[Place]:
    """Every place on the chain that the text can mean; none where the market has joined no chain."""
    chain = view.settled.chain()
    if chain is None:
        return
    lower = text.lower()
    output = _OUTPUT.fullmatch(lower)
    digest = reference(OutPoint(output[1], int(output[2]))) if output else lower if _DIGITS.fullmatch(lower) else "-"
    scripts = list(script_beginnings(lower, chain.network))
    known = set[int]()
    for one in view.settled.named(digest, scripts):
        if one.kind == "transaction" and one.epoch is not None:
            known.add(one.epoch)
        place = _place(one, lower, chain.network)
        if place is not None:
            yield place
    if digest != "-" and len(digest) <= 64:
        yield from _replaced(view, digest, known)


def _place(one: Named, text: str, network: Network) -> Place | None:
    match one.kind:
        case "transaction":
            return Place(one.id, f"transaction of payout {one.epoch}", {"payout": str(one.epoch)})
        case "anchor":
            return Place(one.id, f"anchor of the log, in payout {one.epoch}", {"payout": str(one.epoch)})
        case "block":
            return Place(one.id, f"block that payout {one.epoch} is in", {"payout": str(one.epoch)})
        case "root":
            return Place(one.id, f"root of the log that payout {one.epoch} binds", {"payout": str(one.epoch)})
        case "outpoint":
            name = f"{one.id[:64]}:{int(one.id[64:], 16)}"
            return Place(name, f"output of {_account(one.key or '')}", _query(one.key or ""))
    return _address(one, text, network)


def _address(one: Named, text: str, network: Network) -> Place | None:
    try:
        name = address(bytes.fromhex(one.id), network)
    except NoAddress:
        return None
    if not name.startswith(text):
        return None
    if one.kind == "market":
        return Place(name, "address that the market's fees are paid at", {"move": "PayoutConfirmed"})
    key = one.key or ""
    what = (
        f"address of {_account(key)}"
        if one.kind == "script"
        else f"address that the owner of {_account(key)} is paid at"
    )
    return Place(name, what, _query(key))


def _replaced(view: View, digest: str, known: set[int]) -> Iterator[Place]:
    """Transactions of payouts that were sent, and of which another rung was sent or confirmed since."""
    for stored in view.latest(PayoutBroadcast.__name__, _SENT_MAX):
        event = decode_stored(stored)
        if isinstance(event, PayoutBroadcast) and event.txid.startswith(digest) and event.epoch not in known:
            known.add(event.epoch)
            yield Place(event.txid, f"transaction that payout {event.epoch} was sent as", {"payout": str(event.epoch)})


def _account(key: str) -> str:
    return f"escrow {key[:8]}" if len(key) == 24 else f"the stake of {key[:10]}…" if len(key) == 56 else "the reserve"


def _query(key: str) -> dict[str, str]:
    return {"escrow": key} if len(key) == 24 else {"stake": key} if len(key) == 56 else {}
