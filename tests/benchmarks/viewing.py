"""How fast the page is: from an event to the pixel that shows it, for many viewers; and from an address to a page.

The market, its page and all viewers share the machine. Viewers look at Market: a few are tabs of a real browser, where
the pixels are seen, the others do all that a tab does but paint (``viewers``), as people do it on their own machines.
``ticker`` is the line of the event itself, ``redraw`` the sums above it, which wait for the read models.
"""

import asyncio
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from domain.kernels import catalogue
from services import arrays
from services.client.session import Work, follow, session
from services.programs.export import export_program
from services.stack import state
from tests.benchmarks.viewers import looking
from tests.browser.browser import DESK, browser, chromium
from tests.e2e.pasar import Pasar

VIEWERS: Final = 30
TABS: Final = 2
EVENTS: Final = 60
EVERY_S: Final = 0.5
TASKS: Final = 1_600
_LEAD_SAT: Final = 1_000_000

#: Notes when each position was first painted in the ticker, and each sum in escrow above it.
_WATCH: Final = """
window.seen = {ticker: {}, redraw: {}};
const note = (what, key) => {
  if (!(key in seen[what])) requestAnimationFrame(() => { seen[what][key] ??= Date.now(); });
};
const all = (root, selector) => [...root.querySelectorAll(selector),
  ...[...root.querySelectorAll('*')].filter((one) => one.shadowRoot).flatMap((one) => all(one.shadowRoot, selector))];
const ticker = all(document, '.ticker')[0];
new MutationObserver(() => { for (const item of ticker.children) note('ticker', item.dataset.position); })
  .observe(ticker, {childList: true});
new MutationObserver(() => {
  const tile = [...document.querySelectorAll('.tile')].find((one) => one.textContent.includes('in escrow'));
  if (tile) note('redraw', tile.querySelector('b').textContent.replace(/[^0-9.]/g, ''));
}).observe(document.body, {childList: true, subtree: true, characterData: true});
"""


def bench(viewers: int = VIEWERS, events: int = EVENTS, tasks: int = TASKS) -> dict[str, Any]:
    """Figures in seconds, and the memory of the page's process in MB."""
    chromium()
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        pasar = Pasar(home, PASAR_PAGE="1", PASAR_PAGE_PORT="0")
        pasar.text("up", "--workers", "2")
        try:
            job = asyncio.run(_post(pasar, tasks))
            with browser() as opened:
                url = state.running(pasar.settings).page_url
                found = {f"page_{name}_s": value for name, value in _opening(opened, pasar, url, job).items()}
                return found | _watching(opened, pasar, url, viewers, events)
        finally:
            pasar.text("down")


async def _post(pasar: Pasar, tasks: int) -> str:
    """A job of so many tasks, run to its end."""
    settings = state.attach(pasar.settings)
    program = catalogue.build("square")
    _, mapped = program.inputs(1, tasks)
    async with session(settings) as client:
        await client.fund(_LEAD_SAT * 1000)
        work = Work(
            program=export_program(program.function, program.shared, program.row),
            shared=None,
            mapped=arrays.pack(dict(mapped)),
            tasks=tasks,
            price_msat=1_000,
        )
        job = await client.post(work)
        async for stored in follow(settings, subject=f"pasar.events.job.{job}.JobCompleted"):
            assert stored.name == "JobCompleted.v1"
            return job
    raise AssertionError("a job ends")


def _opening(opened: Browser, pasar: Pasar, url: str, job: str) -> dict[str, float]:
    """Seconds from an address to what it shows: of a server that just started, and of one that is warm."""
    page = _pid(pasar)
    os.kill(page, signal.SIGKILL)
    while state.running(pasar.settings).services[-1].state != "ready" or page == _pid(pasar):
        time.sleep(0.1)
    found = {"cold_market": _timed(opened, f"{url}/", ".tile")}
    found["warm_market"] = statistics.median(_timed(opened, f"{url}/", ".tile") for _ in range(5))
    found["job_of_10_000_events"] = statistics.median(
        _timed(opened, f"{url}/job?id={job}", "text=Completed:") for _ in range(5)
    )
    found["market_upto_5_000"] = statistics.median(
        _timed(opened, f"{url}/?upto={5_000 - step}", ".tile") for step in range(5)
    )
    return found


