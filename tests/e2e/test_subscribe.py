"""Every line of docs/subscribe.md that can run here runs as it is printed.

There is no `nats` command line on the registries that the tests may use. What its lines ask of the server is asked here
by a client without a key as well: `nats sub` with a JetStream flag makes a push consumer with flow control, heartbeats
and no acknowledgements, on an inbox of its own (natscli, cli/sub_command.go).
"""

import argparse
import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import numpy as np
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services import arrays
from tests.e2e.pasar import Pasar
from tests.system.embedded import DEADLINE_S

DOCUMENT = Path(__file__).parents[2] / "docs" / "subscribe.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
LINES = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
PROGRAMS = [block for language, block in BLOCKS if language == "python"]


TYPED_WITH = ("jq", "curl")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TYPED_WITH)), reason=f"the lines are typed with {TYPED_WITH}")


@pytest.fixture(scope="module")
def market() -> Iterator[Pasar]:
    """A market with a job behind it, whose folder is where the lines are typed."""
    from domain.kernels.trivial import square_plus_one
    from services.programs.export import export_program

    with tempfile.TemporaryDirectory(prefix="pasar-docs-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        pasar = Pasar(home, PASAR_PAGE="1", PASAR_PAGE_PORT="0")
        try:
            pasar.json("up", "--workers", "1")
            pasar.json("escrow", "fund", "5000")
            rows = {"x": np.arange(2, dtype=np.float32)}
            (home / "square.program").write_bytes(export_program(square_plus_one, None, {"x": rows["x"][0]}))
            (home / "x.safetensors").write_bytes(arrays.pack(rows))
            files = (str(home / "square.program"), "--mapped", str(home / "x.safetensors"))
            pasar.json("job", "watch", pasar.json("job", "post", *files, "--price", "2")["job"])
            (home / "follow.py").write_text(PROGRAMS[0])
            (home / "bin").mkdir()
            command = home / "bin" / "pasar"
            command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from ui.cli import main; main()" "$@"\n')
            command.chmod(0o755)
            yield pasar
        finally:
            pasar.run("down")
            pasar.until_gone()


def shell(market: Pasar, line: str) -> "subprocess.Popen[str]":
    """Type a line, in a terminal where the variables are set as the document says."""
    path = f"{market.home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PASAR_HOME": str(market.home), "PATH": path, "PYTHONPATH": str(DOCUMENT.parents[1])}
    typed = line if line.startswith("export") else "\n".join((*EXPORTS, line))
    return subprocess.Popen(
        ("bash", "-c", typed),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=market.home,
        start_new_session=True,
    )


def lines_with(beginning: str) -> list[str]:
    found = [line for line in LINES if line.startswith(beginning)]
    assert found, f"the document has no line that begins with {beginning}"
    return found


EXPORTS = lines_with("export ")


def first_line(market: Pasar, line: str) -> str:
    """The first that an endless line prints; then Ctrl-C."""
    running = shell(market, line)
    assert running.stdout is not None
    try:
        if "--follow" in line and "--after" not in line:  # it waits for what happens from here on, after the latest
            market.json("escrow", "fund", "1000", "--as", "another")
        printed = running.stdout.readline()
    finally:
        os.killpg(running.pid, signal.SIGINT)
        errors = running.communicate(timeout=DEADLINE_S)[1]
    assert printed, errors
    return printed


def test_every_line_is_of_a_kind_that_is_tested() -> None:
    for line in LINES:
        assert line.split()[0] in ("export", "pasar", "nats", "curl", "python"), line
    assert len(PROGRAMS) == 1
    assert sum(bool(line) for line in PROGRAMS[0].splitlines()) < 15


@pytest.mark.parametrize("line", lines_with("curl"))
def test_curl_hears_events_with_their_positions(market: Pasar, line: str) -> None:
    assert re.fullmatch(r"id: \d+\n", first_line(market, line))


