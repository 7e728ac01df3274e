"""Keys, a spend and a second opinion for the tests that sign."""

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pbk
from pbk.script import PrecomputedTransactionData

from domain.bitcoin import RBF, TIMELOCKED, OutPoint, Tx, TxIn, TxOut, escrow_script, op_return, p2wsh, reserve_script
from services.settlement import lib
from services.settlement.signing import Spend
from services.settlement.wallet import Signer, p2wpkh


@cache
def library() -> lib.Library:
    """bitcoinlib, with its files in a directory of this run."""
    home = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return lib.load(home)


@cache
def signer(name: str) -> Signer:
    """A key that only its name decides."""
    return Signer(library(), hashlib.sha256(name.encode()).digest())


def coin(number: int) -> OutPoint:
    return OutPoint(hashlib.sha256(b"coin %d" % number).hexdigest(), number)


def digest_by_bitcoinlib(tx: Tx, spends: Sequence[Spend], place: int) -> bytes:
    """What bitcoinlib finds that an input signs (BIP143)."""
    transactions = library().transactions
    made = transactions.Transaction(network="bitcoin", witness_type="segwit", version=tx.version, locktime=tx.locktime)
    for number, (spent, spend) in enumerate(zip(tx.inputs, spends, strict=True)):
        source = transactions.Input(
            spent.outpoint.txid,
            spent.outpoint.vout,
            witness_type="segwit",
            value=spend.value_sat,
            sequence=spent.sequence,
            index_n=number,
            network="bitcoin",
        )
        source.redeemscript = spend.script
        made.inputs.append(source)
    for out in tx.outputs:
        output = transactions.Output(out.value_sat, lock_script=out.script, network="bitcoin", strict=False)
        output.lock_script = out.script  # whatever the library makes of a script it does not know
        made.outputs.append(output)
    found: bytes = made.signature_hash(place, 1, "segwit")
    return found


def core_accepts(raw: bytes, spent: Sequence[TxOut]) -> bool:
    """Whether Bitcoin Core's own code finds every input's script satisfied."""
    transaction = pbk.Transaction(raw)
    scripts = [pbk.ScriptPubkey(output.script) for output in spent]
    outputs = [pbk.TransactionOutput(script, output.value_sat) for script, output in zip(scripts, spent, strict=True)]
    shared = PrecomputedTransactionData(transaction, outputs)
    return all(
        script.verify(output.value_sat, transaction, shared, place, pbk.ScriptVerificationFlags.ALL)
        for place, (script, output) in enumerate(zip(scripts, spent, strict=True))
    )


#: The parties of an escrow of a million satoshi that expires at ``HEIGHT``, its payout and its refund.
CLIENT, MARKET, ARBITER, REFUND, WORKER = map(signer, ("client", "market", "arbiter", "refund", "worker"))
HEIGHT = 1_000
KEYS = (CLIENT.key, MARKET.key, ARBITER.key)
ESCROW = escrow_script(KEYS, REFUND.key, HEIGHT)
RESERVE = reserve_script(MARKET.key, ARBITER.key)
OUTPUTS = (
    TxOut(700_000, p2wpkh(WORKER.key)),
    TxOut(30_000, p2wpkh(MARKET.key)),
    TxOut(0, op_return(b"\x07" * 32)),
    TxOut(269_000, p2wsh(ESCROW)),
)
PAYOUT = Tx((TxIn(coin(0), RBF),), OUTPUTS)
SPENDS = [Spend(1_000_000, ESCROW)]
SPENT = [TxOut(1_000_000, p2wsh(ESCROW))]
TAKEN_BACK = Tx((TxIn(coin(0), TIMELOCKED),), (TxOut(999_000, p2wpkh(CLIENT.key)),), HEIGHT)
