"""Signatures: apart from the transaction, checked one by one, and put in their place.

Market and arbiter each rebuild the transaction from the plan in the log and from nothing else, sign it where they are,
and hand over signatures only; whoever has two for every input puts the transaction together. There is one way to sign:
SIGHASH_ALL, by BIP143. A signature of another transaction, another amount or another key is refused by name.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from domain import bitcoin
from domain.bitcoin import BadScript, Tx, TxIn, TxOut
from domain.errors import Refused
from services.settlement.lib import Library
from services.settlement.wallet import Signer, p2wpkh

_SIGHASH_ALL: Final = 1
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_FINAL: Final = 0xFFFFFFFF

#: Signatures of one party: by the input's place in the transaction.
Signatures = Mapping[int, bytes]


class BadSpend(Refused):
    template = "the transaction cannot be signed: {reason}; rebuild it from the plan in the log"


class BadSignature(Refused):
    template = "the signature of {key} on input {input} is refused: {reason}; have that party sign this plan again"


class MissingSignature(Refused):
    template = "input {input} needs {needed} signatures and has {found}; ask for one of {missing}"


class WrongKey(Refused):
    template = "the key {key} {reason}; sign with {needed}"


class Spend(NamedTuple):
    """What an input spends: the amount, and the script that its witness shows or, for P2WPKH, the output script."""

    value_sat: int
    script: bytes


class Template(NamedTuple):
    """A witness script read back: who signs, and from which height the owner alone."""

    keys: tuple[bytes, ...]
    refund: bytes | None = None
    height: int = 0


def template(script: bytes) -> Template:
    """The template that a witness script was made from: an escrow's or stake's, or the reserve's.

    Raises:
        BadSpend: It is neither, byte for byte.
    """
    try:
        read = _read_template(script)
        made = (
            bitcoin.reserve_script(*read.keys)
            if read.refund is None
            else bitcoin.escrow_script((read.keys[0], read.keys[1], read.keys[2]), read.refund, read.height)
        )
    except BadScript as error:
        raise BadSpend(reason=str(error)) from None
    if made != script:
        raise BadSpend(reason=f"the script {script.hex()} is neither an escrow's nor the reserve's")
    return read


def sign(tx: Tx, spends: Sequence[Spend], signer: Signer, *, only: Collection[int] | None = None) -> dict[int, bytes]:
    """The signer's signature on each input that its key may sign with another, by the input's place.

    Args:
        spends: What each input spends, in the order of the inputs.
        only: Sign none but these inputs.
    Raises:
        BadSpend: The plan contradicts itself, or spends something else than an escrow, a stake or the reserve.
        WrongKey: The key signs none of the inputs.
    """
    templates = [template(spend.script) for spend in spends]
    digests = _Digests(signer.library, tx, spends)
    asked = range(len(spends)) if only is None else sorted(only)
    signed = {place: signer.sign(digests.of(place)) for place in asked if signer.key in templates[place].keys}
    if not signed:
        needed = sorted({key.hex() for place in asked for key in templates[place].keys})
        raise WrongKey(key=signer.key.hex(), reason="signs none of these inputs", needed=" or ".join(needed))
    return signed


def combine(library: Library, tx: Tx, spends: Sequence[Spend], signatures: Mapping[bytes, Signatures]) -> bytes:
    """The transaction ready to send: every signature checked, and two for each input in the order of its script.

    Args:
        signatures: By public key.
    Raises:
        BadSpend: See ``sign``.
        BadSignature: One does not belong to this key, this input and exactly this transaction.
        MissingSignature: An input has fewer than two.
    """
    templates = [template(spend.script) for spend in spends]
    digests = _Digests(library, tx, spends)
    for key, given in signatures.items():
        for place in given:
            if not 0 <= place < len(spends) or key not in templates[place].keys:
                raise BadSignature(key=key.hex(), input=place, reason="it is not one of that input's keys")
    witnesses = []
    for place, (spend, read) in enumerate(zip(spends, templates, strict=True)):
        found = {key: signatures[key][place] for key in read.keys if place in signatures.get(key, {})}
        signed = digests.of(place)
        for key, signature in found.items():
            _verify(library, key, signed, signature, place)
        if len(found) < 2:
            missing = " or ".join(key.hex() for key in read.keys if key not in found)
            raise MissingSignature(input=place, needed=2, found=len(found), missing=missing)
        # CHECKMULTISIG takes one item more than it reads (BIP147 asks for it to be empty)
        witnesses.append((b"", *list(found.values())[:2], spend.script))
    return bitcoin.with_witness(tx, witnesses)


def refund(tx: Tx, spends: Sequence[Spend], signer: Signer) -> bytes:
    """The transaction ready to send, once the chain is past every script's height: the owner alone takes all back.

    Raises:
        BadSpend: See ``sign``; or no miner would ever accept it, because its lock time is too low or switched off.
        WrongKey: The key is not the refund key of some input.
    """
    digests = _Digests(signer.library, tx, spends)
    witnesses = []
    for place, (spent, spend) in enumerate(zip(tx.inputs, spends, strict=True)):
        read = template(spend.script)
        if read.refund is None:
            raise BadSpend(reason=f"input {place} spends the reserve, which is never refunded to one key")
        if signer.key != read.refund:
            key = signer.key.hex()
            raise WrongKey(key=key, reason=f"is not the refund key of input {place}", needed=read.refund.hex())
        if not read.height <= tx.locktime <= bitcoin.HEIGHT_MAX:
            raise BadSpend(reason=f"its lock time {tx.locktime} is not the height {read.height} of input {place}")
        if spent.sequence == _FINAL:
            raise BadSpend(reason=f"the sequence of input {place} switches the lock time off")
        # the three empty items fail the two of three, which leaves the refund branch
        witnesses.append((signer.sign(digests.of(place)), b"", b"", b"", spend.script))
    return bitcoin.with_witness(tx, witnesses)


def sign_p2wpkh(tx: Tx, spends: Sequence[Spend], signer: Signer) -> bytes:
    """The transaction ready to send, all of whose inputs the signer's key spends alone.

    Raises:
        BadSpend: See ``sign``.
        WrongKey: Some input spends the money of another key.
    """
    own = p2wpkh(signer.key)
    for place, spend in enumerate(spends):
        if spend.script != own:
            key = signer.key.hex()
            raise WrongKey(key=key, reason=f"does not spend input {place}", needed=f"that of {spend.script.hex()}")
    # BIP143 signs the script that a version 0 key hash stands for: DUP HASH160 <hash> EQUALVERIFY CHECKSIG
    code = b"\x76\xa9" + own[1:] + b"\x88\xac"
    digests = _Digests(signer.library, tx, [Spend(spend.value_sat, code) for spend in spends])
    return bitcoin.with_witness(tx, [(signer.sign(digests.of(place)), signer.key) for place in range(len(spends))])


def digest(library: Library, tx: Tx, spends: Sequence[Spend], place: int) -> bytes:
    """The 32 bytes that a signature of the input at ``place`` signs (BIP143, SIGHASH_ALL)."""
    return _Digests(library, tx, spends).of(place)


class _Digests:
    """bitcoinlib's view of a transaction, built once and asked for the digest of each input."""

    def __init__(self, library: Library, tx: Tx, spends: Sequence[Spend]) -> None:
        _verify_plan(tx, spends)
        made: Any = library.transactions.Transaction(
            network="bitcoin", witness_type="segwit", version=tx.version, locktime=tx.locktime
        )
        for place, (spent, spend) in enumerate(zip(tx.inputs, spends, strict=True)):
            made.inputs.append(_input(library, spent, spend, place))
        made.outputs = [_output(library, out) for out in tx.outputs]
        self._made = made

    def of(self, place: int) -> bytes:
        digest: bytes = self._made.signature_hash(place, _SIGHASH_ALL, "segwit")
        return digest


