"""A market of two workers, from the first deposit to the audit, through the command line alone."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services import arrays
from tests.e2e.pasar import Pasar
from tests.system.embedded import wait_until

TASKS = 12
PRICE_MSAT = 1_500
#: One percent of it for the market, and two for the miners.
FEE_MSAT = 3 * PRICE_MSAT // 100


@pytest.fixture(scope="module")
def market() -> Iterator[Pasar]:
    """A running market, its worker-1 and worker-2, and money in the client's escrow."""
    with tempfile.TemporaryDirectory(prefix="pasar-e2e-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another account when the tests run as root
        pasar = Pasar(home)
        try:
            up = pasar.json("up", "--workers", "2")
            assert {service["state"] for service in up["services"]} == {"ready"}
            assert pasar.json("escrow", "fund", "1000")["free_msat"] == 1_000_000
            yield pasar
        finally:
            pasar.run("down")
            pasar.until_gone()


@pytest.fixture(scope="module")
def program(market: Pasar) -> Path:
    """A trivial program as a client exports it, with an argument for each of its tasks beside it."""
    from domain.kernels.trivial import square_plus_one
    from services.programs.export import export_program

    columns = {"x": np.arange(TASKS, dtype=np.float32)}
    file = market.home / "square.program"
    file.write_bytes(export_program(square_plus_one, None, {"x": columns["x"][0]}))
    (market.home / "x.safetensors").write_bytes(arrays.pack(columns))
    return file


@pytest.fixture(scope="module")
def posted(market: Pasar, program: Path) -> dict[str, Any]:
    """A job whose every task both workers run, watched to its end."""
    mapped = str(program.with_name("x.safetensors"))
    price = f"{PRICE_MSAT}msat"
    found: dict[str, Any] = market.json(
        "job", "post", str(program), "--mapped", mapped, "--price", price, "--replicas", "2"
    )
    ended = market.json("job", "watch", found["job"][:10])
    assert (
        ended["sentence"] == "Completed: 12 of 12 tasks verified, 36 sat earned by workers and 1.08 sat to the market."
    )
    return found


def test_posted_job_says_what_it_reserves(posted: dict[str, Any]) -> None:
    assert posted["tasks"] == TASKS
    assert posted["reserved_msat"] == TASKS * 2 * (PRICE_MSAT + FEE_MSAT)


def test_job_shows_its_tasks_and_its_money(market: Pasar, posted: dict[str, Any]) -> None:
    shown = market.json("job", "show", posted["job"][:10].upper())
    assert {(task["task"], task["replica"]) for task in shown["tasks"]} == {
        (t, r) for t in range(TASKS) for r in (0, 1)
    }
    assert {(task["state"], task["method"]) for task in shown["tasks"]} == {("verified", "agreed")}
    assert shown["job"]["paid_msat"] + shown["job"]["charged_msat"] == posted["reserved_msat"]
    assert shown["job"]["charged_msat"] == TASKS * 2 * FEE_MSAT
    text = market.text("job", "show", posted["job"])
    assert "worker-1" in text
    assert "verified: replicas agree" in text


def test_job_shows_how_it_was(market: Pasar, posted: dict[str, Any]) -> None:
    then = market.json("job", "show", posted["job"], "--upto", str(posted["position"]))
    assert (then["state"], then["verified"], then["left_msat"]) == ("open", 0, posted["reserved_msat"])
    assert then["replicas"] == {"open": 2 * TASKS}
    before = market.refusal("job", "show", posted["job"], "--upto", str(posted["position"] - 2))
    assert "was not posted yet" in before


def test_jobs_are_listed(market: Pasar, posted: dict[str, Any]) -> None:
    assert posted["job"] in [job["job"] for job in market.json("job", "list", "--state", "completed")]
    assert f"{TASKS} of {TASKS}" in market.text("job", "list")


def test_money_is_where_the_escrow_says(market: Pasar, posted: dict[str, Any]) -> None:
    escrow = market.json("escrow", "show")
    parts = ("free_msat", "reserved_msat", "released_msat", "charged_msat", "refunded_msat")
    assert escrow["funded_msat"] == sum(escrow[part] for part in parts)
    assert escrow["released_msat"] + escrow["charged_msat"] >= posted["reserved_msat"]
    assert escrow in market.json("escrow", "show", "--all")


def test_escrow_is_refunded_and_not_twice(market: Pasar) -> None:
    market.json("escrow", "fund", "2000", "--as", "dora")
    assert market.json("escrow", "refund", "500", "--as", "dora")["free_msat"] == 1_500_000
    assert market.json("escrow", "refund", "--all", "--as", "dora")["refunded_msat"] == 2_000_000
    assert market.refusal("escrow", "refund", "1sat", "--as", "dora").startswith("only 0 sat are free")


def test_events_tell_the_story_of_a_job(market: Pasar, posted: dict[str, Any]) -> None:
    lines = market.text("events", "--job", posted["job"], "--after", "0", "--json").splitlines()
    events = [msgspec.json.decode(line) for line in lines]
    assert [events[0]["type"], events[-1]["type"]] == ["JobPosted.v1", "FeeCharged.v1"]
    assert all(event["data"]["job"] == posted["job"] for event in events)
    assert sum(event["type"] == "EscrowReleased.v1" for event in events) == 2 * TASKS
    positions = [event["position"] for event in events]
    assert positions == sorted(set(positions))
    latest = market.text("events", "--job", posted["job"]).splitlines()
    assert [int(line.split()[0]) for line in latest] == positions[-20:]


def test_receipt_of_a_job_is_checked_without_the_market(market: Pasar, posted: dict[str, Any]) -> None:
    file = market.home / "job.receipt.json"
    saved = market.json("receipt", "save", posted["job"][:10], "--results", "--output", str(file))
    assert saved["contents"] > 0
    alone = Pasar(market.home / "nowhere")
    told = alone.json("receipt", "verify", str(file), "--key", saved["market"])
    assert (told["ok"], told["job"], told["claims"]["verified"]) == (True, posted["job"], TASKS)
    file.write_bytes(file.read_bytes().replace(b'"market":"U', b'"market":"V', 1))
    assert "give the key that you know with --key" in alone.refusal("receipt", "verify", str(file))
    assert "does not hold (signature)" in alone.refusal("receipt", "verify", str(file), "--any-key")


def test_root_that_the_market_signed_is_that_of_its_log(market: Pasar, posted: dict[str, Any]) -> None:
    signed = market.json("log", "root", "--covers", str(posted["position"]))
    file = market.home / "root.json"
    file.write_bytes(msgspec.json.encode(signed))
    assert market.json("audit", "--root", str(file))["ok"]
    file.write_bytes(msgspec.json.encode({**signed, "root": "0" * 64}))
    assert "is not signed by market" in market.refusal("audit", "--root", str(file))
    assert "none at position 100000 yet" in market.refusal("log", "root", "--covers", "100000")


def test_events_are_read_by_position_and_name(market: Pasar, posted: dict[str, Any]) -> None:
    everything = [msgspec.json.decode(line) for line in market.text("events", "--after", "0", "--json").splitlines()]
    assert [event["position"] for event in everything] == list(range(1, len(everything) + 1))
    some = market.text("events", "--after", "3", "--limit", "2").splitlines()
    assert [int(line.split()[0]) for line in some] == [4, 5]
    named = market.text("events", "--name", "WorkerRegistered", "--after", "0", "--json").splitlines()
    assert len(named) == 2


def test_events_are_followed_as_they_happen(market: Pasar) -> None:
    following = market.start("events", "--follow", "--after", "0", "--name", "EscrowFunded", "--json")
    assert following.stdout is not None
    first = msgspec.json.decode(following.stdout.readline())
    assert first["type"] == "EscrowFunded.v1"
    market.json("escrow", "fund", "1007", "--as", "late")
    funded = 0
    while funded != 1_007_000:
        funded = msgspec.json.decode(following.stdout.readline())["data"].get("amount_msat", 0)
    os.killpg(following.pid, signal.SIGINT)
    rest = following.communicate(timeout=20)[0]
    assert (following.returncode, "Traceback" in rest) == (130, False)


def test_workers_are_listed_and_told_apart(market: Pasar, posted: dict[str, Any]) -> None:
    workers = market.json("worker", "list")
    assert [worker["state"] for worker in workers] == ["active", "active"]
    assert sum(worker["earned_msat"] for worker in workers) >= TASKS * 2 * PRICE_MSAT
    assert market.json("worker", "status", "worker-2")["worker"] in workers
    assert market.json("worker", "status", workers[0]["worker"][:12])["worker"] == workers[0]
    assert market.json("worker", "status", "worker-2")["limits"]["memory"] is True
    assert "granted  memory" in market.run("worker", "status", "worker-2").stdout
    assert market.refusal("worker", "status", "worker-").startswith("several workers begin with worker-")
    assert market.refusal("worker", "status", "nobody").startswith("no worker's name or key begins with 'nobody'")


def test_paused_worker_is_given_nothing_until_it_is_resumed(
    market: Pasar, program: Path, posted: dict[str, Any]
) -> None:
    assert market.json("worker", "pause", "worker-1")["worker"]["state"] == "paused"
    before = market.json("worker", "status", "worker-1")["worker"]["assigned"]
    job = market.json("job", "post", str(program), "--tasks", "1", "--mapped", mapped_of(program), "--price", "2")[
        "job"
    ]
    assert market.json("job", "watch", job)["job"]["verified"] == 1
    assert market.json("worker", "resume", "worker-1")["worker"]["assigned"] == before


def test_worker_in_the_foreground_works_and_hands_back(market: Pasar, program: Path, posted: dict[str, Any]) -> None:
    twice = market.run("worker", "run", "--name", "worker-1")
    assert (twice.returncode, "worker worker-1 runs already on this machine" in twice.stderr) == (1, True)
    running = market.start("worker", "run", "--name", "carla", "--price", "1", "--no-measure")
    wait_until(lambda: any(one["asking"] and one["slots"] for one in market.json("worker", "list")[2:]))
    job = market.json(
        "job", "post", str(program), "--mapped", mapped_of(program), "--price", "2", "--replicas", "3", "--no-reuse"
    )["job"]
    assert market.json("job", "watch", job)["job"]["accepted"] == 3 * TASKS
    said = market.interrupt(running)
    assert running.returncode == 0, said
    assert "it has handed back what it had not done" in said
    left = market.json("job", "post", str(program), "--mapped", mapped_of(program), "--price", "2", "--no-reuse")["job"]
    assert market.json("job", "watch", left)["job"]["expired"] == 0


def test_file_that_is_no_program_is_refused_before_money_is_reserved(market: Pasar, program: Path) -> None:
    before = market.json("escrow", "show")
    said = market.refusal("job", "post", mapped_of(program), "--tasks", "3", "--price", "2")
    assert said.startswith("the program is not admitted (unreadable)")
    assert market.json("escrow", "show") == before


def test_job_that_nobody_takes_ends_when_it_is_cancelled(market: Pasar, program: Path) -> None:
    post = ("job", "post", str(program), "--mapped", mapped_of(program), "--price", "1msat")
    job = market.json(*post, "--no-reuse")["job"]
    assert "no worker has taken a task yet" in market.text("job", "show", job)
    assert market.refusal("job", "cancel", job, "--as", "mallory").startswith("only the client who posted the job")
    market.json("job", "cancel", job)
    ended = market.run("job", "watch", job, "--json")
    assert ended.returncode == 1
    state = msgspec.json.decode(ended.stdout)["job"]
    assert (state["state"], state["failed"], state["freed_msat"]) == ("completed", TASKS, TASKS)
    assert market.refusal("job", "cancel", job).endswith("post a new one")


def test_quote_says_what_it_costs_and_is_what_is_charged(market: Pasar, program: Path) -> None:
    asked = (str(program), "--mapped", mapped_of(program), "--replicas", "2")
    quote = market.json("job", "quote", *asked)["quote"]
    assert quote["eligible"] == 2
    assert quote["total_msat"] == sum(
        quote[part] for part in ("compute_msat", "checking_msat", "fees_msat", "miners_msat")
    )
    assert market.json("job", "post", *asked, "--no-reuse")["reserved_msat"] == quote["total_msat"]
    assert "2 of 3 workers would run it" in market.text("job", "quote", *asked)


def test_quote_for_a_job_that_nobody_can_run_says_why(market: Pasar, program: Path) -> None:
    asked = (str(program), "--mapped", mapped_of(program), "--memory", "100000", "--price", "1msat", "--no-reuse")
    tried = market.run("job", "quote", *asked)
    assert tried.returncode == 1
    assert "Nobody can run it now: 0 of 1 needed worker would." in tried.stdout
    assert "2 workers lack memory; the largest offers 2,048 MB" in tried.stdout


def test_same_work_is_answered_from_the_log_for_a_tenth(market: Pasar, program: Path, posted: dict[str, Any]) -> None:
    post = ("job", "post", str(program), "--mapped", mapped_of(program), "--price", f"{PRICE_MSAT}msat")
    quoted = market.json("job", "quote", *post[2:], "--replicas", "2")["quote"]
    again = market.json(*post, "--replicas", "2")
    assert again["reserved_msat"] == quoted["reuse_msat"] < posted["reserved_msat"]
    shown = market.json("job", "show", again["job"])
    original = shown["job"]["original"]
    assert original == quoted["original"]
    before = market.json("job", "show", original)["job"]
    assert before["work_key"] == shown["job"]["work_key"]
    assert again["reserved_msat"] == -(-before["reserved_msat"] // 10)
    assert shown["sentence"].startswith(f"Completed: the same work was verified before as job {original}")


def test_budget_is_not_exceeded(market: Pasar, program: Path) -> None:
    post = ("job", "post", str(program), "--mapped", mapped_of(program), "--price", "2", "--no-reuse")
    said = market.refusal(*post, "--budget", "24")
    assert said == "the job may cost 24.72 sat, fee included, and the budget is 24 sat; raise the budget"


def test_job_beyond_the_escrow_says_how_much_is_missing(market: Pasar, program: Path) -> None:
    post = ("job", "post", str(program), "--mapped", mapped_of(program), "--price", "2")
    assert market.refusal(*post, "--as", "poor").endswith("fund it first: `pasar escrow fund 1000 --as poor`")


def test_unknown_job_is_refused(market: Pasar) -> None:
    for verb in ("show", "watch", "cancel"):
        assert market.refusal("job", verb, "ffff") == "there is no job ffff; `pasar job list` shows those that exist"


def test_second_market_on_the_same_home_is_refused(market: Pasar) -> None:
    assert market.refusal("up").endswith("stop it with `pasar down`")
    assert market.refusal("up", "--foreground").endswith("stop it with `pasar down`")


def test_status_tells_position_lag_and_heartbeat_of_every_service(market: Pasar, posted: dict[str, Any]) -> None:
    services = {service["name"]: service for service in market.json("status")["services"]}
    kinds = {*["market", "relay", "projector", "inspector", "referee", "settlement", "arbiter", "worker-1", "worker-2"]}
    assert services.keys() == kinds
    assert all(service["at"] for service in services.values())
    for name in ("market", "relay", "projector"):
        assert services[name]["position"] > posted["position"]
        assert services[name]["lag"] is not None
    text = market.text("status")
    assert all(name in text for name in kinds)


def test_log_passes_the_audit_and_read_models_are_rebuilt_equal(market: Pasar, posted: dict[str, Any]) -> None:
    verdict = market.json("audit")
    assert verdict["ok"]
    names = {model["name"] for model in market.json("projection", "list")}
    assert names == {"jobs", "tasks", "workers", "escrows", "programs", "settlement", "event_index"}
    stop = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not stop.is_set():
            done = market.run("job", "show", posted["job"], "--json")
            if done.returncode:
                failures.append(done.stderr)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        for name in sorted(names):
            built = market.json("projection", "rebuild", name)
            assert (built["compared"]["extra"], built["compared"]["missing"]) == ([], [])
    finally:
        stop.set()
        reading.join()
    assert failures == []
    assert market.json("audit", "--upto", str(posted["position"]))["checked"] == posted["position"]


def mapped_of(program: Path) -> str:
    return str(program.with_name("x.safetensors"))
