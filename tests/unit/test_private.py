"""Private files: whole or not there, and for their owner alone."""

from pathlib import Path

import pytest

from services import private


def test_first_file_stands(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "a"
    private.create(file, b"first")
    private.create(file, b"second")
    assert private.read(file) == b"first"
    assert [path.name for path in file.parent.iterdir()] == ["a"]


def test_replaced_file_is_the_new_one_and_private(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "a"
    private.create(file, b"first")
    private.replace(file, b"second")
    assert private.read(file) == b"second"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["a"]


def test_failed_replacement_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a" / "full").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        private.replace(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "a"
    private.create(file, b"secret")
    file.chmod(mode)
    with pytest.raises(private.KeyExposed, match=f"run `chmod 600 {file}`"):
        private.read(file)
