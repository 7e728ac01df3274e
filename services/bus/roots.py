"""The log's signed root on the wire: a request that may be empty, and its answer. Anybody may ask."""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from domain.errors import Refused
from domain.ids import Count
from services.bus.commands import Refusal
from services.ledger.root import NotSigned, SignedRoot

SUBJECT = "pasar.log.root"
#: The largest request, in bytes.
REQUEST_MAX = 256


class RootWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes:
    covers: A position that the root must cover; the answer waits a moment for it.
    """

    covers: Count = 0


class RootAnswer(Struct, frozen=True, omit_defaults=True):
    """One of both."""

    root: SignedRoot | None = None
    refused: Refusal | None = None


class NoRoot(Refused):
    template = "the market gives no root: {reason}"


_decode_wanted = msgspec.json.Decoder(RootWanted).decode
_decode_answer = msgspec.json.Decoder(RootAnswer).decode
encode_answer = msgspec.json.Encoder().encode


def decode_wanted(data: bytes) -> RootWanted:
    """The request; nothing asks for the newest root.

    Raises:
        NoRoot: It is no such request.
    """
    try:
        return _decode_wanted(data[: REQUEST_MAX + 1]) if data else RootWanted()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoRoot(reason=f'the request cannot be read ({error}); send nothing, or {{"covers": POSITION}}') from None


async def ask_root(
    request: Callable[[str, bytes, float], Awaitable[bytes]], market: str, *, covers: int = 0, timeout_s: float = 10
) -> SignedRoot:
    """A root signed by ``market`` over the events up to ``covers`` at least.

    Raises:
        NoRoot: The market refused, or answered with another root than asked for.
        NotSigned: The signature does not hold.
    """
    asked = msgspec.json.encode(RootWanted(covers))
    try:
        answer = _decode_answer(await request(SUBJECT, asked, timeout_s))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoRoot(reason=f"its answer cannot be read ({error})") from None
    if answer.root is None:
        raise NoRoot(reason=answer.refused.message if answer.refused else "its answer is empty")
    if answer.root.market != market:
        raise NotSigned(size=answer.root.size, market=market)
    answer.root.check()
    if answer.root.size < covers:
        raise NoRoot(reason=f"asked for one that covers position {covers} it sent one over {answer.root.size} events")
    return answer.root
