"""What the checks of sessions say, from their figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runbook.steps.sessions.figures import (
    CANDLE_STALE_SECONDS,
    DEFAULT_MAX_DRAWDOWN,
    FILL_STALE_SECONDS,
    Flow,
    Freshness,
    RestartSafety,
    Session,
    limit_in_force,
)
from runbook.words import ago, amount, counted, duration, is_missing, moment, plural


def session_title(found: Session) -> str:
    which = "open" if found.is_open else "last"
    return (
        f"The {which} {found.mode} session: total PnL {amount(found.total_pnl, 'USDT')}, "
        f"ROI {amount(found.roi, '%')}, maximum drawdown {amount(found.max_drawdown, '%')}"
    )


def session_detail(row: Mapping[str, Any], missing: Sequence[str]) -> str:
    """Of the session's row in trading_sessions; `missing` are the columns that hold nothing usable."""
    end = "still open" if is_missing(row["stopped_at"]) else f"stopped {moment(row['stopped_at'])}"
    detail = (
        f"Began {moment(row['started_at'])}; {end}; initial capital {amount(row['initial_capital'], 'USDT')}; "
        f"{amount(row['losing_trades'])} of {amount(row['total_trades'])} closed trades lost."
    )
    return f"{detail} The row has no usable {' and '.join(missing)}." if missing else detail


def default_limit(found: Session) -> str:
    """That no limit of drawdown is configured; "" where one is."""
    if math.isfinite(found.max_drawdown_limit):
        return ""
    return f" It configures no limit of drawdown: the default, {amount(DEFAULT_MAX_DRAWDOWN, '%')}, counts."


def beside(found: Session) -> str:
    """Which sessions are open beside the one in question, and which of them are over their limit; "" for none."""
    if not found.beside:
        return ""
    others = ", ".join(
        f"{other.mode} {other.symbol} ({counted(other.open_positions, 'open position')})" for other in found.beside[:6]
    )
    more = f" and {len(found.beside) - 6} more" if len(found.beside) > 6 else ""
    over = "; ".join(
        f"{other.mode} {other.symbol} fell {amount(other.max_drawdown, '%')}, "
        f"its limit is {amount(limit_in_force(other), '%')}"
        for other in found.over[:6]
    )
    line = f" It trades {found.symbol}. Open beside it: {others}{more}."
    if found.untold:
        untold = ", ".join(f"{other.mode} {other.symbol}" for other in found.untold[:6])
        line = f"{line} No usable drawdown in the row of {untold}."
    return f"{line} Over their limits: {over}." if over else line


def freshness_title(found: Freshness) -> str:
    title = f"Last candle {ago(found.candle_age_seconds)}, last fill {ago(found.fill_age_seconds)}"
    return f"{title}; stale: {', '.join(found.stale)}" if found.stale else title


def freshness_detail(found: Freshness) -> str:
    if not found.stale:
        return "Market data and the performance writer are current."
    return (
        f"Stale is what is over {duration(CANDLE_STALE_SECONDS)} old: market data or the writer is behind, "
        "so prices below may be too."
    )


def flow_title(found: Flow) -> str:
    if found.flows:
        return f"Signals flow: {found.signals} since the alert, {found.orders} orders, {found.fills} fills"
    return (
        f"Nothing flows since {moment(found.stopped_at)}: {found.signals} signals, {found.orders} orders "
        f"and {found.fills} fills since the alert"
    )


def flow_detail(found: Flow) -> str:
    count = found.sessions or "No"
    return f"{count} new trading {plural(found.sessions, 'session')} since the alert."


def reasons_against_restart(stray_orders: int, without_stop: int, ages: Freshness) -> Iterator[str]:
    if stray_orders:
        orders = plural(stray_orders, "order that protects", "orders that protect")
        yield f"{stray_orders} open {orders} no position could fill on restart"
    if without_stop:
        positions = plural(without_stop, "position has", "positions have")
        yield f"{without_stop} open {positions} no stop loss"
    if "candle" in ages.stale:
        yield f"the last candle is {duration(ages.candle_age_seconds)} old"


def restart_title(found: RestartSafety) -> str:
    if found.reasons:
        return f"Not safe to restart yet: {'; '.join(found.reasons)}"
    return "Nothing speaks against a restart: no stray order, every position has its stop, candles are current"


def restart_detail(found: RestartSafety, fill_age_seconds: float) -> str:
    protecting = found.open_orders - found.stray_orders
    orders = plural(found.open_orders, "order")
    detail = f"{found.open_orders} open {orders}, {protecting} of them stops or targets of open positions."
    if fill_age_seconds > FILL_STALE_SECONDS:
        detail += f" The last fill is {duration(fill_age_seconds)} old, as when trading is paused."
    return detail
