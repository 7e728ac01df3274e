"""``pasar payout``: what the market paid on the chain, to whom, and what it bound into its blocks."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.commands.running import ask
from ui.format import AsJson, columns, count, print_json, sat, short

if TYPE_CHECKING:
    from services.client.payouts import Payout
    from services.projections.queries import Reader
    from services.projections.settled import Chain
    from services.projections.settled import Payout as Row
    from services.viewing.payouts import Output

app = typer.Typer(
    name="payout", help="Payouts on the chain: what was paid, to whom, by which transaction.", no_args_is_help=True
)
Epoch = Annotated[
    int,
    typer.Argument(min=1, max=2**31 - 2, metavar="EPOCH", help="The payout's number, as `pasar payout list` shows it."),
]


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The latest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest payouts, newest first.

    Examples:

      pasar payout list

      pasar payout list --json | jq -r '.[] | select(.state == "confirmed") | .txid'
    """
    found = ask(lambda reader: reader.settled.payouts(limit))
    if as_json:
        print_json(found)
        return
    heading = ("payout", "state", "pays", "to", "fee", "", "transaction", "block")
    print(columns([heading, *map(_row, found)]))
    if not found:
        print("nothing was paid on the chain yet; workers are paid when what they earned is worth an output")


@app.command()
def show(epoch: Epoch, as_json: AsJson = False) -> None:
    """Show a payout: whom it pays for which jobs, what it spends, and what its anchor binds.

    The transaction, its id and the anchor are computed again from the log. Exit status 1 if one differs.

    Examples:

      pasar payout show 3

      pasar payout show 3 --json | jq -r .raw
    """

    async def look(reader: "Reader") -> "tuple[Payout, Chain | None]":
        from services.client.payouts import payout_of

        return await payout_of(reader, epoch), await reader.settled.chain()

    found, chain = ask(look)
    if as_json:
        print_json(_as_json(found, chain))
    else:
        _show(found)
    if not all(found.holds.values()):
        raise typer.Exit(1)


def _row(one: "Row") -> tuple[str, ...]:
    from services.viewing.payouts import share_ppm

    return (
        str(one.epoch),
        one.state,
        _sat(one.paid_sat),
        count(one.payees, "payee"),
        _sat(one.cost_sat),
        f"{share_ppm(one) / 10_000:.2f} %",
        short(one.txid) if one.txid else "-",
        f"{one.height:,}" if one.height is not None else "-",
    )


def _as_json(found: "Payout", chain: "Chain | None") -> dict[str, Any]:
    return {
        "sentence": found.card().sentence,
        "network": chain.network if chain else None,
        "payout": found.row,
        "txid": found.txid,
        "raw": found.raw,
        "holds": found.holds,
        "ladder": [one._asdict() for one in found.ladder],
        "outputs": [one._asdict() for one in found.outputs],
        "inputs": [one._asdict() for one in found.inputs],
    }


def _show(found: "Payout") -> None:
    from services.viewing import dues, payouts

    row, holds = found.row, found.holds
    print(f"payout {row.epoch} of {_sat(row.paid_sat)} to {count(row.payees, 'payee')}")
    print(found.card().sentence)
    borne = f", {_sat(row.borne_sat)} of it from those who take money out" if row.borne_sat else ""
    for what, said in {
        "transaction": f"{found.txid}{'' if row.txid else ', as it will be sent'}",
        "block": f"{row.height:,} {row.block}" if row.height is not None else "none",
        "fee": f"{_sat(row.cost_sat)}, {payouts.share_ppm(row) / 10_000:.2f} % of what it pays{borne}",
        "rungs": ", ".join(f"{_sat(one.fee_sat)} at {dues.rate(one.rate_msat)}" for one in found.ladder),
        "anchor": f"{row.anchor}: {_holds(holds['anchor'], 'the hash of what follows')}",
        "log": f"{count(row.size, 'event')}, root {row.root}: {_holds(holds['root'], 'that of this log')}",
        "receipts": f"root {row.receipts}: {_holds(holds['receipts'], 'that of what it pays')}",
    }.items():
        print(f"  {what:<11} {said}")
    print()
    outputs = [
        (str(out.number), _whom(out), _for(out), _sat(out.value_sat), out.address or "-") for out in found.outputs
    ]
    print(columns([("output", "whom", "what for", "amount", "address"), *outputs]))
    print()
    inputs = [
        (str(one.number), f"{one.account} {short(one.key)}", _sat(one.value_sat), _output(one.outpoint))
        for one in found.inputs
    ]
    print(columns([("input", "account", "amount", "output that it spends"), *inputs]))


def _holds(right: bool, what: str) -> str:
    return f"it is {what}" if right else f"it is NOT {what}"


def _whom(out: "Output") -> str:
    match out.what:
        case "reward" | "stake":
            return f"worker {short(out.owner)}"
        case "escrow":
            return f"client {short(out.owner)}"
        case "change":
            return f"{'escrow ' if len(out.key) == 24 else ''}{short(out.key)}"
        case "market":
            return "the market"
        case "reserve":
            return "the reserve"
    return "nobody"


def _for(out: "Output") -> str:
    if out.what == "reward":
        return ", ".join(f"job {paid.job[:8]} {sat(paid.amount_msat)}" for paid in out.paid)
    said = {
        "escrow": "free money, taken back",
        "stake": "stake, taken back",
        "market": "fees of jobs",
        "reserve": "small rewards and forfeited stake",
        "change": "what is left",
    }.get(out.what, "the anchor")
    return f"{said}, less {_sat(out.borne_sat)} of the fee" if out.borne_sat else said


def _output(reference: str) -> str:
    from domain.bitcoin import outpoint

    return "{}:{}".format(*outpoint(reference))


def _sat(amount_sat: int) -> str:
    return f"{amount_sat:,} sat"
