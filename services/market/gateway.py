"""Gateway: the one door for commands. A signed batch is opened, decided in memory, recorded, and only then answered.

Everything between the arrival of a frame and ``Log.append`` is synchronous, so commands are decided in the order in
which they came, each on what the one before it left behind. If a commit fails, the world is ahead of the log: the
gateway is thrown away, those who wait are refused, and a new one is built from the log.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from domain import dispute, errors, task
from domain.commands import Actor, Command
from domain.errors import Refused, Unavailable
from domain.events import DisputeOpened, DisputeRuled, JobCompleted, ReplicasWithdrawn, ResultCommitted
from domain.market import Fact, World
from services.bus.commands import (
    Claim,
    DisputeCase,
    Nonces,
    Refusal,
    Reply,
    encode_reply,
    open_frame,
)
from services.bus.wire import Message
from services.ledger.codec import NAMES, Meta, encode, encode_meta
from services.ledger.errors import Conflict
from services.ledger.log import Log
from services.market.matcher import Matcher, Parked
from services.market.timers import Timers
from services.ports import Clock, Record

#: How long a request for work waits for an answer.
PARK = timedelta(seconds=20)
#: How long a referee has a dispute for itself before another is offered it.
OFFER = timedelta(seconds=60)
#: Events that wait for a commit above which commands are refused.
BACKLOG_MAX = 50_000
#: Time without a commit, while some wait for one, after which commands are refused.
STALL = timedelta(seconds=3)

#: What a mistake in the rules raises; the world may have moved by then.
_BUGS = (AssertionError, LookupError, TypeError, ValueError)

Publish = Callable[[str, bytes], None]

log = structlog.get_logger()


class Gateway:
    """Answers command frames; ``publish(subject, data)`` sends the replies."""

    def __init__(self, world: World, nonces: Nonces, events: Log, publish: Publish, clock: Clock) -> None:
        self._world, self._nonces, self._log, self._publish, self._clock = world, nonces, events, publish, clock
        self._matcher, self._timers = Matcher(world), Timers(world)
        self._reveal: dict[str, set[tuple[str, int]]] = {}
        self._disputes: dict[tuple[str, int], datetime] = {}
        self._referees: deque[Parked] = deque()
        self._metas: dict[tuple[str, str, str], bytes] = {}
        self._newest: asyncio.Future[int] | None = None
        self.commands = self.refused = self.waiting = 0
        self._moved_at = clock.now()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        long_ago = datetime.min.replace(tzinfo=clock.now().tzinfo)
        for key, found in world.disputes.items():
            if found.open:
                self._disputes[key] = long_ago
        for job_id, tasks in world.tasks_of.items():
            for index, one in enumerate(tasks):
                self._announce(job_id, index, one)

    # --------------------------------------------------------------------------------------------------------- frames
    def on_messages(self, messages: Sequence[Message]) -> None:
        """Answer each frame, then whoever can be served by what they changed."""
        if self.failed.done():
            for message in messages:
                self._refuse(message.reply.decode(), Unavailable(reason="the market restarts from its log"))
            return
        now = self._clock.now()
        for message in messages:
            self.commands += 1
            reply = message.reply.decode()
            try:
                self._batch(message.data, reply, now)
            except Refused as refusal:
                self._refuse(reply, refusal)
            except (errors.Corrupt, *_BUGS) as error:
                self._contradicted(error)
                self._refuse(reply, Unavailable(reason="the market restarts from its log"))
        try:
            self.serve(now)
        except (errors.Corrupt, Unavailable, *_BUGS) as error:
            self._contradicted(error)

    def _batch(self, frame: bytes, reply: str, now: datetime) -> None:
        if self.waiting > BACKLOG_MAX:
            raise Unavailable(reason="too many commands wait for the log")
        if self.waiting and now - self._moved_at > STALL:
            raise Unavailable(reason="the log does not answer")
        opened = open_frame(frame, self._world.operator, now)
        actor, nonce = opened.actor, opened.body.nonce
        self._nonces.use(actor, nonce, now)
        facts: list[Fact] = []
        refused: list[Refusal] = []
        asked: task.TakeTasks | dispute.TakeDisputes | None = None
        for number, item in enumerate(opened.body.items):
            try:
                if isinstance(item, task.TakeTasks | dispute.TakeDisputes):
                    self._may_ask(item, actor)
                    asked = item
                    continue
                facts += self._decide(item, Actor(actor, nonce, number), now)
                if isinstance(item, task.ReturnTasks):
                    self._start_over(item, actor)
            except Refused as refusal:
                self.refused += 1
                refused.append(Refusal(number, refusal.name, str(refusal)))
        if isinstance(asked, task.TakeTasks):
            self._take(asked, actor, nonce, facts, refused, reply, now)
        elif isinstance(asked, dispute.TakeDisputes):
            self._record(facts, actor, nonce, Reply(refused=refused), "")
            self._referees.append(Parked(actor, asked.limit, reply, now + PARK))
        else:
            self._record(facts, actor, nonce, Reply(refused=refused), reply)

    def _start_over(self, returned: task.ReturnTasks, worker: str) -> None:
        """The worker may have missed answers: its earlier requests end, and it hears again what it may reveal."""
        while (waiting := self._matcher.unpark(worker)) is not None:
            self._answer(waiting.reply, Reply())
        for job_id, index in self._world.holding(worker).tasks.intersection(returned.keep):
            self._announce(job_id, index, self._world.tasks_of[job_id][index])

    def _may_ask(self, item: task.TakeTasks | dispute.TakeDisputes, actor: str) -> None:
        if isinstance(item, task.TakeTasks):
            self._world.worker_of(actor)
        elif ("referee", actor) not in self._world.roles:
            raise errors.Unauthorised(needed="the market's referee")

    def _decide(self, item: Command, actor: Actor, now: datetime) -> list[Fact]:
        facts = self._world.execute(item, actor, now)
        for fact in facts:
            self._see(fact, now)
        return facts

    def _take(
        self,
        asked: task.TakeTasks,
        actor: str,
        nonce: str,
        facts: list[Fact],
        refused: list[Refusal],
        reply: str,
        now: datetime,
    ) -> None:
        leases, assigned = self._matcher.lease(actor, asked.slots, now)
        for fact in assigned:
            self._see(fact, now)
        facts += assigned
        reveal = self._revealable(actor)
        if leases or reveal or facts or refused:
            self._record(facts, actor, nonce, Reply(refused=refused, leases=leases, reveal=reveal), reply)
        else:
            self._matcher.park(Parked(actor, asked.slots, reply, now + PARK))

    # ------------------------------------------------------------------------------------------------ who can be served
    def serve(self, now: datetime) -> None:
        """Answer parked requests that have work, something to reveal, or have waited long enough."""
        for parked, leases, assigned in self._matcher.serve(now):
            for fact in assigned:
                self._see(fact, now)
            reply = Reply(leases=leases, reveal=self._revealable(parked.worker))
            self._record(assigned, self._world.operator, secrets.token_hex(16), reply, parked.reply)
        for worker in list(self._reveal):
            waiting = self._matcher.unpark(worker)
            if waiting is not None:
                self._answer_recorded(waiting.reply, Reply(reveal=self._revealable(worker)))
        while self._referees and (cases := self._cases(self._referees[0], now)):
            self._answer_recorded(self._referees.popleft().reply, Reply(disputes=cases))

    def tick(self, now: datetime) -> None:
        """Issue the clock's commands for what has run out, and let go whoever waited long enough."""
        if self.failed.done():
            return
        for command in self._timers.due(now):
            nonce = secrets.token_hex(16)
            try:
                facts = self._decide(command, Actor(self._world.operator, nonce), now)
            except Refused as refusal:
                log.warning("a timer was refused", command=type(command).__name__, reason=str(refusal))
                continue
            self._record(facts, self._world.operator, nonce, Reply(), "")
        for parked in self._matcher.expired(now):
            self._answer(parked.reply, Reply())
        while self._referees and self._referees[0].until <= now:
            self._answer(self._referees.popleft().reply, Reply())
        self.serve(now)

    def _see(self, fact: Fact, now: datetime) -> None:
        self._matcher.see(fact)
        self._timers.see(fact)
        event: Any = fact.event
        kind = type(event)
        if kind is ResultCommitted or kind is ReplicasWithdrawn:
            if event.reveal_by is not None:
                self._announce(event.job, event.task, self._world.tasks_of[event.job][event.task])
        elif kind is DisputeOpened:
            self._disputes[event.job, event.task] = now
        elif kind is DisputeRuled:
            self._disputes.pop((event.job, event.task), None)
        elif kind is JobCompleted:
            self._world.forget(event.job)

    def _announce(self, job_id: str, index: int, one: task.Task) -> None:
        """Tell the holders of a task whose replicas are all bound that they may submit."""
        if len(one.slots) > 1 and task.revealable(one):
            for slot in one.slots:
                if slot.phase is task.Phase.COMMITTED:
                    self._reveal.setdefault(slot.worker, set()).add((job_id, index))

    def _revealable(self, worker: str) -> list[tuple[str, int]]:
        return sorted(self._reveal.pop(worker, ()))

    def _cases(self, parked: Parked, now: datetime) -> list[DisputeCase]:
        cases: list[DisputeCase] = []
        for key, offered_until in self._disputes.items():
            workers = self._world.disputes[key].workers
            if offered_until <= now and parked.worker not in workers and len(cases) < parked.slots:
                job_id, index = key
                slots = self._world.tasks_of[job_id][index].slots
                claims = [Claim(s.worker, s.result) for s in slots if s.worker in workers and s.result is not None]
                cases.append(DisputeCase(self._world.jobs[job_id].terms, index, claims))
        for case in cases:
            self._disputes[case.terms.job, case.task] = now + OFFER
        return cases

    # ------------------------------------------------------------------------------------------------------ recording
    def _record(self, facts: Sequence[Fact], actor: str, nonce: str, answer: Reply, reply: str) -> None:
        if not facts:
            self._answer_recorded(reply, answer)
            return
        records = [
            Record(
                fact.stream,
                fact.version,
                NAMES[type(fact.event)],
                encode(fact.event),
                self._meta(actor, fact, nonce),
            )
            for fact in facts
        ]
        if not self.waiting:
            self._moved_at = self._clock.now()
        self.waiting += len(records)
        try:
            future = self._newest = self._log.append(records)
        except Refused as refusal:  # the world has moved and the log has not
            self._fail(refusal)
            raise

        def recorded(done: asyncio.Future[int]) -> None:
            self.waiting -= len(records)
            self._moved_at = self._clock.now()
            error = done.exception() if not done.cancelled() else Unavailable(reason="the market stops")
            if error is not None:
                self._fail(error)
                self._refuse(reply, Unavailable(reason="the log could not be written"))
            else:
                position = done.result()
                self._answer(reply, Reply(position, answer.refused, answer.leases, answer.reveal, answer.disputes))

        future.add_done_callback(recorded)

    def _meta(self, actor: str, fact: Fact, nonce: str) -> bytes:
        job_id = getattr(fact.event, "job", None)
        correlation = f"{job_id}01000000" if job_id else fact.stream.hex()
        key = (actor, correlation, nonce)
        meta = self._metas.get(key)
        if meta is None:
            if len(self._metas) > 1_000:
                self._metas.clear()
            meta = self._metas[key] = encode_meta(Meta(actor, correlation, nonce[:16]))
        return meta

    def _answer(self, reply: str, answer: Reply) -> None:
        if reply:
            self._publish(reply, encode_reply(answer))

    def _answer_recorded(self, reply: str, answer: Reply) -> None:
        """Answer with what follows from facts on their way, once they are on disk: nobody acts on what may be lost."""
        if self._newest is None or self._newest.done():
            self._answer(reply, answer)
            return

        def recorded(done: asyncio.Future[int]) -> None:
            if done.cancelled() or done.exception() is not None:
                self._refuse(reply, Unavailable(reason="the log could not be written"))
            else:
                self._answer(reply, answer)

        self._newest.add_done_callback(recorded)

    def _refuse(self, reply: str, refusal: Refused) -> None:
        self.refused += 1
        if reply:
            self._publish(reply, encode_reply(Reply(refused=[Refusal(-1, refusal.name, str(refusal))])))

    def _contradicted(self, error: Exception) -> None:
        log.critical("a decision contradicts the rules", error=str(error))
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error if isinstance(error, Exception) else RuntimeError(str(error)))
            for parked in (*self._matcher.let_go(), *self._referees):
                self._refuse(parked.reply, Unavailable(reason="the market restarts from its log"))
            if isinstance(error, Conflict):
                log.critical("another writer took a place in the log", error=str(error))
