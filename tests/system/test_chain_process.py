"""The embedded chain as a process: it is alone on its directory, opens no socket and writes nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.settlement.errors import ChainInUse
from tests.chain import a_node, a_rich_node


def test_chain_is_open_once(tmp_path: Path) -> None:
    node = a_rich_node(tmp_path, 3)
    with pytest.raises(ChainInUse, match="pasar down"):
        a_node(tmp_path)
    node.close()
    a_node(tmp_path).close()


def test_chain_can_be_opened_once_another_process_that_held_it_is_killed(tmp_path: Path) -> None:
    a_rich_node(tmp_path, 3).close()
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    command = [sys.executable, "-c", hold, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ChainInUse):
            a_node(tmp_path)
        holder.kill()
    node = a_node(tmp_path)
    assert node.tip.height == 3
    node.close()


OPEN_AND_LOOK = """
import os, sys
from pathlib import Path
from tests.chain import MINE, a_rich_node, spend
node = a_rich_node(Path(sys.argv[1]), 110)
node.send(spend(node.coins(MINE)[0]))
node.mine(MINE)
for number in os.listdir("/proc/self/fd"):
    try:
        print(os.readlink(f"/proc/self/fd/{number}"))
    except FileNotFoundError:
        pass
node.close()
"""


def test_chain_opens_no_socket_and_writes_nowhere_else(tmp_path: Path) -> None:
    chain, elsewhere = tmp_path / "chain", tmp_path / "elsewhere"
    elsewhere.mkdir()
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(elsewhere))
    environment = {**os.environ, **places, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_LOOK, str(chain)],
        env=environment,
        cwd=elsewhere,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    opened = done.stdout.splitlines()
    assert str(chain / "journal") in opened
    assert [name for name in opened if not name.startswith((str(chain), "pipe:", "/dev/", "/proc/"))] == []
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in chain.iterdir()} == {"journal", "kernel", "lock"}
