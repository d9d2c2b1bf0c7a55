"""The write-ahead log: what holds it back, and how large it is."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.findings import Finding
from runbook.sources.database import Database
from runbook.steps.disk.figures import WriteAheadLog
from runbook.steps.disk.wording import wal_detail, wal_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import number


def wal(database: Database) -> Finding[WriteAheadLog]:
    """Write-ahead log: what holds it back (slots, archiver), and its size where this role may list it."""
    row = database.ask("disk/wal").frame.iloc[0]
    size, files = math.nan, math.nan
    if row["may_list"]:
        listed = database.ask("disk/wal_files").frame.iloc[0]
        size, files = float(listed["bytes"]), float(listed["files"])
    found = WriteAheadLog(
        float(row["max_wal_bytes"]),
        float(row["slots"]),
        _slots(row["inactive_slots"]),
        retained_bytes=float(row["retained_bytes"]) if pd.notna(row["retained_bytes"]) else 0.0,
        archive_mode=str(row["archive_mode"]),
        archive_fails=row["archive_fails_now"] is True,
        archive_failures=number(row["archive_failures"]),
        archive_failed_at=row["archive_failed_at"],
        size_bytes=size,
        files=files,
        has_log_files=row["logging_collector"] == "on",
    )
    return Finding(graded(False, found.is_held_back), wal_title(found), wal_detail(found), found)


def _slots(listed: Any) -> tuple[str, ...]:
    """The names of the slots that nobody uses, which the query gives in one line; names have no commas."""
    return tuple(listed.split(", ")) if isinstance(listed, str) and listed else ()
