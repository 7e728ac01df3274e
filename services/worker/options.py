"""What a worker's owner decides."""

from msgspec import Struct


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """Attributes:
    price_msat: The least it takes for a task.
    slots: Tasks of one lease.
    lanes: Leases in work at a time.
    stake_msat: Drawn from the faucet at the first registration.
    substitutes: Files that are run instead of the programs in these files: plays a dishonest worker.
    """

    price_msat: int
    slots: int = 64
    lanes: int = 2
    memory_mb: int = 2048
    stake_msat: int = 0
    measure: bool = True
    substitutes: dict[str, str] = {}
