"""Faucet: play money on the embedded chain, for anyone who asks on ``pasar.faucet``.

What it pays is a deposit like any other: a transaction to the account's script, which settlement finds in a block and
confirms to the market.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Final

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain.bitcoin import OutPoint, TxOut, reference
from domain.books import Books, Term, key_of
from domain.deposits import DEPOSIT_MIN_SAT, deposit_sat
from domain.errors import AlreadyCredited, Refused
from domain.money import MSAT_PER_SAT
from domain.settlement import NotOpened
from services import private
from services.bus.commands import Refusal, Reply, encode_reply
from services.bus.faucet import SUBJECT, Draw
from services.settlement.errors import TransactionRefused
from services.settlement.follower import Follower
from services.settlement.treasury import Treasury

#: The most that one request may draw: one bitcoin.
DRAW_MAX_MSAT: Final = 100_000_000_000
#: How long an account that was just opened may take to be heard of, and a payment to be counted.
HEAR_S: Final = 20
#: Draws that wait.
WAITING_MAX: Final = 1_000

log = structlog.get_logger()


class Payment(Struct, frozen=True):
    """What was paid for a request: kept before it is sent."""

    outpoint: str
    raw: bytes


class TooMuch(Refused):
    template = "the faucet gives at most {most_msat} msat at a time; ask for less"


class TooLittle(Refused):
    template = "an account takes {least_sat} satoshi or more at a time, because spending less costs too much of it"


class Faucet:
    """Pays draws, and answers each once the market has counted it."""

    def __init__(self, client: Client, treasury: Treasury, follower: Follower, folder: Path) -> None:
        """Args:
        folder: Keeps what was paid for which request.
        """
        self._client, self._treasury, self._follower, self._folder = client, treasury, follower, folder
        self._waiting = 0
        self._one, self._group = asyncio.Lock(), asyncio.TaskGroup()
        self.draws = 0

    async def serve(self) -> None:
        """Answer from now on; ``run`` has to be under way."""
        await self._client.subscribe(SUBJECT, queue="faucet", cb=self._on_draw)

    async def run(self) -> None:
        """Pay for ever."""
        async with self._group:
            await asyncio.Event().wait()

    async def _on_draw(self, message: Msg) -> None:
        if self._waiting >= WAITING_MAX:
            refusal = Refusal(-1, "Unavailable", "too many draws wait; ask again in a moment")
            await message.respond(encode_reply(Reply(refused=[refusal])))
            return
        self._waiting += 1
        self._group.create_task(self._answer(message))

    async def _answer(self, message: Msg) -> None:
        try:
            await message.respond(encode_reply(await self._draw(message.data)))
        except (nats.errors.Error, OSError) as error:
            log.warning("a draw cannot be answered", error=type(error).__name__)
        finally:
            self._waiting -= 1

    async def _draw(self, data: bytes) -> Reply:
        try:
            draw = msgspec.json.decode(data, type=Draw)
            amount_sat = _checked_sat(draw)
            term = await self._term(draw)
            async with self._one:  # the same request may be asked twice at a time
                outpoint = await self._pay(draw, TxOut(amount_sat, term.script))
            async with asyncio.timeout(HEAR_S):
                await self._follower.until(lambda books: _is_counted(books, outpoint))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Reply(refused=[Refusal(-1, "Malformed", f"the draw cannot be read: {error}")])
        except Refused as refusal:
            return Reply(refused=[Refusal(-1, refusal.name, str(refusal))])
        except TimeoutError:
            return Reply(refused=[Refusal(-1, "Unavailable", "the market does not count the payment; ask again")])
        self.draws += 1
        return Reply(self._follower.position)

    async def _term(self, draw: Draw) -> Term:
        """The newest term of the account, which may have been opened this moment; none that is about to end."""
        key = key_of("escrow" if draw.account == "escrow" else "stake", draw.owner)
        try:
            async with asyncio.timeout(HEAR_S):
                await self._follower.until(lambda books: _is_open(books, key))
        except TimeoutError:
            raise NotOpened from None
        term = self._follower.books.term_of(key)
        assert term is not None
        return term

    async def _pay(self, draw: Draw, output: TxOut) -> str:
        """The payment that this request is, made now or found.

        Raises:
            AlreadyCredited: It was made and counted before.
        """
        path = self._folder / _name(draw)
        if path.exists():
            paid = msgspec.json.decode(path.read_bytes(), type=Payment)
            if _is_counted(self._follower.books, paid.outpoint):
                raise AlreadyCredited(reference=paid.outpoint)
            try:
                await self._treasury.send(paid.raw)
            except TransactionRefused as refused:  # the chain was reorganised and what it spent is gone
                log.warning("a draw is paid anew", reason=str(refused))
            else:
                return paid.outpoint

        def keep(name: str, raw: bytes) -> None:
            kept = Payment(reference(OutPoint(name, 0)), raw)
            private.replace(path, msgspec.json.encode(kept))

        return reference(OutPoint(await self._treasury.pay(output, keep), 0))


def _checked_sat(draw: Draw) -> int:
    """The amount in satoshi, rounded up."""
    if draw.account not in ("escrow", "stake"):
        raise msgspec.ValidationError("an account is `escrow` or `stake`")
    if draw.amount_msat > DRAW_MAX_MSAT:
        raise TooMuch(most_msat=DRAW_MAX_MSAT)
    if draw.amount_msat < DEPOSIT_MIN_SAT * MSAT_PER_SAT:
        raise TooLittle(least_sat=DEPOSIT_MIN_SAT)
    return deposit_sat(draw.amount_msat)


def _is_open(books: Books, key: str) -> bool:
    """Whether a payment to the account's newest term would count."""
    term = books.term_of(key)
    return term is not None and not books.is_ending(term)


def _is_counted(books: Books, outpoint: str) -> bool:
    """Whether the market counts this output among its own, or has spent it since."""
    known = outpoint in books.coins or outpoint in books.reorged or outpoint in books.taken
    return known or any(outpoint == coin.outpoint for epoch in books.recent for coin in books.payouts[epoch].spent)


def _name(draw: Draw) -> str:
    return hashlib.sha256(f"pasar/faucet/2 {draw.account} {draw.owner} {draw.request}".encode()).hexdigest()[:32]
