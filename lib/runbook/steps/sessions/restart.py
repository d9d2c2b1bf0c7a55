"""What a restart would meet: open orders, positions without a stop, old candles."""

from __future__ import annotations

from typing import Any

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.sessions import wording
from runbook.steps.sessions.figures import Freshness, RestartSafety


def restart_safety(
    open_positions: Finding[Any], freshness: Finding[Freshness], database: Database, window: Window
) -> Finding[RestartSafety]:
    """Safe to restart: open orders, positions without a stop, and the age of fills and candles."""
    # Asked before the findings are looked into, which may be under way still.
    orders = database.ask("orders/open", as_of=window.as_of).frame
    ages = freshness.known
    without_stop: int = open_positions.known["without_stop"]
    stray = int((~orders["protects"].astype(bool)).sum()) if len(orders) else 0
    reasons = tuple(wording.reasons_against_restart(stray, without_stop, ages.candle_age_seconds))
    found = RestartSafety(len(orders), stray, reasons)
    units = {"quantity": "", "executed_quantity": "", "price": "", "stop_price": "", "placed_at": "time"}
    shown = Table("Open orders, those that protect nothing first", orders, units)
    return Finding(
        Status.OK if found.is_safe else Status.WARNING,
        wording.restart_title(found),
        wording.restart_detail(found, ages.fill_age_seconds),
        found,
        (shown,) if len(orders) else (),
    )
