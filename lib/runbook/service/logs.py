"""Structured logs: one JSON object a line on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime

from runbook import settings

_QUIET = ("psycopg.pool", "procrastinate", "uvicorn.access", "httpx")


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, and the traceback's frames where there is one; never local variables."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            line["error"] = type(record.exc_info[1]).__name__
            line["trace"] = "".join(traceback.format_tb(record.exc_info[2]))[-4_000:]
        return json.dumps(line, ensure_ascii=True)


def set_up(level: int = logging.INFO) -> None:
    """Log as JSON to standard error. Vendors' chatter is left out, their errors are kept."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def warn_of(config: settings.Settings) -> None:
    """Warn of what in the environment is misspelt, or left there from a demo or a replay."""
    log = logging.getLogger(__name__)
    for warning in (*settings.pinned(config), *settings.misspelt(os.environ)):
        log.warning("%s", warning)
