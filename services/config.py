"""One frozen ``Settings``, read from the environment once; every process gets it from here and nowhere else.

PASAR_HOME          directory of the embedded stack: data, keys, logs, sockets (default: ~/.local/share/pasar)
PASAR_DATABASE_URL  an external PostgreSQL instead of the embedded one
PASAR_NATS_URL      an external nats-server instead of the embedded one
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct


class Settings(Struct, frozen=True, kw_only=True):
    """Attributes:
    database_url, nats_url: Where the stack is reached; absent until the embedded one has started.
    """

    home: Path
    database_url: str | None = None
    nats_url: str | None = None

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
    )
