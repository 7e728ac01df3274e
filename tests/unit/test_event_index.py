"""The index finds an event by everything that it speaks of, however it is folded."""

from collections import defaultdict

from domain.events import PayoutAllotted
from services.ledger.codec import decode_stored
from services.projections.event_index import EventIndex, keys
from services.projections.model import Seen
from tests.payroll import played
from tests.receipts import MARKET

GAME = played(MARKET.key)


def test_index_folds_what_an_event_is_found_by() -> None:
    expected: defaultdict[str, list[int]] = defaultdict(list)
    for one in GAME.records:
        for key in keys(decode_stored(one)):
            expected[key].append(one.position)
    (change,) = EventIndex().fold([Seen(one.position, decode_stored(one), one.recorded_at) for one in GAME.records])
    names, firsts, lists = change.columns
    positions = [[int(text) for text in one.strip("{}").split(",")] for one in lists]
    assert dict(zip(names, positions, strict=True)) == expected
    assert firsts == [found[0] for found in positions]


def test_what_a_payout_allots_is_found_by_its_worker_and_by_each_job_that_it_pays_for() -> None:
    allotted = [event for event in map(decode_stored, GAME.records) if isinstance(event, PayoutAllotted)]
    both = next(event for event in allotted if len(event.paid) == 2)
    assert keys(both) == {"PayoutAllotted", both.owner, GAME.stranger, GAME.paid}
