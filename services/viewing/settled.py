"""The market's money on a chain at one position: out of rows in memory, or asked of the read models."""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import asdict

from domain.books import State
from domain.money import MSAT_PER_SAT
from domain.settlement import UnknownPayout
from services.projections import settled_reader
from services.projections.escrows import Rows as EscrowRows
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
    ordered,
)
from services.projections.settled_reader import NAMED_MAX
from services.projections.settlement_rows import CHAIN, AccountRow, Changed, CoinRow, DrawRow

#: Names that payouts are found by, and where they stand in their rows.
_OF_PAYOUTS: Final = {"transaction": "txid", "anchor": "anchor", "block": "block", "root": "root"}
T = TypeVar("T")
Row = TypeVar("Row", bound=Struct)


class Settled(Protocol):
    """``services.projections.settled_reader.Settled`` as of one position; see there."""

    def chain(self) -> Chain | None: ...
    def accounts(self) -> Sequence[Account]: ...
    def account(self, key: str) -> Account | None: ...
    def terms(self, key: str | None = None) -> Sequence[Term]: ...
    def coins(self, key: str) -> Sequence[Coin]: ...
    def payouts(self, limit: int = 100, before: int | None = None) -> Sequence[Payout]: ...
    def payout(self, epoch: int) -> Payout: ...
    def payments(self, epoch: int) -> Sequence[Payment]: ...
    def payments_of(self, owner: str, limit: int = 100) -> Sequence[Payment]: ...
    def draws(self, epoch: int) -> Sequence[Draw]: ...
    def draws_of(self, key: str, limit: int = 100) -> Sequence[Draw]: ...
    def job_payouts(self, job: str) -> Sequence[JobPayout]: ...
    def on_chain(self) -> OnChain: ...
    def named(self, digest: str, scripts: Sequence[str]) -> Sequence[Named]: ...


class Folded:
    """Out of rows in memory, which are not changed any more."""

    def __init__(self, rows: Changed, escrows: EscrowRows) -> None:
        self._rows, self._escrows = rows, escrows

    def chain(self) -> Chain | None:
        row = self._rows.chain.get(CHAIN)
        if row is None or row.network is None:
            return None
        return Chain(**{name: value for name, value in asdict(row).items() if name != "name"})

    def accounts(self) -> Sequence[Account]:
        coins: dict[str, list[CoinRow]] = {}
        for coin in self._rows.coins.values():
            coins.setdefault(coin.key, []).append(coin)
        rows = sorted(self._rows.accounts.values(), key=lambda one: (one.account, one.key))
        return [_account(row, coins.get(row.key, ())) for row in rows]

    def account(self, key: str) -> Account | None:
        row = self._rows.accounts.get(key)
        return None if row is None else _account(row, [one for one in self._rows.coins.values() if one.key == key])

    def terms(self, key: str | None = None) -> Sequence[Term]:
        rows = (row for row in self._rows.terms.values() if key in (None, row.key))
        return [Term(**asdict(row)) for row in sorted(rows, key=lambda one: one.opened_pos)]

    def coins(self, key: str) -> Sequence[Coin]:
        rows = [row for row in self._rows.coins.values() if row.key == key and row.state == "held"]
        terms = self.terms(key)
        return [_coin(row, terms) for row in sorted(rows, key=lambda one: (-one.value_sat, one.outpoint))]

    def payouts(self, limit: int = 100, before: int | None = None) -> Sequence[Payout]:
        epochs = sorted((one for one in self._rows.payouts if before is None or one < before), reverse=True)
        return [self.payout(epoch) for epoch in epochs[:limit]]

    def payout(self, epoch: int) -> Payout:
        row = self._rows.payouts.get(epoch)
        if row is None:
            raise UnknownPayout(epoch=epoch)
        return Payout(**{**asdict(row), "state": State(row.state or "")})

    def payments(self, epoch: int) -> Sequence[Payment]:
        return ordered(self._followed(Payment, self._rows.payments.get(epoch, {}).values()))

    def payments_of(self, owner: str, limit: int = 100) -> Sequence[Payment]:
        rows = (row for of in self._rows.payments.values() for row in of.values() if row.owner == owner)
        found = sorted(rows, key=lambda one: (-one.epoch, one.due))
        return self._followed(Payment, found[:limit])

    def draws(self, epoch: int) -> Sequence[Draw]:
        return self._drawn(self._rows.draws.get(epoch, ()))

    def draws_of(self, key: str, limit: int = 100) -> Sequence[Draw]:
        rows = (row for of in self._rows.draws.values() for row in of if row.key == key)
        return self._drawn(sorted(rows, key=lambda one: (-one.epoch, one.place))[:limit])

    def job_payouts(self, job: str) -> Sequence[JobPayout]:
        rows = (row for row in self._rows.jobs.values() if row.job == job)
        return self._followed(JobPayout, sorted(rows, key=lambda one: one.epoch))

    def on_chain(self) -> OnChain:
        accounts = self._rows.accounts.values()
        paid = [self.payout(epoch) for epoch, row in self._rows.payouts.items() if row.state == State.CONFIRMED]
        return OnChain(
            deposited_msat=sum(row.deposited_msat for row in accounts),
            missing_msat=_sum_sat(self._rows.coins.values(), "lost") * MSAT_PER_SAT,
            live_msat=_sum_sat(self._rows.coins.values(), "held") * MSAT_PER_SAT,
            rewarding_msat=sum(row.rewarding_msat for row in accounts),
            paid_msat=sum(one.rewards_sat for one in paid) * MSAT_PER_SAT,
            returned_msat=sum(one.refunds_sat + one.stakes_sat for one in paid) * MSAT_PER_SAT,
            borne_msat=sum(one.borne_sat for one in paid) * MSAT_PER_SAT,
            market_msat=sum(one.market_sat for one in paid) * MSAT_PER_SAT,
            miners_msat=sum(one.cost_sat for one in paid) * MSAT_PER_SAT,
            fund_msat=sum(row.fund_msat for row in self._escrows.values()),
        )

    def named(self, digest: str, scripts: Sequence[str]) -> Sequence[Named]:
        rows, begins = self._rows, tuple(scripts)
        coins = (rows.coins[one] for one in sorted(rows.coins) if len(digest) > 64 and one.startswith(digest))
        terms = sorted(rows.terms.values(), key=lambda one: one.opened_pos)
        paid: dict[str, str] = {}
        for term in terms:
            if term.paid_to.startswith(begins):
                paid[term.paid_to] = min(term.key, paid.get(term.paid_to, term.key))
        market = (row.market_script or "" for row in rows.chain.values())
        found: list[Iterable[Named]] = [
            *(self._of_payouts(kind, field, digest) for kind, field in _OF_PAYOUTS.items()),
            (Named(kind="outpoint", id=row.outpoint, epoch=row.epoch, key=row.key) for row in coins),
            (Named(kind="script", id=one.script, key=one.key) for one in terms if one.script.startswith(begins)),
            (Named(kind="paid_to", id=script, key=key) for script, key in sorted(paid.items())),
            (Named(kind="market", id=script) for script in market if script and script.startswith(begins)),
        ]
        return [one for of in found for one in islice(of, NAMED_MAX)]

    def _of_payouts(self, kind: str, field: str, digest: str) -> Iterable[Named]:
        for epoch, row in sorted(self._rows.payouts.items()):
            name = getattr(row, field)
            if name is not None and name.startswith(digest):
                yield Named(kind=kind, id=name, epoch=epoch)

    def _drawn(self, rows: Iterable[DrawRow]) -> list[Draw]:
        of = self._rows.payouts
        found = ((row, of[row.epoch]) for row in rows)
        return [
            Draw(
                **asdict(row),
                state=State(payout.state or ""),
                txid=payout.txid,
                height=payout.height,
                saved_sat=0 if row.place else payout.saved_sat,
            )
            for row, payout in found
        ]

    def _followed(self, kind: type[Row], rows: Iterable[Any]) -> list[Row]:
        """Rows of payouts with how far these are."""
        of = self._rows.payouts
        found = ((row, of[row.epoch]) for row in rows)
        return [
            kind(**asdict(row), state=State(payout.state or ""), txid=payout.txid, height=payout.height)
            for row, payout in found
        ]


