"""The client's money back without anybody: from the receipt of an escrow and the client's own wallet, offline.

The receipt says everything that the chain does not: the keys and the height that the escrow's script was made from, and
which coins it holds. It is believed only where it agrees with itself and with the wallet. The transaction is valid from
the block after ``expires_height``; any node takes it, and any wallet with descriptors can make the same one.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from domain import bitcoin, payout
from domain.bitcoin import TIMELOCKED, BadScript, Network, OutPoint, Tx, TxIn, TxOut
from domain.errors import Refused
from domain.money import MSAT_PER_SAT
from services.config import Secret
from services.settlement import signing
from services.settlement.signing import Spend
from services.settlement.wallet import Role, Signer, Wallet

#: More than this for a virtual byte is a mistake: a thousand satoshi.
RATE_MAX_MSAT = 1_000_000
#: The most inputs that a transaction may have and still be relayed (400,000 weight units).
COINS_MAX = 900

_Key = Annotated[str, Meta(pattern="^0[23][0-9a-f]{64}$")]


class BadEscrowReceipt(Refused):
    template = "the escrow receipt cannot be used: {reason}; take it from `pasar escrow receipt` or from your copy"


class ForeignWallet(Refused):
    template = "the wallet {wallet!r} holds no refund key of this escrow; use the wallet that opened it"


class NothingToRefund(Refused):
    template = "the escrow holds no coin; there is nothing to take back"


class RefundTooSmall(Refused):
    template = "{held_sat} sat less a fee of {fee_sat} sat leave less than {dust_sat} sat; ask for a lower fee rate"


class BadFeeRate(Refused):
    template = "a fee of {rate_msat} msat a virtual byte cannot be right; give one from 1000 to {most_msat}"


class Coin(Struct, frozen=True, forbid_unknown_fields=True):
    """An output that the escrow holds."""

    txid: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    vout: Annotated[int, Meta(ge=0, lt=2**32)]
    value_sat: Annotated[int, Meta(ge=1, le=bitcoin.SATS_MAX)]


class EscrowReceipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the client keeps of an escrow.

    Attributes:
        account: The escrow's id in the log.
        release_key, market_key, arbiter_key: Two of these sign what the rules decide.
        refund_key: Signs alone once the chain is past ``expires_height``.
        descriptor: The same as any wallet with descriptors reads it.
        key_index: Of both of the client's keys in its wallet.
        coins: What the escrow held when the receipt was written; the largest, where one refund cannot take all.
    """

    format: Literal["pasar/escrow/1"] = "pasar/escrow/1"
    network: Network
    account: Annotated[str, Meta(pattern="^[0-9a-f]{24}$")]
    release_key: _Key
    market_key: _Key
    arbiter_key: _Key
    refund_key: _Key
    expires_height: Annotated[int, Meta(ge=1, le=bitcoin.HEIGHT_MAX)]
    descriptor: str
    address: str
    key_index: Annotated[int, Meta(ge=0, lt=2**31)]
    coins: Annotated[Sequence[Coin], Meta(max_length=COINS_MAX)]


def describe(
    *,
    network: Network,
    account: str,
    keys: bitcoin.Keys,
    refund_key: bytes,
    expires_height: int,
    key_index: int,
    coins: Sequence[Coin],
) -> EscrowReceipt:
    """The receipt of an escrow with these keys, released by the first, the market's and the arbiter's."""
    script = bitcoin.escrow_script(keys, refund_key, expires_height)
    release, market, arbiter = (key.hex() for key in keys)
    return EscrowReceipt(
        network=network,
        account=account,
        release_key=release,
        market_key=market,
        arbiter_key=arbiter,
        refund_key=refund_key.hex(),
        expires_height=expires_height,
        descriptor=bitcoin.escrow_descriptor(keys, refund_key, expires_height),
        address=bitcoin.address(bitcoin.p2wsh(script), network),
        key_index=key_index,
        coins=tuple(coins),
    )


def encode(receipt: EscrowReceipt) -> bytes:
    """The receipt as a file, for people to read too."""
    return msgspec.json.format(msgspec.json.encode(receipt), indent=1) + b"\n"


def decode(data: bytes) -> EscrowReceipt:
    """The receipt in a file.

    Raises:
        BadEscrowReceipt: The file holds something else, or contradicts itself.
    """
    try:
        receipt = msgspec.json.decode(data, type=EscrowReceipt)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadEscrowReceipt(reason=f"it is not in its form ({error})") from None
    script_of(receipt)
    return receipt


