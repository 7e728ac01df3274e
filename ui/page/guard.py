"""Who may reach the page's port out of a browser: pages that came from it, and nobody's frame.

Whoever may spend here is known by reaching the port alone, so a page of another site, or of another port of this
machine, must not reach it with a viewer's own browser. Streamlit lets every port of this machine in.
"""

from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

#: Requests that change nothing; what they answer, no page of another origin can read.
_READS: Final = ("GET", "HEAD", "OPTIONS")
#: What a page loads comes from here, whatever text of strangers it shows. Streamlit's charts make code of expressions.
POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
#: What files that viewers sent may take of memory, all together, in bytes; each of them is bounded by Streamlit.
UPLOADS_BYTES_MAX: Final = 1 << 30


class Guard:
    """Refuses sockets and commands of other origins; tells browsers what a page may load and that none may frame it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            if not _own(Headers(scope=scope)):
                await WebSocketClose(1008)(scope, receive, send)
                return
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = Headers(scope=scope)
            if scope["method"] not in _READS and "origin" in headers and not _own(headers):
                await PlainTextResponse("a page of another origin may not do this\n", 403)(scope, receive, send)
                return
            await self._app(scope, receive, _told(send))
        else:
            await self._app(scope, receive, send)


class Uploads:
    """Refuses files beyond what all of them together may take. Streamlit keeps them until their session is over.

    Args:
        held: What those that have come take, in bytes.
    """

    def __init__(self, app: ASGIApp, held: Callable[[], int]) -> None:
        self._app, self._held = app, held
        self._coming = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if scope["method"] == "PUT" and not (length.isascii() and length.isdecimal() and len(length) < 16):
            await PlainTextResponse("say how long the file is\n", 411)(scope, receive, send)
            return
        size = int(length or 0)
        if self._held() + self._coming + size > UPLOADS_BYTES_MAX:
            await PlainTextResponse("too many files are open here; try again in a few minutes\n", 507)(
                scope, receive, send
            )
            return
        self._coming += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._coming -= size


def _own(headers: Headers) -> bool:
    host = headers.get("host", "")
    return headers.get("origin") in (f"http://{host}", f"https://{host}")


def _told(send: Send) -> Send:
    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = POLICY
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "same-origin"
        await send(message)

    return tell