@pytest.mark.parametrize("line", lines_with("pasar events"))
def test_pasar_follows_the_log(market: Pasar, line: str) -> None:
    printed = first_line(market, line)
    if line.endswith("--json"):
        assert msgspec.json.decode(printed)["position"] == 1
    else:
        name = re.search(r"--name (\w+)", line)
        assert (name[1] if name else "") in printed


@pytest.mark.parametrize("line", lines_with("python follow.py"))
def test_program_follows_the_log_from_its_position(market: Pasar, line: str) -> None:
    position, name, body = first_line(market, line).split(" ", 2)
    assert int(position) == int(line.split()[-1]) + 1
    assert msgspec.json.decode(body)["type"] == name


def test_other_lines_run_to_their_end(market: Pasar) -> None:
    for line in LINES:
        if line.split()[:2] in (["pasar", "log"], ["pasar", "audit"]):
            done = shell(market, line)
            printed, errors = done.communicate(timeout=60)
            assert done.returncode == 0, (line, printed, errors)


def parsed(line: str) -> argparse.Namespace:
    """What natscli takes a line for."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("command")
    parser.add_argument("subject")
    parser.add_argument("payload", nargs="?", default="")
    for flag in ("--new", "--all", "--last", "--last-per-subject", "--headers-only", "--raw"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--start-sequence", type=int)
    return parser.parse_args(shlex.split(line)[1:])


def policy(asked: argparse.Namespace) -> dict[str, Any]:
    if asked.start_sequence:
        return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": asked.start_sequence}
    by_flag = {
        "new": DeliverPolicy.NEW,
        "all": DeliverPolicy.ALL,
        "last": DeliverPolicy.LAST,
        "last_per_subject": DeliverPolicy.LAST_PER_SUBJECT,
    }
    (chosen,) = [found for flag, found in by_flag.items() if getattr(asked, flag)]
    return {"deliver_policy": chosen}


@pytest.mark.parametrize("line", lines_with("nats sub"))
async def test_stranger_hears_what_the_nats_command_asks_for(market: Pasar, line: str) -> None:
    asked = parsed(line)
    options = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        flow_control=True,
        idle_heartbeat=5,
        headers_only=asked.headers_only,
        **policy(asked),
    )
    stranger = await nats.connect(market.json("status")["nats_url"])
    heard = await stranger.jetstream().subscribe(asked.subject, config=options, manual_ack=True)
    if asked.new:
        await asyncio.to_thread(market.json, "escrow", "fund", "1000", "--as", "stranger")
    message = await heard.next_msg(timeout=10)
    assert message.headers is not None
    assert message.subject.endswith(message.headers["ce-type"].removesuffix(".v1"))
    assert bool(message.data) is not asked.headers_only
    if asked.start_sequence:
        assert message.metadata.sequence.stream == asked.start_sequence
    await stranger.close()


@pytest.mark.parametrize("line", lines_with("nats request"))
async def test_stranger_is_given_a_signed_root(market: Pasar, line: str) -> None:
    asked = parsed(line)
    stranger = await nats.connect(market.json("status")["nats_url"])
    answer = msgspec.json.decode((await stranger.request(asked.subject, asked.payload.encode(), timeout=5)).data)
    await stranger.close()
    kept = market.home / "answer.json"
    kept.write_bytes(msgspec.json.encode(answer["root"]))
    verdict = market.json("audit", "--root", str(kept))
    assert verdict["ok"]
    assert answer["root"]["size"] >= 5


async def test_plain_subscription_is_refused(market: Pasar) -> None:
    refused = asyncio.Event()

    async def heard(error: Exception) -> None:
        assert "permissions violation" in str(error).lower()
        refused.set()

    stranger = await nats.connect(market.json("status")["nats_url"], error_cb=heard)
    await stranger.subscribe("pasar.events.>")
    async with asyncio.timeout(10):
        await refused.wait()
    await stranger.close()
