"""An account on the chain as a terminal and a page show it."""

from collections.abc import Sequence

from msgspec import Struct

from domain.bitcoin import address, escrow_descriptor, outpoint
from services.client import sentences
from services.projections.queries import Reader
from services.projections.settled import Account


class Output(Struct, frozen=True):
    """``output``: the transaction's id and the output's number, as other tools write them."""

    output: str
    value_sat: int
    height: int
    epoch: int


class OnChain(Struct, frozen=True, kw_only=True):
    """Attributes:
    term: Until when its script holds, and what comes then, as a sentence.
    address: Where it is paid in; absent while no account is open. paid_to: Where its owner is paid back.
    descriptor: The script as wallets read it, for a refund that needs nobody.
    """

    network: str
    height: int
    term: str = ""
    expires_height: int | None = None
    address: str | None = None
    paid_to: str | None = None
    descriptor: str = ""
    outputs: Sequence[Output] = ()


async def on_chain(reader: Reader, key: str) -> OnChain | None:
    """What the chain has of an account; absent while the market has joined none."""
    chain, account = await reader.settled.chain(), await reader.settled.account(key)
    if chain is None:
        return None
    if account is None or account.script is None or account.paid_to is None or account.expires_height is None:
        return OnChain(network=chain.network, height=chain.height)
    coins = await reader.settled.coins(key)
    return OnChain(
        network=chain.network,
        height=chain.height,
        term=sentences.of_term(account.expires_height, chain.height),
        expires_height=account.expires_height,
        address=address(bytes.fromhex(account.script), chain.network),
        paid_to=address(bytes.fromhex(account.paid_to), chain.network),
        descriptor=descriptor(account),
        outputs=[
            Output("{}:{}".format(*outpoint(coin.outpoint)), coin.value_sat, coin.height, coin.epoch) for coin in coins
        ],
    )


def descriptor(account: Account) -> str:
    """An account's newest script as wallets read it; empty where it has none of its own."""
    keys = (account.release_key, account.market_key, account.arbiter_key, account.refund_key)
    release, market, arbiter, refund = (b"" if key is None else bytes.fromhex(key) for key in keys)
    if account.expires_height is None or not refund:
        return ""
    return escrow_descriptor((release, market, arbiter), refund, account.expires_height)
