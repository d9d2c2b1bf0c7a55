"""What a log line comes to, and how text is made fit to be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runbook.sources.logs.levels import UNKNOWN

TEXT_MAX = 2_000
_NAME_MAX = 100
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
_UNPRINTABLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]"
"""Control characters, marks that turn the direction of text, and line ends that are none in a log."""
_CONTROL = re.compile(_UNPRINTABLE)
_EDGES = re.compile(f"^{_UNPRINTABLE}+|{_UNPRINTABLE}+$")
_FIELD = re.compile(r'(?:^|\s)([A-Za-z_@][\w.@-]*)=("(?:[^"\\]|\\.)*"|\S*)')
_ZONES = (" UTC", " GMT")


@dataclass(slots=True)
class Row:
    """A line of a log, to which the lines that belong to it are added.

    `kind` says who wrote it, where that tells which lines may follow; `time` is what the line itself says.
    """

    level: str = UNKNOWN
    message: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    time: datetime | None = None
    kind: str = ""

    def add(self, text: str, between: str = " ") -> None:
        """Adds `text` to the message, as far as there is room."""
        if len(self.message) < TEXT_MAX:
            self.message = f"{self.message}{between}{text}"[:TEXT_MAX]

    def add_to(self, name: str, text: str) -> None:
        """Adds a line to the field `name`, as far as there is room."""
        before = self.fields.get(name, "")
        if len(before) < TEXT_MAX:
            self.fields[name] = f"{before}\n{text}".strip("\n")[:TEXT_MAX]


def uncoloured(line: str) -> str:
    """`line` without the terminal's commands."""
    return _ANSI.sub("", line) if "\x1b" in line else line


def printable(text: str) -> str:
    """`text` with a space for each character that a page must not show; those at its ends are gone."""
    if text.isprintable():
        return text
    return _CONTROL.sub(" ", _EDGES.sub("", text))


def shown(value: Any) -> str:
    """A JSON value as text: as it is written where it is one, else as JSON."""
    if isinstance(value, str):
        text = value[:TEXT_MAX]
        return text if text.isprintable() else printable(uncoloured(text))
    return str(value) if type(value) is int else json.dumps(value)[:TEXT_MAX]


def shown_fields(values: dict[str, Any]) -> dict[str, str]:
    """JSON values as fields of a row. An error that is an object is told by its message, its stack beside it."""
    fields = {name[:_NAME_MAX]: shown(value) for name, value in values.items()}
    for name in ("err", "error"):
        error = values.get(name)
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            fields[name] = shown(error["message"])
            if isinstance(error.get("stack"), str):
                fields["stack"] = shown(error["stack"])
    return fields


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """(name, value) of each name=value in `text`, quotes undone."""
    for name, value in _FIELD.findall(text):
        yield name, _unquoted(value)[:TEXT_MAX]


def split_fields(text: str) -> tuple[str, dict[str, str]]:
    """(what stands before the first name=value in `text`, all of these)."""
    first = _FIELD.search(text)
    message = text[: first.start()] if first else text
    return message.strip(), dict(pairs(text))


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"':
        return value
    try:
        return printable(str(json.loads(value)))
    except ValueError:
        return value[1:-1]


def time_of(value: Any) -> datetime | None:
    """A time as writers say it: ISO 8601 with a zone, or a Unix time in s, ms, µs or ns as a number; else None."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(_seconds(value), UTC)
        text = str(value)
        zone = text[-4:]
        moment = datetime.fromisoformat(f"{text[:-4]}+00:00" if zone in _ZONES else text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError, OSError):
        return None


def _seconds(value: float) -> float:
    for least, scale in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if value > least:
            return value / scale
    return value
