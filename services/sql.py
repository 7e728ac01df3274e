"""SQL lives in ``.sql`` files: each query stands under its own ``-- name: x`` line."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_NAME = re.compile(r"^-- name: *([a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)


def load_queries(path: Path) -> Mapping[str, str]:
    """The queries of one file by name; what stands before the first name is for the reader.

    Raises:
        ValueError: A name stands twice, or has no query.
    """
    _, *parts = _NAME.split(path.read_text())
    found: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if name in found or not text.strip():
            raise ValueError(f"{path.name}: query {name} is empty or stands twice")
        found[name] = text.strip()
    return MappingProxyType(found)
