"""Every page in every light: at the beginning, of a file, in bitcoin, of what there is not; and the lines it shows."""

import html
import re
import shlex

import pytest
import typer
from typer.core import TyperGroup

from tests.logs import zipped
from tests.page.recorded import Recorded, demo, look, text
from ui.cli import app as cli
from ui.page import process
from ui.page.app import PAGES

JOB = "e4b882443771a945508903e8"
ABOUT = {"job": {"id": JOB}, "event": {"position": "300"}, "search": {"q": JOB[:6]}}


def about(page: str) -> dict[str, str]:
    if page == "worker":
        return {"id": demo().view(None).workers()[0].worker}
    return ABOUT.get(page, {})


def lines(said: str) -> list[list[str]]:
    """The commands that a page offers to copy."""
    found = (html.unescape(one) for one in re.findall(r'data-copy="(pasar [^"]*)"', said))
    return [shlex.split(one.partition(" > ")[0]) for one in found]


def parse(words: list[str]) -> None:
    """Have the command line read them, without doing it."""
    command, rest = typer.main.get_command(cli), words[1:]
    while isinstance(command, TyperGroup):
        found = command.commands.get(rest[0])
        assert found is not None, f"there is no command {shlex.join(words)}"
        command, rest = found, rest[1:]
    command.make_context(words[-1], list(rest))


@pytest.fixture(scope="module")
def log() -> str:
    return process.archives.open(zipped(demo().log.page(0, 10_000)))


@pytest.mark.parametrize("page", [one.path for one in PAGES])
def test_page_is_drawn_at_any_position_of_the_market_and_of_a_file(page: str, log: str) -> None:
    for light in ({"upto": "0"}, {"upto": "300"}, {"upto": "99999999"}, {"log": log}, {"log": log, "upto": "12"}):
        at = look(demo(), page, {**about(page), **light, "unit": "btc"})
        assert "as of event" in text(at)
        kept = "".join(f"{name}={light[name]}&amp;" for name in ("upto", "log") if name in light)
        assert f'href="/jobs?{kept}unit=btc"' in text(at)
        for link in re.findall(r'href="(/[^"]*)" data-page', text(at)):
            leaves = "back to the market" in text(at).split(f'href="{link}"', 1)[1][:60]
            assert "log" not in light or leaves or f"log={log}" in link, link


@pytest.mark.parametrize("page", [one.path for one in PAGES])
def test_page_of_an_empty_market_is_drawn(page: str) -> None:
    look(Recorded([]), page, about(page))


@pytest.mark.parametrize("page", [one.path for one in PAGES])
def test_lines_that_a_page_offers_are_commands_that_there_are(page: str) -> None:
    for light in ({}, {"upto": "300"}):
        for line in lines(text(look(demo(), page, {**about(page), **light}))):
            parse(line)


@pytest.mark.parametrize(
    ("line", "why"), [("pasar job list --nowhere", "No such option"), ("pasar job shew", "no command")]
)
def test_line_that_is_no_command_would_be_found(line: str, why: str) -> None:
    with pytest.raises(Exception, match=why):
        parse(line.split())


@pytest.mark.parametrize("page", [one.path for one in PAGES])
def test_columns_are_headed_and_pictures_told(page: str) -> None:
    said = text(look(demo(), page, about(page)))
    headings = re.findall(r"<th\b[^>]*>.*?</th>", said, re.DOTALL)
    assert all("scope=" in one and re.sub(r"<[^>]*>", "", one).strip() for one in headings)
    assert all("aria-label" in one for one in re.findall(r'<[^>]*role="img"[^>]*>', said))
