"""One frozen ``Settings``, read from the environment once; every process gets it from here and nowhere else.

PASAR_HOME          directory of the embedded stack: data, keys, logs, sockets (default: ~/.local/share/pasar)
PASAR_DATABASE_URL  an external PostgreSQL instead of the embedded one
PASAR_NATS_URL      an external nats-server instead of the embedded one
PASAR_MARKET_KEY    public key of the external market, which no client or worker can make up
PASAR_FEE_PPM       the market's share of each price, in parts per million (default: 10000, which is 1 %)
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from domain.errors import Refused

#: The market's share of each price: one percent.
FEE_PPM = 10_000
#: The most that a market may take.
FEE_PPM_MAX = 500_000


class BadSetting(Refused):
    template: ClassVar[str] = "{name} is {value!r}, and must be {allowed}"


class Settings(Struct, frozen=True, kw_only=True):
    """Attributes:
    database_url, nats_url: Where the stack is reached; absent until the embedded one has started.
    market_key: Of the market that is reached there; absent where it is this machine's own.
    """

    home: Path
    database_url: str | None = None
    nats_url: str | None = None
    market_key: str | None = None
    fee_ppm: int = FEE_PPM

    @property
    def keys(self) -> Path:
        """Seeds of this machine's parties, one file each, readable by their owner only."""
        return self.home / "keys"

    @property
    def logs(self) -> Path:
        return self.home / "logs"


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process."""
    default = Path(environ.get("XDG_DATA_HOME", "") or Path.home() / ".local" / "share") / "pasar"
    return Settings(
        home=Path(environ.get("PASAR_HOME", "") or default).expanduser().absolute(),
        database_url=environ.get("PASAR_DATABASE_URL") or None,
        nats_url=environ.get("PASAR_NATS_URL") or None,
        market_key=environ.get("PASAR_MARKET_KEY") or None,
        fee_ppm=_fee_ppm(environ.get("PASAR_FEE_PPM", "")),
    )


def _fee_ppm(text: str) -> int:
    if not text:
        return FEE_PPM
    if not text.isdecimal() or int(text) > FEE_PPM_MAX:
        raise BadSetting(name="PASAR_FEE_PPM", value=text, allowed=f"a whole number from 0 to {FEE_PPM_MAX}")
    return int(text)
