"""What a restart would meet: open orders, positions without a stop, old candles."""

from __future__ import annotations

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.sessions.observations import CANDLE_STALE_SECONDS, FILL_STALE_SECONDS
from runbook.words import duration


def restart_safety(open_positions: Finding, freshness: Finding, database: Database, window: Window) -> Finding:
    """Safe to restart: open orders, positions without a stop, and the age of fills and candles."""
    orders = database.ask("orders/open", as_of=window.as_of).frame
    stray = orders[~orders["protects"].astype(bool)] if len(orders) else orders
    reasons = []
    if len(stray):
        reasons.append(
            f"{len(stray)} open {'order that protects' if len(stray) == 1 else 'orders that protect'} no position could fill on restart"
        )
    if open_positions.figures["without_stop"]:
        bare = open_positions.figures["without_stop"]
        reasons.append(f"{bare} open {'position has' if bare == 1 else 'positions have'} no stop loss")
    if not freshness.figures["candle_age_seconds"] <= CANDLE_STALE_SECONDS:
        reasons.append(f"the last candle is {duration(freshness.figures['candle_age_seconds'])} old")
    fill_age = freshness.figures["fill_age_seconds"]
    quiet = (
        f" The last fill is {duration(fill_age)} old, as when trading is paused."
        if fill_age > FILL_STALE_SECONDS
        else ""
    )
    return Finding(
        "sessions.restart_safety",
        Status.WARNING if reasons else Status.OK,
        f"Not safe to restart yet: {'; '.join(reasons)}" if reasons else "Nothing speaks against a restart: no stray order, every position has its stop, candles are current",
        f"{len(orders)} open {'order' if len(orders) == 1 else 'orders'}, {len(orders) - len(stray)} of them stops or targets of open positions.{quiet}",
        {"stray_orders": len(stray), "open_orders": len(orders), "reasons": "; ".join(reasons), "safe": not reasons},
        (Table("Open orders, those that protect nothing first", orders,
               {"quantity": "", "executed_quantity": "", "price": "", "stop_price": "", "placed_at": "time"}),) if len(orders) else (),
    )  # fmt: skip
