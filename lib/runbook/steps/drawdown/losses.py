"""Who lost it: the closed positions that lost most, and the losses by agent, symbol and side."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.drawdown import wording
from runbook.steps.drawdown.figures import AgentPnl, ByFills, Contributions, LosingPositions
from runbook.steps.drawdown.market import fall_began
from runbook.steps.sessions import Session
from runbook.steps.shared.grading import graded
from runbook.steps.shared.prices import TOO_OLD
from runbook.steps.shared.values import number
from runbook.words import capitalised


def losing_positions(session: Finding[Session], database: Database, window: Window) -> Finding[LosingPositions]:
    """Losing trades: the session's closed positions with the greatest losses, and realised against unrealised PnL."""
    trading = session.known
    arguments = {"session_id": trading.session_id, "as_of": window.as_of}
    sums, worst = at_once(
        lambda: database.ask("positions/totals", **arguments), lambda: database.ask("positions/losing", **arguments)
    )
    totals, frame = sums.frame.iloc[0], worst.frame
    if not totals["closed"] and not totals["open"]:
        return Finding(
            Status.UNKNOWN,
            "Losing trades: the session has no positions",
            "positions holds no row for this session.",
        )
    realized, unrealized = number(totals["realized_pnl"]), number(totals["unrealized_pnl"])
    figures = LosingPositions(
        closed=float(totals["closed"]),
        losing=float(totals["losing"]),
        open=float(totals["open"]),
        without_pnl=float(totals["without_pnl"]),
        realized_pnl=realized,
        unrealized_pnl=unrealized,
        fees=float(totals["fees"]),
        gap=_gap(realized + unrealized, trading.total_pnl),
        shown=len(frame),
        shown_pnl=float(frame["realized_pnl"].sum()) if len(frame) else 0.0,
    )
    is_notable = realized < -0.01 * trading.initial_capital or figures.without_pnl
    units = {
        "quantity": "",
        "entry_price": "",
        "exit_price": "",
        "realized_pnl": "USDT",
        "entry_time": "time",
        "exit_time": "time",
    }
    return Finding(
        Status.WARNING if is_notable else Status.OK,
        wording.losing_positions(figures),
        wording.losing_positions_detail(figures),
        figures,
        (Table("Closed positions with the greatest losses", frame, units),),
    )


def _gap(pnl: float, of_session: float) -> float | None:
    """By how much the positions' PnL differs from the session's; None where that is not known, or by rounding."""
    if not math.isfinite(of_session):
        return None
    gap = pnl - of_session
    return gap if abs(gap) > max(1.0, 0.01 * abs(of_session)) else None


def contributions(
    session: Finding[Session], fills: Finding[ByFills], database: Database, window: Window
) -> Finding[Contributions]:
    """Who lost it: what each agent, symbol and side added since the fall began, realised and unrealised."""
    measured = fills.known
    since = fall_began(measured, window)
    frame = database.ask(
        "positions/contributions", session_id=session.known.session_id, since=since, as_of=window.as_of
    ).frame
    if frame.empty:
        nothing = "So no agent, symbol or side lost anything."
        return Finding(Status.OK, "No position was held since the last peak", nothing, Contributions(since))
    frame = frame.astype(dict.fromkeys(("pnl", "positions", "fees", "notional"), "float64"))
    if frame["pnl"].isna().all():
        nameless = "Who lost it: no position has a usable price both then and now"
        return Finding(Status.UNKNOWN, nameless, f"{capitalised(TOO_OLD)}.")
    by = {name: _summed(frame, name) for name in ("agent", "symbol", "side")}
    before = measured.curve[measured.curve["time"] <= pd.Timestamp(since)]["value"]
    unusable = int(frame["unusable"].sum())
    figures = Contributions(
        since=since,
        agents=tuple(_agents(by["agent"])),
        symbol=str(by["symbol"]["symbol"].iloc[0]),
        side=str(by["side"]["side"].iloc[0]),
        positions=float(frame["positions"].sum()),
        pnl=float(frame["pnl"].sum()),
        equity_change=measured.equity - float(before.iloc[-1]) if len(before) else math.nan,
        unusable=unusable,
        inferred=int(frame["inferred"].sum()),
        farthest_seconds=float(frame["apart_seconds"].astype("float64").max()),
    )
    units = {"pnl": "USDT", "positions": "", "fees": "USDT", "notional": "USDT", "share of loss": "%"}
    return Finding(
        graded(False, figures.pnl < -0.01 * measured.peak, unusable),
        wording.contributions(figures),
        wording.contributions_detail(figures),
        figures,
        tuple(Table(f"PnL since the fall began, by {name}", part, units) for name, part in by.items()),
    )


def _summed(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The contributions by agent, symbol or side, the greatest loss first, with each one's share of the losses."""
    totals = {column: (column, "sum") for column in ("pnl", "positions", "fees", "notional")}
    part = frame.groupby(name, as_index=False).agg(**totals).sort_values("pnl", ignore_index=True)
    losses = -part["pnl"].clip(upper=0)
    part["share of loss"] = losses / losses.sum() if losses.sum() else 0.0
    return part


def _agents(part: pd.DataFrame) -> map[AgentPnl]:
    columns = (part[name].map(float) for name in ("pnl", "positions", "share of loss"))
    return map(AgentPnl, part["agent"].map(str), *columns)
