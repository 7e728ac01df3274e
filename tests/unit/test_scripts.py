"""Scripts and descriptors against an independent compiler, and read back."""

from typing import Any

import pytest
from embit.descriptor import Descriptor
from embit.descriptor.checksum import add_checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.bitcoin import HEIGHT_MAX, escrow_descriptor, escrow_script, p2wsh, reserve_descriptor, reserve_script
from services.settlement.signing import BadSpend, Spend, Template, sign, template
from services.settlement.wallet import Signer
from tests.bitcoin import ESCROW, KEYS, MARKET, PAYOUT, REFUND, RESERVE, library

secrets = st.integers(1, 2**250).map(lambda number: Signer(library(), number.to_bytes(32, "big")).key)


@given(st.lists(secrets, min_size=4, max_size=4, unique=True), st.integers(1, HEIGHT_MAX))
@settings(max_examples=200, deadline=None)
def test_scripts_are_what_another_compiler_makes_of_the_descriptor(keys: list[bytes], height: int) -> None:
    first, second, third, back = keys
    script = escrow_script((first, second, third), back, height)
    descriptor = escrow_descriptor((first, second, third), back, height)
    compiled: Any = Descriptor.from_string(descriptor)
    assert compiled.witness_script().data == script
    assert compiled.script_pubkey().data == p2wsh(script)
    assert add_checksum(descriptor.partition("#")[0]) == descriptor
    assert template(script) == Template((first, second, third), back, height)
    reserve, shared = reserve_script(first, second), reserve_descriptor(first, second)
    assert Descriptor.from_string(shared).witness_script().data == reserve
    assert add_checksum(shared.partition("#")[0]) == shared
    assert template(reserve) == Template((first, second))


@pytest.mark.parametrize("height", [1, 16, 17, 127, 128, 255, 256, 32_767, 32_768, 8_388_607, 8_388_608, HEIGHT_MAX])
def test_height_is_pushed_as_the_other_compiler_pushes_it(height: int) -> None:
    compiled: Any = Descriptor.from_string(escrow_descriptor(KEYS, REFUND.key, height))
    assert compiled.witness_script().data == escrow_script(KEYS, REFUND.key, height)


@pytest.mark.parametrize(
    "script", [b"", b"\x51", bytes(71), bytes(147), ESCROW[:-1], ESCROW + b"\x51", RESERVE[:-2] + b"\x51\xae"]
)
def test_script_of_no_template_is_not_signed(script: bytes) -> None:
    with pytest.raises(BadSpend):
        sign(PAYOUT, [Spend(1_000_000, script)], MARKET)


def test_script_with_any_byte_changed_is_no_template_or_another() -> None:
    for place in range(len(ESCROW)):
        changed = ESCROW[:place] + bytes((ESCROW[place] ^ 1,)) + ESCROW[place + 1 :]
        try:
            assert template(changed) != template(ESCROW)
        except BadSpend:
            continue
