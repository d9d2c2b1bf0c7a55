"""What could be given back: by compressing old chunks, by archiving old sessions."""

from __future__ import annotations

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.disk.figures import Archive, Compression, Tables
from runbook.steps.disk.storage import with_sizes
from runbook.steps.disk.wording import archive_title, compression_detail, compression_title
from runbook.steps.shared.grading import graded
from runbook.words import amount

_ASSUMED_RATIO = 0.1
_NO_CHUNKS = (
    "compress_chunk and show_chunks do not exist here. Deleting old candles makes room in the table, "
    "not on the volume: only VACUUM FULL (which locks the table) or pg_repack gives it back."
)
_DELETING = (
    "They are deleted in the table's order: other tables refer to them, so deleting the sessions first is refused. "
    "pg_dump cannot select rows; COPY can. Room on the volume comes back only after VACUUM FULL or pg_repack."
)


def compression(sizes: Finding[Tables], database: Database, window: Window) -> Finding[Compression]:
    """Compression: what compressing chunks older than seven days would give back (TimescaleDB)."""
    version = database.ask("disk/timescale").frame
    if version.empty:
        return _plain(sizes, database, window)
    return _chunks(database, window, str(version["version"].iloc[0]))


def _plain(sizes: Finding[Tables], database: Database, window: Window) -> Finding[Compression]:
    """The finding on plain PostgreSQL: there is nothing to compress; how much of the candles is old."""
    recent = float(database.ask("disk/old_candles", as_of=window.as_of).frame["recent"].iloc[0])
    tables = sizes.known.rows
    candles = tables[tables["table"] == "candlesticks"]
    rows, size = 0.0, 0.0
    if len(candles):
        rows, size = float(candles["rows"].iloc[0]), float(candles["total_bytes"].iloc[0])
    old = max(rows - recent, 0.0)
    found = Compression(old_bytes=size * old / rows if rows else 0.0)
    counts = f"{amount(round(old))} of {amount(round(rows))} candles are older."
    return Finding(Status.OK, compression_title(found), f"{counts} {_NO_CHUNKS}", found)


def _chunks(database: Database, window: Window, version: str) -> Finding[Compression]:
    chunks, saved = (
        answer.frame
        for answer in at_once(
            lambda: database.ask("disk/chunks", as_of=window.as_of), lambda: database.ask("disk/compressed")
        )
    )
    before, after = _sum(saved, "before_bytes"), _sum(saved, "after_bytes")
    is_measured = before > 0 and after > 0
    ratio = after / before if is_measured else _ASSUMED_RATIO
    old_bytes = _sum(chunks, "old_bytes")
    uncompressed = chunks[chunks["old"] > 0] if len(chunks) else chunks
    found = Compression(
        version,
        gain_bytes=old_bytes * (1 - ratio),
        old_bytes=old_bytes,
        old_chunks=int(_sum(chunks, "old")),
        hypertables=tuple(map(str, uncompressed["hypertable"])) if len(uncompressed) else (),
        ratio=ratio,
        is_measured=is_measured,
    )
    units = {"chunks": "", "compressed": "", "old": "", "old_bytes": "bytes"}
    tables = (Table("Chunks by hypertable", chunks, units),) if len(chunks) else ()
    status = graded(False, found.hypertables)
    return Finding(status, compression_title(found), compression_detail(found), found, tables)


def _sum(rows: pd.DataFrame, column: str) -> float:
    return float(rows[column].sum()) if len(rows) else 0.0


def archive(sizes: Finding[Tables], database: Database, window: Window) -> Finding[Archive]:
    """Archive: what sessions older than 90 days and all that hangs on them would give back."""
    counts = database.ask("disk/archive", as_of=window.as_of).frame
    rows = with_sizes(counts, sizes.known)
    rows["bytes"] = rows["rows"] * rows["total_bytes"] / rows["rows_all"].where(rows["rows_all"] > 0)
    found = Archive(
        sessions=float(rows.loc[rows["table"] == "trading_sessions", "rows"].sum()),
        gain_bytes=float(rows["bytes"].sum()),
        before=pd.Timestamp(window.as_of) - pd.Timedelta(days=90),
        key="id" if database.schema == "platform" else "session_id",
    )
    if not found.sessions:
        return Finding(Status.OK, archive_title(found), figures=found)
    caption = "What would be archived, in the order of deletion"
    table = Table(caption, rows[["table", "rows", "bytes"]], {"rows": "", "bytes": "bytes"})
    return Finding(Status.OK, archive_title(found), _DELETING, found, (table,))
