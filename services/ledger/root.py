"""A signed root: the market's word that its log has so many events and is this very history.

It is a signed tree head (RFC 6962, section 3.5). The market signs ``DOMAIN`` and one line for each field, as in a
checkpoint of C2SP tlog-checkpoint: its key, the size, the root in hex, and the time in microseconds since 1970. Two
roots of one market that no consistency proof joins are evidence that it keeps two histories.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from domain.errors import Refused
from domain.ids import At, Count
from services.keys import BadKey, Party, verify_key
from services.ledger.merkle import microseconds

DOMAIN = b"pasar/root/1\n"
Hash = Annotated[str, Meta(min_length=64, max_length=64, pattern="^[0-9a-f]*$")]
Signature = Annotated[str, Meta(min_length=128, max_length=128, pattern="^[0-9a-f]*$")]
Key = Annotated[str, Meta(min_length=56, max_length=56, pattern="^[A-Z2-7]*$")]


class NotSigned(Refused):
    template = "the root over {size} events is not signed by market {market}; ask the market for one that is"


class SignedRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Attributes:
    market: The operator's public key.
    size: Events that the root is over.
    at: When it was signed.
    signature: Ed25519, over what ``signed_bytes`` returns.
    """

    market: Key
    size: Count
    root: Hash
    at: At
    signature: Signature

    @property
    def signed_bytes(self) -> bytes:
        return _signed_bytes(self.market, self.size, self.root, self.at)

    def check(self) -> None:
        """Check the signature.

        Raises:
            NotSigned: It is not that of the market named.
        """
        try:
            VerifyKey(verify_key(self.market)).verify(self.signed_bytes, bytes.fromhex(self.signature))
        except (BadSignatureError, BadKey, ValueError):
            raise NotSigned(size=self.size, market=self.market) from None


def sign_root(party: Party, size: int, root: bytes, at: datetime) -> SignedRoot:
    """The market's word on the first ``size`` events."""
    signature = party.sign(_signed_bytes(party.key, size, root.hex(), at)).hex()
    return SignedRoot(market=party.key, size=size, root=root.hex(), at=at, signature=signature)


def _signed_bytes(market: str, size: int, root: str, at: datetime) -> bytes:
    return DOMAIN + f"{market}\n{size}\n{root}\n{microseconds(at)}\n".encode()