def _output(library: Library, out: TxOut) -> Any:
    made = library.transactions.Output(out.value_sat, lock_script=out.script, network="bitcoin", strict=False)
    made.lock_script = out.script  # whatever the library makes of a script it does not know
    return made


def _input(library: Library, spent: TxIn, spend: Spend, place: int) -> Any:
    made = library.transactions.Input(
        spent.outpoint.txid,
        spent.outpoint.vout,
        witness_type="segwit",
        value=spend.value_sat,
        sequence=spent.sequence,
        index_n=place,
        network="bitcoin",
    )
    made.redeemscript = spend.script
    return made


def _verify_plan(tx: Tx, spends: Sequence[Spend]) -> None:
    def refuse(reason: str) -> NoReturn:
        raise BadSpend(reason=reason)

    if len(spends) != len(tx.inputs):
        refuse(f"it has {len(tx.inputs)} inputs and {len(spends)} amounts")
    if len({spent.outpoint for spent in tx.inputs}) != len(tx.inputs):
        refuse("it spends an output twice")
    if any(spent.script for spent in tx.inputs):
        refuse("an input carries a script outside its witness")
    amounts = [spend.value_sat for spend in spends] + [made.value_sat for made in tx.outputs]
    if any(type(amount) is not int or not 0 <= amount <= bitcoin.SATS_MAX for amount in amounts):
        refuse("an amount is not a whole number of satoshi")
    if any(spend.value_sat == 0 for spend in spends):
        refuse("an input holds nothing")
    over_sat = sum(made.value_sat for made in tx.outputs) - sum(spend.value_sat for spend in spends)
    if over_sat > 0:
        refuse(f"it pays {over_sat} sat more than it spends")


