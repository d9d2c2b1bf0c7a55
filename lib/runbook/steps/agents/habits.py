"""What an agent is used to: how long it may go without a signal before it counts as quiet or silent."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.steps.shared.values import age_seconds, number

SIGNAL_GAPS = 3
SILENT_SECONDS = 300
"""An agent is not called silent before this, however often it usually signals."""
_HABIT_GAPS = 5
_HABIT_SECONDS = 900
"""What takes the place of a p95 gap where fewer than `_HABIT_GAPS` gaps are known."""


def signal_habits(made: pd.DataFrame, habits: pd.DataFrame, window: Window) -> pd.DataFrame:
    """One row an agent, the longest without a signal first: its signals of the window (`made`) against its `habits`.

    `state` is "silent", "quiet" (longer than 95 % of its gaps), "as usual", or "habit not known" for one that is
    neither and made too few signals to have one. Agents with a habit and no signal in the window count.
    """
    usual = {str(row["agent_name"]): row for row in habits.to_dict("records")}
    last = {name: row["last"] for name, row in usual.items()} | made.groupby("agent_name")["last"].max().to_dict()
    counts = made.groupby("agent_name")["signals"].sum()
    rows = []
    for name in sorted(last, key=str):
        habit = usual.get(str(name), {})
        median, p95, limit = math.nan, math.nan, float(_HABIT_SECONDS)
        if number(habit.get("gaps")) >= _HABIT_GAPS:
            median, p95 = number(habit.get("median_seconds")), number(habit.get("p95_seconds"))
            limit = p95
        age = age_seconds(last[name], window)
        rows.append(
            {
                "agent": str(name),
                "state": _state(age, limit, has_habit=math.isfinite(p95)),
                "signals": int(counts.get(name, 0)),
                "last signal": last[name],
                "age": age,
                "median gap": median,
                "p95 gap": p95,
            }
        )
    return pd.DataFrame(rows).sort_values("age", ascending=False, ignore_index=True)


def _state(age_seconds: float, limit_seconds: float, *, has_habit: bool) -> str:
    if age_seconds > max(SIGNAL_GAPS * limit_seconds, SILENT_SECONDS):
        return "silent"
    if age_seconds > limit_seconds:
        return "quiet"
    return "as usual" if has_habit else "habit not known"
