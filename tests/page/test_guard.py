"""Who may reach the page out of a browser, and what an address may not do to it."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.page.recorded import demo, look
from ui.page.app import PAGES
from ui.page.context import VALUE_MAX
from ui.page.guard import UPLOADS_BYTES_MAX, Guard, Uploads
from ui.page.parts import html

HOST = "127.0.0.1:8501"
HERE = f"http://{HOST}"
#: Other sites, and other ports and names of this machine, which browsers take for the same site.
FOREIGN = ["https://example.org", "http://127.0.0.1:3000", "http://localhost:8501", "http://localhost", "null", "", "x"]


async def sent(kind: str, origin: str | None, method: str = "GET") -> list[Message]:
    """What a browser gets, from an application that takes whatever reaches it."""
    found: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        accepted: Any = {"type": "websocket.accept"}
        done: Any = {"type": "http.response.start", "status": 200, "headers": []}
        await send(accepted if scope["type"] == "websocket" else done)

    async def receive() -> Message:
        raise AssertionError("nothing has to be read")

    async def send(message: Message) -> None:
        found.append(message)

    headers = [(b"host", HOST.encode()), *([] if origin is None else [(b"origin", origin.encode())])]
    await Guard(application)({"type": kind, "method": method, "path": "/", "headers": headers}, receive, send)
    return found


@pytest.mark.parametrize("origin", FOREIGN)
async def test_pages_of_other_origins_open_no_socket_and_send_nothing(origin: str) -> None:
    assert (await sent("websocket", origin))[0]["type"] == "websocket.close"
    for method in ("PUT", "POST", "DELETE"):
        assert (await sent("http", origin, method))[0]["status"] == 403


async def test_socket_of_nobody_is_not_opened() -> None:
    assert (await sent("websocket", None))[0]["type"] == "websocket.close"


async def test_page_itself_opens_sockets_and_sends() -> None:
    for origin in (HERE, f"https://{HOST}"):
        assert (await sent("websocket", origin))[0]["type"] == "websocket.accept"
        assert (await sent("http", origin, "PUT"))[0]["status"] == 200


async def test_page_may_not_be_framed_and_loads_nothing_from_elsewhere() -> None:
    policy = dict((await sent("http", None))[0]["headers"])[b"content-security-policy"]
    assert b"frame-ancestors 'none'" in policy
    assert b"http" not in policy


# ------------------------------------------------------------------------------------------------------------- uploads
async def put(uploads: Uploads, length: str | None) -> int:
    found: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing has to be read")

    async def send(message: Message) -> None:
        found.append(message)

    headers = [] if length is None else [(b"content-length", length.encode())]
    await uploads({"type": "http", "method": "PUT", "path": "/", "headers": headers}, receive, send)
    return int(found[0]["status"])


async def test_files_of_all_viewers_together_are_bounded_while_they_come_and_when_they_are_here() -> None:
    here, inside = 0, list[int]()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        inside.append(await put(uploads, str(UPLOADS_BYTES_MAX // 2 + 1)) if not inside else 0)
        await send({"type": "http.response.start", "status": 204, "headers": []})

    uploads = Uploads(application, lambda: here)
    assert await put(uploads, str(UPLOADS_BYTES_MAX // 2)) == 204
    assert inside == [507]  # while the first one comes
    assert await put(uploads, str(UPLOADS_BYTES_MAX)) == 204
    here = 1
    assert await put(uploads, str(UPLOADS_BYTES_MAX)) == 507


@pytest.mark.parametrize("length", [None, "", "-1", "x", "9" * 30])
async def test_file_of_unknown_length_is_refused(length: str | None) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it is refused before")

    assert await put(Uploads(application, lambda: 0), length) == 411


# ----------------------------------------------------------------------------------------------------------- addresses
@pytest.mark.parametrize("page", [entry.path for entry in PAGES])
def test_names_in_an_address_cannot_stop_a_page(page: str) -> None:
    look(demo(), page, {"page": "3", "self": "x", "context": "x", "here": "x", "other": "x"})


@pytest.mark.parametrize("value", ["a\0b", "1" * (VALUE_MAX + 1)])
def test_value_that_nothing_can_be_called_is_refused_before_anybody_is_asked(value: str) -> None:
    for page in ("job", "worker", "money", "event", "audit"):
        (error,) = look(demo(), page, {"id": value}).error
        assert error.value == "what the address gives for id is no name of anything here; take it out"


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("sorted by ![x](http://example.org/x.png)", "sorted by \\!\\[x\\]\\(http:\u2060//example.org/x.png\\)"),
        ("see www.example.org", "see www\u2060.example.org"),
        ("the log \n\n# read :red[this] is not here", "the log \\# read \\:red\\[this\\] is not here"),
        ("see `pasar audit --upto N`, or ` this", "see `pasar audit --upto N`, or \\` this"),
    ],
)
def test_refusal_says_what_an_address_put_into_it_and_does_nothing_else(sentence: str, shown: str) -> None:
    assert html.plain(sentence) == shown


def test_refusal_that_quotes_markdown_shows_its_characters() -> None:
    (error,) = look(demo(), "workers", {"sort": "[free money](https://example.org)"}).error
    assert error.value.startswith("workers cannot be sorted by \\[free money\\]\\(https:\u2060//example.org\\);")
