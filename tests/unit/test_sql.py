"""Named queries in ``.sql`` files."""

from pathlib import Path

import pytest

from services.sql import load_queries


def test_queries_are_found_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "queries.sql"
    path.write_text("for the reader\n-- name: one\nSELECT 1;\n\n--  name: no query\n-- name: two_more\nSELECT\n  2\n")
    assert load_queries(path) == {"one": "SELECT 1;\n\n--  name: no query", "two_more": "SELECT\n  2"}


@pytest.mark.parametrize("text", ["-- name: a\nSELECT 1\n-- name: a\nSELECT 2\n", "-- name: a\n-- name: b\nSELECT 1\n"])
def test_queries_are_refused_when_a_name_is_ambiguous_or_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "queries.sql"
    path.write_text(text)
    with pytest.raises(ValueError, match="query a"):
        load_queries(path)
