"""``pasar receipt``: what a client keeps of a job, and anybody can check alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import typer

from domain.errors import Refused
from ui.commands.job import JobName
from ui.commands.running import CLIENT, As, attached, run
from ui.format import AsJson, count, print_json, sat, short

if TYPE_CHECKING:
    from services.config import Settings
    from services.ledger.root import SignedRoot
    from services.receipt.form import Receipt
    from services.receipt.verify import Verified

#: Workers of each payout that are listed.
WORKERS_MAX: Final = 20
app = typer.Typer(
    name="receipt", help="What a client keeps of a job and can check without the market.", no_args_is_help=True
)


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


class NoKey(Refused):
    template: ClassVar[str] = (
        "which market must have signed is not known here, and anybody can make a receipt that fits itself; give the "
        "key that you know with --key KEY, or take the receipt's own word with --any-key"
    )


class NoFile(Refused):
    template: ClassVar[str] = "{file} cannot be {verb}: {reason}"


@app.command()
def save(
    job: JobName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; JOB.receipt.json if absent.")
    ] = None,
    results: Annotated[bool, typer.Option("--results", help="Keep the results themselves in it.")] = False,
    as_: As = CLIENT,
    as_json: AsJson = False,
) -> None:
    """Write the receipt of a completed job: its events, and the proof that they are in the log that the market signed.

    Examples:

      pasar receipt save 3fa2

      pasar receipt save 3fa2 --results -o sweep.receipt.json
    """
    from services.receipt import form, sentences
    from services.receipt.verify import verify

    receipt = run(_make(attached(), job, as_, results))
    file = form.encode(receipt)
    verified = verify(file, market=receipt.market)
    path = output or Path(f"{receipt.job}.receipt.json")
    try:
        path.write_bytes(file)
    except OSError as error:
        raise NoFile(file=path, verb="written", reason=error.strerror) from None
    if as_json:
        print_json({"file": str(path), **_summary(verified), **_payouts(verified)})
        return
    print(f"wrote {path}: {count(verified.events, 'event')} in {verified.bytes:,} bytes, under {_root(verified)}")
    print(sentences.settled(verified.claims))
    print(f"check it anywhere, without the market: `pasar receipt verify {path} --key {verified.market}`")


async def _make(settings: "Settings", job: str, name: str, results: bool) -> "Receipt":
    from services import bootstrap
    from services.bus.blobs import BucketBlobs, Shelf
    from services.bus.connect import connect
    from services.projections.queries import Reader
    from services.receipt.make import make

    assert settings.database_url is not None, "a stack that is up has a database"
    market = bootstrap.operator(settings)
    async with await Reader.open(settings.database_url) as reader:
        found = await reader.job(job.lower())
        await reader.wait_for(await reader.log.head())

        async def root(covers: int) -> "SignedRoot":
            return await bootstrap.signed_root(settings, covers=covers)

        if not results:
            return await make(reader, market, found.job, root)
        async with await connect(settings, "party", name=name) as client:
            blobs = BucketBlobs(client, Shelf(settings.home / "clients" / name / "blobs"))
            return await make(reader, market, found.job, root, content=blobs.get)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A receipt.")],
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Key of the market that must have signed; that of this machine's if absent."),
    ] = None,
    any_key: Annotated[
        bool, typer.Option("--any-key", help="Take the receipt's own word for the key: it shows no forgery.")
    ] = False,
    result: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A result that must be one of the job; may be repeated.")
    ] = None,
    block: Annotated[
        list[str] | None,
        typer.Option(metavar="HASH", help="A block that your node has in the best chain; may be repeated."),
    ] = None,
    headers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of such blocks, a hash or a header a line.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a receipt alone: every byte of it, with no market, no database and no network.

    Exit status 0 only if it holds under the key of the market that you know: that of --key, of PASAR_MARKET_KEY, or of
    the market on this machine. Else the first check that fails is named.

    What is paid is proven down to a block's header. With --block or --headers that block must be one of those that you
    name, because only a node knows the best chain.

    Examples:

      pasar receipt verify 3fa2.receipt.json

      pasar receipt verify 3fa2.receipt.json --key UBX7... --result task-0.safetensors

      pasar receipt verify 3fa2.receipt.json --block "$(bitcoin-cli getblockhash 112)"

      pasar receipt verify 3fa2.receipt.json --any-key

      pasar receipt verify 3fa2.receipt.json --json | jq -r .claims.paid_msat
    """
    from services.receipt.form import ReceiptBroken
    from services.receipt.verify import verify as check

    try:
        market = None if any_key else key or _known()
        blocks = _named(block, headers)
        verified = check(_read(file), market=market, results=[_read(one) for one in result or ()], blocks=blocks)
    except (ReceiptBroken, NoKey) as broken:
        if not as_json:
            raise
        check_name = broken.check if isinstance(broken, ReceiptBroken) else "key"
        print_json({"ok": False, "check": check_name, "message": str(broken)})
        raise typer.Exit(1) from None
    if as_json:
        known = {"in_best_chain": None if blocks is None or not verified.claims.payouts else True}
        print_json({"ok": True, **_summary(verified), "given": verified.given, **known, "claims": verified.claims})
        return
    _say(verified, pinned=not any_key, results=result or [], named=blocks is not None)


