"""The embedded chain's own money, and its mining: play money that the market's faucet gives away."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

import structlog

from domain.bitcoin import RBF, Tx, TxIn, TxOut, txid
from domain.errors import Refused
from services.ports import Unspent
from services.settlement import signing
from services.settlement.errors import BlockRefused
from services.settlement.policy import MATURITY
from services.settlement.regtest import RegtestChain
from services.settlement.signing import Spend
from services.settlement.wallet import Signer, p2wpkh

#: Blocks at the beginning whose rewards are the treasury: ten of them can be spent at once, 50 bitcoin each.
FIRST_BLOCKS: Final = MATURITY + 10
#: What a draw pays the miner, which is the treasury again.
FEE_SAT: Final = 1_000
#: How long a block waits for further transactions.
GATHER_S: Final = 0.01

log = structlog.get_logger()


class TreasuryEmpty(Refused):
    template: ClassVar[str] = (
        "the faucet has {held_sat} sat left that can be spent; ask for less, or mine (`pasar chain mine`)"
    )


class Treasury:
    """Holds the rewards of the chain's blocks, pays out of them, and mines what waits."""

    def __init__(self, chain: RegtestChain, signer: Signer, mined: Callable[[], None]) -> None:
        """Args:
        mined: Called after each block.
        """
        self._chain, self._signer, self._mined = chain, signer, mined
        self.script = p2wpkh(signer.key)
        self._wanted = asyncio.Event()
        self._paying = asyncio.Lock()

    async def begin(self) -> None:
        """Mine the first rewards, where the chain is new."""
        tip = await self._chain.tip()
        if tip.height < FIRST_BLOCKS:
            await self._chain.mine(FIRST_BLOCKS - tip.height, self.script)

    def mine_soon(self) -> None:
        """Have what waits mined."""
        self._wanted.set()

    async def run(self) -> None:
        """Mine whenever asked, for ever."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(GATHER_S)
            self._wanted.clear()
            try:
                await self.mine(1)
            except BlockRefused as refused:  # as where the chain's time is too far ahead of the machine's
                log.warning("no block is mined", reason=str(refused))

    async def mine(self, blocks: int) -> None:
        """Mine so many blocks now."""
        await self._chain.mine(blocks, self.script)
        self._mined()

    async def send(self, raw: bytes) -> None:
        """Send what was signed before, and have it mined.

        Raises:
            TransactionRefused: It cannot be mined any more.
        """
        await self._chain.send(raw)
        self.mine_soon()

    async def pay(self, output: TxOut, keep: Callable[[str, bytes], None]) -> str:
        """Pay to a script, and have it mined.

        Args:
            keep: Called with the transaction's id and bytes before it is sent.
        Raises:
            TreasuryEmpty: There is too little.
        """
        async with self._paying:
            coins = await self._enough(output.value_sat + FEE_SAT)
            left_sat = _held_sat(coins) - output.value_sat - FEE_SAT
            outputs = (output, TxOut(left_sat, self.script)) if left_sat > FEE_SAT else (output,)
            tx = Tx(tuple(TxIn(coin.outpoint, RBF) for coin in coins), outputs)
            spends = [Spend(coin.value_sat, coin.script) for coin in coins]
            raw = await asyncio.to_thread(signing.sign_p2wpkh, tx, spends, self._signer)
            keep(txid(tx), raw)
            await self._chain.send(raw)
        self.mine_soon()
        return txid(tx)

    async def _enough(self, wanted_sat: int) -> list[Unspent]:
        """Coins that hold so much, the largest first; what earlier payments left over is waited for."""
        taken = _largest(await self._chain.coins(self.script), wanted_sat)
        if _held_sat(taken) < wanted_sat:
            await self.mine(1)
            taken = _largest(await self._chain.coins(self.script), wanted_sat)
        if _held_sat(taken) < wanted_sat:
            raise TreasuryEmpty(held_sat=_held_sat(taken))
        return taken


def _largest(coins: Sequence[Unspent], wanted_sat: int) -> list[Unspent]:
    taken: list[Unspent] = []
    for coin in sorted(coins, key=lambda one: -one.value_sat):
        if _held_sat(taken) >= wanted_sat:
            break
        taken.append(coin)
    return taken


def _held_sat(coins: Sequence[Unspent]) -> int:
    return sum(coin.value_sat for coin in coins)
