"""``pasar chain``: the chain that the market settles on."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import typer

from domain.errors import Refused
from ui.commands.running import attached, run
from ui.format import AsJson, print_json, say

if TYPE_CHECKING:
    from services.bus.chain import Connection
    from services.config import Settings
    from services.settlement.regtest import RegtestChain

app = typer.Typer(name="chain", help="The chain that the market settles on.", no_args_is_help=True)
T = TypeVar("T")


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


class NoTransaction(Refused):
    template: ClassVar[str] = "{text!r} is no transaction; give the hex that `pasar escrow refund --receipt` printed"


class TooLong(Refused):
    template: ClassVar[str] = "{size} bytes are no transaction, which has {most} at most; give the hex of one"


class NoChainHere(Refused):
    template: ClassVar[str] = "no market runs and {home} holds no chain; start one with `pasar up`"


class OthersMine(Refused):
    template: ClassVar[str] = "only the embedded chain is mined by hand, and this market settles on {network}"


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show where the chain ends, also where no market runs.

    Examples:

      pasar chain status

      pasar chain status --json | jq .height
    """
    from services.bus.chain import ask_tip

    async def there(client: "Connection") -> dict[str, Any]:
        tip = await ask_tip(client)
        told = ("network", "height", "block", "confirmations", "embedded")
        return {name: getattr(tip, name) for name in told}

    async def alone(chain: "RegtestChain") -> dict[str, Any]:
        height, block = await chain.tip()
        return {"network": "regtest", "height": height, "block": block, "embedded": True}

    tip = _either(there, alone)
    if as_json:
        print_json(tip)
        return
    whose = "this market's own chain, with play money" if tip["embedded"] else "a chain that others mine"
    print(f"{tip['network']}, {whose}")
    print(f"  block          {tip['height']:,}  {tip['block']}")
    if "confirmations" in tip:
        print(f"  confirmations  {tip['confirmations']} until a deposit or a payout counts")


@app.command()
def send(
    raw: Annotated[str, typer.Argument(metavar="HEX", help="The signed transaction; - reads it from standard input.")],
    as_json: AsJson = False,
) -> None:
    """Have a signed transaction mined, such as a refund.

    It goes to the running market's chain; where no market runs, to the embedded chain in PASAR_HOME itself.

    Examples:

      pasar escrow refund --receipt escrow.json | pasar chain send -
    """
    from services.bus.chain import RAW_BYTES_MAX, send_raw

    text = sys.stdin.read() if raw == "-" else raw
    try:
        data = bytes.fromhex(text.strip())
    except ValueError:
        raise NoTransaction(text=text[:60]) from None
    if len(data) > RAW_BYTES_MAX:
        raise TooLong(size=f"{len(data):,}", most=f"{RAW_BYTES_MAX:,}")

    async def alone(chain: "RegtestChain") -> str:
        name = await chain.send(data)
        await chain.mine(1, _nobody())
        return name

    name = _either(lambda client: send_raw(client, data), alone)
    if as_json:
        print_json({"txid": name})
    else:
        print(f"sent as {name}")


@app.command()
def mine(
    blocks: Annotated[int, typer.Argument(min=1, max=5_000, help="How many.")] = 1, as_json: AsJson = False
) -> None:
    """Mine on the embedded chain; time passes there by blocks.

    Examples:

      pasar chain mine

      pasar chain mine 144
    """
    from services.bus.chain import mine as mine_there

    async def there(client: "Connection") -> int:
        return (await mine_there(client, blocks)).height

    async def alone(chain: "RegtestChain") -> int:
        return (await chain.mine(blocks, _nobody())).height

    height = _either(there, alone)
    if as_json:
        print_json({"height": height})
    else:
        print(f"the chain ends with block {height:,}")


def _either(there: "Callable[[Connection], Awaitable[T]]", alone: "Callable[[RegtestChain], Awaitable[T]]") -> T:
    """Ask the running market, or open the embedded chain where none runs.

    Raises:
        NoChainHere: There is neither.
        OthersMine: No market runs, and its chain is not embedded.
    """
    from services.config import from_environment
    from services.stack.state import NotRunning

    try:
        settings = attached()
    except NotRunning:
        settings = from_environment()
        if settings.network != "regtest" or settings.bitcoin_rpc_url is not None:
            raise OthersMine(network=settings.network) from None
        if not (settings.home / "chain").exists():
            raise NoChainHere(home=settings.home) from None
        say(f"no market runs: opening the chain in {settings.home}")
        return run(_opened(settings, alone))
    return run(_asked(settings, there))


async def _asked(settings: "Settings", ask: "Callable[[Connection], Awaitable[T]]") -> T:
    from services.bus.connect import connect

    async with await connect(settings, "party", name="cli") as client:
        return await ask(client)


async def _opened(settings: "Settings", work: "Callable[[RegtestChain], Awaitable[T]]") -> T:
    from services.ports import SystemClock
    from services.settlement.regtest import RegtestChain

    chain = await RegtestChain.open(settings.home / "chain", clock=SystemClock())
    try:
        return await work(chain)
    finally:
        await chain.close()


def _nobody() -> bytes:
    """A script whose rewards nobody spends: what is mined by hand makes nobody rich."""
    return bytes.fromhex("0014" + "00" * 20)
