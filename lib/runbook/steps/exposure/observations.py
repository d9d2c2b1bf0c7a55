"""Exposure: the risk limits, what is held against them now, and what the gauge says it was over time."""

from __future__ import annotations

import math
from datetime import datetime

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.steps.exposure import marks, wording
from runbook.steps.exposure.figures import Breach, EquityBasis, Exposure, Limits, PositionValues, SymbolValue
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import age_seconds, number

# The platform's own defaults, where the session's configuration says nothing.
DEFAULTS = {"max_position_size": 0.1, "max_positions": 3.0, "default_stop_loss": 0.02, "min_confidence": 0.7}
OPENED_OVER = 1.02
"""Over the limit when opened: by more than rounding and a moving price explain."""
DRIFT = 1.05
"""Over the limit now: by more than the usual moves of a price."""
_SYMBOLS_SHOWN = 6
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
    row = frame.iloc[0]
    equity, basis = _equity(row, window)
    if not equity > 0:
        return Finding(
            Status.UNKNOWN,
            "Risk limits: the portfolio's value is not known",
            "Neither performance_metrics nor the session has a usable one.",
        )
    configured = {name: number(row[name]) for name in DEFAULTS}
    usable = {name: value for name, value in configured.items() if value > 0}
    in_force = DEFAULTS | usable
    figures = Limits(
        session_id=str(row["session_id"]),
        mode=str(row["mode"]),
        equity=equity,
        basis=basis,
        **in_force,
        limit_usdt=in_force["max_position_size"] * equity,
        loose=any(in_force[name] > DEFAULTS[name] for name in ("max_position_size", "max_positions")),
        defaulted=tuple(name for name in DEFAULTS if name not in usable),
    )
    table = pd.DataFrame(
        {
            "limit": list(DEFAULTS),
            "in force": [wording.limit(name, in_force[name]) for name in DEFAULTS],
            "platform default": [wording.limit(name, value) for name, value in DEFAULTS.items()],
            "from": ["session configuration" if name in usable else "default" for name in DEFAULTS],
        }
    )
    is_guess = basis in (EquityBasis.STALE_PERFORMANCE, EquityBasis.INITIAL_CAPITAL)
    status = graded(False, figures.loose, is_guess)
    title, detail = wording.limits(figures), wording.limits_detail(figures)
    return Finding(status, title, detail, figures, (Table("Risk limits", table),))


def current(bounds: Finding[Limits], database: Database, window: Window, symbol: str = "") -> Finding[Exposure]:
    """Exposure: by symbol and side against the limits, with concentration, leverage and positions without a stop."""
    frame = database.ask("exposure/open", as_of=window.as_of).frame
    in_force = bounds.known
    if len(frame):
        frame = frame[frame["session_id"] == in_force.session_id]
    if frame.empty:
        nothing = Exposure(in_force.max_position_size, in_force.equity, frame, pd.Series(dtype=float))
        return Finding(Status.OK, "The session holds no position: there is no exposure", "", nothing)
    marked = marks.marked(frame)
    unpriced = marks.unpriced(marked)
    if len(unpriced) == len(marked):
        nameless = "Exposure: no open position has a usable price"
        return Finding(Status.UNKNOWN, nameless, marks.without_price(unpriced))
    figures = _exposure(marked, unpriced, in_force)
    is_over = figures.kind is not Breach.NONE
    status = graded(figures.shares.iloc[0] > 2 * figures.limit, is_over or figures.without_stop, unpriced)
    title, detail = wording.current(figures, in_force), wording.current_detail(figures, symbol)
    return Finding(status, title, detail, figures, (_by_symbol(figures), _by_position(figures)))


def _equity(row: pd.Series, window: Window) -> tuple[float, EquityBasis]:
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


def _exposure(marked: pd.DataFrame, unpriced: tuple[str, ...], bounds: Limits) -> Exposure:
    priced = marked[marked["notional"].notna()]
    entry_equity = priced["entry_equity"].astype("float64").where(lambda value: value > 0).fillna(bounds.equity)
    held = priced.assign(
        share=priced["notional"] / bounds.equity, entry_share=priced["entry_notional"] / entry_equity
    ).reset_index(drop=True)
    shares = held.groupby("symbol")["share"].sum().sort_values(ascending=False)
    kind, symbol = _breach(held, shares, len(marked), bounds)
    gross = float(held["notional"].sum())
    bare = marked[marked["stop_loss"].isna()]
    return Exposure(
        limit=bounds.max_position_size,
        equity=bounds.equity,
        positions=held,
        shares=shares,
        count=len(marked),
        unpriced=unpriced,
        kind=kind,
        symbol=symbol,
        share=float(shares[symbol]),
        over_symbols=tuple(map(str, shares.index[shares > bounds.max_position_size * DRIFT])),
        gross=gross,
        leverage=gross / bounds.equity,
        effective_count=1 / float(((shares * bounds.equity / gross) ** 2).sum()),
        without_stop=len(bare),
        unprotected_notional=float(bare["notional"].sum()),
    )


