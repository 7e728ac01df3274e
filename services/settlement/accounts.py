"""A party's own side of its accounts: it opens them with keys of its wallet, and keeps what it needs to be refunded.

Each term has keys of its own; which they are is in a file beside the wallet, written before the market hears of them,
so that no term can exist whose keys nobody knows.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, structs

from domain.bitcoin import Network, OutPoint, outpoint
from domain.books import SAFETY_BLOCKS
from domain.ids import Height
from domain.settlement import OpenEscrow, OpenStake
from services import private
from services.bus.chain import Tip
from services.config import Settings
from services.settlement import refund
from services.settlement.refund import EscrowReceipt
from services.settlement.wallet import Role, Wallet, wallet

#: Length of a term in blocks: four weeks, and the time to leave it.
TERM_BLOCKS: Final = 4_032 + SAFETY_BLOCKS
#: A term is renewed when so few blocks are left before nothing new may be staked on it: a day.
RENEW_BLOCKS: Final = 144


class Opened(Struct, frozen=True):
    """A term that was asked for.

    Attributes:
        index: Of its keys in the wallet.
    """

    index: int
    release_key: str
    refund_key: str
    expires_height: Height
    script: str
    market_key: str
    arbiter_key: str


class Accounts:
    """One party's escrow or stake, term by term."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name = settings, name
        self._path = settings.keys / f"{name}.terms"

    def terms(self) -> list[Opened]:
        """Every term so far, oldest first."""
        return msgspec.json.decode(private.read(self._path), type=list[Opened]) if self._path.exists() else []

    async def escrow(self, tip: Tip) -> OpenEscrow:
        """The command that opens the escrow, or says again how it is open."""
        term = await asyncio.to_thread(self._term, tip)
        return OpenEscrow(term.release_key, term.refund_key, term.expires_height, term.script)

    async def stake(self, tip: Tip, payout: bytes | None = None) -> OpenStake:
        """The command that opens the stake, or says again how it is open.

        Args:
            payout: The script to be paid at; the wallet's own if absent.
        """
        term = await asyncio.to_thread(self._term, tip, payout)
        return OpenStake(term.release_key, term.refund_key, term.expires_height, term.script)

    def _term(self, tip: Tip, payout: bytes | None = None) -> Opened:
        """The newest term, or a new one where that is about to end, pays elsewhere, or was another market's."""
        known = self.terms()
        newest = known[-1] if known else None
        paid_to = payout.hex() if payout is not None else newest.script if newest else ""
        if newest is not None and newest.script == paid_to and _holds(newest, tip):
            return newest
        own = self._wallet(tip)
        index = len(known)
        keys = own.public(Role.release, index).hex(), own.public(Role.refund, index).hex()
        paid_to = paid_to or own.payout_script().hex()
        opened = Opened(index, *keys, tip.height + TERM_BLOCKS, paid_to, tip.market_key, tip.arbiter_key)
        private.replace(self._path, msgspec.json.encode([*known, opened]))
        return opened

    def _wallet(self, tip: Tip) -> Wallet:
        return wallet(self._settings, self._name, network=tip.network)


def _holds(term: Opened, tip: Tip) -> bool:
    """Whether this market would open the same script, and long enough before its end."""
    left = term.expires_height - SAFETY_BLOCKS - RENEW_BLOCKS - tip.height
    same = (term.market_key, term.arbiter_key) == (tip.market_key, tip.arbiter_key)
    return same and 0 < left <= TERM_BLOCKS


# ----------------------------------------------------------------------------------------------------- escrow receipts
def receipt_of(opened: Opened, network: Network, account: str) -> EscrowReceipt:
    """What a refund without the market takes, but for the coins."""
    keys = bytes.fromhex(opened.release_key), bytes.fromhex(opened.market_key), bytes.fromhex(opened.arbiter_key)
    return refund.describe(
        network=network,
        account=account,
        keys=keys,
        refund_key=bytes.fromhex(opened.refund_key),
        expires_height=opened.expires_height,
        key_index=opened.index,
        coins=(),
    )


def with_coins(receipt: EscrowReceipt, coins: Sequence[tuple[str, int]]) -> EscrowReceipt:
    """The receipt with what the escrow holds now; the largest outputs, where one refund cannot take all.

    Args:
        coins: Outpoints and satoshi.
    """
    places: list[tuple[OutPoint, int]] = [(outpoint(name), value_sat) for name, value_sat in coins]
    held = tuple(refund.Coin(place.txid, place.vout, value_sat) for place, value_sat in places)
    held = tuple(sorted(held, key=lambda coin: (-coin.value_sat, coin.txid, coin.vout))[: refund.COINS_MAX])
    return structs.replace(receipt, coins=held)


def keep(folder: Path, receipt: EscrowReceipt) -> Path:
    """Write the receipt where its owner keeps them; the newest of a term stays."""
    path = folder / f"{receipt.account}-{receipt.key_index}.json"
    private.replace(path, refund.encode(receipt))
    return path
