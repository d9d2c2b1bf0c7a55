"""Whether trading flows: signals, orders and fills over the window, and since the alert."""

from __future__ import annotations

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.sessions import wording
from runbook.steps.sessions.figures import Flow
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import age_seconds

_KINDS = ("signals", "orders", "fills", "sessions")
_QUIET_SECONDS = 900
"""Trading that is silent for less is not called still, however often agents usually signal."""


def flow(database: Database, window: Window) -> Finding[Flow]:
    """Flow: signals, orders, fills and new sessions over the window, and since the alert."""
    width = max(300, round(window.seconds / 60 / 300) * 300)
    frame = database.ask(
        "sessions/flow", start=window.start, as_of=window.as_of, starts_at=window.starts_at, seconds=width
    ).frame
    if frame.empty:
        nothing = Flow(False, None, signals=0, orders=0, fills=0, sessions=0, bucket_minutes=width // 60, rows={})
        detail = "Nothing flows: agents and orders both stand still."
        return Finding(Status.WARNING, "No signal, order or fill in the whole window", detail, nothing)
    since, last = frame.groupby("kind")["since"].sum(), frame.groupby("kind")["last"].max()
    counts = {kind: int(since.get(kind, 0)) for kind in _KINDS}
    of_trading = last[last.index != "sessions"]
    newest = None
    if len(of_trading):
        newest = of_trading.max()
    flows = counts["signals"] > 0 and age_seconds(newest, window) <= max(3 * _usual_gap(frame, width), _QUIET_SECONDS)
    found = Flow(
        flows,
        None if flows else newest,
        **counts,
        bucket_minutes=width // 60,
        rows=_by_kind(frame, window, width),
    )
    in_window = frame.groupby("kind")["count"].sum()
    shown = pd.DataFrame(
        {
            "what": list(_KINDS),
            "in the window": [int(in_window.get(kind, 0)) for kind in _KINDS],
            "since the alert": list(counts.values()),
            "last": [last.get(kind) for kind in _KINDS],
        }
    )
    return Finding(
        graded(critical=False, warning=not flows),
        wording.flow_title(found),
        wording.flow_detail(found),
        found,
        (
            Table(
                "Signals, orders, fills and sessions",
                shown,
                {"in the window": "", "since the alert": "", "last": "time"},
            ),
        ),
    )


def _usual_gap(frame: pd.DataFrame, width_seconds: int) -> float:
    """The median of the seconds between buckets with a signal; a bucket's width where there is no second one."""
    buckets = frame.loc[frame["kind"] == "signals", "bucket"].sort_values()
    gaps = buckets.diff().dt.total_seconds().dropna()
    return float(gaps.median()) if len(gaps) else float(width_seconds)


def _by_kind(frame: pd.DataFrame, window: Window, width_seconds: int) -> dict[str, pd.DataFrame]:
    """Counts (time, value) of signals, orders and fills, with zeros where there was none."""
    buckets = pd.date_range(frame["bucket"].min(), pd.Timestamp(window.as_of), freq=f"{width_seconds}s")
    counts = {}
    for kind, rows in frame[frame["kind"] != "sessions"].groupby("kind", sort=False):
        full = rows.set_index("bucket")["count"].reindex(buckets).fillna(0.0)
        counts[str(kind)] = full.rename_axis("time").reset_index(name="value")
    return counts