def _account(row: AccountRow, coins: Sequence[CoinRow]) -> Account:
    return Account(
        **asdict(row),
        live_sat=_sum_sat(coins, "held"),
        coins=sum(one.state == "held" for one in coins),
        missing_msat=_sum_sat(coins, "lost") * MSAT_PER_SAT,
    )


def _sum_sat(coins: Iterable[CoinRow], state: str) -> int:
    return sum(one.value_sat for one in coins if one.state == state)


def _coin(row: CoinRow, terms: Sequence[Term]) -> Coin:
    return Coin(
        outpoint=row.outpoint,
        key=row.key,
        value_sat=row.value_sat,
        height=row.height,
        script=terms[row.term].script if row.term is not None else row.script or "",
        epoch=row.epoch,
    )


class Once(Protocol):
    def __call__(self, question: object, work: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Do the work, unless the question was answered at this position."""
        ...


class Asked:
    """Asked of the read models."""

    def __init__(self, reader: settled_reader.Settled, once: Once) -> None:
        self._reader, self._once = reader, once

    def chain(self) -> Chain | None:
        return self._once("chain", lambda: self._reader.chain())

    def accounts(self) -> Sequence[Account]:
        return self._once("accounts", lambda: self._reader.accounts())

    def account(self, key: str) -> Account | None:
        return self._once(("account", key), lambda: self._reader.account(key))

    def terms(self, key: str | None = None) -> Sequence[Term]:
        return self._once(("terms", key), lambda: self._reader.terms(key))

    def coins(self, key: str) -> Sequence[Coin]:
        return self._once(("coins", key), lambda: self._reader.coins(key))

    def payouts(self, limit: int = 100, before: int | None = None) -> Sequence[Payout]:
        return self._once(("payouts", limit, before), lambda: self._reader.payouts(limit, before))

    def payout(self, epoch: int) -> Payout:
        return self._once(("payout", epoch), lambda: self._reader.payout(epoch))

    def payments(self, epoch: int) -> Sequence[Payment]:
        return self._once(("payments", epoch), lambda: self._reader.payments(epoch))

    def payments_of(self, owner: str, limit: int = 100) -> Sequence[Payment]:
        return self._once(("payments of", owner, limit), lambda: self._reader.payments_of(owner, limit))

    def draws(self, epoch: int) -> Sequence[Draw]:
        return self._once(("draws", epoch), lambda: self._reader.draws(epoch))

    def draws_of(self, key: str, limit: int = 100) -> Sequence[Draw]:
        return self._once(("draws of", key, limit), lambda: self._reader.draws_of(key, limit))

    def job_payouts(self, job: str) -> Sequence[JobPayout]:
        return self._once(("payouts of", job), lambda: self._reader.job_payouts(job))

    def on_chain(self) -> OnChain:
        return self._once("on chain", lambda: self._reader.on_chain())

    def named(self, digest: str, scripts: Sequence[str]) -> Sequence[Named]:
        return self._once(("named", digest, *scripts), lambda: self._reader.named(digest, scripts))
