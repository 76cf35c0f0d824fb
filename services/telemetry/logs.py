"""Log lines of known fields only: what is not on the list cannot be logged, so no number, name or text ever is."""

import logging
import sys
from collections import Counter
from collections.abc import MutableMapping
from typing import Any

import structlog

FIELDS = frozenset(
    {
        *("event", "level", "timestamp", "processor", "shard", "topic", "partition", "offset", "type", "reason"),
        *("error", "status", "seconds", "count", "roles", "edition", "version", "port", "host", "field", "role", "fix"),
    }
)

LINES: Counter[tuple[str, str]] = Counter()
"""Warnings and errors of this process by level and word, for the metrics; logging is of the process, so this is too."""
COUNTED = frozenset({"warning", "error", "critical"})


def _counted(_: Any, level: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if level in COUNTED:
        LINES[level, str(fields["event"])] += 1
    return fields


def _known_only(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in fields.items() if name in FIELDS}


def configure(log_format: str, level: str) -> None:
    """Set up logging for this process: to standard error, as JSON or for people. Exceptions show their type only."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _counted,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _known_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    for name in ("httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
