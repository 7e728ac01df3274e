"""What the embedded chain acknowledged is there again, whenever it dies and whatever becomes of the kernel's cache."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from domain.errors import Corrupt
from services.settlement.errors import ChainLost
from services.settlement.journal import MAGIC, Entry, Journal, Kind, pack, unpack
from services.settlement.kernel import Kernel
from services.settlement.miner import subsidy_sat, template
from services.settlement.node import Node
from tests.chain import AWAY, MINE, a_node, a_rich_node, spend
from tests.crashing import BLOCKS, MOMENTS, STEPS, Moment, State, Step, prepare, state, steps


def after(directory: Path) -> State:
    """The state that opening the directory finds."""
    node = a_node(directory)
    found = state(node)
    node.close()
    return found


class Story(NamedTuple):
    """A chain that nothing disturbs: its states before the first step and after each."""

    steps: list[Step]
    states: list[State]

    def goes_on(self, node: Node, done: int) -> bool:
        """Whether the rest of the steps leads to the same end."""
        for step in self.steps[done:]:
            step(node)
        return state(node) == self.states[-1]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    node = a_node(prepare(tmp_path_factory.mktemp("undisturbed") / "chain"))
    story = Story(steps(node), [state(node)])
    for step in story.steps:
        step(node)
        story.states.append(state(node))
    node.close()
    assert len(story.states) == STEPS + 1
    return story


@pytest.fixture(scope="module")
def killer() -> Iterator[Callable[[Path, int, Moment], int]]:
    """Runs the steps in a process that dies in the middle, and returns the signal that ended it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crashing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def kill(directory: Path, append: int, moment: Moment) -> int:
            print(directory, append, moment, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield kill
        process.stdin.close()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("append", range(STEPS))
def test_chain_is_as_it_was_acknowledged_after_a_kill(
    tmp_path: Path,
    killer: Callable[[Path, int, Moment], int],
    story: Story,
    append: int,
    moment: Moment,
) -> None:
    chain = prepare(tmp_path / "chain")
    assert killer(chain, append, moment) == signal.SIGKILL
    acknowledged = (chain / "acknowledged").read_text().splitlines()
    recorded = append + (moment in ("written", "synced"))
    left_behind = Kernel(chain / "kernel")
    assert (left_behind.tip.height > 0) == (append > 6)  # three blocks later
    left_behind.close()
    node = a_node(chain)
    assert len(acknowledged) == append
    assert state(node) == story.states[recorded]
    assert story.goes_on(node, recorded)
    node.close()


def test_chain_that_dies_while_its_journal_is_begun_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    a_node(tmp_path / "whole").close()
    whole = (tmp_path / "whole" / "journal").read_bytes()
    assert whole == MAGIC
    for length in range(len(whole)):
        chain = tmp_path / str(length)
        chain.mkdir()
        (chain / "journal").write_bytes(whole[:length])
        assert after(chain).tip.height == 0
        assert (chain / "journal").read_bytes() == whole


@pytest.mark.parametrize("last", ["block", "transaction"])
def test_last_record_is_cut_off_wherever_it_was_torn(tmp_path: Path, last: str) -> None:
    node = a_rich_node(tmp_path, 102)
    before, length = state(node), (tmp_path / "journal").stat().st_size
    if last == "block":
        node.mine(MINE)
    else:
        node.send(spend(node.coins(MINE)[0]))
    node.close()
    shutil.rmtree(tmp_path / "kernel")
    journal = (tmp_path / "journal").read_bytes()
    whole = list(read(tmp_path / "journal"))
    for end in range(length, len(journal)):
        (tmp_path / "journal").write_bytes(journal[:end])
        assert list(read(tmp_path / "journal")) == whole[:-1]
        assert (tmp_path / "journal").stat().st_size == length
    for end in (length + 1, length + 12, len(journal) - 1):
        (tmp_path / "journal").write_bytes(journal[:end])
        assert after(tmp_path) == before


@pytest.mark.parametrize("tail", [b"\x00" * 400, b"\x01" * 400, b"\xff" * 400, bytes(range(1, 251))])
def test_garbage_behind_the_last_record_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    node = a_rich_node(tmp_path, 3)
    before = state(node)
    node.close()
    with (tmp_path / "journal").open("ab") as file:
        file.write(tail)
    assert after(tmp_path) == before


def test_damage_before_the_end_is_told_and_nothing_is_cut(tmp_path: Path) -> None:
    a_rich_node(tmp_path, 6).close()
    journal = (tmp_path / "journal").read_bytes()
    places = [entry.at for entry in read(tmp_path / "journal")]
    for damaged in (places[2] + 30, places[2] - 5, places[2] - 13):
        broken = journal[:damaged] + bytes((journal[damaged] ^ 0x40,)) + journal[damaged + 1 :]
        (tmp_path / "journal").write_bytes(broken)
        with pytest.raises(Corrupt, match="damaged"):
            a_node(tmp_path)
        assert (tmp_path / "journal").read_bytes() == broken
    (tmp_path / "journal").write_bytes(b"something else")
    with pytest.raises(Corrupt, match="no journal"):
        a_node(tmp_path)


def read(path: Path) -> Iterator[Entry]:
    journal = Journal(path)
    yield from journal.entries()
    journal.close()


@pytest.fixture
def grown(tmp_path: Path, story: Story) -> Path:
    """A directory after all the steps, closed in peace; beside it what it was after the first four."""
    chain = prepare(tmp_path / "chain")
    node = a_node(chain)
    for step in story.steps[:4]:
        step(node)
    node.close()
    shutil.copytree(chain, tmp_path / "early")
    node = a_node(chain)
    assert story.goes_on(node, 4)
    node.close()
    return chain


def test_kernels_cache_may_be_gone(grown: Path, story: Story) -> None:
    shutil.rmtree(grown / "kernel")
    assert after(grown) == story.states[-1]


def test_kernels_cache_may_be_behind_the_journal(grown: Path, story: Story) -> None:
    shutil.rmtree(grown / "kernel")
    shutil.copytree(grown.parent / "early" / "kernel", grown / "kernel")
    assert after(grown) == story.states[-1]


def test_kernels_cache_may_be_ahead_of_the_journal(grown: Path, story: Story) -> None:
    shutil.copy(grown.parent / "early" / "journal", grown / "journal")
    assert after(grown) == story.states[4]
    node = a_node(grown)
    assert story.goes_on(node, 4)
    node.close()


def test_kernels_cache_may_be_of_another_chain(grown: Path, story: Story, tmp_path: Path) -> None:
    other = a_node(tmp_path / "other")
    for _ in range(BLOCKS + 20):
        other.mine(AWAY)
    other.close()
    shutil.rmtree(grown / "kernel")
    shutil.copytree(tmp_path / "other" / "kernel", grown / "kernel")
    assert after(grown) == story.states[-1]


@pytest.mark.parametrize("damage", ["chainstate/CURRENT", "blocks/index/CURRENT", "blocks/blk00000.dat"])
def test_kernels_cache_may_be_damaged(grown: Path, story: Story, damage: str) -> None:
    (grown / "kernel" / damage).write_bytes(b"\x00" * 100)
    assert after(grown) == story.states[-1]


@pytest.mark.parametrize("flaw", ["reward", "body"])
def test_journal_that_holds_what_no_kernel_would_take_is_corrupt(tmp_path: Path, flaw: str) -> None:
    node = a_rich_node(tmp_path, 3)
    reward_sat = subsidy_sat(4) + (flaw == "reward")
    bad = bytearray(template(node.tip, node.index.times(3), (), now=0, script=MINE, reward_sat=reward_sat))
    node.close()
    bad[-1] ^= flaw == "body"  # the lock time of the reward
    journal = Journal(tmp_path / "journal")
    assert len(list(journal.entries())) == 3
    journal.append(Kind.BLOCKS, pack([bytes(bad)]))
    journal.close()
    with pytest.raises(Corrupt, match="refuses the blocks" if flaw == "reward" else "than its header says"):
        a_node(tmp_path)


class FullDisk:
    """Has room for so many appends."""

    def __init__(self, appends: int, *, fails_to: str) -> None:
        self._left, self._fails_to = appends, fails_to

    def write(self, file: int, data: bytes) -> int:
        if self._left == 0 and self._fails_to == "write":
            raise OSError(28, "No space left on device")
        return os.write(file, data)

    def sync(self, file: int) -> None:
        if self._left == 0 and self._fails_to == "sync":
            raise OSError(5, "Input/output error")
        self._left -= 1
        os.fsync(file)


@pytest.mark.parametrize("fails_to", ["write", "sync"])
@pytest.mark.parametrize("what", ["mine", "send"])
def test_nothing_is_acknowledged_any_more_once_the_disk_fails(tmp_path: Path, fails_to: str, what: str) -> None:
    a_rich_node(tmp_path, 102).close()
    disk = FullDisk(1, fails_to=fails_to)
    node = a_node(tmp_path, partial(Journal, write=disk.write, sync=disk.sync))
    node.mine(MINE)
    before = state(node)
    raw = spend(node.coins(MINE)[0])
    for _ in range(2):
        with pytest.raises(ChainLost, match="make room on the disk"):
            node.mine(MINE) if what == "mine" else node.send(raw)
        with pytest.raises(ChainLost):
            node.send(raw)
    assert state(node) == before
    node.close()
    opened = after(tmp_path)
    assert opened.tip.height in ((103,) if fails_to == "write" or what == "send" else (103, 104))


def test_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert list(journal.entries()) == []
    blocks = [b"first", b"", b"third" * 100]
    at = journal.append(Kind.BLOCKS, pack(blocks))
    journal.append(Kind.TRANSACTION, b"spend")
    journal.close()
    first, second = read(tmp_path / "journal")
    assert (first.at, [raw for _, raw in unpack(first)], second.body) == (at, blocks, b"spend")
    journal = Journal(tmp_path / "journal")
    assert [journal.read(place, len(raw)) for place, raw in unpack(first)] == blocks
    journal.close()
