"""A thin NATS connection for the three hot loops: commands in, events out, events back in.

`nats-py` spends about 100 µs of Python on each message (task, queue, parser steps), which at five events a task is most
of a core; these loops need 1.0 x Ray on one task a command and do not get there with it. This protocol parses a whole
socket read at once, hands each subscription the list of what came, and writes one buffer a turn of the loop. It knows
publish, subscribe, request and nkey authentication, and nothing else: everybody outside the hot loops uses `nats-py`.
A lost connection ends it (``closed``); its owner connects anew.

Source: NATS client protocol, docs.nats.io/reference/reference-protocols/nats-protocol.
"""

import asyncio
import base64
import itertools
import json
import re
import secrets
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple, cast
from urllib.parse import urlsplit

import structlog

from domain.errors import Refused
from services.keys import Party

log = structlog.get_logger()

#: Bytes waiting for the socket above which a publisher must wait.
WRITE_BUFFER_MAX = 4 << 20
VIOLATION: Final = re.compile(r'permissions violation for (publish|subscription)[^"]*"([^"]+)"', re.IGNORECASE)


class BusError(Exception):
    """The broker refused, or could not be reached."""


class PermissionDenied(BusError, Refused):
    template: ClassVar[str] = "{role} may not {verb} {subject}; connect with a role that may"


class NoResponders(BusError):
    """Nobody serves the subject now."""


class Message(NamedTuple):
    subject: bytes
    reply: bytes
    headers: bytes
    data: bytes


Handler = Callable[[list[Message]], None]


