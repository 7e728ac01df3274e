"""Addresses in lines that viewers copy."""

from pathlib import Path

import pytest

from services.config import Settings
from tests.page.recorded import demo
from ui.page import process
from ui.page.parts import subscribing


@pytest.mark.parametrize(
    ("nats_url", "shown"),
    [
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("nats://page:secret@nats.example:4222", '"$(pasar status --json | jq -r .nats_url)"'),
        (None, '"$(pasar status --json | jq -r .nats_url)"'),
    ],
)
def test_address_of_the_stream_is_shown_without_what_was_meant_for_the_page_alone(
    nats_url: str | None, shown: str, tmp_path: Path
) -> None:
    market = demo()
    market.settings = Settings(home=tmp_path, nats_url=nats_url)
    process.show(market)
    assert subscribing.server() == shown
