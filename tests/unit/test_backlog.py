"""What a worker has computed and not delivered: limits that are kept, and nothing that outlives its use."""

import os
from pathlib import Path

import pytest

from domain.errors import Unavailable
from services.worker.backlog import Sealed
from services.worker.packing import Bound, Result, bind

JOB = "j" * 24


def results(*sizes: int) -> list[Bound]:
    """One blob each."""
    return [bind([Result(JOB, task, os.urandom(size))])[0] for task, size in enumerate(sizes)]


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_results_above_the_limit_of_memory_wait_on_disk_and_come_back(tmp_path: Path) -> None:
    sealed, bound = Sealed(tmp_path, bytes_in_memory=150), results(100, 100, 3_000_000)
    assert await sealed.keep(bound) == [one.submission for one in bound]
    assert sealed.bytes_in_memory == 100
    assert files(tmp_path) == sorted(one.submission.result.address for one in bound[1:])
    assert [await sealed.open(one.submission.result.address) for one in bound] == [one.stored for one in bound]


async def test_blob_of_several_results_goes_with_the_last_of_them(tmp_path: Path) -> None:
    sealed = Sealed(tmp_path, bytes_in_memory=0)
    bound = bind([Result(JOB, task, b"x" * 10) for task in (0, 1)])
    address = bound[0].submission.result.address
    await sealed.keep(bound)
    sealed.forget([(JOB, 0)])
    assert await sealed.open(address) == bound[0].stored
    sealed.forget([(JOB, 1)])
    assert files(tmp_path) == []
    with pytest.raises(Unavailable):
        await sealed.open(address)


async def test_first_result_of_a_task_stands(tmp_path: Path) -> None:
    sealed, first, second = Sealed(tmp_path), results(10), results(10)
    await sealed.keep(first)
    assert await sealed.keep(second) == [first[0].submission]
    assert len(sealed) == 1


@pytest.mark.parametrize("limits", [{"bytes_max": 250}, {"most": 2}], ids=["bytes", "number"])
async def test_oldest_go_when_there_are_too_many(tmp_path: Path, limits: dict[str, int]) -> None:
    sealed = Sealed(tmp_path, bytes_in_memory=100, **limits)
    await sealed.keep(results(100, 100, 100, 100))
    assert sealed.shrink() == [(JOB, 0), (JOB, 1)]
    assert list(sealed) == [(JOB, 2), (JOB, 3)]
    assert sealed.shrink() == []
    assert sealed.bytes_in_memory == 0
    assert len(files(tmp_path)) == 2


async def test_folder_that_takes_nothing_is_told(tmp_path: Path) -> None:
    sealed, bound = Sealed(tmp_path / "gone", bytes_in_memory=0), results(10)
    (tmp_path / "gone").rmdir()
    with pytest.raises(Unavailable, match="No such file"):
        await sealed.keep(bound)
    sealed.forget([(JOB, 0)])
    assert len(sealed) == 0


async def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    await Sealed(tmp_path, bytes_in_memory=0).keep(results(10))
    assert len(files(tmp_path)) == 1
    assert len(Sealed(tmp_path)) == 0
    assert files(tmp_path) == []
