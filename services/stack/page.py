"""The market's page as a service of the stack; how it is served comes from the environment.

PASAR_PAGE         0: no page
PASAR_PAGE_HOST    address to listen on (default: 127.0.0.1)
PASAR_PAGE_PORT    port (default: 8501, or any free one where that is taken; 0: any free one)
PASAR_PAGE_HOSTS   further names by which browsers may reach it, with commas; * for any
PASAR_PAGE_SPEND   1: who reaches the page may spend this machine's money (default: only where it is reached by
                   this machine's own names alone)
"""

import errno
import ipaddress
import socket
import sys
from collections.abc import Mapping
from typing import ClassVar, Final, Self

from msgspec import Struct

from domain.errors import Refused
from services.config import BadSetting
from services.stack.process import AROUND, Service

HOST: Final = "127.0.0.1"
PORT: Final = 8501
#: The names of this machine for itself.
HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")
#: The descriptor of a socket that listens already.
FD: Final = "PASAR_PAGE_FD"
_BACKLOG: Final = 128


class PortTaken(Refused):
    template: ClassVar[str] = "port {port} of {host} is taken; choose another in PASAR_PAGE_PORT; 0 is any free one"


class NoAddress(Refused):
    template: ClassVar[str] = "the page cannot listen on {host}: {reason}"


class Options(Struct, frozen=True, kw_only=True):
    """Attributes:
    port: Absent: the usual one, or any free one where that is taken.
    hosts: Names under which the page answers, besides those of loopback.
    spend: Whether commands may be sent, which this machine's key signs.
    """

    wanted: bool = True
    host: str = HOST
    port: int | None = None
    hosts: tuple[str, ...] = ()
    spend: bool = True

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Raises:
        BadSetting: A value cannot be used.
        """
        host = environ.get("PASAR_PAGE_HOST") or HOST
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise BadSetting(name="PASAR_PAGE_HOST", value=host, allowed="an address as 127.0.0.1 or ::1") from None
        port = environ.get("PASAR_PAGE_PORT") or None
        if port is not None and not (port.isdecimal() and int(port) < 1 << 16):
            raise BadSetting(name="PASAR_PAGE_PORT", value=port, allowed="a whole number from 0 to 65535")
        named = tuple(filter(None, (environ.get("PASAR_PAGE_HOSTS") or "").split(",")))
        own = () if address.is_loopback or address.is_unspecified or host in named else (host,)
        return cls(
            wanted=_flag(environ, "PASAR_PAGE", default=True),
            host=host,
            port=None if port is None else int(port),
            hosts=(*own, *named),
            # behind a name of its own something may stand that lets others in, a tunnel or another server
            spend=_flag(environ, "PASAR_PAGE_SPEND", default=address.is_loopback and not named),
        )

    @property
    def environment(self) -> dict[str, str]:
        """What ``from_environment`` reads the same from."""
        return {
            "PASAR_PAGE": str(int(self.wanted)),
            "PASAR_PAGE_HOST": self.host,
            "PASAR_PAGE_PORT": "" if self.port is None else str(self.port),
            "PASAR_PAGE_HOSTS": ",".join(self.hosts),
            "PASAR_PAGE_SPEND": str(int(self.spend)),
        }


def _flag(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = environ.get(name) or str(int(default))
    if value not in ("0", "1"):
        raise BadSetting(name=name, value=value, allowed="0 or 1")
    return value == "1"


def services(options: Options) -> tuple[Service, ...]:
    """The page's process, if it is wanted. Its socket is bound here and outlives it, so its address stays the same.

    Raises:
        PortTaken, NoAddress: It cannot be bound.
    """
    if not options.wanted:
        return ()
    listening = listen(options)
    descriptor = listening.detach()
    found = Service(
        name="page",
        argv=(sys.executable, "-m", "ui.page.serve"),
        environment=options.environment | {FD: str(descriptor)},
        secrets=("PASAR_PASSPHRASE",),
        pass_fds=(descriptor,),
        url=url(options, descriptor),
        ready_s=60,
        stage=AROUND,
    )
    return (found,)


def listen(options: Options) -> socket.socket:
    """A socket that listens.

    Raises:
        PortTaken: The port that was asked for is another's.
        NoAddress: The address is none of this machine's.
    """
    for port in (PORT, 0) if options.port is None else (options.port,):
        found = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((options.host, port))
            found.listen(_BACKLOG)
        except OSError as error:
            found.close()
            if error.errno != errno.EADDRINUSE:
                raise NoAddress(host=options.host, reason=error.strerror) from None
            continue
        return found
    raise PortTaken(port=options.port, host=options.host)


def url(options: Options, descriptor: int) -> str:
    """Where a browser finds what listens there."""
    with socket.socket(fileno=descriptor) as listening:
        port = listening.getsockname()[1]
        listening.detach()
    host = HOST if ipaddress.ip_address(options.host).is_unspecified else options.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
