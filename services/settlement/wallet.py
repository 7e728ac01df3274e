"""A party's wallet: one sealed seed, from which every key of its escrows, stakes and payouts comes.

The file ``keys/<name>.wallet`` holds the seed under a passphrase and, in the open, each public key that was derived so
far, so that reading those asks for nothing. Keys follow BIP32 at ``m/48'/coin'/0'/2'/role/index`` with coin 0 for main
and 1 for every test network. No private key leaves this module but inside a ``Signer``, which only signs; and, if its
owner asks for that, a refund key as a ``Secret``, for a wallet that is to take the money back without us.

The seed is sealed by AES-256-GCM under scrypt of the passphrase, the file's header being authenticated with it.
N = 2^15, r = 8, p = 1 asks for 32 MB and about 0.1 s a guess: what a phone and a small server can spare at each start.
That slows guessing down and does not make a short passphrase good; the one that is made up has 256 bits.
"""

import hashlib
import json
import secrets
import threading
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct, structs

from domain import bitcoin
from domain.bitcoin import Network
from domain.errors import Refused
from services import private
from services.config import Secret, Settings
from services.keys import key_file
from services.settlement import lib, wif

_SEED_BYTES: Final = 32
_INDEX_MAX: Final = 2**31 - 1
_N, _R, _P = 2**15, 8, 1


class PassphraseMissing(Refused):
    template: ClassVar[str] = "the wallet {path} needs a passphrase{why}; set PASAR_PASSPHRASE"


class WrongPassphrase(Refused):
    template: ClassVar[str] = "the passphrase does not open {path}; set PASAR_PASSPHRASE to the one it was made with"


class WalletDamaged(Refused):
    template: ClassVar[str] = "the wallet file {path} is damaged; restore it from your copy, or move it away"


class MainnetOff(Refused):
    template: ClassVar[str] = (
        "this process does not handle real money; set PASAR_BITCOIN_NETWORK=main and PASAR_BITCOIN_MAINNET=yes"
    )


class Role(IntEnum):
    """What a key is for; one key serves one purpose."""

    release = 0
    refund = 1
    payout = 2
    cosign = 3


_Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})+$")]


class _Header(Struct, frozen=True, forbid_unknown_fields=True):
    """How the seed was sealed; authenticated with it."""

    format: Literal["pasar/wallet/1"]
    name: str
    n: Annotated[int, Meta(ge=2**14, le=2**18)]
    r: Annotated[int, Meta(ge=8, le=8)]
    p: Annotated[int, Meta(ge=1, le=16)]
    salt: _Hex
    nonce: _Hex


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes:
    sealed: The seed's ciphertext and tag.
    public: Public keys by ``coin/role/index``.
    checksum: Of all the rest, so that damage is seen before money is sent to a key that nobody has.
    """

    header: _Header
    sealed: _Hex
    public: dict[str, _Hex]
    checksum: str


class Signer:
    """One private key, which signs and is never shown."""

    __slots__ = ("_private", "key", "library")

    def __init__(self, library: lib.Library, secret: bytes) -> None:
        self.library = library
        self._private = library.keys.Key(secret)
        self.key: bytes = self._private.public_byte

    def sign(self, digest: bytes) -> bytes:
        """The DER signature of 32 bytes and the byte for SIGHASH_ALL; deterministic (RFC 6979), low S."""
        signature: bytes = self.library.keys.sign(digest, self._private).as_der_encoded()
        return signature

    def __repr__(self) -> str:
        return f"Signer({self.key.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a signer holds a secret and cannot be pickled; open the wallet there")


class Wallet:
    """A party's keys on one network."""

    __slots__ = ("_account", "_lock", "_path", "_settings", "name", "network")

    def __init__(self, settings: Settings, name: str, network: Network, path: Path) -> None:
        self.name, self.network = name, network
        self._settings, self._path = settings, path
        self._account: Any = None
        self._lock = threading.Lock()

    def public(self, role: Role, index: int) -> bytes:
        """The 33 bytes of a public key; derived on first use, which needs the passphrase.

        Raises:
            KeyExposed, WalletDamaged, WrongPassphrase, PassphraseMissing: See their sentences.
        """
        place = self._place(role, index)
        known = _read(self._path).public.get(place)
        if known is not None:
            return bytes.fromhex(known)
        key = self.signer(role, index).key
        with self._lock:
            file = _read(self._path)
            private.replace(self._path, _encode(structs.replace(file, public={**file.public, place: key.hex()})))
        return key

    def signer(self, role: Role, index: int) -> Signer:
        """What signs with the key of ``public(role, index)``.

        Raises:
            KeyExposed, WalletDamaged, WrongPassphrase, PassphraseMissing: See their sentences.
        """
        place = self._place(role, index)
        with self._lock:
            if self._account is None:
                self._account = self._unlock()
        derived = self._account.child_private(index=int(role)).child_private(index=index)
        signer = Signer(lib.load(self._settings.home), derived.private_byte)
        if _read(self._path).public.get(place, signer.key.hex()) != signer.key.hex():
            raise WalletDamaged(path=self._path)
        return signer

    def refund_secret(self, index: int) -> Secret:
        """The refund key itself, as other wallets read it (WIF): who has it takes that escrow's money after its term.

        Raises:
            KeyExposed, WalletDamaged, WrongPassphrase, PassphraseMissing: See their sentences.
        """
        return Secret(wif.encode(self.signer(Role.refund, index)._private.private_byte, self.network))

    def payout_script(self, index: int = 0) -> bytes:
        """The output script of this wallet's own money (P2WPKH)."""
        return p2wpkh(self.public(Role.payout, index))

    def payout_address(self, index: int = 0) -> str:
        """``payout_script`` as people write it."""
        return bitcoin.address(self.payout_script(index), self.network)

    def _place(self, role: Role, index: int) -> str:
        if not 0 <= index <= _INDEX_MAX:
            raise ValueError(f"a key's index is from 0 to {_INDEX_MAX}, not {index}")
        return f"{self._coin}/{int(role)}/{index}"

    @property
    def _coin(self) -> int:
        return 0 if self.network == "main" else 1

    def _unlock(self) -> Any:
        """The account's private key, in the library's form."""
        file = _read(self._path)
        passphrase = _passphrase(self._settings, self.network, self._path)
        keys = lib.load(self._settings.home).keys
        master = keys.HDKey.from_seed(_open(file, passphrase, self._path))
        return master.key_for_path(["m", "48'", f"{self._coin}'", "0'", "2'"])

    def __repr__(self) -> str:
        return f"Wallet({self.name!r}, {self.network})"

    def __reduce__(self) -> str:
        raise TypeError("a wallet holds secrets and cannot be pickled; pass its name and open it there")


