"""Lines that are data: JSON (zerolog, slog, zap, pino, PostgreSQL's jsonlog and more) and logfmt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.sources.logs import levels
from runbook.sources.logs.rows import TEXT_MAX, Row, pairs, shown, shown_fields, time_of

_LEVEL_NAMES = (
    "level",
    "severity",
    "error_severity",
    "lvl",
    "@level",
    "log.level",
    "levelname",
    "levelno",
    "loglevel",
    "log_level",
    "severity_text",
    "PRIORITY",
    "Level",
    "Severity",
    "L",
    "@l",
)
_MESSAGE_NAMES = ("message", "msg", "@message", "short_message", "M", "@m", "Message", "MESSAGE", "event")
_TIME_NAMES = ("time", "ts", "timestamp", "@timestamp", "@t", "datetime", "t")
_SYSLOG_NAMES = ("PRIORITY", "short_message")
_CUT_LEVEL = re.compile(
    r'"(?:level|severity|error_severity|lvl|@level|log\.level|levelname)"\s*:\s*(?:"([^"]{1,20})"|(\d{1,3})\b)'
)
_CUT_MESSAGE = re.compile(r'"(?:message|msg)"\s*:\s*"((?:[^"\\]|\\.){1,2000})')
_LOGFMT = re.compile(r'^[A-Za-z_@][\w.@-]{0,60}=(?:"|[^\s=])')


def of_json(line: str) -> Row | None:
    """The row of a line that is a JSON object, whole or cut off; None for any other."""
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return _of_cut_json(line)
    return _of_content(content, line) if isinstance(content, dict) else None


def of_json_within(line: str) -> Row | None:
    """The row of a line that ends in a JSON object which tells a level: a prefix went before it."""
    start = line.find("{")
    if start <= 0 or not line.endswith("}"):
        return None
    row = of_json(line[start:])
    return row if row is not None and row.level != levels.UNKNOWN else None


def _of_content(content: dict[str, Any], line: str) -> Row:
    name, level = _level_in(content)
    if level == levels.UNKNOWN:
        # A field of the same name that comes later hides the level: zerolog writes it first, whatever follows.
        level = _first_level(line)
    content.pop(name, None)
    own_time = _take_time(content)
    said_by = next((key for key in _MESSAGE_NAMES if content.get(key) is not None), "")
    message = shown(content.pop(said_by)) if said_by else ""
    if level == levels.UNKNOWN and not name:
        level = _level_of_request(content)
    return Row(level, message, shown_fields(content), own_time)


def _level_in(content: Mapping[str, Any]) -> tuple[str, str]:
    """(the name under which the level stands, the level); "" where there is none, the first where none is known."""
    value = content.get("level")
    if isinstance(value, str) and (level := levels.of_value(value)) != levels.UNKNOWN:
        return "level", level
    present = [name for name in _LEVEL_NAMES if name in content]
    for name in present:
        value = content[name]
        is_syslog = isinstance(value, int | float | str) and any(mark in content for mark in _SYSLOG_NAMES)
        level = levels.of_value(value, is_syslog=is_syslog, is_python=name == "levelno")
        if level != levels.UNKNOWN:
            return name, level
    nested = content.get("log")
    if isinstance(nested, Mapping) and "level" in nested:
        return "", levels.of_value(nested["level"])
    return (present[0] if present else ""), levels.UNKNOWN


def _take_time(content: dict[str, Any]) -> datetime | None:
    """The line's own time, taken out of `content`."""
    for name in _TIME_NAMES:
        if name not in content:
            continue
        moment = time_of(content[name])
        if moment is not None or name == "time":
            content.pop(name)
            return moment
    return None


def _level_of_request(content: Mapping[str, Any]) -> str:
    """The level of a request's line that tells none: by its status."""
    status = content.get("status", content.get("status_code"))
    is_request = "method" in content and isinstance(status, int) and 100 <= status < 600
    return levels.of_status(status) if is_request and isinstance(status, int) else levels.UNKNOWN


def _first_level(text: str) -> str:
    found = _CUT_LEVEL.search(text[:TEXT_MAX])
    if not found:
        return levels.UNKNOWN
    return levels.of_value(found[1]) if found[1] else levels.of_value(int(found[2]))


def _of_cut_json(line: str) -> Row | None:
    """The row of a JSON object whose end is missing (a log is read up to so many bytes), by its first level."""
    level = _first_level(line)
    if level == levels.UNKNOWN:
        return None
    message = _CUT_MESSAGE.search(line[: 4 * TEXT_MAX])
    return Row(level, shown(message[1] if message else line))


def of_logfmt(line: str) -> Row | None:
    """The row of a line of name=value pairs, as slog's text form is one; None for any other."""
    if not _LOGFMT.match(line):
        return None
    fields = dict(pairs(line))
    name = next((name for name in ("level", "lvl", "severity", "loglevel") if name in fields), "")
    if not name:
        return None
    level = levels.of_value(fields.pop(name))
    own_time = _take_time(fields)
    message = next((fields.pop(key) for key in ("msg", "message", "event") if key in fields), line)
    return Row(level, message[:TEXT_MAX], fields, own_time)
