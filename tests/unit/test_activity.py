from datetime import timedelta

from services.viewing.activity import BARS, SPAN, activity
from tests.page.recorded import demo

EVENTS = demo().log.page(0, 1_000)
PAYMENTS = [stored for stored in EVENTS if stored.name == "EscrowReleased.v1"]
END = PAYMENTS[-1].recorded_at


def test_activity_counts_every_payment_of_the_last_half_hour_once() -> None:
    found = activity(EVENTS, now=END)
    assert found.runs == len(PAYMENTS) == 48
    assert found.bars[-1] == 48
    assert (len(found.bars), found.paid_msat, found.more) == (BARS, (2_000, 2_000, 2_000), False)


def test_activity_moves_to_the_left_and_out() -> None:
    assert activity(PAYMENTS, now=END + SPAN / 2).bars[BARS // 2 - 1 : BARS // 2 + 1] != (0, 0)
    assert activity(PAYMENTS, now=END + SPAN + timedelta(minutes=1)).runs == 0


def test_activity_without_payments_names_no_price() -> None:
    assert activity([], now=END).paid_msat is None
