"""The market's own processes, in the order in which they start."""

import sys
from typing import Final

from services.stack.process import Service

#: One thread a process: the machine's cores belong to the workers' tasks, not to a pool inside each of them.
ONE_THREAD: Final = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_COMPUTING: Final = frozenset({"referee", "worker"})


def role(name: str, *, instance: str | None = None, stage: str = "") -> Service:
    """The process that plays a role; ``instance`` tells several of them apart."""
    named = () if instance is None else ("--name", instance)
    return Service(
        name=instance or name,
        argv=(sys.executable, "-m", "services.run", name, *named),
        stage=stage,
        environment=ONE_THREAD if name in _COMPUTING else {},
    )


def market_services(*, workers: int = 0) -> tuple[Service, ...]:
    """A whole market with so many workers on this machine."""
    around = (role(part, stage="around") for part in ("relay", "projector", "referee", "settlement"))
    numbered = (role("worker", instance=f"worker-{number}", stage="workers") for number in range(1, workers + 1))
    return (role("market"), *around, *numbered)