class Wire(asyncio.Protocol):
    """One connection; make it with ``connect``."""

    def __init__(self, party: Party | None, inbox_prefix: str, name: str) -> None:
        loop = asyncio.get_running_loop()
        self._loop, self._party, self._name = loop, party, name
        self._inbox = f"{inbox_prefix}.{secrets.token_hex(8)}"
        self._buffer = b""
        self._handlers: dict[int, Handler] = {}
        self._sids, self._tokens = itertools.count(1), itertools.count(1)
        self._waiting: dict[bytes, tuple[str, asyncio.Future[bytes]]] = {}
        #: Reply subjects that had their answer and may be used again: new ones miss every cache of the broker. One
        #: whose answer never came is given up, because it may still come.
        self._answered: list[str] = []
        self._out: list[bytes] = []
        self._flushing = False
        self._pongs: list[asyncio.Future[None]] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._lost = "the connection to the broker is lost"

    # ------------------------------------------------------------------------------------------------------ using it
    def publish(self, subject: str, data: bytes, *, reply: str = "", headers: bytes = b"") -> None:
        """Send one message; ``headers`` is a whole header block, ``NATS/1.0`` line and empty line included."""
        if headers:
            sizes = f"{len(headers)} {len(headers) + len(data)}"
            self._send(f"HPUB {subject} {reply} {sizes}\r\n".encode() + headers + data + b"\r\n")
        else:
            self._send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n")

    def subscribe(self, subject: str, handler: Handler, *, queue: str = "") -> None:
        """Hand every message on ``subject`` to ``handler``, in lists, from inside the read loop: it must not block."""
        sid = next(self._sids)
        self._handlers[sid] = handler
        self._send(f"SUB {subject} {queue} {sid}\r\n".encode())

    async def request(self, subject: str, data: bytes, *, timeout_s: float | None = 10, headers: bytes = b"") -> bytes:
        """Send and wait for the one answer.

        Args:
            timeout_s: Absent where the caller has a deadline around it.
        Raises:
            PermissionDenied, NoResponders, BusError: The broker's own answer, or a lost connection.
            TimeoutError: None came in time.
        """
        token, answer = self.ask(subject)
        self.publish(subject, data, reply=token, headers=headers)
        try:
            if timeout_s is None:
                return await answer
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            waiting = self._waiting.get(token.encode())
            if waiting is not None and waiting[1] is answer:  # an answered subject may be somebody else's by now
                del self._waiting[token.encode()]

    def ask(self, subject: str) -> tuple[str, asyncio.Future[bytes]]:
        """A reply subject of our own, and the answer that will come there."""
        token = self._answered.pop() if self._answered else f"{self._inbox}.{next(self._tokens)}"
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if self.closed.done():
            answer.set_exception(BusError(self._lost))
        self._waiting[token.encode()] = (subject, answer)
        return token, answer

    def abandon(self, subject: str, reason: str) -> None:
        """End the wait of all who asked on ``subject``: no answer will come."""
        for asked, answer in self._waiting.values():
            if asked == subject and not answer.done():
                answer.set_exception(BusError(reason))

    def new_inbox(self) -> str:
        """A subject that only this connection listens on, once it subscribes."""
        return f"{self._inbox}.{next(self._tokens)}.in"

    async def drain(self) -> None:
        """Wait until the socket takes more."""
        await self._writable.wait()
        if self.closed.done():
            raise BusError(self._lost)

    async def flush(self) -> None:
        """Wait until the broker has seen everything sent so far."""
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        self._send(b"PING\r\n")
        await pong

    def close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    # ------------------------------------------------------------------------------------------------ asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_MAX)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        lost = BusError(self._lost)
        futures: list[asyncio.Future[bytes] | asyncio.Future[None]] = [answer for _, answer in self._waiting.values()]
        futures += [*self._pongs, self._ready]
        for future in futures:
            if not future.done():
                future.set_exception(lost)
                future.exception()  # whoever waits gets it; nobody has to
        self._waiting.clear()
        self._pongs.clear()
        self._writable.set()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at, size, got = 0, len(buffer), dict[int, list[Message]]()
        while (line_end := buffer.find(b"\r\n", at)) >= 0:
            operation = buffer[at]
            if operation == 0x4D or operation == 0x48:  # MSG or HMSG
                parts = buffer[at:line_end].split(b" ")
                with_headers = operation == 0x48
                start = line_end + 2
                stop = start + int(parts[-1])
                if stop + 2 > size:
                    break
                body = start + int(parts[-2]) if with_headers else start
                reply = parts[3] if len(parts) == (6 if with_headers else 5) else b""
                message = Message(parts[1], reply, buffer[start:body], buffer[body:stop])
                sid = int(parts[2])
                if sid in got:
                    got[sid].append(message)
                else:
                    got[sid] = [message]
                at = stop + 2
            else:
                self._control(buffer[at:line_end])
                at = line_end + 2
        self._buffer = buffer[at:]
        for sid, messages in got.items():
            self._handlers[sid](messages)

    # -------------------------------------------------------------------------------------------------------- protocol
    def _control(self, line: bytes) -> None:
        if line.startswith(b"PING"):
            self._send(b"PONG\r\n")
        elif line.startswith(b"PONG"):
            if self._pongs:
                self._pongs.pop(0).set_result(None)
        elif line.startswith(b"INFO ") and not self._ready.done():
            self._log_in(json.loads(line[5:]))
        elif line.startswith(b"-ERR"):
            self._error(line[5:].strip(b"' ").decode())

    def _log_in(self, info: dict[str, object]) -> None:
        options: dict[str, object] = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": True,
            "lang": "pasar",
            "version": "1",
            "name": self._name,
        }
        if self._party is not None and "nonce" in info:
            signature = self._party.sign(str(info["nonce"]).encode())
            options["nkey"] = self._party.key
            options["sig"] = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        self._send(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        self.subscribe(self._inbox + ".*", self._answers)
        self._send(b"PING\r\n")
        self._pongs.insert(0, self._ready)

    def _error(self, text: str) -> None:
        denied = VIOLATION.search(text)
        if not self._ready.done():
            self._ready.set_exception(BusError(text))
        elif denied is not None and denied[1].lower() == "publish":
            role = self._party.name.removeprefix("nats-") if self._party else "public"
            for subject, answer in self._waiting.values():
                if subject == denied[2] and not answer.done():
                    answer.set_exception(PermissionDenied(role=role, verb="publish to", subject=subject))
        elif denied is not None:
            log.warning("nats permission denied", name=self._name, verb=denied[1], subject=denied[2])
        else:
            self._lost = f"the broker ended the connection: {text}"

    def _answers(self, messages: Sequence[Message]) -> None:
        for message in messages:
            _, answer = self._waiting.pop(message.subject, (None, None))
            if answer is None or answer.done():
                continue
            self._answered.append(message.subject.decode())
            if message.headers.startswith(b"NATS/1.0 503"):
                answer.set_exception(NoResponders("nobody serves this subject now"))
            else:
                answer.set_result(message.data)

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and not self._transport.is_closing() and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()


async def connect(url: str, *, party: Party | None, inbox_prefix: str, name: str, timeout_s: float = 5) -> Wire:
    """Connect to the broker at ``url`` (``nats://host:port``) as ``party``.

    Raises:
        PermissionDenied, BusError: The broker does not let the party in, or closed the connection.
        OSError, TimeoutError: It cannot be reached.
    """
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        _, wire = await loop.create_connection(
            lambda: Wire(party, inbox_prefix, name), address.hostname or "127.0.0.1", address.port or 4222
        )
        await wire._ready
    return wire
