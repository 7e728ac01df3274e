"""A chain that is killed at a chosen write of its journal; run as a program, once for all the places.

``python -m tests.crashing DIRECTORY`` reads places from its standard input and forks for each, before any kernel is
open: a process that holds one must not.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from domain.bitcoin import parse, txid
from services.ports import BlockId, Unspent
from services.settlement.journal import Journal
from services.settlement.node import Node
from tests.chain import AWAY, FEE_SAT, MINE, a_node, output_of, rich_journal, spend

BLOCKS: Final = 106
#: So that the cache that is left has some of the blocks and not the last.
CHECKPOINT: Final = 3
#: Where in an append the process dies.
Moment = Literal["before", "middle", "written", "synced"]
MOMENTS: Final[tuple[Moment, ...]] = ("before", "middle", "written", "synced")


class State(NamedTuple):
    """All that a chain is to those who use it."""

    tip: BlockId
    coins: dict[str, Unspent]
    waiting: list[str]
    balance_sat: int


def state(node: Node) -> State:
    coins = {f"{coin.outpoint}": coin for coin in node.index.coins.values()}
    balance_sat = sum(coin.value_sat for coin in coins.values() if coin.script == MINE)
    return State(node.tip, coins, list(node.pool.waiting), balance_sat)


#: Something that the chain goes through: one append, acknowledged when it returns.
Step = Callable[[Node], object]


def steps(node: Node) -> list[Step]:
    """What a chain goes through that was just prepared."""
    first, second, third, *_ = node.coins(MINE)
    parent = spend(first, MINE)
    child = spend(output_of(txid(parse(parent)), parse(parent)), MINE)
    raws = [parent, child, spend(second), spend(third), spend(third, fee_sat=4 * FEE_SAT)]
    rival = spend(second, MINE)
    return [
        lambda node: node.send(raws[0]),
        lambda node: node.send(raws[1]),
        lambda node: node.send(raws[2]),
        lambda node: node.mine(MINE),
        lambda node: node.send(raws[3]),
        lambda node: node.send(raws[4]),
        lambda node: node.fork(BLOCKS, 2, MINE, [rival]),
        lambda node: node.mine(AWAY),
        lambda node: node.fork(BLOCKS - 1, 5, AWAY),
        lambda node: node.mine(MINE),
    ]


STEPS: Final = 10


def prepare(directory: Path) -> Path:
    """A directory with a chain that can be spent from."""
    directory.mkdir()
    (directory / "journal").write_bytes(rich_journal(BLOCKS))
    return directory


class Disk:
    """Writes to the disk until the chosen append."""

    def __init__(self, append: int, moment: Moment) -> None:
        self._left, self._moment = append, moment

    def write(self, file: int, data: bytes) -> int:
        if self._left == 0:
            if self._moment == "before":
                die()
            if self._moment == "middle":
                os.write(file, data[: len(data) // 2])
                die()
        return os.write(file, data)

    def sync(self, file: int) -> None:
        if self._left == 0 and self._moment == "written":
            die()
        os.fsync(file)
        if self._left == 0 and self._moment == "synced":
            die()
        self._left -= 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(directory: Path, append: int, moment: Moment) -> None:
    """Go through the steps and say which were acknowledged, until death."""
    disk = Disk(append, moment)
    acknowledged = os.open(directory / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    node = a_node(directory, partial(Journal, write=disk.write, sync=disk.sync), CHECKPOINT)
    for step in steps(node):
        os.write(acknowledged, f"{step(node)}\n".encode())


def main() -> None:
    for line in sys.stdin:
        name, append, moment = line.split()
        child = os.fork()
        if child == 0:
            run(Path(name), int(append), MOMENTS[MOMENTS.index(moment)])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)


if __name__ == "__main__":
    main()
