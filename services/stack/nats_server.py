"""nats-server from its wheel: on the loopback only, JetStream that writes before it answers, a key for every role."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sysconfig
from pathlib import Path
from typing import ClassVar, Final

from domain.errors import Refused
from services.config import Settings
from services.keys import party
from services.stack.permissions import ROLES, subscriptions
from services.stack.process import Service

_HOST: Final = "127.0.0.1"


class NatsMissing(Refused):
    template: ClassVar[str] = "nats-server is not installed here; reinstall pasar or set PASAR_NATS_URL"


def service(settings: Settings) -> Service:
    """nats-server as the supervisor keeps it, on this PASAR_HOME's port."""
    number = port(settings)
    place = settings.home / "nats"
    configuration = place / "nats.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(conf(settings, number))
    return Service(
        name="nats",
        argv=(program(), "-c", str(configuration)),
        ready=lambda _: greets(number),
        environment={"GOMEMLIMIT": "512MiB"},
        stop=((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)),
    )


def url(settings: Settings) -> str:
    """Where clients connect."""
    return f"nats://{_HOST}:{port(settings)}"


def program() -> str:
    """The nats-server that came with this Python, or else the machine's."""
    own = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(own) if own.exists() else shutil.which("nats-server")
    if found is None:
        raise NatsMissing
    return found


def port(settings: Settings) -> int:
    """The port of this PASAR_HOME: chosen at the first start and kept, unless another program has taken it."""
    place = settings.home / "nats"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = place / "port"
    if kept.exists() and (text := kept.read_text().strip()).isdigit() and _free(int(text)):
        return int(text)
    with socket.socket() as free:
        free.bind((_HOST, 0))
        number = int(free.getsockname()[1])
    draft = place / f".port.{os.getpid()}"
    draft.write_text(f"{number}\n")
    draft.replace(kept)
    return number


def _free(number: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((_HOST, number))
        except OSError:
            return False
    return True


async def greets(number: int) -> bool:
    """Whether a nats-server says INFO on the port."""
    try:
        reader, writer = await asyncio.open_connection(_HOST, number)
    except OSError:
        return False
    try:
        return (await asyncio.wait_for(reader.readline(), 1)).startswith(b"INFO")
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


def conf(settings: Settings, number: int) -> str:
    """The server's configuration; JSON strings are valid in it."""
    users = ",\n    ".join(_user(settings, role) for role in ROLES)
    text = json.dumps
    return f"""\
server_name: pasar
listen: {text(f"{_HOST}:{number}")}
max_payload: 8MB
max_pending: 256MB
log_file: {text(str(settings.logs / "nats.log"))}
logfile_size_limit: 10MB
logfile_max_num: 3
jetstream {{
  store_dir: {text(str(settings.home / "nats" / "jetstream"))}
  sync_interval: always
  max_file_store: 8GB
  max_memory_store: 64MB
}}
no_auth_user: {party(settings, role_key("public")).key}
authorization {{
  users = [
    {users}
  ]
}}
"""


def role_key(role: str) -> str:
    """Name of the key that the role connects with; it signs connections only, never commands."""
    return f"nats-{role}"


def _user(settings: Settings, role: str) -> str:
    allowed = {
        "publish": {"allow": ROLES[role].publish},
        "subscribe": {"allow": subscriptions(role)},
    }
    answers = {"allow_responses": {"max": 1, "expires": "1m"}} if ROLES[role].answers else {}
    return f"{{ nkey: {party(settings, role_key(role)).key}, permissions: {json.dumps(allowed | answers)} }}"
