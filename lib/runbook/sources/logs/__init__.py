"""Log lines -> rows, each with the level that its writer gave it, whatever it writes with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd

from runbook.sources.logs import blocks
from runbook.sources.logs.blocks import Block
from runbook.sources.logs.levels import COMPLAINTS, ERRORS, LEVELS, UNKNOWN
from runbook.sources.logs.plain import CONSOLE, of_text
from runbook.sources.logs.rows import Row, printable, time_of, uncoloured
from runbook.sources.logs.structured import of_json, of_logfmt

__all__ = ["COLUMNS", "COMPLAINTS", "ERRORS", "LEVELS", "UNKNOWN", "frame_of", "parse"]

COLUMNS = ("time", "level", "message", "fields", "pod")
_KUBERNETES_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))(?: (.*)|$)", re.DOTALL)


def parse(text: str, pod: str) -> pd.DataFrame:
    """One pod's log, Kubernetes' own timestamp in front of each line -> DataFrame time, level, message, fields, pod.

    Levels are those of `LEVELS`, by the writer's own word; "unknown" where a line tells none. A panic or a
    traceback is one row with its stack, as are other continued lines. `time` is UTC, NaT where a line has none;
    `fields` is a dict of text. Colours and control characters are gone.
    """
    rows: list[Row] = []
    block: Block | None = None
    for raw in text.split("\n"):  # and at nothing else: other line ends are part of what was logged
        moment, line = _split(raw)
        if block is not None and block.takes(line):
            continue
        block = None
        if not line or line.isspace() or blocks.ends_key(rows, line):
            continue
        data = of_json(line) or of_logfmt(line)
        row = data or of_text(line)
        row.time = moment or row.time
        if data is None:
            found = blocks.joined(rows, row, line) if rows else False
            if found:
                block = None if found is True else found
                continue
            block = blocks.opened_by(row, line)
        rows.append(row)
    return frame_of(
        {"time": row.time, "level": row.level, "message": row.message, "fields": row.fields, "pod": pod} for row in rows
    )


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as `parse` makes them -> DataFrame with its columns and types, also when there are none."""
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], utc=True).astype("datetime64[us, UTC]")
    for name in ("level", "message", "fields", "pod"):
        frame[name] = frame[name].astype("object")
    return frame


def _split(raw: str) -> tuple[datetime | None, str]:
    """(Kubernetes' timestamp, the line behind it) of a line; None for a line without."""
    line = uncoloured(raw)
    match = _KUBERNETES_TIME.match(line)
    if match and not CONSOLE.match(line):
        return time_of(match[1]), printable(match[2] or "")
    return None, printable(line)
