"""Bitcoin Core's JSON-RPC over HTTP, as few lines as it needs.

The standard library's client: bitcoinlib's asks a wallet and third parties, ``bitcoinrpc`` brings an HTTP stack and a
JSON parser of its own for a dozen calls, ``python-bitcoinrpc`` is no longer kept. Calls block; ``core`` gives them
threads. Amounts are read as decimals, never as floats.
"""

import base64
import http.client
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from services.settlement.errors import (
    BadNodeUrl,
    CookieUnreadable,
    NodeAccess,
    NodeAnswer,
    NodeNotReady,
    NodeUnreachable,
)

TIMEOUT_S: Final = 30.0
#: Two hex digits for each byte of the largest block, and room for a batch of small answers.
_ANSWER_BYTES_MAX: Final = 1 << 26
_WARMING_UP: Final = -28
_SATS: Final = Decimal(100_000_000)


class RpcError(Exception):
    """The node understood the call and says no; ``core`` translates it. Source: Bitcoin Core's rpc/protocol.h."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Rpc:
    """Attributes:
    address: Host and port, for messages; user and password are in none.
    """

    def __init__(self, url: str, *, cookie: Path | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Args:
            url: ``http://user:password@host:port``, signs in either quoted as in any URL.
            cookie: The file with which a node lets its own account in; it is read at every call, because the node
                writes another one at each start.
        Raises:
            BadNodeUrl: Something else.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # its text would quote the URL, which holds the password
            raise BadNodeUrl(reason="it cannot be read") from None
        if parts.scheme not in ("http", "https"):
            raise BadNodeUrl(reason="it begins with neither http:// nor https://")
        if not host or port is None:
            raise BadNodeUrl(reason="it lacks the host or the port")
        self.address = f"{host}:{port}"
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._path = host, port, parts.path or "/"
        self._login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
        self._cookie, self._timeout_s = cookie, timeout_s

    def __repr__(self) -> str:
        return f"Rpc({self.address!r})"

    def call(self, method: str, *params: object) -> Any:
        """The result of one call.

        Raises:
            RpcError: The node says no.
            Refused: It cannot be asked, or does not answer as a node does.
        """
        (answer,) = self.batch([(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    def batch(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """The results of several calls in their order; in place of one, the ``RpcError`` that it met.

        Raises:
            Refused: As ``call``.
        """
        if not calls:
            return []
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
            for number, (method, params) in enumerate(calls)
        ]
        single, method = len(asked) == 1, calls[0][0]
        answers = self._post(json.dumps(asked[0] if single else asked).encode(), method)
        found: dict[object, Any] = {}
        for answer in [answers] if single else answers if isinstance(answers, list) else []:
            if not isinstance(answer, dict):
                raise NodeAnswer(method=method, code="no answer", reason="it is no JSON-RPC")
            found[answer.get("id")] = self._result(answer)
        if set(found) != set(range(len(asked))):
            raise NodeAnswer(method=method, code="another answer", reason="its ids are not those that were asked")
        return [found[number] for number in range(len(asked))]

    def _result(self, answer: dict[str, Any]) -> Any:
        error = answer.get("error")
        if error is None:
            return answer.get("result")
        if not isinstance(error, dict) or not isinstance(error.get("code"), int):
            return RpcError(0, str(error)[:200])
        if error["code"] == _WARMING_UP:
            raise NodeNotReady(address=self.address, reason=error.get("message"))
        return RpcError(error["code"], str(error.get("message")))

    def _post(self, body: bytes, method: str) -> Any:
        connection = self._connection(self._host, self._port, timeout=self._timeout_s)
        headers = {"Content-Type": "application/json", **self._authorization()}
        try:
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            answer = response.read(_ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise NodeUnreachable(address=self.address, reason=reason) from error
        finally:
            connection.close()
        if response.status in (401, 403):
            raise NodeAccess(address=self.address)
        if len(answer) > _ANSWER_BYTES_MAX:
            raise NodeAnswer(method=method, code=response.status, reason=f"more than {_ANSWER_BYTES_MAX} bytes")
        try:
            return json.loads(answer, parse_float=Decimal)
        except ValueError:
            raise NodeAnswer(method=method, code=response.status, reason="it is no JSON") from None

    def _authorization(self) -> dict[str, str]:
        login = self._login
        if self._cookie is not None:
            try:
                login = self._cookie.read_text().strip()
            except OSError as error:
                raise CookieUnreadable(path=self._cookie, reason=error.strerror) from None
        if login is None:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def sats(bitcoin: Decimal | int) -> int:
    """Whole satoshi of an amount as the node writes it.

    Raises:
        NodeAnswer: Parts of a satoshi; no node says so.
    """
    amount = Decimal(bitcoin) * _SATS
    if amount != amount.to_integral_value():
        raise NodeAnswer(method="amount", code="a fraction", reason=f"{bitcoin} is no whole number of satoshi")
    return int(amount)
