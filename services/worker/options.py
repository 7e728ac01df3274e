"""What a worker's owner decides."""

from typing import Final

from msgspec import Struct

from domain.events import Platform

#: What a plain worker asks at least for a task, and for 10^12 operations and 10^9 bytes of it: about a minute of one
#: core for a satoshi.
PRICE_MSAT: Final = 100
TFLOP_MSAT: Final = 1_000
GB_MSAT: Final = 20


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """Attributes:
    price_msat: The least it takes for a task.
    tflop_msat, gb_msat: For 10^12 metered operations and 10^9 metered bytes of it.
    slots: Tasks of one lease.
    lanes: Leases in work at a time.
    sandboxes: Programs that run at a time, each in a limited process of its own.
    platform: The device that its sandboxes compute on.
    stake_msat: Drawn from the faucet of an embedded chain at the first registration.
    payout_address: Where it is paid; an address of its own wallet if empty.
    substitutes: Files that are run instead of the programs in these files: plays a dishonest worker.
    """

    price_msat: int = PRICE_MSAT
    tflop_msat: int = TFLOP_MSAT
    gb_msat: int = GB_MSAT
    slots: int = 64
    lanes: int = 2
    sandboxes: int = 1
    memory_mb: int = 2048
    platform: Platform = "cpu"
    stake_msat: int = 0
    payout_address: str = ""
    measure: bool = True
    substitutes: dict[str, str] = {}
