"""The terms on which a client buys; apart from functions, because a form is filled in without jax."""

from datetime import timedelta

from msgspec import Struct

from domain.events import Platform


class Terms(Struct, frozen=True, kw_only=True):
    """What a client asks for; see ``Market.job``."""

    budget_msat: int | None = None
    price_msat: int | None = None
    stake_msat: int = 0
    replicas: int = 1
    timeout_s: int | None = None
    memory_mb: int | None = None
    reuse: bool = True
    platforms: tuple[Platform, ...] = ("cpu",)
    deadline: timedelta = timedelta(hours=1)
