"""The whole market as one state: every stream's state, folded from events, and what a command does to it.

``World.execute`` decides a command and applies what follows from it; ``World.apply`` folds one recorded event. Both
run on memory; the shell writes the events down before anyone hears of them, and rebuilds the world from the log.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from domain import (
    deposits,
    dispute,
    errors,
    escrow,
    following,
    job,
    orders,
    paying,
    policy,
    settlement,
    stake,
    task,
    worker,
)
from domain.bitcoin import OutPoint, reference
from domain.books import Books, key_of
from domain.commands import (
    Actor,
    AdmitProgram,
    Command,
    ExpireAssignment,
    ExpireJob,
    GrantRole,
    RevokeRole,
    SetFee,
)
from domain.errors import Corrupt
from domain.events import (
    AnyEvent,
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    ChainEvent,
    CoinEvent,
    DisputeOpened,
    DisputeRuled,
    EscrowEvent,
    EscrowFreed,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    FeeSet,
    JobCancelled,
    JobCompleted,
    JobExpired,
    JobPosted,
    JobReused,
    PayoutEvent,
    ProgramAdmitted,
    ReplicasWithdrawn,
    ResultCommitted,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    Role,
    RoleGranted,
    RoleRevoked,
    StakeDeposited,
    StakeEvent,
    StakeOpened,
    StakeSlashed,
    StakeWithdrawn,
    TaskAssigned,
    TaskFailed,
    WorkerEvent,
)
from domain.ids import (
    Kind,
    escrow_id,
    job_id,
    program_stream,
    short_id,
    stream_of,
)


class Fact(NamedTuple):
    """An event and its place: the stream it belongs to and its number there, from 1."""

    event: AnyEvent
    stream: bytes
    version: int


class Holding:
    """What a worker has in hand: its tasks without a verdict, the stake they lock, and how many it still has to run."""

    __slots__ = ("locked_msat", "running", "tasks")

    def __init__(self) -> None:
        self.tasks: set[tuple[str, int]] = set()
        self.locked_msat = 0
        self.running = 0


class World:
    """Every state of the market, and the only code that changes it."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.roles: set[tuple[str, str]] = {("operator", operator)}
        self.market_version = 0
        self.fee_ppm = self.chain_ppm = 0
        self.programs: dict[str, ProgramAdmitted] = {}
        self._program_streams: set[bytes] = set()
        self.jobs: dict[str, job.Job] = {}
        self.tasks_of: dict[str, list[task.Task]] = {}
        self.disputes: dict[tuple[str, int], dispute.Dispute] = {}
        self.workers: dict[str, worker.Worker] = {}
        self.holdings: dict[str, Holding] = {}
        self.stakes: dict[str, stake.Stake] = {}
        self.escrows: dict[str, escrow.Escrow] = {}
        self.references: set[str] = set()
        self.books = Books()
        #: Completed jobs whose results may be handed out again, by client (none: to anybody) and work key.
        self.verified_work: dict[tuple[str, str], str] = {}
        self._streams: dict[tuple[Kind, str], bytes] = {}
        self._prefixes: dict[str, bytes] = {}

    # ------------------------------------------------------------------------------------------------------ looking up
    def job_of(self, job_id: str) -> job.Job:
        found = self.jobs.get(job_id)
        if found is None:
            raise errors.UnknownJob(job=job_id)
        return found

    def tasks_in(self, job_id: str) -> list[task.Task]:
        return self.tasks_of[job_id]

    def worker_of(self, key: str) -> worker.Worker:
        found = self.workers.get(key)
        if found is None:
            raise errors.UnknownWorker(worker=key)
        return found

    def stake_of(self, key: str) -> stake.Stake:
        return self.stakes.get(key) or stake.Stake(key)

    def holding(self, key: str) -> Holding:
        found = self.holdings.get(key)
        if found is None:
            found = self.holdings[key] = Holding()
        return found

    def may_work(self, key: str, terms: JobPosted) -> bool:
        """Whether the worker may take a task of this job now, as far as the worker decides it."""
        found = self.workers.get(key)
        if found is None or found.state is not worker.State.ACTIVE or found.ask is None:
            return False
        ask, holding = found.ask, self.holding(key)
        program = self.programs.get(terms.program.address)
        price_msat = orders.price_msat(ask, program.meter) if program is not None else ask.price_msat
        return (
            price_msat <= terms.price_msat
            and ask.memory_mb >= terms.memory_mb
            and found.platform in terms.platforms
            and holding.running < ask.slots
            and self.free_stake_msat(key) >= terms.stake_msat
            and self._is_backed(terms, key)
        )

    def free_stake_msat(self, key: str) -> int:
        """What the worker may lose by further tasks: held by outputs that stay, and locked by none."""
        held_msat = self.stake_of(key).usable_msat - self.books.at_risk_msat(key)
        return held_msat - self.holding(key).locked_msat

    def _is_backed(self, terms: JobPosted, key: str) -> bool:
        """Whether outputs that stay hold what the job may still pay, and the worker's stake is not about to go."""
        books, account = self.books, self.escrows.get(terms.escrow)
        if books.chain is None or account is None:
            return True
        if books.is_lapsed(terms.escrow) or (terms.stake_msat and books.is_lapsed(key)):
            return False
        return account.missing_msat + books.at_risk_msat(terms.escrow) <= account.free_msat

    # ------------------------------------------------------------------------------------------------------- deciding
    def execute(self, command: Command, actor: Actor, now: datetime) -> list[Fact]:
        """Decide a command, apply it and all that follows.

        Returns:
            The facts in order, already folded into this world; none if the command changes nothing.
        Raises:
            Refused: The command cannot be done; the world is as it was.
            Corrupt: What follows from a decision contradicts the rules.
        """
        return self.follow(_DECISIONS[type(command)](self, command, actor, now), now)

    def follow(self, decided: Sequence[AnyEvent], now: datetime) -> list[Fact]:
        """Apply decided events and everything that policy makes of them."""
        facts: list[Fact] = []
        queue, touched = deque(decided), set[str]()
        while queue:
            event = queue.popleft()
            try:
                touched.add(self.apply(event))
                facts.append(self.place(event))
                queue.extend(policy.react(event, self, now))
            except (errors.Refused, AssertionError, KeyError) as error:
                raise Corrupt(f"what follows from {event} is against the rules") from error
            if not queue:
                for job_id_ in sorted(touched):
                    ending = job.complete(self.jobs[job_id_]) if job_id_ else None
                    if ending is not None:
                        queue.append(ending)
                touched.clear()
        return facts

    def assign(self, job_id_: str, index: int, key: str, expires_at: datetime) -> Fact:
        """Decide and apply one assignment that the matcher chose."""
        assigned = task.assign(self.tasks_of[job_id_][index], self.jobs[job_id_].terms, index, key, expires_at)
        self.apply(assigned)
        return self.place(assigned)

    def _require(self, actor: Actor, role: Role) -> None:
        if (role, actor.key) not in self.roles:
            raise errors.Unauthorised(needed=f"the market's {role}")

    def _task(self, job_id: str, index: int) -> tuple[job.Job, task.Task]:
        owner = self.job_of(job_id)
        if index >= owner.terms.tasks:
            raise errors.UnknownTask(job=job_id, task=index, last=owner.terms.tasks - 1)
        tasks = self.tasks_of.get(job_id)
        if tasks is None:
            raise errors.AlreadySettled(what=f"task {index} of job {job_id}")
        return owner, tasks[index]

    def _post_job(self, command: job.PostJob, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        program = self.programs.get(command.program.address)
        if program is None:
            raise errors.NotAdmitted(program=command.program.address)
        id_ = job_id(actor.key, actor.nonce, actor.item)
        shares = {"fee_ppm": self.fee_ppm, "chain_ppm": self.chain_ppm}
        posted = job.post(command, id_, actor.key, now, program=program, **shares)
        account = self.escrows.get(command.escrow)
        if account is None:
            raise errors.UnknownEscrow(escrow=command.escrow)
        if self.books.is_lapsed(command.escrow):
            ends = self.books.terms[command.escrow][-1].expires_height
            raise errors.TermEnding(escrow=command.escrow, expires_height=ends, height=self.books.height)
        original = self._verified_before(posted) if command.reuse else None
        risky_msat = self.books.at_risk_msat(command.escrow)
        if original is not None:
            due_msat = job.within_budget(command, job.reuse_msat(original))
            reused = JobReused(posted.job, original.job, posted.tasks)
            return posted, reused, escrow.reserve(account, posted.job, actor.key, due_msat, risky_msat)
        due_msat = job.within_budget(command, job.cost_msat(posted))
        return posted, escrow.reserve(account, posted.job, actor.key, due_msat, risky_msat)

    def _verified_before(self, posted: JobPosted) -> JobPosted | None:
        """The job whose results serve as this one's, for less than running it.

        A client trusts the results that it accepted before. What others had verified counts only where a referee ran
        every task itself: a client in league with its workers could have any result verified otherwise.
        """
        for owner in (posted.client, ""):
            found = self.verified_work.get((owner, posted.work_key))
            original = self.jobs[found].terms if found is not None else None
            if original is None or job.reuse_msat(original) >= job.cost_msat(posted):
                continue
            if not owner or original.replicas >= posted.replicas:
                return original
        return None

    def _admit(self, command: AdmitProgram, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "inspector")
        if command.program in self.programs:
            return ()
        if program_stream(command.program) in self._program_streams:
            raise errors.AlreadySettled(what=f"a program whose address begins as that of {command.program}")
        finding = (command.program, command.identity, command.meter, command.platforms, command.jax_version)
        return (ProgramAdmitted(*finding),)

    def _set_fee(self, command: SetFee, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "operator")
        same = (command.fee_ppm, command.chain_ppm) == (self.fee_ppm, self.chain_ppm)
        return () if same else (FeeSet(command.fee_ppm, command.chain_ppm),)

    def _cancel_job(self, command: job.CancelJob, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        return (job.cancel(self.job_of(command.job), actor.key),)

    def _commit(self, command: task.CommitResult, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        owner, held = self._task(command.job, command.task)
        return task.commit(held, owner.terms, command.task, actor.key, command.commitment, now)

    def _submit(self, command: task.SubmitResult, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        owner, held = self._task(command.job, command.task)
        result, equality = command.result, command.equality
        return task.submit(held, owner.terms, command.task, actor.key, command.nonce, result, equality, now)

    def _fail(self, command: task.FailTask, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        owner, held = self._task(command.job, command.task)
        closing = owner.state is not job.State.OPEN
        return task.end(held, owner.terms, command.task, actor.key, now, reason=command.reason, closing=closing)

    def _return(self, command: task.ReturnTasks, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        events: list[AnyEvent] = []
        for job_id_, index in sorted(self.holding(actor.key).tasks - set(command.keep)):
            owner, held = self._task(job_id_, index)
            closing = owner.state is not job.State.OPEN
            try:
                events += task.end(held, owner.terms, index, actor.key, now, closing=closing)
            except errors.AlreadySettled:
                continue
        return events

    def _expire_assignment(self, command: ExpireAssignment, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "clock")
        owner, held = self._task(command.job, command.task)
        closing = owner.state is not job.State.OPEN
        return task.end(held, owner.terms, command.task, command.worker, now, expired=True, closing=closing)

    def _expire_job(self, command: ExpireJob, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "clock")
        return (job.expire(self.job_of(command.job), now),)

    def _rule(self, command: dispute.RuleDispute, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "referee")
        owner, _ = self._task(command.job, command.task)
        return (dispute.rule(self.disputes.get((command.job, command.task)), owner.terms, command, actor.key),)

    def _worker(self, command: worker.Command, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        return worker.decide(self.workers.get(actor.key), command, actor.key)

    def _withdraw_stake(self, command: stake.WithdrawStake, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        locked_msat = self.holding(actor.key).locked_msat
        return (stake.withdraw(self.stake_of(actor.key), locked_msat, command.amount_msat),)

    def _refund_escrow(self, command: escrow.RefundEscrow, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        account = self.escrows.get(escrow_id(actor.key))
        if account is None:
            raise errors.UnknownEscrow(escrow=escrow_id(actor.key))
        return (escrow.refund(account, command.amount_msat),)

    def _open_account(
        self, command: settlement.OpenEscrow | settlement.OpenStake, actor: Actor, now: datetime
    ) -> Sequence[AnyEvent]:
        if isinstance(command, settlement.OpenEscrow):
            return deposits.open_escrow(self, command, actor.key)
        return deposits.open_stake(self, command, actor.key)

    def _settle(self, command: Any, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "settlement")
        return _SETTLED[type(command)](self, command)

    def _contest(self, command: settlement.ContestPayout, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        if self.books.chain is None or actor.key != self.books.chain.arbiter:
            raise errors.Unauthorised(needed="the market's arbiter")
        return paying.contest(self, command)

    def _grant_role(self, command: GrantRole, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "operator")
        granted = (command.role, command.party) in self.roles
        return () if granted else (RoleGranted(command.role, command.party),)

    def _revoke_role(self, command: RevokeRole, actor: Actor, now: datetime) -> Sequence[AnyEvent]:
        self._require(actor, "operator")
        granted = (command.role, command.party) in self.roles
        return (RoleRevoked(command.role, command.party),) if granted else ()

    # -------------------------------------------------------------------------------------------------------- folding
    def apply(self, event: AnyEvent) -> str:
        """Fold one event.

        Returns:
            The job whose completion has to be looked at again, or nothing.
        """
        return _FOLDS[type(event)](self, event)

    def forget(self, job_id: str) -> None:
        """Let go of a completed job's tasks: none of them moves again, and a market that lives long has many.

        A task takes most of a kilobyte. What is sent for one that is forgotten is refused as settled.
        """
        assert self.jobs[job_id].state is job.State.COMPLETED, "what can still move is kept"
        for index, _ in enumerate(self.tasks_of.pop(job_id)):
            self.disputes.pop((job_id, index), None)
        self._prefixes.pop(job_id, None)

    def place(self, event: AnyEvent) -> Fact:
        """An event that was just applied, with its stream and version."""
        return _PLACES[type(event)](self, event)

    def _fold_posted(self, event: JobPosted) -> str:
        self.jobs[event.job] = job.evolve(None, event)
        self.tasks_of[event.job] = [task.new_task(event.replicas)] * event.tasks
        return ""

    def _fold_job(self, event: JobReused | JobCancelled | JobExpired | JobCompleted) -> str:
        moved = self.jobs[event.job] = job.evolve(self.jobs[event.job], event)
        if isinstance(event, JobReused):
            self.tasks_of[event.job] = []  # none of them will ever be given out
        if moved.state is job.State.COMPLETED and moved.verified == moved.terms.tasks and not moved.original:
            self._keep_verified(moved)
        return event.job

    def _keep_verified(self, found: job.Job) -> None:
        """Remember results that may be handed out again; those that more replicas confirmed stay."""
        terms = found.terms
        known = self.verified_work.get((terms.client, terms.work_key))
        if known is None or self.jobs[known].terms.replicas <= terms.replicas:
            self.verified_work[terms.client, terms.work_key] = terms.job
        if found.replayed == terms.tasks:
            self.verified_work["", terms.work_key] = terms.job

    def _fold_task(self, event: Any) -> str:
        job_id_, index = event.job, event.task
        tasks = self.tasks_of[job_id_]
        owner, before = self.jobs[job_id_], tasks[index]
        after = tasks[index] = task.evolve(before, event)
        kind = type(event)
        if kind is ResultCommitted:
            self.holding(event.worker).running -= 1
            return ""
        if kind is ResultSubmitted:
            return ""
        live = verified = replayed = 0
        if kind is TaskAssigned:
            holding = self.holding(event.worker)
            holding.tasks.add((job_id_, index))
            holding.locked_msat += owner.terms.stake_msat
            holding.running += 1
            live = 1
        elif kind is not TaskFailed and kind is not ReplicasWithdrawn:
            holding = self.holding(event.worker)
            holding.tasks.discard((job_id_, index))
            holding.locked_msat -= owner.terms.stake_msat
            holding.running -= before.slots[event.replica].phase is task.Phase.ASSIGNED
            live = -1
            if kind is ResultVerified:
                verified = int(event.settles)
                replayed = int(event.method == "replayed" and not task.verified(before))
        done = 0 if kind is TaskAssigned else int(task.done(after)) - int(task.done(before))
        self.jobs[job_id_] = job.count(owner, live=live, done=done, verified=verified, replayed=replayed)
        return job_id_ if done or owner.state is job.State.CLOSING else ""

    def _fold_dispute(self, event: DisputeOpened | DisputeRuled) -> str:
        key = (event.job, event.task)
        self.disputes[key] = dispute.evolve(self.disputes.get(key), event)
        return ""

    def _fold_worker(self, event: WorkerEvent) -> str:
        self.workers[event.worker] = worker.evolve(self.workers.get(event.worker), event)
        return ""

    def _fold_stake(self, event: StakeEvent) -> str:
        self.stakes[event.worker] = stake.evolve(self.stakes.get(event.worker), event)
        match event:
            case StakeOpened():
                self.books.open_account(event)
            case StakeDeposited():
                self._credit(event)
            case StakeSlashed():
                self.books.slash(event)
            case StakeWithdrawn():
                self.books.leave(event)
        return ""

    def _credit(self, event: StakeDeposited | EscrowFunded) -> None:
        self.references.add(
            reference(OutPoint(event.reference, event.vout)) if event.vout is not None else event.reference
        )
        self.books.deposit(event)

    def _fold_coin(self, event: CoinEvent) -> str:
        self.books.move_coin(event)
        key = key_of(event.account, event.owner)
        missing_msat = self.books.missing_msat[key]
        if event.account == "escrow":
            self.escrows[key] = replace(self.escrows[key], missing_msat=missing_msat)
        elif event.account == "stake":
            self.stakes[key] = replace(self.stakes[key], missing_msat=missing_msat)
        return ""

    def _fold_chain(self, event: ChainEvent) -> str:
        self.books.advance(event)
        return ""

    def _fold_payout(self, event: PayoutEvent) -> str:
        self.books.pay(event)
        return ""

    def _fold_money(self, event: EscrowReserved | EscrowReleased | FeeCharged | EscrowFreed) -> str:
        self.escrows[event.escrow] = escrow.evolve(self.escrows[event.escrow], event)
        self.jobs[event.job] = job.account(self.jobs[event.job], event)
        if isinstance(event, EscrowReleased):
            self.books.earn(event)
        elif isinstance(event, FeeCharged):
            self.books.charge(event)
        else:
            self.books.set_aside(event)
        return event.job

    def _fold_escrow(self, event: EscrowOpened | EscrowFunded | EscrowRefunded) -> str:
        self.escrows[event.escrow] = escrow.evolve(self.escrows.get(event.escrow), event)
        match event:
            case EscrowOpened():
                self.books.open_account(event)
            case EscrowFunded():
                self._credit(event)
            case EscrowRefunded():
                self.books.leave(event)
        return ""

    def _fold_market(self, event: RoleGranted | RoleRevoked | FeeSet) -> str:
        self.market_version += 1
        match event:
            case RoleGranted():
                self.roles.add((event.role, event.party))
            case RoleRevoked():
                self.roles.discard((event.role, event.party))
            case FeeSet():
                self.fee_ppm, self.chain_ppm = event.fee_ppm, event.chain_ppm
        return ""

    def _fold_program(self, event: ProgramAdmitted) -> str:
        self.programs[event.program] = event
        self._program_streams.add(program_stream(event.program))
        return ""

    # -------------------------------------------------------------------------------------------------------- placing
    def _stream(self, kind: Kind, party: str) -> bytes:
        key = (kind, party)
        found = self._streams.get(key)
        if found is None:
            found = self._streams[key] = stream_of(kind, short_id(party))
        return found

    def _place_job(self, event: Any) -> Fact:
        return Fact(event, stream_of(Kind.job, event.job), self.jobs[event.job].version)

    def _place_task(self, event: Any) -> Fact:
        prefix = self._prefixes.get(event.job)
        if prefix is None:
            prefix = self._prefixes[event.job] = stream_of(Kind.task, event.job)[:13]
        index = event.task
        return Fact(event, prefix + index.to_bytes(3, "big"), self.tasks_of[event.job][index].version)

    def _place_dispute(self, event: Any) -> Fact:
        return Fact(event, stream_of(Kind.dispute, event.job, event.task), self.disputes[event.job, event.task].version)

    def _place_worker(self, event: Any) -> Fact:
        return Fact(event, self._stream(Kind.worker, event.worker), self.workers[event.worker].version)

    def _place_stake(self, event: Any) -> Fact:
        return Fact(event, self._stream(Kind.stake, event.worker), self.stakes[event.worker].version)

    def _place_escrow(self, event: Any) -> Fact:
        key = (Kind.escrow, event.escrow)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = stream_of(Kind.escrow, event.escrow)
        return Fact(event, stream, self.escrows[event.escrow].version)

    def _place_market(self, event: Any) -> Fact:
        return Fact(event, self._stream(Kind.market, self.operator), self.market_version)

    def _place_chain(self, event: ChainEvent | CoinEvent) -> Fact:
        return Fact(event, self._stream(Kind.settlement, self.operator), self.books.chain_version)

    def _place_payout(self, event: PayoutEvent) -> Fact:
        stream = stream_of(Kind.settlement, short_id(self.operator), event.epoch)
        return Fact(event, stream, self.books.payouts[event.epoch].version)

    def _place_program(self, event: ProgramAdmitted) -> Fact:
        return Fact(event, program_stream(event.program), 1)


_DECISIONS: dict[type, Callable[..., Sequence[AnyEvent]]] = {
    job.PostJob: World._post_job,
    job.CancelJob: World._cancel_job,
    task.CommitResult: World._commit,
    task.SubmitResult: World._submit,
    task.FailTask: World._fail,
    task.ReturnTasks: World._return,
    dispute.RuleDispute: World._rule,
    stake.WithdrawStake: World._withdraw_stake,
    escrow.RefundEscrow: World._refund_escrow,
    settlement.OpenEscrow: World._open_account,
    settlement.OpenStake: World._open_account,
    settlement.ContestPayout: World._contest,
    ExpireAssignment: World._expire_assignment,
    ExpireJob: World._expire_job,
    GrantRole: World._grant_role,
    RevokeRole: World._revoke_role,
    SetFee: World._set_fee,
    AdmitProgram: World._admit,
    **dict.fromkeys(worker.Command.__args__, World._worker),
}

#: What settlement alone may say.
_SETTLED: dict[type, Callable[..., Sequence[AnyEvent]]] = {
    settlement.ConfirmDeposit: deposits.confirm_deposit,
    settlement.JoinChain: following.join,
    settlement.AdvanceChain: following.advance,
    settlement.ReorganiseChain: following.reorganise,
    settlement.ReportTaken: following.taken,
    settlement.ReturnLapsed: deposits.return_lapsed,
    settlement.PlanPayout: paying.plan,
    settlement.RecordBroadcast: paying.broadcast,
    settlement.ConfirmPayout: paying.confirm,
    settlement.AbandonPayout: paying.abandon,
}
_DECISIONS |= dict.fromkeys(_SETTLED, World._settle)

_TASK_EVENTS = (
    TaskAssigned,
    AssignmentExpired,
    AssignmentReturned,
    AssignmentFailed,
    ResultCommitted,
    ResultSubmitted,
    ResultVerified,
    ResultRejected,
    TaskFailed,
    ReplicasWithdrawn,
)
_FOLDS: dict[type, Callable[..., str]] = {
    JobPosted: World._fold_posted,
    **dict.fromkeys((JobReused, JobCancelled, JobExpired, JobCompleted), World._fold_job),
    **dict.fromkeys(_TASK_EVENTS, World._fold_task),
    **dict.fromkeys((DisputeOpened, DisputeRuled), World._fold_dispute),
    **dict.fromkeys(WorkerEvent.__args__, World._fold_worker),
    **dict.fromkeys(StakeEvent.__args__, World._fold_stake),
    **dict.fromkeys((EscrowReserved, EscrowReleased, FeeCharged, EscrowFreed), World._fold_money),
    **dict.fromkeys((EscrowOpened, EscrowFunded, EscrowRefunded), World._fold_escrow),
    **dict.fromkeys(CoinEvent.__args__, World._fold_coin),
    **dict.fromkeys(ChainEvent.__args__, World._fold_chain),
    **dict.fromkeys(PayoutEvent.__args__, World._fold_payout),
    **dict.fromkeys((RoleGranted, RoleRevoked, FeeSet), World._fold_market),
    ProgramAdmitted: World._fold_program,
}
_PLACES: dict[type, Callable[..., Fact]] = {
    **dict.fromkeys((JobPosted, JobReused, JobCancelled, JobExpired, JobCompleted), World._place_job),
    **dict.fromkeys(_TASK_EVENTS, World._place_task),
    **dict.fromkeys((DisputeOpened, DisputeRuled), World._place_dispute),
    **dict.fromkeys(WorkerEvent.__args__, World._place_worker),
    **dict.fromkeys(StakeEvent.__args__, World._place_stake),
    **dict.fromkeys(EscrowEvent.__args__, World._place_escrow),
    **dict.fromkeys(CoinEvent.__args__, World._place_chain),
    **dict.fromkeys(ChainEvent.__args__, World._place_chain),
    **dict.fromkeys(PayoutEvent.__args__, World._place_payout),
    **dict.fromkeys((RoleGranted, RoleRevoked, FeeSet), World._place_market),
    ProgramAdmitted: World._place_program,
}
