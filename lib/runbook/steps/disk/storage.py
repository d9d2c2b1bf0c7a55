"""What lies in the database: tables and their growth, who writes, the write-ahead log, and what could be given back."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.words import amount, moment, percent

TIMES = ("candlesticks", "performance_metrics", "audit_logs", "agent_signals", "llm_decisions", "orders", "trades")
_ASSUMED_RATIO = 0.1


def tables(database: Database) -> Finding:
    """Large tables: the biggest with their indexes and dead rows, as they are now."""
    frame = database.ask("disk/tables").frame
    total = float(frame["total_bytes"].sum()) if len(frame) else 0.0
    if not total:
        return Finding("disk.tables", Status.UNKNOWN, "Large tables: this role sees none", "Check the role's grants.")
    dead = frame["dead_rows"] / (frame["rows"] + frame["dead_rows"]).where(lambda both: both > 0)
    bloated = frame[(dead > 0.2) & (frame["total_bytes"] > 0.05 * total)]
    first = frame.iloc[0]
    shown = frame.assign(share=frame["total_bytes"] / total)[
        ["schema", "table", "chunks", "total_bytes", "index_bytes", "rows", "dead_rows", "share", "vacuumed_at"]
    ]
    return Finding(
        "disk.tables",
        Status.WARNING if len(bloated) else Status.OK,
        f"The biggest table is {first['table']}: {amount(first['total_bytes'], 'bytes')}, {amount(first['total_bytes'] / total, '%')} of all tables' {amount(total, 'bytes')}",
        (f"Many dead rows: {', '.join(map(str, bloated['table']))}; vacuum is behind. " if len(bloated) else "")
        + "Rows are the planner's estimate. The biggest is not always the one that grows.",
        {"biggest": str(first["table"]), "biggest_bytes": float(first["total_bytes"]), "total_bytes": total},
        (Table("Tables by size, with their indexes", shown.head(15), {"chunks": "", "total_bytes": "bytes", "index_bytes": "bytes", "rows": "", "dead_rows": "",
                                                                     "share": "%", "vacuumed_at": "time"}),),
        {"frame": frame, "sizes": dict(zip(frame["table"].astype(str)[:6], frame["total_bytes"][:6], strict=True))},
    )  # fmt: skip


def growth(sizes: Finding, database: Database, window: Window, filling: Finding | None = None) -> Finding:
    """Growth by table: rows of the last day times the table's bytes a row, against a usual day.

    Unusual growth is a warning where the volume fills up (`filling`, the forecast) or that is not known.
    """
    frame = database.ask("disk/growth", as_of=window.as_of).frame
    if frame.empty:
        return Finding("disk.growth", Status.OK, "No table got a row in these days", "", {"per_day": 0.0, "table": "", "factor": 0.0},
                       series={"growth": {}})  # fmt: skip
    rows = frame.merge(
        sizes.series["frame"][["table", "total_bytes", "rows"]].drop_duplicates("table"), on="table", how="left"
    )
    rows["bytes_a_row"] = rows["total_bytes"] / rows["rows"].where(rows["rows"] > 0)
    rows["bytes_a_day"] = rows["last_day"] * rows["bytes_a_row"]
    rows["factor"] = rows["last_day"] / rows["usual_day"].where(rows["usual_day"] > 0)
    rows = rows.sort_values("bytes_a_day", ascending=False, ignore_index=True, na_position="last")
    total = float(rows["bytes_a_day"].sum())
    first = rows.iloc[0]
    unusual = bool(first["factor"] >= 3) or (first["usual_day"] == 0 and first["last_day"] > 100)
    matters = filling is None or not filling.is_known or bool(filling.figures["grows"])
    times = (
        f"{amount(first['factor'], 'ratio')} times a usual day"
        if math.isfinite(first["factor"])
        else "none three days before"
    )
    return Finding(
        "disk.growth",
        Status.WARNING if unusual and matters and first["bytes_a_day"] > 0.3 * total else Status.OK,
        f"{first['table']} grows most: {amount(first['bytes_a_day'], 'bytes')} in the last day, {amount(first['bytes_a_day'] / total if total else math.nan, '%')} of all; {times}",
        f"{amount(first['last_day'])} rows of {amount(first['bytes_a_row'], 'bytes')} with indexes; a usual day, three days earlier, had {amount(first['usual_day'])}. All tables together {amount(total, 'bytes')} a day.",
        {"table": str(first["table"]), "table_per_day": float(first["bytes_a_day"]), "per_day": total, "factor": float(first["factor"]),
         "unusual": unusual, "last_day_rows": float(first["last_day"])},
        (Table("Growth by table, estimated", rows[["table", "last_day", "usual_day", "factor", "bytes_a_row", "bytes_a_day"]],
               {"last_day": "", "usual_day": "", "factor": "ratio", "bytes_a_row": "bytes", "bytes_a_day": "bytes"}),),
        {"growth": {str(t): b for t, b in zip(rows["table"][:6], rows["bytes_a_day"][:6], strict=True) if math.isfinite(b)}},
    )  # fmt: skip


def writers(grown: Finding, database: Database, window: Window) -> Finding:
    """Writers: which kind of rows makes the table grow that grows most, and since when it comes."""
    table = grown.figures["table"]
    if table not in TIMES:
        return Finding(
            "disk.writers", Status.OK, "There is no growing table to look into", "", {"kind": "", "since": None}
        )
    frame = database.ask(f"disk/writers_{table}", as_of=window.as_of).frame
    if frame.empty or not frame["last_day"].sum():
        return Finding(
            "disk.writers", Status.OK, f"{table} got no rows in the last day", "", {"kind": "", "since": None}
        )
    first, total = frame.iloc[0], float(frame["last_day"].sum())
    new = first["usual_day"] == 0 and first["last_day"] > 100
    return Finding(
        "disk.writers",
        grown.status,
        f"{amount(first['last_day'] / total, '%')} of the new rows in {table} are “{str(first['kind'])[:100]}”" + (f", which began {moment(first['first'])}" if new else ""),
        f"{amount(first['last_day'])} rows in the last day, {amount(first['usual_day'])} on a usual one.",
        {"table": table, "kind": str(first["kind"])[:160], "share": float(first["last_day"]) / total, "since": first["first"] if new else None, "new": bool(new)},
        (Table(f"New rows of {table}, by kind", frame, {"last_day": "", "usual_day": "", "first": "time"}),),
    )  # fmt: skip


def wal(database: Database, window: Window) -> Finding:
    """Write-ahead log: what holds it back (slots, archiver), and its size where this role may list it."""
    row = database.ask("disk/wal").frame.iloc[0]
    files = database.ask("disk/wal_files").frame.iloc[0] if row["may_list"] else None
    retained = float(row["retained_bytes"]) if pd.notna(row["retained_bytes"]) else 0.0
    limit = float(row["max_wal_bytes"])
    inactive = str(row["inactive_slots"]) if isinstance(row["inactive_slots"], str) else ""
    reasons = []
    if inactive and retained > limit:
        reasons.append(f"the unused replication slot {inactive[:100]} keeps {amount(retained, 'bytes')}")
    if row["archive_mode"] != "off" and row["archive_fails_now"] is True:
        reasons.append(
            f"archiving fails since {moment(row['archive_failed_at'])} ({amount(row['archive_failures'])} failures), so no segment is removed"
        )
    size = float(files["bytes"]) if files is not None else math.nan
    if math.isfinite(size) and size > 2 * limit and not reasons:
        reasons.append(f"it holds {amount(size, 'bytes')}, over twice max_wal_size")
    shown = (
        f"{amount(size, 'bytes')} in {amount(files['files'])} files"
        if files is not None
        else "its size is not readable by this role"
    )
    logs = (
        " PostgreSQL logs to files on the volume (logging_collector = on): look at log_directory too."
        if row["logging_collector"] == "on"
        else " PostgreSQL logs to the container's output, not to this volume."
    )
    return Finding(
        "disk.wal",
        Status.WARNING if reasons else Status.OK,
        f"The write-ahead log piles up: {'; '.join(reasons)}" if reasons else f"Nothing holds the write-ahead log back; {shown}",
        f"max_wal_size {amount(limit, 'bytes')}; {amount(row['slots'])} replication slots; archive_mode {row['archive_mode']}.{logs}"
        + ("" if files is not None else " GRANT pg_monitor to this role to see the files' size."),
        {"held_back": bool(reasons), "reasons": "; ".join(reasons), "bytes": size if math.isfinite(size) else None, "slots": float(row["slots"]),
         "inactive_slots": inactive, "retained_bytes": retained, "max_wal_bytes": limit, "database_bytes": float(row["database_bytes"])},
    )  # fmt: skip


def compression(sizes: Finding, database: Database, window: Window) -> Finding:
    """Compression: what compressing chunks older than seven days would give back (TimescaleDB)."""
    version = database.ask("disk/timescale").frame
    return (
        _plain(sizes, database, window) if version.empty else _chunks(database, window, str(version["version"].iloc[0]))
    )


def _plain(sizes: Finding, database: Database, window: Window) -> Finding:
    """The finding on plain PostgreSQL: there is nothing to compress; how much of the candles is old."""
    recent = float(database.ask("disk/old_candles", as_of=window.as_of).frame["recent"].iloc[0])
    frame = sizes.series["frame"]
    candles = frame[frame["table"] == "candlesticks"]
    rows, size = (float(candles["rows"].iloc[0]), float(candles["total_bytes"].iloc[0])) if len(candles) else (0.0, 0.0)
    old = max(rows - recent, 0.0)
    old_bytes = size * old / rows if rows else 0.0
    return Finding(
        "disk.compression",
        Status.OK,
        f"Plain PostgreSQL, without TimescaleDB: chunks cannot be compressed; candles older than 7 days take about {amount(old_bytes, 'bytes')}",
        f"{amount(round(old))} of {amount(round(rows))} candles are older. compress_chunk and show_chunks do not exist here. Deleting old candles makes room in the table, "
        "not on the volume: only VACUUM FULL (which locks the table) or pg_repack gives it back.",
        {"timescale": False, "gain_bytes": 0.0, "old_bytes": old_bytes},
    )


def _chunks(database: Database, window: Window, version: str) -> Finding:
    chunks, saved = (
        answer.frame
        for answer in at_once(
            lambda: database.ask("disk/chunks", as_of=window.as_of), lambda: database.ask("disk/compressed")
        )
    )
    before, after = (
        float(saved[name].sum(skipna=True)) if len(saved) else 0.0 for name in ("before_bytes", "after_bytes")
    )
    measured = before > 0 and after > 0
    ratio = after / before if measured else _ASSUMED_RATIO
    old_bytes = float(chunks["old_bytes"].sum()) if len(chunks) else 0.0
    gain = old_bytes * (1 - ratio)
    names = (
        [str(name) for name, count in zip(chunks["hypertable"], chunks["old"], strict=True) if count]
        if len(chunks)
        else []
    )
    return Finding(
        "disk.compression",
        Status.WARNING if names else Status.OK,
        f"Compressing {amount(chunks['old'].sum())} chunks older than 7 days would give back about {amount(gain, 'bytes')}" if names
        else "Every chunk older than 7 days is compressed already",
        f"TimescaleDB {version}. " + (f"So far compression leaves {amount(ratio, '%')} of the size." if measured else f"Nothing is compressed yet; {percent(ratio)} of the size is assumed to remain.")
        + (f" Uncompressed: {amount(old_bytes, 'bytes')} of {', '.join(names)}. Is the compression policy's job running?" if names else ""),
        {"timescale": True, "gain_bytes": gain, "old_bytes": old_bytes, "ratio": ratio, "hypertables": ", ".join(names)},
        (Table("Chunks by hypertable", chunks, {"chunks": "", "compressed": "", "old": "", "old_bytes": "bytes"}),) if len(chunks) else (),
    )  # fmt: skip


def archive(sizes: Finding, database: Database, window: Window) -> Finding:
    """Archive: what sessions older than 90 days and all that hangs on them would give back."""
    frame = database.ask("disk/archive", as_of=window.as_of).frame
    rows = frame.merge(
        sizes.series["frame"][["table", "total_bytes", "rows"]].drop_duplicates("table"),
        on="table",
        how="left",
        suffixes=("", "_all"),
    )
    rows["bytes"] = rows["rows"] * rows["total_bytes"] / rows["rows_all"].where(rows["rows_all"] > 0)
    sessions = float(rows.loc[rows["table"] == "trading_sessions", "rows"].sum())
    total = float(rows["bytes"].sum())
    return Finding(
        "disk.archive",
        Status.OK,
        f"{amount(sessions)} sessions are older than 90 days; with all that hangs on them they take about {amount(total, 'bytes')}" if sessions
        else "No session is older than 90 days: there is nothing to archive",
        "They are deleted in the table's order: other tables refer to them, so deleting the sessions first is refused. pg_dump cannot select rows; COPY can. "
        "Room on the volume comes back only after VACUUM FULL or pg_repack." if sessions else "",
        {"sessions": sessions, "gain_bytes": total, "before": pd.Timestamp(window.as_of) - pd.Timedelta(days=90),
         "key": "id" if database.schema == "platform" else "session_id"},
        (Table("What would be archived, in the order of deletion", rows[["table", "rows", "bytes"]], {"rows": "", "bytes": "bytes"}),) if sessions else (),
    )  # fmt: skip
