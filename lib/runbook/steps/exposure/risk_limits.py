"""The risk limits in force: each session's own configuration, else the platform's defaults, and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.exposure import wording
from runbook.steps.exposure.figures import EquityBasis, Limits
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import age_seconds, number, text

# The platform's own defaults, where the session's configuration says nothing.
DEFAULTS = {"max_position_size": 0.1, "max_positions": 3.0, "default_stop_loss": 0.02, "min_confidence": 0.7}
_EQUITY_STALE_SECONDS = 15 * 60


def limits(database: Database, window: Window) -> Finding[Limits]:
    """Risk limits: those of the session's configuration, else the platform's defaults, and the portfolio's value."""
    frame = database.ask("exposure/limits", as_of=window.as_of, starts_at=window.starts_at).frame
    if frame.empty:
        return Finding(
            Status.UNKNOWN,
            "Risk limits: there is no trading session",
            "trading_sessions has no row up to the report's moment, so neither limits nor capital are known.",
        )
    first, *others = frame.to_dict("records")
    figures = _limits(first, window)
    if figures is None:
        return Finding(
            Status.UNKNOWN,
            "Risk limits: the portfolio's value is not known",
            "Neither performance_metrics nor the session has a usable one.",
        )
    # Of sessions that ended none but the first counts, and that only where no other is open.
    beside = [_limits(row, window) for row in others if first["is_open"] and row["is_open"]]
    figures = replace(figures, beside=tuple(other for other in beside if other is not None))
    in_force = {name: getattr(figures, name) for name in DEFAULTS}
    table = pd.DataFrame(
        {
            "limit": list(DEFAULTS),
            "in force": [wording.limit(name, in_force[name]) for name in DEFAULTS],
            "platform default": [wording.limit(name, value) for name, value in DEFAULTS.items()],
            "from": ["default" if name in figures.defaulted else "session configuration" for name in DEFAULTS],
        }
    )
    is_guess = figures.basis in (EquityBasis.STALE_PERFORMANCE, EquityBasis.INITIAL_CAPITAL)
    is_loose = figures.loose or any(other.loose for other in figures.beside)
    status = graded(False, is_loose, is_guess or None in beside)
    title, detail = wording.limits(figures), wording.limits_detail(figures)
    return Finding(status, title, detail, figures, (Table("Risk limits", table),))


def _limits(row: Mapping[Hashable, Any], window: Window) -> Limits | None:
    """The limits of a session's row; None where its value is not known."""
    equity, basis = _equity(row, window)
    if not equity > 0:
        return None
    configured = {name: number(row[name]) for name in DEFAULTS}
    usable = {name: value for name, value in configured.items() if value > 0}
    in_force = DEFAULTS | usable
    return Limits(
        session_id=str(row["session_id"]),
        mode=str(row["mode"]),
        symbol=text(row["symbol"]),
        equity=equity,
        basis=basis,
        max_position_size=in_force["max_position_size"],
        max_positions=in_force["max_positions"],
        default_stop_loss=in_force["default_stop_loss"],
        min_confidence=in_force["min_confidence"],
        limit_usdt=in_force["max_position_size"] * equity,
        loose=any(in_force[name] > DEFAULTS[name] for name in ("max_position_size", "max_positions")),
        defaulted=tuple(name for name in DEFAULTS if name not in usable),
    )


def _equity(row: Mapping[Hashable, Any], window: Window) -> tuple[float, EquityBasis]:
    """What the portfolio is worth, NaN for nothing usable, and by what."""
    candidates = {
        EquityBasis.PERFORMANCE: number(row["equity"]),
        EquityBasis.SESSION_TOTAL: number(row["stored_equity"]),
        EquityBasis.INITIAL_CAPITAL: number(row["initial_capital"]),
    }
    basis, equity = next(
        ((name, value) for name, value in candidates.items() if value > 0), (EquityBasis.INITIAL_CAPITAL, math.nan)
    )
    is_old = row["is_open"] and not age_seconds(row["equity_at"], window) <= _EQUITY_STALE_SECONDS
    if basis is EquityBasis.PERFORMANCE and is_old:
        return equity, EquityBasis.STALE_PERFORMANCE
    return equity, basis
