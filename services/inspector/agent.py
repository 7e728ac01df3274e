"""Inspector: reads a program in a limited process, says what it takes, and records that the market runs it.

Anyone may ask on ``pasar.inspect``. The finding depends on the program's bytes alone, so it is remembered by address.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain.blobs import address_of
from domain.commands import AdmitProgram
from domain.errors import Corrupt, Refused, Unavailable
from services.bus import inspection
from services.bus.client import Commander
from services.bus.commands import Refusal
from services.bus.inspection import SUBJECT, Answer, Finding, Inspect
from services.bus.wire import BusError
from services.ports import Blobs
from services.programs.verdict import DEFAULT, Inadmissible, Inspection

#: Requests that wait above which more are refused.
WAITING_MAX: Final = 64
#: Findings that are remembered.
FINDINGS_MAX: Final = 4096
#: Time without a request after which the limited process is let go, in seconds.
IDLE_S: Final = 300.0

log = structlog.get_logger()


class Sandbox(Protocol):
    async def inspect(self, program: bytes) -> Inspection:
        """What the program is.

        Raises:
            Inadmissible: The market does not run it.
        """
        ...


class Inspector:
    """Answers requests one at a time.

    Args:
        sandbox: Starts a limited process; it is kept while requests come.
    """

    def __init__(
        self,
        client: Client,
        commander: Commander,
        blobs: Blobs,
        sandbox: Callable[[], AbstractAsyncContextManager[Sandbox]],
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        self._client, self._commander, self._blobs = client, commander, blobs
        self._sandbox, self._idle_s = sandbox, idle_s
        self._fetching: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.Queue[_Turn] = asyncio.Queue(WAITING_MAX)
        self._findings: OrderedDict[str, Finding | Refusal] = OrderedDict()
        self.inspected = self.refused = self.admitted = 0

    def status(self) -> dict[str, object]:
        waiting = len(self._fetching) + self._waiting.qsize()
        return {
            "inspected": self.inspected,
            "refused": self.refused,
            "admitted": self.admitted,
            "waiting": waiting,
        }

    async def serve(self) -> None:
        """Hear requests from now on; ``run`` answers them."""
        await self._client.subscribe(SUBJECT, queue="inspector", cb=self._on_request)

    async def run(self) -> None:
        """Answer for ever."""
        while True:
            first = await self._waiting.get()
            async with self._kept() as sandbox:
                await self._answer(first, sandbox)
                while (message := await self._next()) is not None:
                    await self._answer(message, sandbox)

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator["_OnDemand"]:
        async with AsyncExitStack() as stack:
            yield _OnDemand(self._sandbox, stack)

    async def _next(self) -> "_Turn | None":
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._waiting.get()
        except TimeoutError:
            return None

    async def _on_request(self, message: Msg) -> None:
        if len(self._fetching) + self._waiting.qsize() >= WAITING_MAX:
            await _refuse(message, Unavailable(reason="too many programs wait to be inspected"))
            return
        task = asyncio.get_running_loop().create_task(self._fetch(message))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch(self, message: Msg) -> None:
        """Get the program before its turn comes: one that nobody holds must not keep the others waiting."""
        try:
            asked = inspection.read(message.data)
            program = b"" if asked.program in self._findings else await self._blobs.get(asked.program)
        except (Refused, Corrupt) as refusal:
            await _refuse(message, refusal)
        except TimeoutError:
            await _refuse(message, Unavailable(reason="the program's blob cannot be fetched"))
        else:
            await self._waiting.put(_Turn(message, asked, program))

    async def _answer(self, turn: "_Turn", sandbox: "_OnDemand") -> None:
        message, asked, program = turn
        try:
            found = await self._find(asked.program, program, sandbox)
            if isinstance(found, Finding) and asked.admit:
                found = await self._admit(found)
        except (Refused, Corrupt) as refusal:
            await _refuse(message, refusal)
            return
        except (BusError, TimeoutError) as error:
            found = Refusal(0, "Unavailable", f"the market does not answer: {error or type(error).__name__}")
        await _respond(message, Answer(found) if isinstance(found, Finding) else Answer(refusal=found))

    async def _find(self, address: str, program: bytes, sandbox: "_OnDemand") -> Finding | Refusal:
        """The finding, remembered where the bytes alone decide it; what this machine ran out of is not."""
        known = self._findings.get(address)
        if known is not None:
            self._findings.move_to_end(address)
            return known
        try:
            if not program:  # it was remembered when it was asked for, and is not any more
                program = await self._blobs.get(address)
            if len(program) > DEFAULT.program_bytes:
                raise Inadmissible("too_large", f"{len(program)} bytes, allowed are {DEFAULT.program_bytes}")
            seen = await (await sandbox.ready()).inspect(program)
        except Inadmissible as inadmissible:
            self.refused += 1
            log.info("refused a program", program=address, reason=inadmissible.reason)
            refusal = Refusal(0, inadmissible.name, str(inadmissible))
            return self._remember(address, refusal) if inadmissible.lasting else refusal
        self.inspected += 1
        assert address_of(program) == address, "the store checks what it hands out"
        found = Finding(address, seen.identity, seen.meter, seen.platforms, seen.jax_version or "unknown")
        return self._remember(address, found)

    def _remember(self, address: str, found: Finding | Refusal) -> Finding | Refusal:
        self._findings[address] = found
        while len(self._findings) > FINDINGS_MAX:
            self._findings.popitem(last=False)
        return found

    async def _admit(self, found: Finding) -> Finding:
        command = AdmitProgram(found.program, found.identity, found.meter, found.platforms, found.jax_version)
        reply = await self._commander.send([command])
        self.admitted += bool(reply.position)
        return msgspec.structs.replace(found, position=reply.position)


class _Turn(NamedTuple):
    """A request whose program was fetched; no bytes if its finding was known by then."""

    message: Msg
    asked: Inspect
    program: bytes


class _OnDemand:
    """The limited process, started when it is first needed."""

    def __init__(self, start: Callable[[], AbstractAsyncContextManager[Sandbox]], stack: AsyncExitStack) -> None:
        self._start, self._stack = start, stack
        self._sandbox: Sandbox | None = None

    async def ready(self) -> Sandbox:
        if self._sandbox is None:
            self._sandbox = await self._stack.enter_async_context(self._start())
        return self._sandbox


async def _refuse(message: Msg, refusal: Refused | Corrupt) -> None:
    name = refusal.name if isinstance(refusal, Refused) else type(refusal).__name__
    await _respond(message, Answer(refusal=Refusal(0, name, str(refusal))))


async def _respond(message: Msg, answer: Answer) -> None:
    if message.reply:
        await message.respond(msgspec.json.encode(answer))
