"""What began with a rise of usage, by the log of the affected deployment."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.steps.resources.figures import Affected, Rise, UsageTrend
from runbook.steps.shared.log_patterns import patterns
from runbook.words import clock, counted

_BEFORE, _AFTER = timedelta(minutes=10), timedelta(minutes=30)
_PATTERN_MAX = 160
_UNITS = {"lines": "", "first": "time", "last": "time"}


def at_the_rise(
    shape: Finding[UsageTrend], subject: Finding[Affected], cluster: Cluster, window: Window
) -> Finding[Rise]:
    """What began with the rise: log patterns of the affected deployment that first appear around it."""
    onset, app = shape.known.onset, subject.known.deployment
    if onset is None:
        return Finding(
            Status.OK,
            "The window holds no beginning of a rise to look at",
            "Usage is steady, or it rose before the window began: a longer lookback_hours would show it.",
            Rise(),
        )
    lines = cluster.logs(app, window.start, window.as_of, tail=2000).frame
    if lines.empty or not (lines["time"].dropna() < onset - _BEFORE).any():
        return Finding(
            Status.UNKNOWN,
            f"What began with the rise: the log of {app} does not reach back to {clock(onset)}",
            "Without lines from before it, nothing can be called new.",
        )
    logged = patterns(lines)
    new = _begun(logged, onset)
    if new.empty:
        title = f"{app} logged nothing new when the rise began at {clock(onset)}"
        return Finding(Status.OK, title, figures=Rise(), tables=(Table(f"What {app} logged", logged, _UNITS),))
    first = new.iloc[0]
    found = Rise(str(first["pattern"])[:_PATTERN_MAX], int(first["lines"]), first["first"])
    counts = f"{found.lines}×, first {found.first_at:%H:%M}"
    return Finding(
        Status.WARNING,
        f"With the rise at {clock(onset)} began “{found.pattern[:90]}” ({counts})",
        f"{counted(len(new), 'pattern')} of {app}'s log first appear around then. In time is not yet because of.",
        found,
        (Table("Log patterns that began with the rise", new, _UNITS),),
    )


def _begun(logged: pd.DataFrame, onset: pd.Timestamp) -> pd.DataFrame:
    """The patterns that first appear around `onset`, in that order."""
    is_near = logged["first"].between(onset - _BEFORE, onset + _AFTER)
    return logged[is_near].sort_values("first", ignore_index=True)
