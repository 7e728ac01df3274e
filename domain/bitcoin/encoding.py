"""How numbers and data stand in Bitcoin's bytes.

Source: Bitcoin Core's serialize.h (``WriteCompactSize``) and script/script.h (``CScript::operator<<``).
"""


def compact_size(number: int) -> bytes:
    """A length, in 1, 3, 5 or 9 bytes."""
    if number < 0xFD:
        return bytes((number,))
    if number <= 0xFFFF:
        return b"\xfd" + number.to_bytes(2, "little")
    if number <= 0xFFFFFFFF:
        return b"\xfe" + number.to_bytes(4, "little")
    return b"\xff" + number.to_bytes(8, "little")


def push(data: bytes) -> bytes:
    """A script's push of up to 75 bytes."""
    return bytes((len(data),)) + data


def push_number(number: int) -> bytes:
    """A script's shortest push of a positive number: sign bit clear, little end first."""
    if number <= 16:
        return bytes((0x50 + number,))
    return push(number.to_bytes(number.bit_length() // 8 + 1, "little"))
