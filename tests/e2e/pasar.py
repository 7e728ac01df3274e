"""The program as a person runs it: a process of its own on a PASAR_HOME of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from services.config import Settings
from tests.system.embedded import DEADLINE_S, wait_until
from tests.system.market import processes_of

COMMAND_S = 120.0
PASAR = (sys.executable, "-W", "error", "-c", "from ui.cli import main; main()")


class Pasar:
    """Runs commands on one PASAR_HOME."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.settings = Settings(home=home)
        self._environment = {**os.environ, "PASAR_HOME": str(home), "TMPDIR": str(home), **environment}

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            (*PASAR, *arguments), capture_output=True, text=True, env=self._environment, timeout=COMMAND_S, check=False
        )

    def text(self, *arguments: str) -> str:
        """What a command prints that has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What a command says in JSON that has to succeed."""
        return msgspec.json.decode(self.text(*arguments, "--json"))

    def refusal(self, *arguments: str) -> str:
        """The one sentence of a command that has to be refused."""
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("pasar: ")
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("pasar: ").strip()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command as a terminal does: leader of its process group."""
        return subprocess.Popen(
            (*PASAR, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
            start_new_session=True,
        )

    def interrupt(self, process: "subprocess.Popen[str]") -> str:
        """Press Ctrl-C, which reaches the whole group; what it had printed."""
        os.killpg(process.pid, signal.SIGINT)
        return process.communicate(timeout=DEADLINE_S)[0]

    def until_gone(self) -> None:
        """Until no process of this home is left."""
        wait_until(lambda: not processes_of(self.settings))