def _named(block: list[str] | None, headers: Path | None) -> frozenset[str] | None:
    """The blocks that the verifier knows; absent if it names none."""
    from services.receipt import blocks

    if block is None and headers is None:
        return None
    return blocks.named(block or ()) | (blocks.read(_read(headers)) if headers is not None else frozenset())


def _known() -> str:
    """The key of the market that this machine knows, whether that runs or not.

    Raises:
        NoKey: It knows none.
    """
    from services.config import from_environment
    from services.keys import MarketUnknown, market_key

    try:
        return market_key(from_environment())
    except MarketUnknown:
        raise NoKey from None


def _say(verified: "Verified", *, pinned: bool, results: list[Path], named: bool) -> None:
    from services.receipt import sentences

    claims = verified.claims
    methods = {settled.method for settled in claims.results}
    print(f"The receipt holds for job {verified.job}.")
    print(f"- Market {verified.market} signed {_root(verified)}.")
    print(
        f"- All {count(verified.events, 'event')}, from position {verified.first} to {verified.last}, "
        "are in that log, byte by byte."
    )
    bought = (
        f"{count(claims.tasks, 'task')} by {claims.replicas} each"
        if claims.replicas > 1
        else count(claims.tasks, "task")
    )
    print(f"- Client {short(claims.client)} posted it on {claims.posted_at:%Y-%m-%d %H:%M:%S} UTC: {bought}.")
    print(
        f"- {count(claims.verified, 'task')} verified ({', '.join(sorted(methods)) or 'none'}), {claims.failed} not: "
        "each result opens what its worker had committed to before."
    )
    if claims.original:
        print(f"- The results are those of job {claims.original}, which was verified before.")
    charged = f", {sat(claims.charged_msat)} by the market" if claims.charged_msat else ""
    print(
        f"- Of {sat(claims.reserved_msat)} reserved {sat(claims.paid_msat)} were earned by workers{charged}; "
        f"{sat(claims.freed_msat)} went back."
    )
    for payout in claims.payouts:
        print(f"- {sentences.paid(payout)}")
        print(f"    transaction {payout.txid}")
        print(f"    block       {payout.block}")
        for share in payout.paid[:WORKERS_MAX]:
            print(f"    worker      {short(share.worker)} {sat(share.amount_msat)}")
        if len(payout.paid) > WORKERS_MAX:
            print(f"    and {count(len(payout.paid) - WORKERS_MAX, 'more worker')}; --json has all")
    print(f"- {sentences.settled(claims)}")
    for said in sentences.chain(claims, named=named):
        print(f"- {said}")
    for file, tasks in zip(results, verified.given, strict=True):
        print(f"- {file} is the result of task {', '.join(map(str, tasks))}.")
    if verified.contents:
        print(f"- It keeps {count(verified.contents, 'result file')}, each as it was committed to.")
    if not pinned:
        print("The key is the receipt's own word: compare it with the market's, or give that with --key.")


def _summary(verified: "Verified") -> dict[str, object]:
    parts = ("job", "market", "size", "root", "events", "first", "last", "bytes", "contents")
    return {part: getattr(verified, part) for part in parts}


def _payouts(verified: "Verified") -> dict[str, object]:
    return {part: getattr(verified.claims, part) for part in ("paid_msat", "settled_msat", "payouts")}


def _root(verified: "Verified") -> str:
    return f"a log of {count(verified.size, 'event')}, root {verified.root[:16]}…"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise NoFile(file=file, verb="read", reason=error.strerror) from None
