"""What alerting says: text from its figures."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.steps.alerting.figures import History
from runbook.words import moment, names, plural


def firing_title(others: int, distinct: Sequence[str]) -> str:
    """How many other alerts fire, and their `distinct` names."""
    fire = plural(max(others, 1), "alert fires", "alerts fire")
    listed = f": {names(distinct)}" if distinct else ""
    return f"{others or 'No'} other {fire}{listed}"


def history_title(name: str, found: History, days: int) -> str:
    """How often the alert called `name` fired in the `days` before."""
    if not found.times:
        return f"{name} did not fire in the {days} days before"
    times = plural(found.times, "time")
    return f"{name} fired {found.times} {times} before in {days} days, last on {moment(found.last)}"
