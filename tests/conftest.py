"""Fixtures that every test may ask for."""

import os

from tests.postgres import database_url, postgres

__all__ = ["database_url", "postgres"]

#: Markets that tests start have no page, unless the test is about it.
os.environ.setdefault("PASAR_PAGE", "0")
