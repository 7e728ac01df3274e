"""The read side of the market's money on a chain."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from domain.settlement import UnknownPayout
from services.projections.model import FOLDER
from services.projections.settled import (
    Account,
    Chain,
    Coin,
    Draw,
    JobPayout,
    Named,
    OnChain,
    Payment,
    Payout,
    Term,
)
from services.sql import load_queries

_SQL = load_queries(FOLDER / "settled.sql")
#: Hits of each kind.
NAMED_MAX: Final = 12
Row = TypeVar("Row", bound=Struct)
Fetch = Callable[..., Awaitable[Sequence[Any]]]


class Settled:
    """What can be asked of it. Answers are of one position; an account's ``key`` is given whole.

    Args:
        fetch: ``await fetch(sql, *arguments)`` gives rows.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def chain(self) -> Chain | None:
        """The chain; absent while the market has joined none."""
        found = await self._rows(Chain, "chain")
        return found[0] if found else None

    async def accounts(self) -> list[Account]:
        return await self._rows(Account, "accounts", None)

    async def account(self, key: str) -> Account | None:
        found = await self._rows(Account, "accounts", key)
        return found[0] if found else None

    async def terms(self, key: str | None = None) -> list[Term]:
        """An account's scripts, or all, the first ones first."""
        return await self._rows(Term, "terms", key)

    async def coins(self, key: str) -> list[Coin]:
        """The outputs that an account has now, the largest first."""
        return await self._rows(Coin, "coins", key)

    async def payouts(self, limit: int = 100, before: int | None = None) -> list[Payout]:
        """The latest, newest first; those in front of an epoch if given."""
        return await self._rows(Payout, "payouts", limit, before)

    async def payout(self, epoch: int) -> Payout:
        """Raises:
        UnknownPayout: There is none.
        """
        found = await self._rows(Payout, "payouts", 1, epoch + 1)
        if not found or found[0].epoch != epoch:
            raise UnknownPayout(epoch=epoch)
        return found[0]

    async def payments(self, epoch: int) -> list[Payment]:
        """Whom a payout pays, in the order of its outputs."""
        return await self._rows(Payment, "payments", epoch)

    async def payments_of(self, owner: str, limit: int = 100) -> list[Payment]:
        """What a party was paid or is to be paid, newest first."""
        return await self._rows(Payment, "payments_of", owner, limit)

    async def draws(self, epoch: int) -> list[Draw]:
        """What a payout takes of each account, in the order of its inputs."""
        return await self._rows(Draw, "draws", epoch)

    async def draws_of(self, key: str, limit: int = 100) -> list[Draw]:
        """What payouts took of an account, newest first."""
        return await self._rows(Draw, "draws_of", key, limit)

    async def job_payouts(self, job: str) -> list[JobPayout]:
        """The payouts that pay for a job, oldest first."""
        return await self._rows(JobPayout, "job_payouts", job)

    async def on_chain(self) -> OnChain:
        (row,) = await self._fetch(_SQL["on_chain"])
        return OnChain(**{name: int(value) for name, value in dict(row).items()})

    async def named(self, digest: str, scripts: Sequence[str], limit: int = NAMED_MAX) -> list[Named]:
        """What has a name that begins so, the first few of each kind.

        Args:
            digest: Digits of a transaction, a block, an anchor, a root or an output. scripts: Of scripts.
        """
        return await self._rows(Named, "named", digest, list(scripts), limit)

    async def _rows(self, kind: type[Row], query: str, *arguments: Any) -> list[Row]:
        return [msgspec.convert(dict(row), kind) for row in await self._fetch(_SQL[query], *arguments)]