def wallet(settings: Settings, name: str, *, network: Network) -> Wallet:
    """The wallet of the party called ``name`` on this machine; its seed is made on first use.

    Raises:
        BadName: The name would not make a plain file name.
        MainnetOff: Real money was not switched on for this process.
        PassphraseMissing: It has to be made, and no passphrase is set on main.
        KeyExposed: The file can be read by others than its owner.
        WalletDamaged: The file holds something else.
    """
    if network == "main" and settings.network != "main":
        raise MainnetOff
    path = key_file(settings, name, "wallet")
    if not path.exists():
        seed = secrets.token_bytes(_SEED_BYTES)
        private.create(path, _seal(name, seed, _passphrase(settings, network, path)))
    if _read(path).header.name != name:
        raise WalletDamaged(path=path)
    return Wallet(settings, name, network, path)


def p2wpkh(key: bytes) -> bytes:
    """The output script that one key spends."""
    from Crypto.Hash import RIPEMD160  # here and below: whoever opens no wallet does not wait for the library

    return b"\x00\x14" + RIPEMD160.new(hashlib.sha256(key).digest()).digest()


def _passphrase(settings: Settings, network: Network, wallet_path: Path) -> str:
    """The passphrase that is set, or on test networks one that is made up with the machine's first wallet."""
    if settings.passphrase is not None:
        return settings.passphrase.reveal()
    if network == "main":
        raise PassphraseMissing(path=wallet_path, why=", because it holds real money")
    path = settings.keys / "passphrase"
    made_before = wallet_path.exists()  # asked first: whoever makes both at this moment makes the passphrase first
    if not path.exists():
        if made_before:
            raise PassphraseMissing(path=wallet_path, why=f", and {path} is gone")
        private.create(path, secrets.token_hex(32).encode() + b"\n")
    return private.read(path).decode().strip()


def _seal(name: str, seed: bytes, passphrase: str) -> bytes:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _Header("pasar/wallet/1", name, _N, _R, _P, salt.hex(), nonce.hex())
    ciphertext, tag = _cipher(header, passphrase).encrypt_and_digest(seed)
    return _encode(_File(header, (ciphertext + tag).hex(), {}, ""))


def _open(file: _File, passphrase: str, path: Path) -> bytes:
    sealed = bytes.fromhex(file.sealed)
    try:
        return bytes(_cipher(file.header, passphrase).decrypt_and_verify(sealed[:-16], sealed[-16:]))
    except ValueError:
        raise WrongPassphrase(path=path) from None


def _cipher(header: _Header, passphrase: str) -> Any:
    from Crypto.Cipher import AES
    from Crypto.Protocol.KDF import scrypt

    key = scrypt(passphrase.encode(), bytes.fromhex(header.salt), 32, header.n, header.r, header.p)
    cipher = AES.new(key, AES.MODE_GCM, nonce=bytes.fromhex(header.nonce))
    return cipher.update(_canonical(header))


def _read(path: Path) -> _File:
    data = private.read(path)
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise WalletDamaged(path=path) from None
    if file.checksum != _checksum(file):
        raise WalletDamaged(path=path)
    return file


def _encode(file: _File) -> bytes:
    whole = structs.replace(file, checksum=_checksum(file))
    return json.dumps(msgspec.to_builtins(whole), indent=1).encode() + b"\n"


def _checksum(file: _File) -> str:
    return hashlib.sha256(_canonical(structs.replace(file, checksum=""))).hexdigest()


def _canonical(value: Struct) -> bytes:
    return msgspec.json.encode(value, order="sorted")