def _breach(held: pd.DataFrame, shares: pd.Series[float], count: int, bounds: Limits) -> tuple[Breach, str]:
    """(how a limit is exceeded, the symbol it is about)."""
    limit, largest = bounds.max_position_size, str(shares.index[0])
    too_large = held[held["entry_share"] > limit * OPENED_OVER]
    if len(too_large):
        return Breach.OVERSIZED, str(too_large.sort_values("entry_share", ascending=False)["symbol"].iloc[0])
    if shares.iloc[0] > limit * DRIFT:
        several = int((held["symbol"] == largest).sum()) > 1
        return (Breach.STACKED if several else Breach.GROWN), largest
    return (Breach.TOO_MANY if count > bounds.max_positions else Breach.NONE), largest


def _by_symbol(exposure: Exposure) -> Table:
    shares, limit = exposure.shares, exposure.limit
    positions = exposure.positions.groupby("symbol")
    sides = exposure.positions.pivot_table(index="symbol", columns="side", values="notional", aggfunc="sum")
    notional = sides.reindex(index=shares.index, columns=["LONG", "SHORT"]).fillna(0.0).astype(float)
    frame = pd.DataFrame(
        {
            "symbol": shares.index,
            "long": notional["LONG"].to_numpy(),
            "short": notional["SHORT"].to_numpy(),
            "positions": positions.size().reindex(shares.index).to_numpy(),
            "share": shares.to_numpy(),
            "limit": limit,
            "over by": (shares - limit).clip(lower=0.0).to_numpy() * exposure.equity,
        }
    )
    units = {"long": "USDT", "short": "USDT", "positions": "", "share": "%", "limit": "%", "over by": "USDT"}
    return Table("Exposure by symbol", frame, units)


def _by_position(exposure: Exposure) -> Table:
    frame = exposure.positions[["symbol", "side", "agent", "notional", "share", "entry_share", "stop_loss"]]
    units = {"notional": "USDT", "share": "%", "entry_share": "%", "stop_loss": ""}
    return Table("Open positions, the largest first", frame, units)


def over_time(
    now: Finding[Exposure], bounds: Finding[Limits], metrics: Metrics, window: Window
) -> Finding[PositionValues]:
    """Position value over time: the exported value by symbol, since when it is over, and whether it agrees."""
    frame = metrics.range(
        "max by (symbol) (cryptofunk_position_value_by_symbol)", window.start, window.as_of, series=10
    ).frame.dropna(subset=["value"])
    if frame.empty or "symbol" not in frame:
        return Finding(
            Status.UNKNOWN,
            "Position value over time: no usable sample",
            "cryptofunk_position_value_by_symbol has no sample in the window, or only NaN.",
        )
    limit = bounds.known.limit_usdt
    symbols = _symbol_values(frame.assign(value=frame["value"].abs()), limit)
    exposure = now.known
    read = {symbol.symbol: symbol.last for symbol in symbols}
    held = {str(symbol): float(share) * exposure.equity for symbol, share in exposure.shares.items()}
    apart = sorted(name for name in {*read, *held} if _differ(read.get(name, 0.0), held.get(name, 0.0)))
    figures = PositionValues(
        limit_usdt=limit,
        symbols=symbols,
        since=min((symbol.over_since for symbol in symbols if symbol.over_since is not None), default=None),
        apart=tuple(apart[:10]),
    )
    status = Status.WARNING if figures.over or figures.apart else Status.OK
    return Finding(status, wording.over_time(figures), wording.over_time_detail(figures), figures)


def _symbol_values(frame: pd.DataFrame, limit: float) -> tuple[SymbolValue, ...]:
    """Symbols that had a value, those with the largest first, at most six."""
    curves = {
        str(symbol): part[["time", "value"]].reset_index(drop=True)
        for symbol, part in frame.groupby("symbol")
        if part["value"].max() > 0
    }
    largest = sorted(curves, key=lambda symbol: -float(curves[symbol]["value"].max()))[:_SYMBOLS_SHOWN]
    return tuple(
        SymbolValue(symbol, float(curve["value"].iloc[-1]), _over_since(curve, limit * DRIFT), curve)
        for symbol, curve in ((symbol, curves[symbol]) for symbol in largest)
    )


def _over_since(curve: pd.DataFrame, limit: float) -> datetime | None:
    """Since when the last samples without a break are over `limit`; None when the last one is not."""
    below = curve[curve["value"] <= limit]
    if curve["value"].iloc[-1] <= limit:
        return None
    later = curve[curve["time"] > below["time"].iloc[-1]] if len(below) else curve
    since: datetime = later["time"].iloc[0]
    return since


def _differ(read: float, held: float) -> bool:
    """Whether a symbol's gauge and positions differ by more than prices move between samples."""
    return abs(read - held) > max(50.0, 0.1 * held)
