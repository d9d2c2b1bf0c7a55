"""What a restart would meet: open orders, positions without a stop, old candles."""

from __future__ import annotations

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.sources.database import Database
from runbook.steps.exposure import OpenPositions
from runbook.steps.sessions import wording
from runbook.steps.sessions.figures import Freshness, RestartSafety
from runbook.steps.shared.grading import graded


def restart_safety(
    open_positions: Finding[OpenPositions], freshness: Finding[Freshness], database: Database, window: Window
) -> Finding[RestartSafety]:
    """Safe to restart: open orders, positions without a stop, and the age of fills and candles."""
    # Asked before the findings are looked into, which may be under way still.
    orders = database.ask("orders/open", as_of=window.as_of).frame
    held, ages = open_positions.known, freshness.known
    stray = int((~orders["protects"].astype(bool)).sum()) if len(orders) else 0
    reasons = tuple(wording.reasons_against_restart(stray, held.without_stop, ages))
    found = RestartSafety(len(orders), stray, reasons)
    units = {"quantity": "", "executed_quantity": "", "price": "", "stop_price": "", "placed_at": "time"}
    shown = Table("Open orders, those that protect nothing first", orders, units)
    return Finding(
        graded(critical=False, warning=found.reasons),
        wording.restart_title(found),
        wording.restart_detail(found, ages.fill_age_seconds),
        found,
        (shown,) if len(orders) else (),
    )
