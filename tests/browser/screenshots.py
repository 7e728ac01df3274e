"""Pictures of every page, in light, in dark and as wide as a phone: ``just screenshots`` writes docs/screenshots.

The market is the demo's, with some jobs more: one of each fate. The pictures are small palettes, for a repository.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser

from tests.browser.browser import DESK, PHONE, Tab, browser, tab
from tests.e2e.pasar import Pasar

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
LOOKS: Final = {"light": (DESK, False), "dark": (DESK, True), "phone": (PHONE, False)}
_COLOURS: Final = 256
_HEIGHT_MAX: Final = 2_400


def furnish(market: Pasar) -> dict[str, str]:
    """Jobs of several kinds, by what they show."""
    market.text("escrow", "fund", "1000000")

    def post(*arguments: str) -> str:
        return str(market.json("job", "post", *arguments)["job"])

    option = ("option", "--set", "paths=200000", "--tasks", "40", "--replicas", "2")
    jobs = {
        "many": post(*option),
        "image": post("mandelbrot", "--set", "side=256", "--tasks", "2"),
        "curve": post("lorenz", "--tasks", "1"),
    }
    for job in jobs.values():
        market.text("job", "watch", job)
    jobs["reused"] = post(*option)
    jobs["waiting"] = post("heat", "--tasks", "3", "--price", "1500msat", "--memory", "60000")
    jobs["cancelled"] = post("square", "--tasks", "4", "--price", "1500msat", "--memory", "60000")
    market.text("job", "cancel", jobs["cancelled"])
    return jobs


def pages(market: Pasar, jobs: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Names of pictures, and where they are."""
    swept = next(one["job"] for one in market.json("job", "list") if one["rejected"])
    worker = next(one["worker"] for one in market.json("worker", "list") if one["rejected"])
    yield "market", "/"
    yield "jobs", "/jobs"
    yield "job", f"/job?id={jobs['many']}"
    yield "job-image", f"/job?id={jobs['image']}"
    yield "job-timeline", f"/job?id={swept}&history=timeline"
    yield "job-log", f"/job?id={swept}&history=log"
    yield "job-waiting", f"/job?id={jobs['waiting']}"
    yield "job-reused", f"/job?id={jobs['reused']}"
    yield "post", "/post"
    yield "workers", "/workers"
    yield "worker", f"/worker?id={worker}"
    yield "money", "/money"
    yield "audit", "/audit?event=120"
    yield "subscribers", "/subscribers"
    yield "event", "/event?position=120"
    yield "search", f"/search?q={swept[:1]}"
    yield "past", "/?upto=200"


def take(one: Tab, path: str, file: Path) -> None:
    """One picture of the whole page, as it is when nothing is drawn any more."""
    one.open(path)
    one.sees("live ·")
    one.page.wait_for_timeout(1_500)  # charts are drawn after the script has ended
    one.settle()
    height = int(one.page.evaluate("document.querySelector('.stMainBlockContainer').scrollHeight"))
    width = one.page.viewport_size["width"] if one.page.viewport_size else DESK[0]
    one.page.set_viewport_size({"width": width, "height": min(max(height + 20, 500), _HEIGHT_MAX)})
    one.page.wait_for_timeout(400)
    one.page.screenshot(path=file, animations="disabled")
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def shoot(opened: Browser, market: Pasar, names: list[str]) -> None:
    url = str(market.json("status")["page_url"])
    for name, path in pages(market, furnish(market)):
        for look, (size, dark) in LOOKS.items():
            if not names or name in names:
                with tab(opened, url, size=size, dark=dark) as one:
                    take(one, path, FOLDER / f"{name}.{look}.png")
                print(f"{name}.{look}", flush=True)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ.pop("PASAR_PAGE", None)
    with tempfile.TemporaryDirectory(prefix="pasar-pictures-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        market = Pasar(home, PASAR_PAGE="1", PASAR_PAGE_PORT="0")
        market.text("demo", "--keep")
        try:
            with browser() as opened:
                shoot(opened, market, sys.argv[1:])
        finally:
            market.text("down")


if __name__ == "__main__":
    main()
