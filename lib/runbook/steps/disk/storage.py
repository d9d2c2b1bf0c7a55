"""What lies in the database: its tables, their growth, and who writes to the one that grows most."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.disk.figures import FEW_ROWS, Forecast, Growth, Tables, Writers
from runbook.steps.disk.wording import (
    growth_detail,
    growth_title,
    tables_detail,
    tables_title,
    writers_detail,
    writers_title,
)
from runbook.steps.shared.grading import graded

TIMES = ("candlesticks", "performance_metrics", "audit_logs", "agent_signals", "llm_decisions", "orders", "trades")
"""Tables whose writers can be asked for."""
_DRAWN = 6
_KIND_MAX = 160
_SIZES = {
    "chunks": "",
    "total_bytes": "bytes",
    "index_bytes": "bytes",
    "rows": "",
    "dead_rows": "",
    "share": "%",
    "vacuumed_at": "time",
}
_PACES = {"last_day": "", "usual_day": "", "factor": "ratio", "bytes_a_row": "bytes", "bytes_a_day": "bytes"}


def tables(database: Database) -> Finding[Tables]:
    """Large tables: the biggest with their indexes and dead rows, as they are now."""
    rows = database.ask("disk/tables").frame
    total = float(rows["total_bytes"].sum()) if len(rows) else 0.0
    if not total:
        return Finding(Status.UNKNOWN, "Large tables: this role sees none", "Check the role's grants.")
    dead = rows["dead_rows"] / (rows["rows"] + rows["dead_rows"]).where(lambda both: both > 0)
    bloated = rows[(dead > 0.2) & (rows["total_bytes"] > 0.05 * total)]
    biggest = rows.iloc[0]
    found = Tables(
        str(biggest["table"]),
        float(biggest["total_bytes"]),
        total,
        rows,
        bloated=tuple(map(str, bloated["table"])),
    )
    shown = rows.assign(share=rows["total_bytes"] / total)[["schema", "table", *_SIZES]]
    table = Table("Tables by size, with their indexes", shown.head(15), _SIZES)
    return Finding(graded(False, found.bloated), tables_title(found), tables_detail(found), found, (table,))


def growth(
    sizes: Finding[Tables], database: Database, window: Window, filling: Finding[Forecast] | None = None
) -> Finding[Growth]:
    """Growth by table: rows of the last day times the table's bytes a row, against a usual day.

    Unusual growth is a warning where the volume fills up (`filling`, the forecast) or that is not known.
    """
    counts = database.ask("disk/growth", as_of=window.as_of).frame
    if counts.empty:
        return Finding(Status.OK, "No table got a row in these days", figures=Growth())
    rows = with_sizes(counts, sizes.known)
    rows["bytes_a_row"] = rows["total_bytes"] / rows["rows"].where(rows["rows"] > 0)
    rows["bytes_a_day"] = rows["last_day"] * rows["bytes_a_row"]
    rows["factor"] = rows["last_day"] / rows["usual_day"].where(rows["usual_day"] > 0)
    rows = rows.sort_values("bytes_a_day", ascending=False, ignore_index=True, na_position="last")
    found = _growth(rows)
    matters = filling is None or not filling.is_known or filling.known.grows
    is_flood = matters and found.is_unusual and found.table_per_day > 0.3 * found.per_day
    table = Table("Growth by table, estimated", rows[["table", *_PACES]], _PACES)
    return Finding(graded(False, is_flood), growth_title(found), growth_detail(found), found, (table,))


def with_sizes(rows: pd.DataFrame, sizes: Tables) -> pd.DataFrame:
    """`rows` with each table's total_bytes and rows (rows_all where they have their own); NaN where unknown."""
    known = sizes.rows[["table", "total_bytes", "rows"]].drop_duplicates("table")
    return rows.merge(known, on="table", how="left", suffixes=("", "_all"))


def _growth(rows: pd.DataFrame) -> Growth:
    most = rows.iloc[0]
    drawn = zip(rows["table"][:_DRAWN], rows["bytes_a_day"][:_DRAWN], strict=True)
    return Growth(
        per_day=float(rows["bytes_a_day"].sum()),
        table=str(most["table"]),
        table_per_day=float(most["bytes_a_day"]),
        last_day_rows=float(most["last_day"]),
        usual_day_rows=float(most["usual_day"]),
        bytes_a_row=float(most["bytes_a_row"]),
        factor=float(most["factor"]),
        by_table={str(table): bytes_a_day for table, bytes_a_day in drawn if math.isfinite(bytes_a_day)},
    )


def writers(grown: Finding[Growth], database: Database, window: Window) -> Finding[Writers]:
    """Writers: which kind of rows makes the table grow that grows most, and since when it comes."""
    table = grown.known.table
    if table not in TIMES:
        return Finding(Status.OK, "There is no growing table to look into", figures=Writers(table))
    rows = database.ask(f"disk/writers_{table}", as_of=window.as_of).frame
    if rows.empty or not rows["last_day"].sum():
        return Finding(Status.OK, f"{table} got no rows in the last day", figures=Writers(table))
    most = rows.iloc[0]
    is_new = bool(most["usual_day"] == 0 and most["last_day"] > FEW_ROWS)
    found = Writers(
        table,
        str(most["kind"])[:_KIND_MAX],
        share=float(most["last_day"]) / float(rows["last_day"].sum()),
        last_day_rows=float(most["last_day"]),
        usual_day_rows=float(most["usual_day"]),
        is_new=is_new,
        since=most["first"] if is_new else None,
    )
    shown = Table(f"New rows of {table}, by kind", rows.head(15), {"last_day": "", "usual_day": "", "first": "time"})
    return Finding(grown.status, writers_title(found), writers_detail(found), found, (shown,))
