"""Log lines -> rows: zerolog JSON, zerolog's console form with colours, plain text, multi-line panics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

COLUMNS = ("time", "level", "message", "fields", "pod")
_TEXT_MAX = 2_000
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_KUBERNETES_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) ?(.*)$", re.DOTALL)
_CONSOLE = re.compile(
    r"^(?:\d{1,2}:\d\d(?::\d\d)?[AP]M|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)|<nil>)"
    r" (TRC|DBG|INF|WRN|ERR|FTL|PNC|\?\?\?) (.*)$",
    re.DOTALL,
)
_FIELD = re.compile(r'\s([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|\S*)')
_LEVELS = {
    "TRC": "trace",
    "DBG": "debug",
    "INF": "info",
    "WRN": "warning",
    "ERR": "error",
    "FTL": "fatal",
    "PNC": "panic",
    "warn": "warning",
    "err": "error",
    "critical": "fatal",
}
_PLAIN_LEVELS = (
    ("panic", re.compile(r"^(?:panic:|fatal error:)|\bPANIC:")),
    ("fatal", re.compile(r"\bFATAL\b|\[FTL\]")),
    ("error", re.compile(r"\bERROR\b|\[ERR\]|\bOOM command not allowed\b|\bMISCONF\b")),
    ("warning", re.compile(r"\bWARN(?:ING)?\b|\[WRN\]|^\d+:[A-Z] .* # ")),
)
_CONTINUES = re.compile(
    r"^(?:\s|goroutine \d+ \[|created by |exit status \d|main\.|runtime\.|github\.com/|[\w./*()-]+\(0x|$)|^\[signal "
)


def parse(text: str, pod: str) -> pd.DataFrame:
    """One pod's log, Kubernetes' own timestamp in front of each line -> DataFrame time, level, message, fields, pod.

    A panic and the stack that follows it are one row, as are other continued lines. `time` is UTC,
    NaT where a line has none; `fields` is a dict of text. Colours and control characters are gone.
    """
    rows: list[dict[str, Any]] = []
    for raw in text.splitlines():
        moment, line = _split(raw)
        if not line.strip():
            continue
        if rows and rows[-1]["level"] == "panic" and _CONTINUES.match(line):
            if len(rows[-1]["fields"].get("stack", "")) < _TEXT_MAX:
                rows[-1]["fields"]["stack"] = (rows[-1]["fields"].get("stack", "") + "\n" + line).strip("\n")
            continue
        if rows and line[:1] in " \t":
            rows[-1]["message"] = (rows[-1]["message"] + " " + line.strip())[:_TEXT_MAX]
            continue
        rows.append({**_line(line, moment), "pod": pod})
    return frame_of(rows)


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as `parse` makes them -> DataFrame with its columns and types, also when there are none."""
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], utc=True).astype("datetime64[us, UTC]")
    for name in ("level", "message", "fields", "pod"):
        frame[name] = frame[name].astype("object")
    return frame


def _split(raw: str) -> tuple[datetime | None, str]:
    line = _ANSI.sub("", raw)
    line = _CONTROL.sub(" ", line)
    match = _KUBERNETES_TIME.match(line)
    if match and not _CONSOLE.match(line):
        return _time(match[1]), match[2]
    return None, line


def _line(line: str, moment: datetime | None) -> dict[str, Any]:
    return _json(line, moment) or _console(line, moment) or _plain(line, moment)


def _json(line: str, moment: datetime | None) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    level = str(content.pop("level", "info"))
    text = str(content.pop("message", content.pop("msg", "")))
    own_time = _time(content.pop("time", None))
    fields = {str(k)[:100]: (v if isinstance(v, str) else json.dumps(v))[:_TEXT_MAX] for k, v in content.items()}
    return {
        "time": moment or own_time,
        "level": _LEVELS.get(level, level)[:20],
        "message": text[:_TEXT_MAX],
        "fields": fields,
    }


def _console(line: str, moment: datetime | None) -> dict[str, Any] | None:
    match = _CONSOLE.match(line)
    if not match:
        return None
    first = _FIELD.search(match[2])
    message = match[2][: first.start()] if first else match[2]
    fields = {name: _unquote(value)[:_TEXT_MAX] for name, value in _FIELD.findall(match[2])}
    own_time = _time(line.split(" ", 1)[0])
    return {
        "time": moment or own_time,
        "level": _LEVELS.get(match[1], "info"),
        "message": message.strip()[:_TEXT_MAX],
        "fields": fields,
    }


def _plain(line: str, moment: datetime | None) -> dict[str, Any]:
    level = next((name for name, pattern in _PLAIN_LEVELS if pattern.search(line)), "info")
    return {"time": moment, "level": level, "message": line.strip()[:_TEXT_MAX], "fields": {}}


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value[1:-1]


def _time(value: Any) -> datetime | None:
    """A time as zerolog writes it: ISO 8601, or Unix seconds (or milliseconds) as a number; else None."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
        moment = datetime.fromisoformat(str(value))
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError, OSError):
        return None
