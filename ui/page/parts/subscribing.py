"""Where a viewer's own command lines reach the page and the stream."""

from typing import Final
from urllib.parse import urlsplit

import streamlit as st

from ui.page import process

#: What stands for the stream's address where it cannot be told.
_ASKED: Final = '"$(pasar status --json | jq -r .nats_url)"'


def origin() -> str:
    """Scheme, name and port of the page as its viewer sees it: ``http://127.0.0.1:8501``."""
    seen = urlsplit(st.context.url or "")
    return f"{seen.scheme}://{seen.netloc}" if seen.netloc else "http://127.0.0.1:8501"


def server() -> str:
    """nats-server as the ``nats`` command line is told of it; nothing that was meant for this process alone."""
    settings = process.market().settings
    known = urlsplit((settings.nats_url if settings is not None else None) or "")
    return f"{known.scheme}://{known.netloc}" if known.hostname and not known.username else _ASKED
