"""Where a connection is answered cannot be foreseen by those who hear its other answers."""

from services.bus.connect import Connection


def test_inbox_says_nothing_of_the_next_one() -> None:
    connection = Connection("party")
    first, second = (connection.new_inbox().rpartition(".")[2] for _ in range(2))
    assert len(first) == len(second) == 22
    assert first[:8] != second[:8]
