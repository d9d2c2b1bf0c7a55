"""Exposure: what is held against the risk limits now, and what the gauge says it was over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.steps.exposure import marks, wording
from runbook.steps.exposure.figures import (
    Breach,
    Exposure,
    Limits,
    PositionValues,
    SessionExposure,
    SymbolValue,
)
from runbook.steps.shared.grading import graded

OPENED_OVER = 1.02
"""Over the limit when opened: by more than rounding and a moving price explain."""
DRIFT = 1.05
"""Over the limit now: by more than the usual moves of a price."""
_SYMBOLS_SHOWN = 6


def current(bounds: Finding[Limits], database: Database, window: Window, symbol: str = "") -> Finding[Exposure]:
    """Exposure: by symbol and side against the limits, with concentration, leverage and positions without a stop."""
    frame = database.ask("exposure/open", as_of=window.as_of).frame
    in_force = bounds.known
    sessions = (in_force, *in_force.beside)
    if len(frame):
        frame = frame[frame["session_id"].isin([session.session_id for session in sessions])]
    if frame.empty:
        nothing = Exposure(in_force.max_position_size, in_force.equity, frame, pd.Series(dtype=float), bounds=in_force)
        which = "The session holds" if len(sessions) == 1 else f"None of {len(sessions)} open sessions holds"
        article = "no position" if len(sessions) == 1 else "a position"
        return Finding(Status.OK, f"{which} {article}: there is no exposure", "", nothing)
    marked = marks.marked(frame)
    unpriced = marks.unpriced(marked)
    if len(unpriced) == len(marked):
        nameless = "Exposure: no open position has a usable price"
        return Finding(Status.UNKNOWN, nameless, marks.without_price(unpriced))
    held = [
        _exposure(rows, marks.unpriced(rows), session)
        for session in sessions
        if (rows := marked[marked["session_id"] == session.session_id])["notional"].notna().any()
    ]
    chosen = next((exposure for exposure in held if exposure.kind is not Breach.NONE), held[0])
    papers = [session.session_id for session in sessions if session.mode == "PAPER"]
    is_paper = marked["session_id"].isin(papers)
    figures = replace(
        chosen,
        sessions=tuple(_session_exposure(session, marked, held) for session in sessions),
        live=_together(marked[~is_paper]),
        paper=_together(marked[is_paper]),
    )
    is_over = figures.kind is not Breach.NONE
    bare = marked["stop_loss"].isna().any()
    status = graded(figures.shares.iloc[0] > 2 * figures.limit, is_over or bare, unpriced)
    judged_by = figures.bounds or in_force
    title, detail = wording.current(figures, judged_by), wording.current_detail(figures, symbol)
    tables = [_by_symbol(figures), _by_position(figures)]
    if len(sessions) > 1:
        tables.insert(0, _by_session(figures))
    return Finding(status, title, detail + wording.sessions_beside(figures), figures, tuple(tables))


def _session_exposure(session: Limits, marked: pd.DataFrame, held: Sequence[Exposure]) -> SessionExposure:
    rows = marked[marked["session_id"] == session.session_id]
    exposure = next((one for one in held if one.bounds is session), None)
    return SessionExposure(
        session=session.session,
        positions=len(rows),
        unpriced=int(rows["notional"].isna().sum()),
        largest="" if exposure is None else str(exposure.shares.index[0]),
        share=math.nan if exposure is None else float(exposure.shares.iloc[0]),
        limit=session.max_position_size,
        kind=Breach.NONE if exposure is None else exposure.kind,
    )


def _together(held: pd.DataFrame) -> dict[str, float]:
    """Notional by symbol."""
    return {str(symbol): float(value) for symbol, value in held.groupby("symbol")["notional"].sum().items()}


def _by_session(exposure: Exposure) -> Table:
    frame = pd.DataFrame(
        [
            {
                "session": one.session,
                "positions": one.positions,
                "without a price": one.unpriced,
                "largest": one.largest,
                "share": one.share,
                "limit": one.limit,
                "limit exceeded": "" if one.kind is Breach.NONE else one.kind.value,
            }
            for one in exposure.sessions
        ]
    )
    units = {"positions": "", "without a price": "", "share": "%", "limit": "%"}
    return Table("Open sessions, LIVE before PAPER", frame, units)


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
        bounds=bounds,
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
    exposure = now.known
    limit = (exposure.bounds or bounds.known).limit_usdt
    symbols = _symbol_values(frame.assign(value=frame["value"].abs()), limit)
    read = {symbol.symbol: symbol.last for symbol in symbols}
    # Whether the gauge counts PAPER sessions too is not known: it agrees where it fits either.
    live, paper = exposure.live, exposure.paper
    both = {name: live.get(name, 0.0) + paper.get(name, 0.0) for name in {*live, *paper}}
    apart = sorted(
        name
        for name in {*read, *both}
        if all(_differ(read.get(name, 0.0), held.get(name, 0.0)) for held in (live, both))
    )
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
