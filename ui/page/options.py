"""How the page is served; it comes to the process in its environment.

PASAR_PAGE_HOST    address to listen on (default: 127.0.0.1)
PASAR_PAGE_PORT    port (default: 8501; 0: any free one)
PASAR_PAGE_HOSTS   further names by which browsers may reach it, with commas; * for any
PASAR_PAGE_SPEND   1: who reaches the page may spend this machine's money (default: only on loopback)
"""

import ipaddress
from collections.abc import Mapping
from typing import Final, Self

from msgspec import Struct

from services.config import BadSetting

HOST: Final = "127.0.0.1"
PORT: Final = 8501
#: The names of this machine for itself.
HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


class Options(Struct, frozen=True, kw_only=True):
    """Attributes:
    hosts: Names under which the page answers, besides those of loopback.
    spend: Whether commands may be sent, which this machine's key signs.
    """

    host: str = HOST
    port: int = PORT
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
        port = environ.get("PASAR_PAGE_PORT") or str(PORT)
        if not port.isdecimal() or int(port) > 65_535:
            raise BadSetting(name="PASAR_PAGE_PORT", value=port, allowed="a whole number from 0 to 65535")
        named = tuple(filter(None, (environ.get("PASAR_PAGE_HOSTS") or "").split(",")))
        own = () if address.is_loopback or address.is_unspecified else (host,)
        spend = environ.get("PASAR_PAGE_SPEND") or ("1" if address.is_loopback else "0")
        if spend not in ("0", "1"):
            raise BadSetting(name="PASAR_PAGE_SPEND", value=spend, allowed="0 or 1")
        return cls(host=host, port=int(port), hosts=(*own, *named), spend=spend == "1")