def _pid(pasar: Pasar) -> int:
    pid = state.running(pasar.settings).services[-1].pid
    return pid or 0


def _timed(opened: Browser, address: str, selector: str) -> float:
    context = opened.new_context(viewport={"width": DESK[0], "height": DESK[1]})
    try:
        page = context.new_page()
        began = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.locator(selector).first.wait_for(state="visible", timeout=60_000)
        return time.perf_counter() - began
    finally:
        context.close()


def _watching(opened: Browser, pasar: Pasar, url: str, viewers: int, events: int) -> dict[str, float]:
    contexts = [opened.new_context(viewport={"width": DESK[0], "height": DESK[1]}) for _ in range(TABS)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.goto(f"{url}/")
        page.locator(".ticker li").first.wait_for(state="visible", timeout=60_000)
    for page in pages:
        page.evaluate(f"() => {{ {_WATCH} }}")
    told: list[tuple[int, datetime]] = []
    with looking(url, viewers - TABS) as others:
        pages[0].wait_for_timeout(3_000)
        before, began = sum(viewer.drawn for viewer in others), time.perf_counter()
        paying = threading.Thread(target=lambda: told.extend(asyncio.run(_pay(pasar, events))))
        paying.start()
        while paying.is_alive():
            pages[0].wait_for_timeout(100)
        redraws = (sum(viewer.drawn for viewer in others) - before) / (time.perf_counter() - began)
        pages[0].wait_for_timeout(8_000)
    late = _late(pages, told) | {"viewers": viewers, "redraws_per_s": round(redraws, 1)}
    for context in contexts:
        context.close()
    return late


async def _pay(pasar: Pasar, events: int) -> Sequence[tuple[int, datetime]]:
    """Fund the escrow so many times; position and time of each event."""
    settings = state.attach(pasar.settings)
    found: list[tuple[int, datetime]] = []
    async with session(settings) as client:
        for _ in range(events):
            await client.fund(1_000)
            await asyncio.sleep(EVERY_S)
        async for stored in follow(settings, after=0, subject="pasar.events.escrow.*.EscrowFunded"):
            found.append((stored.position, stored.recorded_at))
            if len(found) > events:
                return found[-events:]
    raise AssertionError("all of them are recorded")


def _late(pages: Sequence[Page], told: Sequence[tuple[int, datetime]]) -> dict[str, float]:
    """Seconds from the record of an event to its pixel, over all viewers and events."""
    ticker: list[float] = []
    redraw: list[float] = []
    missed = 0
    for page in pages:
        seen = page.evaluate("() => seen")
        sums = sorted((float(key), at) for key, at in seen["redraw"].items())
        last = sums[-1][0]
        for number, (position, at) in enumerate(told):
            recorded = at.timestamp() * 1000
            painted = seen["ticker"].get(str(position))
            missed += painted is None
            ticker += [] if painted is None else [(painted - recorded) / 1000]
            wanted = last - (len(told) - 1 - number)
            redraw.append((min(at for total, at in sums if total >= wanted) - recorded) / 1000)
    return {
        "event_to_ticker_p50_s": _of(ticker, 50),
        "event_to_ticker_p95_s": _of(ticker, 95),
        "event_to_redraw_p50_s": _of(redraw, 50),
        "event_to_redraw_p95_s": _of(redraw, 95),
        "events_not_shown": missed,
    }


def _of(values: Sequence[float], percent: int) -> float:
    return round(statistics.quantiles(values, n=100)[percent - 1], 3)
