"""Named queries: a ``.sql`` file holds statements, each under a ``-- name: <name>`` line."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """Every statement of ``text`` by its name."""
    parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def queries(path: Path) -> dict[str, str]:
    """Every statement of the file by its name."""
    return parse(path.read_text(encoding="utf-8"))