def script_of(receipt: EscrowReceipt) -> bytes:
    """The witness script that the receipt's keys and height make.

    Raises:
        BadEscrowReceipt: The descriptor or the address says something else than they do, so one of them was changed.
    """
    keys = tuple(bytes.fromhex(key) for key in (receipt.release_key, receipt.market_key, receipt.arbiter_key))
    try:
        expected = describe(
            network=receipt.network,
            account=receipt.account,
            keys=(keys[0], keys[1], keys[2]),
            refund_key=bytes.fromhex(receipt.refund_key),
            expires_height=receipt.expires_height,
            key_index=receipt.key_index,
            coins=receipt.coins,
        )
    except BadScript as error:
        raise BadEscrowReceipt(reason=str(error)) from None
    if receipt.descriptor != expected.descriptor:
        raise BadEscrowReceipt(reason="its descriptor does not match its keys and height")
    if receipt.address != expected.address:
        raise BadEscrowReceipt(reason="its address does not match its keys and height")
    return bitcoin.escrow_script((keys[0], keys[1], keys[2]), bytes.fromhex(receipt.refund_key), receipt.expires_height)


def refund(receipt: EscrowReceipt, wallet: Wallet, *, rate_msat: int, address: str | None = None) -> bytes:
    """The signed transaction that takes the escrow's coins back; ready to send in the block after its expiry.

    It leaves out coins that cost more than they hold: anybody may pay such to an escrow.

    Args:
        rate_msat: Fee, in millisatoshi for each virtual byte.
        address: Where the money goes; the wallet's own payout address if absent.
    Raises:
        BadEscrowReceipt: It was tampered with, is of another network, or names a coin twice.
        ForeignWallet: The wallet has no such refund key.
        NothingToRefund: The escrow holds no coin.
        BadFeeRate, RefundTooSmall, BadAddress: See their sentences.
        KeyExposed, WalletDamaged, WrongPassphrase, PassphraseMissing: The wallet does not open.
    """
    script = script_of(receipt)
    if not receipt.coins:
        raise NothingToRefund
    if len({(coin.txid, coin.vout) for coin in receipt.coins}) < len(receipt.coins):
        raise BadEscrowReceipt(reason="it names a coin twice")
    if not MSAT_PER_SAT <= rate_msat <= RATE_MAX_MSAT:
        raise BadFeeRate(rate_msat=rate_msat, most_msat=RATE_MAX_MSAT)
    signer = _verify_owner(receipt, wallet)
    to = bitcoin.script_of(address, receipt.network) if address else wallet.payout_script()
    coin_vb = refund_vsize(2, len(script), to) - refund_vsize(1, len(script), to)
    worth = [coin for coin in receipt.coins if coin.value_sat * MSAT_PER_SAT > coin_vb * rate_msat] or receipt.coins
    inputs = tuple(TxIn(OutPoint(coin.txid, coin.vout), TIMELOCKED) for coin in worth)
    spends = [Spend(coin.value_sat, script) for coin in worth]
    held_sat = sum(coin.value_sat for coin in worth)
    fee_sat = payout.fee_sat(refund_vsize(len(inputs), len(script), to), rate_msat)
    if held_sat - fee_sat < bitcoin.dust_sat(to):
        raise RefundTooSmall(held_sat=held_sat, fee_sat=fee_sat, dust_sat=bitcoin.dust_sat(to))
    return signing.refund(Tx(inputs, (TxOut(held_sat - fee_sat, to),), receipt.expires_height), spends, signer)


def spending_descriptor(receipt: EscrowReceipt, wallet: Wallet) -> Secret:
    """The receipt's descriptor with the refund key itself in it: a wallet with descriptors signs the refund with that.

    Raises:
        BadEscrowReceipt, ForeignWallet: It was tampered with, or is of another wallet or network.
        KeyExposed, WalletDamaged, WrongPassphrase, PassphraseMissing: The wallet does not open.
    """
    _verify_owner(receipt, wallet)
    public, _ = receipt.descriptor.split("#")
    key = wallet.refund_secret(receipt.key_index).reveal()
    return Secret(bitcoin.with_checksum(public.replace(receipt.refund_key, key)))


def _verify_owner(receipt: EscrowReceipt, wallet: Wallet) -> Signer:
    """What signs the refund.

    Raises:
        BadEscrowReceipt, ForeignWallet: The receipt contradicts itself, or the wallet has not its key.
    """
    script_of(receipt)
    if receipt.network != wallet.network:
        raise BadEscrowReceipt(reason=f"it is of {receipt.network}, and the wallet was opened for {wallet.network}")
    signer = wallet.signer(Role.refund, receipt.key_index)
    if signer.key.hex() != receipt.refund_key:
        raise ForeignWallet(wallet=wallet.name)
    return signer


def refund_vsize(coins: int, script_bytes: int, to: bytes) -> int:
    """Virtual bytes of a refund of so many coins, at the longest signatures there can be."""
    tx = Tx(tuple(TxIn(OutPoint("00" * 32, place), TIMELOCKED) for place in range(coins)), (TxOut(0, to),))
    return bitcoin.vsize(bitcoin.with_witness(tx, [(bytes(72), b"", b"", b"", bytes(script_bytes))] * coins))
