"""One frozen ``Settings``, read from the environment once; every process gets it from here and nowhere else.

PASAR_HOME          directory of the embedded stack: data, keys, logs, sockets (default: ~/.local/share/pasar)
PASAR_DATABASE_URL  an external PostgreSQL instead of the embedded one
PASAR_NATS_URL      an external nats-server instead of the embedded one
PASAR_MARKET_KEY    public key of the external market, which no client or worker can make up
PASAR_FEE_PPM       the market's share of each price, in parts per million (default: 10000, which is 1 %)
PASAR_CHAIN_PPM     what is kept of each price for those who mine the payouts, likewise (default: 20000, which is 2 %)
PASAR_PAYOUT_EVERY_S    seconds that a payout may be due (default: 6 hours; on the embedded chain it is paid at once)
PASAR_PASSPHRASE    opens the wallets of this machine; may be left out on test networks, where one is made up and kept
PASAR_BITCOIN_NETWORK   regtest (default), signet, testnet4 or main
PASAR_BITCOIN_MAINNET   must be yes for main, where money is real
PASAR_BITCOIN_RPC_URL   a Bitcoin Core node instead of the embedded chain: http://user:password@host:port
PASAR_BITCOIN_COOKIE    that node's .cookie file, instead of user and password
PASAR_BITCOIN_CONFIRMATIONS  blocks that make a deposit or a payout final (default: by network, 1 to 3)
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Final, get_args

from msgspec import Struct

from domain.bitcoin import Network
from domain.errors import Refused

#: The market's share of each price: one percent.
FEE_PPM = 10_000
#: What is kept of each price for miners: a payout never costs more than this share of what it pays.
CHAIN_PPM = 20_000
#: More would freeze every deposit for a day.
CONFIRMATIONS_MAX = 144
#: A payout a week, at least: a term has to outlast several.
EVERY_MAX_S = 7 * 86_400
#: The most that a market may take.
FEE_PPM_MAX = 500_000


class BadSetting(Refused):
    template: ClassVar[str] = "{name} is {value!r}, and must be {allowed}"


class Secret:
    """A text that is in no print, log or message; who needs it asks for it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text: Final = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled; read it from the environment there")


class Settings(Struct, frozen=True, kw_only=True):
    """Attributes:
    database_url, nats_url: Where the stack is reached; absent until the embedded one has started.
    market_key: Of the market that is reached there; absent where it is this machine's own.
    network: Whose money this is.
    passphrase: Opens this machine's wallets.
    bitcoin_rpc_url, bitcoin_cookie: Where a node is and how it lets us in; absent where the chain is embedded.
    """

    home: Path
    database_url: str | None = None
    nats_url: str | None = None
    market_key: str | None = None
    fee_ppm: int = FEE_PPM
    chain_ppm: int = CHAIN_PPM
    payout_every: timedelta | None = None
    network: Network = "regtest"
    passphrase: Secret | None = None
    bitcoin_rpc_url: Secret | None = None
    bitcoin_cookie: Path | None = None
    bitcoin_confirmations: int | None = None

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
        fee_ppm=_ppm("PASAR_FEE_PPM", environ, FEE_PPM),
        chain_ppm=_ppm("PASAR_CHAIN_PPM", environ, CHAIN_PPM),
        payout_every=_seconds("PASAR_PAYOUT_EVERY_S", environ),
        network=_network(environ),
        passphrase=Secret(passphrase) if (passphrase := environ.get("PASAR_PASSPHRASE")) else None,
        bitcoin_rpc_url=Secret(node) if (node := environ.get("PASAR_BITCOIN_RPC_URL", "")) else None,
        bitcoin_cookie=Path(cookie).expanduser() if (cookie := environ.get("PASAR_BITCOIN_COOKIE", "")) else None,
        bitcoin_confirmations=_confirmations(environ.get("PASAR_BITCOIN_CONFIRMATIONS", "")),
    )


def _ppm(name: str, environ: Mapping[str, str], default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) > FEE_PPM_MAX:
        raise BadSetting(name=name, value=text, allowed=f"a whole number from 0 to {FEE_PPM_MAX}")
    return int(text)


def _seconds(name: str, environ: Mapping[str, str]) -> timedelta | None:
    text = environ.get(name, "")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= EVERY_MAX_S:
        raise BadSetting(name=name, value=text, allowed=f"a whole number from 1 to {EVERY_MAX_S}")
    return timedelta(seconds=int(text))


def _confirmations(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= CONFIRMATIONS_MAX:
        allowed = f"a whole number from 1 to {CONFIRMATIONS_MAX}"
        raise BadSetting(name="PASAR_BITCOIN_CONFIRMATIONS", value=text, allowed=allowed)
    return int(text)


def _network(environ: Mapping[str, str]) -> Network:
    asked = environ.get("PASAR_BITCOIN_NETWORK") or "regtest"
    known: tuple[Network, ...] = get_args(Network)
    if asked not in known:
        raise BadSetting(name="PASAR_BITCOIN_NETWORK", value=asked, allowed=f"one of {', '.join(known)}")
    if asked == "main" and environ.get("PASAR_BITCOIN_MAINNET") != "yes":
        allowed = "confirmed by PASAR_BITCOIN_MAINNET=yes, because it moves real money"
        raise BadSetting(name="PASAR_BITCOIN_NETWORK", value=asked, allowed=allowed)
    return known[known.index(asked)]
