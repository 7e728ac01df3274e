"""Puts settlement and the arbiter together: the only place that picks a chain.

Apart from ``services.bootstrap``, because what it loads (Bitcoin Core's code, bitcoinlib) is for these two processes
only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import ClassVar, Final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client

from domain.bitcoin import Network
from domain.errors import Refused
from domain.settlement import JoinChain
from services.bootstrap import commander, operator, signed_root, wires
from services.bus.connect import connect
from services.bus.consume import Consumer
from services.bus.status import serve_status
from services.config import Settings
from services.keys import party
from services.ports import BlockId, Chain, Stored, SystemClock
from services.settlement import cosigning, lib
from services.settlement.agent import Agent, Terms
from services.settlement.arbiter import Arbiter
from services.settlement.core import BitcoinCore
from services.settlement.cosigning import Declined, Identity, Signed, SignPayout, WhoAreYou
from services.settlement.desk import Desk
from services.settlement.faucet import Faucet
from services.settlement.follower import SUBJECTS, Follower
from services.settlement.funding import Funding
from services.settlement.outbox import Outbox
from services.settlement.regtest import RegtestChain
from services.settlement.rpc import Rpc
from services.settlement.treasury import Treasury
from services.settlement.verdicts import Verdicts
from services.settlement.wallet import Role, wallet
from services.stack.ready import announce_ready

#: Blocks after which a transaction counts, where the operator does not say.
CONFIRMATIONS: Final[dict[Network, int]] = {"regtest": 1, "signet": 2, "testnet4": 2, "main": 3}
#: How long a payout may be due, where the operator does not say: on a chain of one's own nobody waits for it.
EVERY: Final[dict[bool, timedelta]] = {True: timedelta(seconds=10), False: timedelta(hours=6)}
#: How long nothing more has to become due on a chain of one's own for a payout to be planned earlier.
QUIET: Final = timedelta(seconds=1)
#: Time between looks at the chain: one's own tells of each block by itself.
POLL_S: Final[dict[bool, float]] = {True: 1.0, False: 5.0}
#: How long the arbiter may take for an answer.
ASK_S: Final = 150
_RETRY_S: Final = 0.3
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

log = structlog.get_logger()


class NoNode(Refused):
    template: ClassVar[str] = (
        "no chain of {network} is known; set PASAR_BITCOIN_RPC_URL to a Bitcoin Core node of that network"
    )


async def run_settlement(settings: Settings, name: str) -> None:
    """Deposits in, payouts out."""
    home, clock = settings.home / "settlement", SystemClock()
    own = wallet(settings, "settlement", network=settings.network)
    library = await asyncio.to_thread(lib.load, settings.home)
    signer = await asyncio.to_thread(own.signer, Role.cosign, 0)
    confirmations = settings.bitcoin_confirmations or CONFIRMATIONS[settings.network]
    async with (
        await connect(settings, "settlement", name=name) as client,
        commander(settings, party(settings, "settlement"), role="settlement") as market,
        _chain(settings) as (chain, embedded),
        asyncio.TaskGroup() as group,
    ):
        follower = Follower()
        mine: Callable[[], None] = lambda: None  # noqa: E731  another's chain is mined by others
        treasury: Treasury | None = None
        if embedded is not None:
            rewards = await asyncio.to_thread(wallet(settings, "treasury", network="regtest").signer, Role.payout, 0)
            treasury = Treasury(embedded, rewards, lambda: agent.hurry())
            await treasury.begin()
            mine = treasury.mine_soon

        async def terms(start: BlockId) -> Terms:
            arbiter = await _identity(client)
            keys = arbiter.party, signer.key.hex(), arbiter.key, own.payout_script().hex()
            join = JoinChain(settings.network, *start, confirmations, *keys)
            every = settings.payout_every or EVERY[embedded is not None]
            quiet = QUIET if embedded is not None and settings.payout_every is None else None
            return Terms(join=join, every=every, quiet=quiet, poll_s=POLL_S[embedded is not None])

        agent = Agent(
            chain,
            market,
            follower,
            terms,
            partial(_ask_arbiter, client),
            partial(signed_root, settings),
            (library, signer),
            Outbox(home / "payouts"),
            Funding(home / "funding.json"),
            clock,
            mine=mine,
        )
        consumer = Consumer(
            wires(settings, "settlement", name), lambda: follower.position, follower.offer, subjects=SUBJECTS
        )
        desk = Desk(
            client,
            chain,
            follower,
            mine=treasury.mine if treasury else None,
            sent=mine,
        )
        await desk.serve()
        group.create_task(desk.run())
        group.create_task(consumer.run())
        group.create_task(agent.run())
        if treasury is not None:
            faucet = Faucet(client, treasury, follower, home / "faucet")
            group.create_task(faucet.run())
            await faucet.serve()
            group.create_task(treasury.run())
        await serve_status(client, "settlement", name, agent.status)
        announce_ready()


async def run_arbiter(settings: Settings, name: str) -> None:
    """Payouts in, signatures out."""
    async with (
        await connect(settings, "arbiter", name=name) as client,
        commander(settings, party(settings, "arbiter"), role="arbiter") as market,
    ):
        connecting = wires(settings, "arbiter", name)

        async def read(position: Callable[[], int], offer: Callable[[list[Stored]], Awaitable[None]]) -> None:
            await Consumer(connecting, position, offer).run()

        own = wallet(settings, "arbiter", network=settings.network)
        verdicts = Verdicts(settings.home / "arbiter" / "verdicts.json")
        arbiter = Arbiter(client, operator(settings), market, own, read, verdicts)
        await arbiter.serve()
        await serve_status(client, "arbiter", name, arbiter.status)
        announce_ready()
        await arbiter.run()


@asynccontextmanager
async def _chain(settings: Settings) -> AsyncIterator[tuple[Chain, RegtestChain | None]]:
    """The chain that the settings name; again, where it is the embedded one."""
    if settings.bitcoin_rpc_url is not None:
        node = Rpc(settings.bitcoin_rpc_url.reveal(), cookie=settings.bitcoin_cookie)
        yield await BitcoinCore.open(node, settings.network), None
        return
    if settings.network != "regtest":
        raise NoNode(network=settings.network)
    chain = await RegtestChain.open(settings.home / "chain", clock=SystemClock())
    try:
        yield chain, chain
    finally:
        await chain.close()


async def _identity(client: Client) -> Identity:
    """The arbiter's keys; one that is still starting is waited for."""
    while True:
        try:
            heard = await client.request(cosigning.SUBJECT, msgspec.json.encode(WhoAreYou()), timeout=5)
            return msgspec.json.decode(heard.data, type=Identity)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            pass
        except _UNREADABLE as error:
            log.warning("the arbiter's answer cannot be read", reason=str(error))
        await asyncio.sleep(_RETRY_S)


async def _ask_arbiter(client: Client, asked: SignPayout) -> Signed | Declined:
    """The arbiter's signatures, or that it gives none."""
    try:
        heard = await client.request(cosigning.SUBJECT, msgspec.json.encode(asked), timeout=ASK_S)
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return Declined()
    try:
        return msgspec.json.decode(heard.data, type=Signed | Declined)
    except _UNREADABLE as error:
        log.warning("the arbiter's answer cannot be read", reason=str(error))
        return Declined()
