"""The market's own processes, in the order in which they start."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from services.stack.process import AROUND, Service
from services.worker.options import WorkerOptions

#: One thread a process: the machine's cores belong to the workers' tasks, not to a pool inside each of them.
ONE_THREAD: Final = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
#: What a role is told of how wallets open and the market settles.
SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "arbiter": ("PASAR_PASSPHRASE",),
    "settlement": (
        "PASAR_PASSPHRASE",
        "PASAR_PAYOUT_EVERY_S",
        "PASAR_BITCOIN_RPC_URL",
        "PASAR_BITCOIN_COOKIE",
        "PASAR_BITCOIN_CONFIRMATIONS",
    ),
}
#: Enough for a few hundred tasks of the demo's kind.
STAKE_MSAT: Final = 1_000_000


def role(name: str, called: str = "") -> Service:
    """The process that plays one of the market's own roles; ``called`` tells a second one of it from the first."""
    return Service(
        name=called or name,
        argv=(sys.executable, "-m", "services.run", name, "--name", called or name),
        stage="" if name == "market" else AROUND,
        environment=ONE_THREAD if name in ("inspector", "referee") else {},
        secrets=SECRETS.get(name, ()),
    )


def worker(name: str, options: WorkerOptions, *, prepare: Callable[[], Awaitable[None]] | None = None) -> Service:
    """A worker on this machine, as the party called ``name``."""
    encoded = msgspec.json.encode(options).decode()
    return Service(
        name=name,
        argv=(sys.executable, "-m", "services.run", "worker", "--name", name, "--options", encoded),
        stage=AROUND,
        environment=ONE_THREAD,
        secrets=("PASAR_PASSPHRASE",),
        prepare=prepare,
        ready_s=120,
    )


def local_workers(count: int) -> dict[str, WorkerOptions]:
    """So many plain workers on this machine."""
    options = WorkerOptions(stake_msat=STAKE_MSAT)
    return {f"worker-{number}": options for number in range(1, count + 1)}


def market_services(workers: Mapping[str, WorkerOptions] | None = None) -> tuple[Service, ...]:
    """A whole market with these workers on this machine."""
    named = (worker(name, options) for name, options in (workers or {}).items())
    return (*map(role, ("market", "relay", "projector", "inspector", "referee", "settlement", "arbiter")), *named)
