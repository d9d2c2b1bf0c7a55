"""What still flows: rows written since a moment, against what the day before would give, and whether chance explains less."""

from __future__ import annotations

import math
from datetime import datetime

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.words import amount, counted, duration


def judged(frame: pd.DataFrame, since: datetime, window: Window) -> Finding:
    """The finding "dependencies.flow" from the rows written since `since` and in the 24 hours before it, by kind."""
    span = (window.as_of - since).total_seconds()
    rows = frame.set_index("what")
    expected = {name: float(rows["rows_before"][name]) * span / 86_400 for name in rows.index}
    counts = {name: int(rows["rows_now"][name]) for name in rows.index}
    flows = [name for name in rows.index if name != "orders refused"]
    stopped = [name for name in flows if expected[name] > 0 and fewer(counts[name], expected[name])]
    refused = counts.get("orders refused", 0)
    refusing = refused > 0 and refused > 3 * expected.get("orders refused", 0.0)
    table = pd.DataFrame({"what": list(rows.index), "since": [counts[name] for name in rows.index], "expected": [round(expected[name], 1) for name in rows.index],
                          "last": list(rows["last_at"]),
                          "judgement": ["far fewer than usual" if name in stopped else "more than usual" if refusing and name not in flows
                                        else "" if counts[name] >= expected[name] or _tells(expected[name]) else "too few to tell" for name in rows.index]})  # fmt: skip
    words = [f"far fewer than usual: {', '.join(stopped)}"] * bool(stopped) + [f"{refused} orders refused"] * refusing
    title = "; ".join(words)
    return Finding(
        "dependencies.flow",
        Status.WARNING if words else Status.OK,
        f"{title[0].upper()}{title[1:]}, in the {duration(span)} since {since:%H:%M} UTC" if words
        else f"What is written since {since:%H:%M} UTC is as usual: {_orders(counts.get('orders', 0), expected.get('orders', 0.0))}",
        f"Expected is what the 24 hours before would give in {duration(span)}; fewer counts only where chance gives it less than once in a hundred.",
        {"stopped": ", ".join(stopped), "refused": refused, "orders": counts.get("orders", 0), "orders_expected": expected.get("orders", 0.0), "since": since},
        (Table(f"Rows in the {duration(span)} since {since:%H:%M} UTC", table, {"since": "", "expected": "", "last": "time"}),),
    )  # fmt: skip


def fewer(count: int, expected: float) -> bool:
    """Whether a Poisson count of `expected` would be as low as `count` less than once in a hundred."""
    if count >= expected:
        return False
    if expected > 500:
        return (expected - count) / math.sqrt(expected) > 2.33
    term = total = math.exp(-expected)
    for k in range(1, count + 1):
        term *= expected / k
        total += term
    return total < 0.01


def _orders(count: int, expected: float) -> str:
    """ "3 orders"; of none, how many are usual: none at all is news only where some were to be expected."""
    return counted(count, "order") + ("" if count else f", usual {amount(round(expected, 1))} in that time")


def _tells(expected: float) -> bool:
    return expected >= 4.7  # then even no row at all is expected less than once in a hundred
