"""A payout's signatures: who signs builds every rung from the events, and signs each on its own."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from domain import payout
from domain.bitcoin import Tx, txid
from domain.books import Books, Payout
from domain.events import Objection
from domain.ids import Count, Digest, Epoch, PartyKey, PublicKey
from services.settlement import signing
from services.settlement.lib import Library
from services.settlement.signing import Spend
from services.settlement.wallet import Signer

#: Where the arbiter is asked.
SUBJECT = "pasar.arbiter"
#: One signature for each input.
Signatures = tuple[Annotated[bytes, Meta(max_length=73)], ...]


class WhoAreYou(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask for the arbiter's keys."""


class SignPayout(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask for the arbiter's signatures; it reads the payout in the log.

    Attributes:
        size, root: Of the log, as the payout is said to bind it.
    """

    epoch: Epoch
    size: Count
    root: Digest


class Identity(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Attributes:
    party: Whose commands are the arbiter's. key: Which its scripts have.
    """

    party: PartyKey
    key: PublicKey


class Signed(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Attributes:
    rungs: For each rung one signature an input.
    """

    rungs: tuple[Signatures, ...]


class Declined(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Attributes:
    objection: Why not; absent where the arbiter could not read the log yet.
    """

    objection: Objection | None = None


Answer = Identity | Signed | Declined


def rungs(found: Payout) -> list[Tx]:
    """The transactions of a payout, cheapest first."""
    return [payout.transaction(found.planned, found.allotted, rung) for rung in range(len(found.planned.fees_sat))]


def spends(books: Books, found: Payout) -> list[Spend]:
    """What a payout's inputs spend."""
    held = (books.coins[coin.outpoint] for coin in payout.coins(found.planned))
    return [Spend(coin.value_sat, coin.term.witness_script) for coin in held]


def sign(books: Books, found: Payout, signer: Signer) -> tuple[Signatures, ...]:
    """One party's signatures on every rung."""
    spent = spends(books, found)
    signed = (signing.sign(tx, spent, signer) for tx in rungs(found))
    return tuple(tuple(one[place] for place in range(len(spent))) for one in signed)


def combine(
    library: Library, books: Books, found: Payout, by_key: Sequence[tuple[bytes, tuple[Signatures, ...]]]
) -> dict[str, bytes]:
    """Every rung ready to send, by transaction id, cheapest first.

    Raises:
        BadSignature, MissingSignature: A signature does not belong to its rung, or there are too few.
    """
    spent, complete = spends(books, found), {}
    for rung, tx in enumerate(rungs(found)):
        given = {key: dict(enumerate(signed[rung])) for key, signed in by_key if rung < len(signed)}
        complete[txid(tx)] = signing.combine(library, tx, spent, given)
    return complete
