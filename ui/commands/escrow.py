"""``pasar escrow``: a client's money on the market."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import typer

from domain.errors import Refused
from ui.commands.refunding import refund_alone, refund_key
from ui.commands.running import CLIENT, As, ask, attached, run, shown
from ui.format import AsJson, columns, parse_msat, print_json, sat, say

if TYPE_CHECKING:
    from services.client.session import Session
    from services.config import Settings
    from services.projections.queries import Escrow, Reader
    from services.settlement.refund import EscrowReceipt
    from ui.onchain import OnChain

T = TypeVar("T")
app = typer.Typer(
    name="escrow", help="A client's money: open it, fund it, look at it, take it back.", no_args_is_help=True
)
Amount = Annotated[int, typer.Argument(parser=parse_msat, metavar="SAT", help="As 12, 12sat or 1500msat.")]


#: What `_amounts` has of an escrow.
_AMOUNTS = ("funded", "free", "reserved", "released", "charged", "refunded")


def add_to(root: typer.Typer) -> None:
    app.command("refund-key")(refund_key)
    root.add_typer(app)


class NotFree(Refused):
    template: ClassVar[str] = "only {free} are free in the escrow of {name}; ask for that or less, or for --all"


class SayHowMuch(Refused):
    template: ClassVar[str] = "say how much: an amount, or --all for everything that is free"


class OneOrTheOther(Refused):
    template: ClassVar[str] = "--receipt takes back all that the escrow's script holds; leave out the amount and --all"


@app.command("open")
def open_(as_: As = CLIENT, as_json: AsJson = False) -> None:
    """Have an address to pay one's budget to; a new one when the term of the last is about to end.

    Two of client, market and arbiter can spend what is paid there, and after the term the client alone.

    Examples:

      pasar escrow open

      pasar escrow open --as alice --json | jq -r .address
    """

    async def opened(client: "Session") -> "EscrowReceipt":
        await client.open_escrow()
        return await client.escrow_receipt()

    _show_receipt(run(_in_session(attached(), as_, opened)), as_, as_json)


@app.command()
def fund(amount: Amount, as_: As = CLIENT, as_json: AsJson = False) -> None:
    """Put money into the escrow.

    On the embedded chain it is play money from a faucet. On any other chain you pay yourself, from a wallet of yours:
    the command names the address and waits until the payment counts.

    Examples:

      pasar escrow fund 100000

      pasar escrow fund 250000 --as alice
    """

    async def put(client: "Session") -> None:
        from services.client.session import PayYourself

        try:
            await client.fund(amount)
        except PayYourself as pay:
            say(f"pay {sat(amount)} to {pay.facts['address']} ({pay.facts['network']}); waiting for it, Ctrl-C is safe")
            await client.until_funded(amount)

    _done(run(_moved(attached(), as_, put)), as_json, f"funded with {sat(amount)}")


@app.command()
def refund(
    amount: Annotated[
        int | None, typer.Argument(parser=parse_msat, metavar="[SAT]", help="As 12, 12sat or 1500msat.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that is free.")] = False,
    receipt: Annotated[
        Path | None,
        typer.Option(help="Without the market: an escrow receipt; the wallet on this machine signs.", dir_okay=False),
    ] = None,
    to: Annotated[str, typer.Option(metavar="ADDRESS", help="With --receipt: where to; your wallet if absent.")] = "",
    rate: Annotated[
        int, typer.Option(min=1, max=1_000, metavar="SAT", help="With --receipt: fee for a virtual byte.")
    ] = 2,
    as_: As = CLIENT,
    as_json: AsJson = False,
) -> None:
    """Take free money out of the escrow, back to the client; what is reserved for jobs stays.

    The next payout brings it to your wallet. With --receipt nobody is asked: it prints the signed transaction that
    takes all that the escrow's script holds, which any node takes once the term is over (`pasar chain send`).

    Examples:

      pasar escrow refund 100

      pasar escrow refund --all --as alice

      pasar escrow refund --receipt escrow.json | pasar chain send -
    """
    if receipt is not None:
        if amount is not None or everything:
            raise OneOrTheOther
        refund_alone(receipt, to, rate, as_, as_json)
        return
    from services.client.session import Session
    from services.projections.queries import Reader

    if (amount is None) != everything:
        raise SayHowMuch
    settings = attached()
    assert settings.database_url is not None, "a stack that is up has a database"
    url, taken = settings.database_url, [amount or 0]

    async def take(client: Session) -> None:
        async with await Reader.open(url) as reader:
            free_msat = (await reader.escrow(client.escrow)).usable_msat
        if everything:
            taken[0] = free_msat
        if taken[0] > free_msat:
            raise NotFree(free=sat(free_msat), name=as_)
        if taken[0]:
            await client.refund(taken[0])

    left = run(_moved(settings, as_, take))
    _done(left, as_json, f"{sat(taken[0])} go back to {as_} with the next payout, less what that costs on the chain")


@app.command("receipt")
def receipt_(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; printed if absent.")] = None,
    as_: As = CLIENT,
    as_json: AsJson = False,
) -> None:
    """Save what a refund without the market takes: the escrow's script, and the outputs that it holds now.

    Save it again after each payout, which leaves the escrow another output. It holds no secret; your wallet does.

    Examples:

      pasar escrow receipt -o escrow.json

      pasar escrow refund --receipt escrow.json
    """
    from services.settlement.refund import encode

    found = run(_in_session(attached(), as_, lambda client: client.escrow_receipt()))
    if out is not None:
        out.write_bytes(encode(found))
        say(f"saved to {out}")
    if out is None or as_json:
        print(encode(found).decode(), end="")


def _show_receipt(receipt: "EscrowReceipt", as_: str, as_json: bool) -> None:
    if as_json:
        print_json(receipt)
        return
    print(f"escrow {receipt.account} of {as_}")
    print(f"  pay to     {receipt.address} ({receipt.network})")
    print(f"  until      block {receipt.expires_height:,}; from then on you can take it back alone")
    print(f"  holds      {sum(coin.value_sat for coin in receipt.coins):,} sat on the chain")
    print(f"  script     {receipt.descriptor}")


@app.command()
def show(
    escrow: Annotated[str, typer.Argument(help="An escrow's id or its beginning; your own if absent.")] = "",
    everyone: Annotated[bool, typer.Option("--all", help="Every escrow on the market.")] = False,
    as_: As = CLIENT,
    as_json: AsJson = False,
) -> None:
    """Show where the money is: free, reserved for jobs, released to workers, refunded; and its outputs on the chain.

    Examples:

      pasar escrow show

      pasar escrow show --all --json | jq 'map(.free_msat) | add'
    """
    from services.client.names import known

    settings = attached()
    if everyone:
        if as_json:
            print_json(ask(_held))
            return
        found = ask(lambda reader: reader.escrows())
        names = known(settings)
        rows = [(one.escrow, names.get(one.client, "-"), *map(sat, _amounts(one).values())) for one in found]
        print(columns([("escrow", "client", *_AMOUNTS), *rows]))
        return
    id_ = escrow.lower() or _own(settings, as_)

    async def look(reader: "Reader") -> "tuple[Escrow, OnChain | None]":
        from ui.onchain import on_chain

        one = await reader.escrow(id_)
        return one, await on_chain(reader, one.escrow)

    one, held = ask(look)
    if as_json:
        print_json(_with_chain(one, held))
        return
    _show(one, known(settings).get(one.client, "another party"))
    if held is not None:
        _show_chain(one, held)


async def _held(reader: "Reader") -> list[dict[str, Any]]:
    """Every escrow with what the chain has of it."""
    from ui.onchain import on_chain

    return [_with_chain(one, await on_chain(reader, one.escrow)) for one in await reader.escrows()]


def _with_chain(escrow: "Escrow", held: "OnChain | None") -> dict[str, Any]:
    from msgspec.structs import asdict

    return {**asdict(escrow), "chain": held}


def _own(settings: "Settings", name: str) -> str:
    from domain.ids import escrow_id
    from services.keys import party

    return escrow_id(party(settings, name).key)


async def _in_session(settings: "Settings", name: str, work: "Callable[[Session], Awaitable[T]]") -> T:
    from services.client.session import session

    async with session(settings, name) as client:
        return await work(client)


async def _moved(settings: "Settings", name: str, move: "Callable[[Session], Awaitable[None]]") -> "Escrow":
    """Move money in a session, and look at the escrow afterwards."""
    from services.client.session import session
    from services.projections.queries import Reader

    async with session(settings, name) as client:
        await move(client)
        await shown(settings, client.position)
        assert settings.database_url is not None, "a stack that is up has a database"
        async with await Reader.open(settings.database_url) as reader:
            return await reader.escrow(client.escrow)


def _done(escrow: "Escrow", as_json: bool, what: str) -> None:
    if as_json:
        print_json(escrow)
    else:
        print(f"{what}; {sat(escrow.usable_msat)} are free now, {sat(escrow.reserved_msat)} reserved")


def _amounts(escrow: "Escrow") -> dict[str, int]:
    return {
        "funded": escrow.funded_msat,
        "free": escrow.free_msat,
        "reserved": escrow.reserved_msat,
        "released": escrow.released_msat,
        "charged": escrow.charged_msat,
        "refunded": escrow.refunded_msat,
    }


def _show(escrow: "Escrow", owner: str) -> None:
    print(f"escrow {escrow.escrow} of {owner}")
    means = {
        "funded": "all that was paid in, the sum of what follows",
        "free": "for new jobs, or to be taken back",
        "reserved": "for the replicas of posted jobs",
        "released": "earned by workers",
        "charged": "earned by the market",
        "refunded": "taken back",
    }
    if escrow.missing_msat:
        means["free"] += f"; only {sat(escrow.usable_msat)} of it is still there, see below"
    amounts = {name: sat(amount) for name, amount in _amounts(escrow).items()}
    width = max(map(len, amounts.values()))
    for name, amount in amounts.items():
        print(f"  {name:<8}  {amount:>{width}}  {means[name]}")


def _show_chain(escrow: "Escrow", held: "OnChain") -> None:
    if held.address is None:
        print(f"on {held.network}: no account yet; `pasar escrow fund` opens one")
        return
    print(f"on {held.network}, block {held.height:,}: {held.term}")
    amounts = {
        "holds": (escrow.on_chain_msat, "in the outputs below"),
        "others'": (escrow.undrawn_msat, "of it, for workers, market and miners: the next payouts draw it"),
        "leaving": (escrow.leaving_msat, "of it, taken back and not paid yet"),
        "missing": (
            escrow.missing_msat,
            "spent without the market, by its owner after the term say, or gone with its block",
        ),
    }
    width = max(len(sat(amount)) for amount, _ in amounts.values())
    for name, (amount, means) in amounts.items():
        print(f"  {name:<10}  {sat(amount):>{width}}  {means}")
    print(f"  {'address':<10}  {held.address}")
    print(f"  {'back to':<10}  {held.paid_to}")
    print(f"  {'descriptor':<10}  {held.descriptor}")
    for output in held.outputs:
        print(f"  {'output':<10}  {output.output}  {output.value_sat:,} sat, block {output.height:,}")
