"""Connections to NATS that say what was refused: a permission error is raised where a request waits for it."""

import asyncio
import secrets
from collections import Counter
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.nuid import NUID

from domain.errors import Unavailable
from services.bus.wire import VIOLATION, PermissionDenied
from services.config import Settings
from services.keys import party
from services.stack.nats_server import role_key
from services.stack.permissions import inbox

__all__ = ["Connection", "PermissionDenied", "connect"]

log = structlog.get_logger()

CONNECT_S: Final = 5.0


class _Tokens(NUID):
    """Names of inboxes that nobody can foresee: who hears one answer to a party could forge the next by the library's.

    All parties share an inbox, and whoever may create a consumer can have a message delivered to any name.
    """

    def next(self) -> bytearray:
        return bytearray(secrets.token_hex(11).encode())


class Connection(Client):
    """A NATS client that raises ``PermissionDenied`` from the request or subscription that the server refused.

    The server answers a refusal on the connection, not to the request, and the library lower-cases the subject in it;
    a refused subject is refused for all requests on it, so the subject alone says which ones to end.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role
        self._waiting: dict[str, set[asyncio.Timeout]] = {}
        self._refused_subscriptions: Counter[str] = Counter()
        self._nuid = _Tokens()

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As the library's, and it raises ``PermissionDenied`` at once when the server refuses the subject."""
        scope = asyncio.timeout(None)
        waiting = self._waiting.setdefault(subject.lower(), set())
        waiting.add(scope)
        try:
            async with scope:
                return await super().request(subject, payload, timeout, old_style, headers)
        except TimeoutError:
            if scope.expired():
                raise PermissionDenied(role=self.role, verb="publish to", subject=subject) from None
            raise
        finally:
            waiting.discard(scope)
            if not waiting:
                self._waiting.pop(subject.lower(), None)

    async def subscribe(self, subject: str, *args: Any, **options: Any) -> Subscription:
        """As the library's, and it waits until the server has taken the subscription or refused it."""
        subscription = await super().subscribe(subject, *args, **options)
        if self.is_connected:
            await self._flush_pending(force_flush=True)  # `flush` writes its PING past what is still pending
            await self.flush()
        if self._refused_subscriptions[subject.lower()]:
            self._refused_subscriptions[subject.lower()] -= 1
            self._remove_sub(subscription._id)
            raise PermissionDenied(role=self.role, verb="subscribe to", subject=subject)
        return subscription

    async def heard_error(self, error: Exception) -> None:
        """The library's ``error_cb``."""
        refusal = VIOLATION.search(str(error))
        if refusal is None:
            log.warning("nats connection", role=self.role, error=repr(error))
            return
        verb, subject = refusal.group(1).lower(), refusal.group(2).lower()
        log.warning("nats permission denied", role=self.role, verb=verb, subject=subject)
        if verb == "subscription":
            self._refused_subscriptions[subject] += 1
        for scope in self._waiting.get(subject, ()):
            scope.reschedule(asyncio.get_running_loop().time())


async def connect(settings: Settings, role: str, *, name: str) -> Connection:
    """A connection that may do what ``role`` may, and reconnects for ever once it has been made.

    Raises:
        Unavailable: No server is known, or none answers within 5 s.
    """
    if settings.nats_url is None:
        raise Unavailable(reason="no nats-server is known; start the stack with `pasar up`")
    connection = Connection(role)
    try:
        async with asyncio.timeout(CONNECT_S):
            await connection.connect(
                settings.nats_url,
                name=name,
                nkeys_seed_str=party(settings, role_key(role)).seed,
                inbox_prefix=inbox(role),
                error_cb=connection.heard_error,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
            )
    except (TimeoutError, OSError, nats.errors.Error) as error:
        raise Unavailable(reason=f"nats-server at {settings.nats_url} does not answer: {error!r}") from error
    return connection
