"""Addresses: the text in which people hand each other output scripts, with a checksum against mistyping.

Source: BIP173 (bech32, version 0) and BIP350 (bech32m, versions 1 to 16).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NoReturn

from domain.bitcoin.scripts import BECH32_ALPHABET, is_witness_program
from domain.errors import Refused

Network = Literal["regtest", "signet", "testnet4", "main"]

_PREFIXES: Final[dict[Network, str]] = {"regtest": "bcrt", "signet": "tb", "testnet4": "tb", "main": "bc"}
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
#: What the checksum comes out as, by witness version: 0 is bech32, the later ones are bech32m.
_BECH32: Final = 1
_BECH32M: Final = 0x2BC830A3
#: How output scripts of each witness version begin, and how many letters of an address say what follows.
_SCRIPTS: Final = {0: (("0014", 32), ("0020", 51)), 1: (("5120", 51),)}
_LENGTH_MAX: Final = 90
_SHOWN_MAX: Final = 100


class BadAddress(Refused):
    template = "{address!r} cannot be paid on {network}: {reason}; ask for an address that begins with {prefix}1"


class NoAddress(Refused):
    template = "the output script {script} has no address; show the script itself"


def address(script: bytes, network: Network) -> str:
    """The address that people know this output script by.

    Raises:
        NoAddress: Not a witness program of a known form.
    """
    version, program = _program(script)
    groups, left, bits = _regroup(program, 8, 5)
    words = [version, *groups, *([left << 5 - bits] if bits else [])]
    prefix = _PREFIXES[network]
    rest = _checksum([*_expand(prefix), *words, 0, 0, 0, 0, 0, 0]) ^ _constant(version)
    words += [rest >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(BECH32_ALPHABET[word] for word in words)}"


def script_of(address: str, network: Network) -> bytes:
    """The output script that an address stands for.

    Raises:
        BadAddress: Mistyped, of another network, or no segwit address; says which.
    """

    def refuse(reason: str) -> NoReturn:
        raise BadAddress(address=address[:_SHOWN_MAX], network=network, reason=reason, prefix=_PREFIXES[network])

    if len(address) > _LENGTH_MAX:
        refuse(f"it is longer than {_LENGTH_MAX} letters")
    if not address.isascii() or address not in (address.lower(), address.upper()):
        refuse("it mixes capital and small letters or holds other signs")
    prefix, _, data = address.lower().rpartition("1")
    if prefix != _PREFIXES[network]:
        known = sorted(name for name, hrp in _PREFIXES.items() if hrp == prefix)
        refuse(f"it belongs to {' and '.join(known)}" if known else "it is not a segwit address of bitcoin")
    words = [BECH32_ALPHABET.find(letter) for letter in data]
    if len(words) < 7 or -1 in words:
        refuse("it is too short or holds a letter that no address has")
    version, body = words[0], words[1:-6]
    if _checksum([*_expand(prefix), *words]) != _constant(version):
        refuse("its checksum is wrong, so it was mistyped")
    program, left, bits = _regroup(body, 5, 8)
    if left or bits >= 5 or version > 16 or not _is_program(version, program):
        refuse("it names no output script")
    return bytes((version + 0x50 if version else 0, len(program), *program))


def script_beginnings(text: str, network: Network) -> Iterator[str]:
    """How the output scripts begin, in hex, whose address begins with these small letters; nothing if none does."""
    prefix = f"{_PREFIXES[network]}1"
    letters = text.removeprefix(prefix)
    if not text.startswith(prefix) or not letters or not set(letters) <= set(BECH32_ALPHABET):
        return
    try:
        yield script_of(text, network).hex()
        return
    except BadAddress:
        words = [BECH32_ALPHABET.index(letter) for letter in letters]
    for begins, most in _SCRIPTS.get(words[0], ()):
        bits = "".join(f"{word:05b}" for word in words[1 : most + 1])
        whole = len(bits) // 4 * 4
        yield begins + (f"{int(bits[:whole], 2):0{whole // 4}x}" if whole else "")


def _program(script: bytes) -> tuple[int, bytes]:
    if is_witness_program(script):
        version, program = script[0] and script[0] - 0x50, script[2:]
        if _is_program(version, program):
            return version, program
    raise NoAddress(script=script.hex() if len(script) <= _SHOWN_MAX else f"{script[:_SHOWN_MAX].hex()}...")


def _is_program(version: int, program: Sequence[int]) -> bool:
    return len(program) in (20, 32) if version == 0 else 2 <= len(program) <= 40


def _constant(version: int) -> int:
    return _BECH32M if version else _BECH32


def _expand(prefix: str) -> list[int]:
    return [*(ord(letter) >> 5 for letter in prefix), 0, *(ord(letter) & 31 for letter in prefix)]


def _checksum(words: Iterable[int]) -> int:
    rest = 1
    for word in words:
        top = rest >> 25
        rest = (rest & 0x1FFFFFF) << 5 ^ word
        for place, generator in enumerate(_GENERATORS):
            if top >> place & 1:
                rest ^= generator
    return rest


def _regroup(words: Iterable[int], size: int, into: int) -> tuple[bytes, int, int]:
    """The same bits in groups of another size, then the bits that fill no group and how many they are."""
    held = bits = 0
    groups = bytearray()
    for word in words:
        held = (held << size | word) & 0xFFF
        bits += size
        while bits >= into:
            bits -= into
            groups.append(held >> bits & (1 << into) - 1)
    return bytes(groups), held & (1 << bits) - 1, bits
