"""Where a viewer's own curl reaches the page."""

import os
from urllib.parse import urlsplit

import streamlit as st

from ui.page.options import Options


def host() -> str:
    """Scheme, name and port of the page as its viewer sees it: ``http://127.0.0.1:8501``."""
    seen = urlsplit(st.context.url or "")
    if seen.scheme and seen.netloc:
        return f"{seen.scheme}://{seen.netloc}"
    options = Options.from_environment(os.environ)
    return f"http://{options.host}:{options.port}"
