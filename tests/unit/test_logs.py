"""Logs are JSON lines without secrets."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from services import logs
from services.config import Settings
from services.keys import party


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    settings = Settings(home=tmp_path)
    yield settings
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    for handler in before:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def lines(settings: Settings) -> list[dict[str, object]]:
    return [json.loads(line) for line in (settings.logs / "market.log").read_text().splitlines()]


def test_entry_is_one_line_of_json(settings: Settings) -> None:
    logs.configure(settings, "market")
    structlog.get_logger().info("job posted", job="ab12", tasks=3)
    (entry,) = lines(settings)
    assert (entry["event"], entry["job"], entry["tasks"], entry["level"]) == ("job posted", "ab12", 3, "info")


def test_library_that_uses_logging_ends_up_in_the_same_file(settings: Settings) -> None:
    logs.configure(settings, "market")
    logging.getLogger("asyncio").warning("slow callback")
    assert [entry["event"] for entry in lines(settings)] == ["slow callback"]


def test_secrets_are_blanked_wherever_they_stand(settings: Settings) -> None:
    logs.configure(settings, "market")
    alice = party(settings, "alice")
    log = structlog.get_logger()
    log.info(
        f"opened {alice.seed}", seed="anything", party=alice, url="postgresql://me:hunter2@db/pasar", key=alice.key
    )
    try:
        raise ValueError(f"bad {alice.seed}")
    except ValueError:
        log.exception("failed", facts=[alice.seed])
    text = (settings.logs / "market.log").read_text()
    assert alice.seed not in text
    assert "hunter2" not in text
    assert alice.key in text
