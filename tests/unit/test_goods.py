"""What a job runs, out of files and out of the catalogue, and what would let a quote pass."""

import subprocess
import sys

import numpy as np
import pytest

from domain.kernels import mlp
from domain.kernels.catalogue import CATALOGUE
from domain.kernels.menu import MENU
from domain.meter import Meter
from domain.quote import Needs, Offer, quote
from services import arrays
from services.client import pricing
from services.client.bill import Quote, of_quote
from services.client.goods import File, NotOnTheMenu, SayHowMany, TooLarge, of_catalogue, of_files

METER = Meter(1_000_000, 0, 1_000, 1 << 20, 64, 64)


def test_catalogue_goods_are_the_same_for_the_same_seed() -> None:
    first, again, other = (of_catalogue("square", {}, tasks=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.program == other.program
    assert first.mapped != other.mapped
    assert arrays.unpack(first.mapped or b"")["x"].shape == (3,)
    assert first.shared is None


def test_goods_that_no_blob_holds_are_refused_before_they_are_made() -> None:
    with pytest.raises(TooLarge, match="choose 4 tasks or fewer"):
        of_catalogue("product", {"side": 4096}, tasks=5, seed=0)


def test_program_outside_the_menu_is_refused_with_what_there_is() -> None:
    with pytest.raises(NotOnTheMenu, match="there are square, product"):
        of_catalogue("chess", {}, tasks=1, seed=0)


def test_rows_of_a_file_say_how_many_tasks_there_are() -> None:
    rows = File("x", arrays.pack({"x": np.arange(7)}))
    assert of_files(File("p", b"program"), None, rows, None).tasks == 7
    with pytest.raises(SayHowMany):
        of_files(File("p", b"program"), None, None, None)


def test_menu_is_the_catalogue_and_is_shown_without_jax() -> None:
    assert list(MENU) == list(CATALOGUE)
    (steps,) = MENU["mlp"].parameters
    assert steps.default == mlp.STEPS // mlp.REPORT
    assert str(mlp.REPORT) in steps.summary
    shown = "import sys, ui.page.app, domain.kernels.menu; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", shown], capture_output=True, check=False).returncode == 0


def a_quote(*offers: Offer, budget_msat: int | None = None, **needs: int) -> Quote:
    wanted = {"memory_mb": 256, **needs}
    found = quote(METER, offers, Needs(2, wanted.pop("replicas", 1), ("cpu",), **wanted), fee_ppm=10_000)
    return of_quote(found, function="f", budget_msat=budget_msat, timeout_s=60, memory_mb=256)


def offer(name: str, **changed: int) -> Offer:
    return Offer(name, True, "cpu", changed.get("memory_mb", 1024), changed.get("price_msat", 1_000))


@pytest.mark.parametrize(
    ("quoted", "remedy"),
    [
        (a_quote(offer("a", memory_mb=128)), "give a run 128 MB of memory or less"),
        (a_quote(offer("a"), stake_msat=5_000), "ask for 0 sat at stake or less"),
        (a_quote(offer("a", price_msat=9_000), price_msat=2_000), "pay 9 sat a run or more"),
        (a_quote(offer("a"), replicas=2), "run each task by 1 worker instead of 2"),
        (a_quote(), "start 1 more worker with `pasar worker run`"),
        (a_quote(offer("a"), budget_msat=1_000), "raise the budget to 2.02 sat"),
    ],
)
def test_quote_that_does_not_pass_says_what_would_let_it(quoted: Quote, remedy: str) -> None:
    assert not pricing.passes(quoted)
    assert remedy in pricing.remedies(quoted)


def test_quote_that_passes_needs_no_remedy() -> None:
    quoted = a_quote(offer("a"))
    assert pricing.passes(quoted)
    assert pricing.remedies(quoted) == []
