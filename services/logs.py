"""Logs: one line of JSON an entry in ``settings.logs/<name>.log``, readable text on a terminal, secrets in neither."""

import logging
import re
import sys
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from typing import Any, Final

import structlog
from structlog.typing import Processor

from services.config import Settings

FILE_BYTES_MAX: Final = 10_000_000
FILES_KEPT: Final = 3

_SEED: Final = re.compile(r"\bS[AUNCOX][A-Z2-7]{56}\b")
_PASSWORD_IN_URL: Final = re.compile(r"(://[^/\s:@]*:)[^@/\s]+@")
_SECRET_NAME: Final = re.compile(r"seed|secret|password|token", re.IGNORECASE)


def configure(settings: Settings, name: str, *, level: int = logging.INFO, terminal: bool = True) -> None:
    """Send everything this process logs to its file, and to the terminal when one is attached and wanted."""
    settings.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    shared = _processors()
    _configure(shared, level)
    file = RotatingFileHandler(settings.logs / f"{name}.log", maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT)
    file.setFormatter(_formatter(shared, structlog.processors.JSONRenderer()))
    handlers: list[logging.Handler] = [file]
    if terminal and sys.stderr.isatty():
        readable = logging.StreamHandler(sys.stderr)
        readable.setFormatter(_formatter(shared, structlog.dev.ConsoleRenderer()))
        handlers.append(readable)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def quietly(settings: Settings, name: str) -> None:
    """Send what this code logs to its file from inside somebody else's process, whose own logging is left alone."""
    settings.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    if structlog.is_configured():
        return
    shared = _processors()
    _configure(shared, logging.INFO)
    file = RotatingFileHandler(
        settings.logs / f"{name}.log", maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, delay=True
    )
    file.setFormatter(_formatter(shared, structlog.processors.JSONRenderer()))
    ours = logging.getLogger("services")
    ours.addHandler(file)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def _processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _configure(shared: list[Processor], level: int) -> None:
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _formatter(shared: list[Processor], renderer: Processor) -> logging.Formatter:
    final: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if isinstance(renderer, structlog.processors.JSONRenderer):
        final.append(structlog.processors.format_exc_info)
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*final, without_secrets, renderer])


def without_secrets(logger: object, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what must not be written: seeds anywhere, passwords in addresses, and whatever is named as a secret."""
    for field, value in entry.items():
        if _SECRET_NAME.search(field):
            entry[field] = "(secret)"
        elif isinstance(value, str):
            entry[field] = _blank(value)
        elif not isinstance(value, int | float | bool | None) and (text := _blank(str(value))) != str(value):
            entry[field] = text
    return entry


def _blank(text: str) -> str:
    return _PASSWORD_IN_URL.sub(r"\1(secret)@", _SEED.sub("(secret)", text))
