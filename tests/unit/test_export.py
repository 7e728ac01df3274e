"""Programs as bytes, and the key that equal work shares."""

import subprocess
import sys

import pytest

from services.programs import export

SOURCE = """
import sys
import numpy as np
from services.programs.export import export_program

def {name}(shared, row):
    return {{"y": shared["w"] @ row["x"]}}

sys.stdout.buffer.write(export_program({name}, {{"w": np.ones((3, 4), "f4")}}, {{"x": np.ones(4, "f4")}}))
"""


def test_program_has_the_same_bytes_in_every_process_and_at_every_path(tmp_path):
    programs = set()
    for name in ("first", "second"):
        path = tmp_path / name / f"{name}.py"
        path.parent.mkdir()
        path.write_text("\n" * len(name) + SOURCE.format(name=name))
        programs.add(subprocess.run([sys.executable, path], capture_output=True, check=True).stdout)
    assert len(programs) == 1
    assert str(tmp_path).encode() not in programs.pop()


def test_work_key_depends_on_every_part_of_the_work():
    key = export.work_key(b"p", b"s", b"m", {"execution": "xla"})
    assert key == export.work_key(b"p", b"s", b"m", {"execution": "xla"})
    assert len(key) == 64
    others = [
        export.work_key(b"q", b"s", b"m", {"execution": "xla"}),
        export.work_key(b"p", b"m", b"s", {"execution": "xla"}),
        export.work_key(b"p", None, b"m", {"execution": "xla"}),
        export.work_key(b"p", b"", b"m", {"execution": "xla"}),
        export.work_key(b"p", b"s", b"m", {"execution": "exact"}),
    ]
    assert len({key, *others}) == 6


@pytest.mark.parametrize("module", ["services.programs.export", "services.worker.executor", "services.worker.device"])
def test_worker_process_does_not_load_jax(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
