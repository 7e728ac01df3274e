import threading

from ui.page.turns import Turns


def test_turn_is_another_ones_while_its_holder_waits() -> None:
    turns, drawn = Turns(1), threading.Event()

    def draw() -> None:
        with turns.take():
            drawn.set()

    with turns.take():
        other = threading.Thread(target=draw)
        other.start()
        assert not drawn.wait(0.05)
        with turns.waiting():
            assert drawn.wait(5)
    other.join()


def test_turn_is_let_go_when_drawing_fails() -> None:
    turns = Turns(1)
    for _ in range(3):
        try:
            with turns.take(), turns.waiting():
                raise ValueError
        except ValueError:
            pass
    with turns.take():
        pass


def test_waiting_without_a_turn_lets_nobody_in() -> None:
    turns = Turns(1)
    with turns.waiting(), turns.take():
        assert not turns._free.acquire(blocking=False)


def test_cost_of_drawing_leaves_out_what_was_waited_for() -> None:
    now = [0.0]
    turns = Turns(2, lambda: now[0])
    for _ in range(200):
        with turns.take():
            now[0] += 0.02
            with turns.waiting():
                now[0] += 5
    assert round(turns.cost_s, 6) == 0.01  # two at a time
