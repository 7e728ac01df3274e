"""What a stranger's program can open: its own directory, programs and libraries, and no key."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.worker import landlock

PROGRAM = """
import ctypes, sys
from services.worker import landlock
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # no new privileges
if not landlock.keep_to(sys.argv[1]):
    sys.exit(77)
open(sys.argv[1] + "/mine", "w").write("written")
import json, numpy
for path in sys.argv[2:]:
    try:
        open(path).read()
    except PermissionError:
        continue
    sys.exit(f"could read {path}")
"""


def test_confined_process_reads_no_key_and_writes_only_its_own_directory(tmp_path: Path) -> None:
    own, keys = tmp_path / "own", tmp_path / "keys"
    own.mkdir()
    keys.mkdir()
    seed = keys / "worker.seed"
    seed.write_text("a secret")
    here = Path(landlock.__file__).parents[2]
    arguments = (sys.executable, "-c", PROGRAM, str(own), str(seed), str(here / "pyproject.toml"))
    done = subprocess.run(arguments, cwd=here, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no Landlock")
    assert (done.returncode, done.stderr) == (0, "")
    assert (own / "mine").read_text() == "written"
