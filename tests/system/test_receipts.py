"""A receipt is made from PostgreSQL as it is from the log's bytes."""

from services.ledger.codec import decode_stored
from services.ledger.reader import LogReader
from services.projections.event_index import EventIndex, keys
from services.projections.queries import Reader
from services.projections.runner import Projector
from services.receipt import form
from services.receipt.make import make
from services.receipt.verify import verify
from services.viewing import archive
from tests.history import write_log
from tests.payroll import played
from tests.receipts import MARKET, MemorySource, receipt_of
from tests.system.test_projections import running

GAME = played(MARKET.key)


async def test_receipt_is_the_same_from_the_database_and_from_a_downloaded_log(database_url: str) -> None:
    records, source = GAME.records, MemorySource(GAME.records)
    await write_log(database_url, records)
    log = await LogReader.open(database_url)
    async with running(Projector(log, database_url, [EventIndex()])) as projector:
        await projector.caught_up(len(records))
    await log.close()
    downloaded = archive.read(archive.lines(records)).page(0, len(records))
    async with await Reader.open(database_url) as reader:
        for job in (GAME.stranger, GAME.paid, GAME.more, GAME.earned):
            file = form.encode(await make(reader, MARKET.key, job, source.signed_root))
            assert file == form.encode(await receipt_of(downloaded, job))
            assert verify(file, market=MARKET.key).job == job
        for party in GAME.market.workers:
            found = await reader.events(party)
            wanted = [stored.position for stored in records if party in keys(decode_stored(stored))]
            assert [stored.position for stored in found] == wanted
            assert {"PayoutAllotted.v1", "StakeOpened.v1"} <= {stored.name for stored in found}
        spoken = await reader.events(GAME.paid)
        assert sum(stored.name == "PayoutAllotted.v1" for stored in spoken) == 5
