"""The platform around trading: log patterns, pods and events, whatever the procedure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from runbook.alert import Window
from runbook.outcome import Finding, Status, Table
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.tables import moment

_RANK = {"panic": 0, "fatal": 1, "error": 2, "warning": 3, "info": 4, "debug": 5, "trace": 6}
_VARIABLE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+|\b[0-9a-f]{12,}\b|[-+]?\d+(?:[.,:]\d+)*",
    re.IGNORECASE,
)
PATTERNS_MAX = 25


def logs(cluster: Cluster, window: Window, app: str = "") -> Finding:
    """Log patterns: a deployment's lines in the window grouped by what they say, worst first."""
    frame = cluster.logs(app, window.start, window.as_of, tail=1000).frame
    name = f"platform.logs.{app}"
    if frame.empty:
        return Finding(name, Status.OK, f"{app} logged nothing in the window", "", {"lines": 0, "errors": 0})
    grouped = patterns(frame)
    bad = frame["level"].isin(["panic", "fatal", "error"])
    worst = grouped.iloc[0]
    panics = int((frame["level"] == "panic").sum())
    errors = int(bad.sum())
    first = frame.loc[bad, "time"].min() if errors else None
    return Finding(
        name,
        Status.CRITICAL if panics else Status.WARNING if errors else Status.OK,
        f"{app}: {errors} error {'line' if errors == 1 else 'lines'} in {len(frame):,}"
        + (
            f", most severe “{worst['pattern'][:90]}” ({worst['lines']}×)"
            if errors
            else ", nothing worse than a warning"
        ),
        f"The first error was at {moment(first)}." if errors else "",
        {
            "lines": len(frame),
            "errors": errors,
            "panics": panics,
            "first_error_at": first,
            "worst": str(worst["pattern"]) if errors else "",
        },
        (
            Table(
                f"What {app} logged, by pattern (# stands for what varies)",
                grouped,
                {"lines": "", "first": "time", "last": "time"},
            ),
        ),
    )


def patterns(frame: pd.DataFrame) -> pd.DataFrame:
    """Log rows (as logs.parse makes them) grouped by what they say: level, pattern, lines, first, last, example; worst first.

    Numbers, ids and addresses in a message count as the same. The error field is part of the pattern.
    """
    errors = [str(fields.get("error", fields.get("err", ""))) for fields in frame["fields"]]
    texts = [
        f"{message}: {error}" if error and error not in message else message
        for message, error in zip(frame["message"], errors, strict=True)
    ]
    keyed = frame.assign(
        pattern=[_VARIABLE.sub("#", text)[:200] for text in texts],
        example=[_example(*pair) for pair in zip(texts, frame["fields"], strict=True)],
    )
    grouped = keyed.groupby(["level", "pattern"], as_index=False, sort=False).agg(
        lines=("pattern", "size"), first=("time", "min"), last=("time", "max"), example=("example", "last")
    )
    order = grouped["level"].map(_RANK).fillna(4)
    return (
        grouped.assign(rank=order)
        .sort_values(["rank", "lines"], ascending=[True, False], ignore_index=True)
        .drop(columns="rank")
        .head(PATTERNS_MAX)
    )


def config_changes(database: Database, window: Window) -> Finding:
    """What changed: configuration updates, starts, stops and pauses in audit_logs, from a day before the alert."""
    frame = database.ask("platform/changes", since=window.start - pd.Timedelta(hours=24), as_of=window.as_of).frame
    if frame.empty:
        return Finding(
            "platform.config_changes",
            Status.OK,
            "Nothing was changed since a day before the window",
            "",
            {"count": 0, "last": ""},
        )
    updates = frame[frame["event_type"] == "CONFIG_UPDATED"]
    last = updates.iloc[0] if len(updates) else None
    title = (
        f"Last change {moment(last['at'])} by {_word(last['user_id'])}: {_word(last['action'])}"
        if last is not None
        else "No configuration change; only starts, stops and pauses"
    )
    return Finding(
        "platform.config_changes",
        Status.WARNING if last is not None else Status.OK,
        title,
        f"{len(updates)} configuration {'change' if len(updates) == 1 else 'changes'} since a day before the window began. A change shortly before trouble is a suspect, not a proof.",
        {"count": len(updates), "last": _word(last["action"]) if last is not None else "", "last_at": last["at"] if last is not None else None,
         "last_by": _word(last["user_id"]) if last is not None else ""},
        (Table("Changes, newest first", frame, {"at": "time"}),),
    )  # fmt: skip


def _example(text: str, fields: dict[str, str]) -> str:
    shown = ", ".join(
        f"{name}={value}" for name, value in list(fields.items())[:6] if name not in ("error", "err", "stack")
    )
    stack = fields.get("stack", "").strip().splitlines()
    return " | ".join(part for part in (text[:160], shown[:160], *stack[:2]) if part)


def _word(value: object, length: int = 160) -> str:
    return " ".join(str(value).split())[:length] if isinstance(value, str) and value.strip() else "unknown"


def names(values: Sequence[str], most: int = 5) -> str:
    """`values` as a list in words, at most `most` of them: "a, b and 3 more"."""
    shown = ", ".join(values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