def _verify(library: Library, key: bytes, digest: bytes, signature: bytes, place: int) -> None:
    def refuse(reason: str) -> NoReturn:
        raise BadSignature(key=key.hex(), input=place, reason=reason)

    numbers = _numbers(signature[:-1])
    if numbers is None:
        refuse("it is not in strict DER with a low S")
    if signature[-1] != _SIGHASH_ALL:
        refuse("it does not sign the whole transaction")
    if not library.keys.Signature(*numbers).verify(digest, library.keys.Key(key)):
        refuse("it does not belong to this transaction")


def _numbers(der: bytes) -> tuple[int, int] | None:
    """R and S of a signature in the only form that relays (BIP66, BIP146), nothing for any other bytes."""
    if not 8 <= len(der) <= 71 or der[0] != 0x30 or der[1] != len(der) - 2:
        return None
    r_length = der[3]
    r, rest = der[4 : 4 + r_length], der[4 + r_length :]
    if len(rest) < 3 or rest[1] != len(rest) - 2:
        return None
    s = rest[2:]
    numbers = int.from_bytes(r, "big"), int.from_bytes(s, "big")
    if der != _encoded(*numbers) or not 0 < numbers[0] < _ORDER or not 0 < numbers[1] <= _ORDER // 2:
        return None
    return numbers


def _encoded(*numbers: int) -> bytes:
    parts = b""
    for number in numbers:
        data = number.to_bytes(number.bit_length() // 8 + 1, "big")
        parts += bytes((2, len(data))) + data
    return bytes((0x30, len(parts))) + parts


def _read_template(script: bytes) -> Template:
    """What the script would be made from if it is one of ours; every part of a template has its place."""
    first, second, third = script[2:35], script[36:69], script[70:103]
    if len(script) == 71:
        return Template((first, second))
    height = script[142:-2]
    number = height[0] - 0x50 if len(height) == 1 else int.from_bytes(height[1:], "little")
    return Template((first, second, third), script[108:141], number)
