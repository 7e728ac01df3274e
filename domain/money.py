"""Money is whole millisatoshi (msat), 1/1000 of a satoshi; never a float."""

from typing import Annotated

from msgspec import Meta

MSAT_PER_SAT = 1_000
#: All bitcoin that can ever exist: a larger amount is a mistake, whoever sends it.
MSAT_MAX = 21_000_000 * 100_000_000 * MSAT_PER_SAT

Msat = Annotated[int, Meta(ge=0, le=MSAT_MAX, extra={"privacy": "public"})]
#: A share in parts per million.
Ppm = Annotated[int, Meta(ge=0, le=1_000_000, extra={"privacy": "public"})]
PPM = 1_000_000
#: An amount that must move something.
PositiveMsat = Annotated[int, Meta(ge=1, le=MSAT_MAX, extra={"privacy": "public"})]
#: Whole satoshi, the unit of the chain.
Sat = Annotated[int, Meta(ge=0, le=MSAT_MAX // MSAT_PER_SAT, extra={"privacy": "public"})]
