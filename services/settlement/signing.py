"""Signatures: apart from the transaction, checked, and put in their place.

Market and arbiter each rebuild the transaction from the plan in the log and from nothing else, sign it where they are,
and hand over signatures only; whoever has two for every input puts the transaction together. There is one way to sign:
SIGHASH_ALL, by BIP143. A signature of another transaction, another amount or another key is refused by name.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

from domain import bitcoin
from domain.bitcoin import BadScript, Tx, TxOut, p2wsh
from domain.errors import Refused
from services.settlement.errors import TransactionRefused
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


@lru_cache(maxsize=512)
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
    digests = _Digests(tx, spends)
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
        TransactionRefused: Bitcoin Core's code finds a fault all the same.
    """
    _verify_plan(tx, spends)
    templates = [template(spend.script) for spend in spends]
    for key, given in signatures.items():
        for place in given:
            if not 0 <= place < len(spends) or key not in templates[place].keys:
                raise BadSignature(key=key.hex(), input=place, reason="it is not one of that input's keys")
    given_to = [
        {key: signatures[key][place] for key in read.keys if place in signatures.get(key, {})}
        for place, read in enumerate(templates)
    ]
    # CHECKMULTISIG takes one item more than it reads (BIP147 asks for it to be empty)
    stacks = [(b"", *list(given.values())[:2], spend.script) for given, spend in zip(given_to, spends, strict=True)]
    raw = bitcoin.with_witness(tx, stacks)
    if not _is_valid(raw, spends, given_to):
        _verify_each(library, tx, spends, given_to)
    return raw


def refund(tx: Tx, spends: Sequence[Spend], signer: Signer) -> bytes:
    """The transaction ready to send, once the chain is past every script's height: the owner alone takes all back.

    Raises:
        BadSpend: See ``sign``; or no miner would ever accept it, because its lock time is too low or switched off.
        WrongKey: The key is not the refund key of some input.
    """
    digests = _Digests(tx, spends)
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
    digests = _Digests(tx, [Spend(spend.value_sat, code) for spend in spends])
    return bitcoin.with_witness(tx, [(signer.sign(digests.of(place)), signer.key) for place in range(len(spends))])


def digest(tx: Tx, spends: Sequence[Spend], place: int) -> bytes:
    """The 32 bytes that a signature of the input at ``place`` signs (BIP143, SIGHASH_ALL)."""
    return _Digests(tx, spends).of(place)


class _Digests:
    """What each input of a plan that does not contradict itself has signed."""

    def __init__(self, tx: Tx, spends: Sequence[Spend]) -> None:
        _verify_plan(tx, spends)
        self._of, self._spends = bitcoin.Digests(tx).of, spends

    def of(self, place: int) -> bytes:
        spend = self._spends[place]
        return self._of(place, spend.script, spend.value_sat)


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


def _is_valid(raw: bytes, spends: Sequence[Spend], given_to: Sequence[Mapping[bytes, bytes]]) -> bool:
    """Whether all that was given is in the transaction, and right: Bitcoin Core's code tells in a tenth of the time."""
    from services.settlement.kernel import verify_scripts  # here: whoever only signs does not load that code

    if any(len(given) != 2 or any(map(_fault, given.values())) for given in given_to):
        return False
    try:
        verify_scripts(raw, [TxOut(spend.value_sat, p2wsh(spend.script)) for spend in spends])
    except TransactionRefused:
        return False
    return True


def _verify_each(library: Library, tx: Tx, spends: Sequence[Spend], given_to: Sequence[Mapping[bytes, bytes]]) -> None:
    """Say whose signature is wrong, or missing."""
    digests = _Digests(tx, spends)
    for place, (spend, given) in enumerate(zip(spends, given_to, strict=True)):
        for key, signature in given.items():
            _verify(library, key, digests.of(place), signature, place)
        if len(given) < 2:
            missing = " or ".join(key.hex() for key in template(spend.script).keys if key not in given)
            raise MissingSignature(input=place, needed=2, found=len(given), missing=missing)


def _verify(library: Library, key: bytes, digest: bytes, signature: bytes, place: int) -> None:
    numbers, reason = _numbers(signature[:-1]), _fault(signature)
    if numbers and not library.keys.Signature(*numbers).verify(digest, library.keys.Key(key)):
        reason = reason or "it does not belong to this transaction"
    if reason:
        raise BadSignature(key=key.hex(), input=place, reason=reason)


def _fault(signature: bytes) -> str:
    """What keeps a signature of this form from being relayed, whatever it signs; nothing if nothing does."""
    if _numbers(signature[:-1]) is None:
        return "it is not in strict DER with a low S"
    return "" if signature[-1] == _SIGHASH_ALL else "it does not sign the whole transaction"


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
