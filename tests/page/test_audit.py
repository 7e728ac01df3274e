"""Audit: any position, the verdict, proofs that can be checked elsewhere, files that are opened and refused."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from services.ledger import codec, merkle
from services.receipt import form
from services.viewing import archive
from services.viewing.proof import CHECK, Proof
from tests.history import tree_of
from tests.logs import zipped
from tests.page.recorded import Recorded, demo, look, text
from tests.receipts import a_market, eventful_job, receipt_of
from ui.page import process
from ui.page.auditing import Auditor, AuditRuns, auditor
from ui.page.context import Context


@pytest.fixture(autouse=True)
def forget() -> None:
    auditor.__init__()  # type: ignore[misc]  # what a process keeps, as in a fresh one


def tampered() -> tuple[Recorded, int]:
    """The demo with one payment made larger."""
    events = list(demo().log.page(0, 10_000))
    paid = next(one for one in events if one.name == "EscrowReleased.v1")
    event = codec.decode_stored(paid)
    more = msgspec.structs.replace(event, amount_msat=event.amount_msat + 1)  # type: ignore[union-attr]
    events[paid.position - 1] = paid._replace(data=codec.encode(more))
    return Recorded(events), paid.position


def test_slider_goes_to_the_market_as_of_that_event() -> None:
    at = look(demo(), "audit")
    at.slider(key="audit_slider").set_value(200).run()
    assert at.query_params["upto"] == "200"
    said = text(at)
    assert "as of event <b>200</b>" in said
    assert "<code>ResultSubmitted.v1</code>" in said
    at.number_input(key="audit_number").set_value(at.slider(key="audit_slider").max).run()
    assert "upto" not in at.query_params
    assert not at.exception


def test_audit_says_that_every_invariant_holds_and_keeps_saying_it() -> None:
    market = demo()
    at = look(market, "audit")
    assert "Not checked here yet" in text(at)
    at.button(key="audit_now").click().run()
    root = tree_of(market.log.page(0, 10_000)).root.hex()
    assert f"Every invariant holds on {market.log.head()} events" in text(at)
    assert text(at).count(root) >= 2
    again = text(look(market, "audit", {"upto": "100"}))
    assert f"as of event {market.log.head()}; this page shows 100" in again


def test_audit_names_the_event_that_breaks_an_invariant_and_links_to_it() -> None:
    market, position = tampered()
    at = look(market, "audit")
    at.button(key="audit_now").click().run()
    said = text(at)
    assert "Something is wrong" in said
    assert f'href="/event?position={position}"' in said
    assert "EscrowReleased" in said


def test_only_one_audit_runs_at_a_time() -> None:
    market = demo()
    process.show(market)
    context = Context(market.view(None), market.clock.now(), "sat", None, "")
    one = Auditor()
    seen: list[str] = []

    def progress(done: int, all_: int) -> None:
        with pytest.raises(AuditRuns, match="wait for it") as refused:
            one.run(context, lambda done, all_: None)
        seen.append(str(refused.value))

    assert one.run(context, progress).verdict.ok
    assert seen
    assert one.run(context, lambda done, all_: None).verdict.ok


@pytest.mark.parametrize("upto", [1, 2, 7, 300])
def test_proof_of_any_event_folds_to_the_root_and_is_checked_with_python_alone(upto: int, tmp_path: Path) -> None:
    market = demo()
    events = market.log.page(0, upto)
    for position in {1, upto // 2 + 1, upto}:
        proof = Proof.of(market.view(upto), position)
        assert proof.holds
        assert proof.folded == proof.root == tree_of(events).root.hex()
        assert proof.leaf == merkle.leaf(events[position - 1]).hex()
    file = tmp_path / "proof.json"
    line = CHECK.replace("python3", sys.executable).replace("proof.json", str(file))
    for content, verdict in ((proof.file(), "holds"), (proof.file().replace(b'"leaf": "', b'"leaf": "00', 1), "")):
        file.write_bytes(content)
        done = subprocess.run(("bash", "-c", line), capture_output=True, text=True, check=False)
        assert (done.stdout.strip() == "holds") == (verdict == "holds")
    other = msgspec.structs.replace(proof, leaf="00" * 32)
    assert not other.holds


def test_page_shows_the_proof_of_the_event_that_is_asked_for() -> None:
    said = text(look(demo(), "audit", {"event": "77"}))
    assert "This proof holds" in said
    assert 'href="/event?position=77"' in said
    at = look(demo(), "audit", {"event": "5000"})
    assert "event 5000 has not happened" in at.error[0].value
    assert "not happened" in look(demo(), "audit", {"event": "x" * 500}).error[0].value


def test_log_that_is_opened_is_shown_as_it_was_with_its_own_audit() -> None:
    market, position = tampered()
    file = zipped(market.log.page(0, 10_000))
    at = look(demo(), "audit")
    at.file_uploader(key="log_file").set_value(("pasar.jsonl.gz", file, "application/gzip")).run()
    name = at.query_params["log"]
    assert "A downloaded log of" in text(at)
    opened = look(demo(), "audit", {"log": name})
    opened.button(key="audit_now").click().run()
    assert f"position={position}" in text(opened)
    assert "pasar audit --file FILE" in text(opened)


def test_opened_logs_are_kept_only_as_long_as_all_of_them_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    events, opened = demo().log.page(0, 10_000), process.Archives()
    files = [zipped(events[:count]) for count in (300, 301, 302)]
    monkeypatch.setattr(process, "ARCHIVES_BYTES_MAX", 2 * archive.read(files[2]).size)
    first, *others = [opened.open(file) for file in files]
    assert [opened.log(name).head() for name in others] == [301, 302]
    with pytest.raises(process.NoSuchLog):
        opened.log(first)


def test_log_that_cannot_be_followed_to_its_end_says_so_on_every_page() -> None:
    events = list(demo().log.page(0, 10_000))
    events[99] = events[99]._replace(data=b'{"type":"none"}')
    name = process.archives.open(zipped(events))
    said = text(look(demo(), "jobs", {"log": name}))
    assert "as of event <b>99</b>" in said
    assert "nothing behind it is shown" in said
    assert "nothing behind it is shown" not in text(look(demo(), "jobs", {"log": name, "upto": "50"}))


def test_file_that_is_no_log_gets_a_sentence() -> None:
    at = look(demo(), "audit")
    at.file_uploader(key="log_file").set_value(("x", b"nonsense", "text/plain")).run()
    assert "this is no log of a market" in at.error[0].value
    assert not at.exception


async def test_receipt_is_checked_check_by_check() -> None:
    records = a_market().records
    file = form.encode(await receipt_of(records, eventful_job(records)))
    at = look(demo(), "audit")
    at.file_uploader(key="receipt_file").set_value(("job.json", file, "application/json")).run()
    assert "The receipt holds" in text(at)
    assert text(at).count("</span> holds</span>") == 10
    changed = file.replace(b'"replica":0', b'"replica":1', 1)
    at.file_uploader(key="receipt_file").set_value(("job.json", changed, "application/json")).run()
    said = text(at)
    assert "The receipt does not hold" in said
    assert said.count("</span> fails</span>") == 1
    assert "<code>inclusion</code>" in said
    assert "not come to" in said
    at.file_uploader(key="receipt_file").set_value(("job.json", b"\x00" * 99, "application/json")).run()
    assert "The receipt does not hold" in text(at)
    assert not at.exception


def test_audit_of_an_empty_market_says_what_to_do() -> None:
    assert "Nothing has happened yet" in text(look(Recorded([]), "audit"))
