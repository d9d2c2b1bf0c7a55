"""Who lost it: the closed positions that lost most, and the losses by agent, symbol and side."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.drawdown.market import fall_began
from runbook.words import amount


def losing_positions(session: Finding, database: Database, window: Window) -> Finding:
    """Losing trades: the session's closed positions with the greatest losses, and realised against unrealised PnL."""
    arguments = {"session_id": session.figures["session_id"], "as_of": window.as_of}
    sums, worst = at_once(
        lambda: database.ask("positions/totals", **arguments), lambda: database.ask("positions/losing", **arguments)
    )
    totals, frame = sums.frame.iloc[0], worst.frame
    realized, unrealized = float(totals["realized_pnl"]), float(totals["unrealized_pnl"])
    if not totals["closed"] and not totals["open"]:
        return Finding(
            "drawdown.losing_positions",
            Status.UNKNOWN,
            "Losing trades: the session has no positions",
            "positions holds no row for this session.",
        )
    gap = realized + unrealized - session.figures["total_pnl"]
    known = math.isfinite(session.figures["total_pnl"])
    notes = [
        f"Realised {amount(realized, 'USDT')}, unrealised {amount(unrealized, 'USDT')}, fees within {amount(totals['fees'], 'USDT')}."
    ]
    if known and abs(gap) > max(1.0, 0.01 * abs(session.figures["total_pnl"])):
        notes.append(
            f"Their sum differs from the session's total PnL by {amount(gap, 'USDT')}: one of the two tables is behind."
        )
    if totals["without_pnl"]:
        notes.append(f"{amount(totals['without_pnl'])} positions have no usable PnL (NULL or NaN) and are not counted.")
    lost = float(frame["realized_pnl"].sum()) if len(frame) else 0.0
    return Finding(
        "drawdown.losing_positions",
        Status.WARNING if realized < -0.01 * session.figures["initial_capital"] or totals["without_pnl"] else Status.OK,
        f"{amount(totals['losing'])} of {amount(totals['closed'])} closed positions lost; the worst {len(frame)} of them {amount(lost, 'USDT')}",
        " ".join(notes),
        {"closed": float(totals["closed"]), "losing": float(totals["losing"]), "open": float(totals["open"]), "realized_pnl": realized,
         "unrealized_pnl": unrealized, "fees": float(totals["fees"])},
        (Table("Closed positions with the greatest losses", frame,
               {"quantity": "", "entry_price": "", "exit_price": "", "realized_pnl": "USDT", "entry_time": "time", "exit_time": "time"}),),
    )  # fmt: skip


def contributions(session: Finding, fills: Finding, database: Database, window: Window) -> Finding:
    """Who lost it: what each agent, symbol and side added since the fall began, realised and unrealised."""
    since = fall_began(fills, window)
    frame = database.ask(
        "positions/contributions", session_id=session.figures["session_id"], since=since, as_of=window.as_of
    ).frame
    if frame.empty:
        return Finding("drawdown.contributions", Status.OK, "No position was held since the last peak", "So no agent, symbol or side lost anything.",
                       {"since": since, "agent_share": 0.0})  # fmt: skip
    total = float(frame["pnl"].sum())
    parts = {by: frame.groupby(by, as_index=False).agg(pnl=("pnl", "sum"), positions=("positions", "sum"), fees=("fees", "sum"), notional=("notional", "sum"))
             .sort_values("pnl", ignore_index=True) for by in ("agent", "symbol", "side")}  # fmt: skip
    losses = -float(parts["agent"]["pnl"].clip(upper=0).sum())
    for part in parts.values():
        gone = -float(part["pnl"].clip(upper=0).sum())
        part["share of loss"] = (-part["pnl"].clip(upper=0) / gone) if gone else 0.0
    top = parts["agent"].iloc[0]
    equity = fills.series["equity"]
    before = equity[equity["time"] <= pd.Timestamp(since)]["value"]
    change = float(equity["value"].iloc[-1] - before.iloc[-1]) if len(before) else float("nan")
    units = {"pnl": "USDT", "positions": "", "fees": "USDT", "notional": "USDT", "share of loss": "%"}
    return Finding(
        "drawdown.contributions",
        Status.WARNING if total < -0.01 * fills.figures["peak"] else Status.OK,
        f"{top['agent']} lost {amount(-top['pnl'], 'USDT')} since {since:%H:%M} UTC: {amount(top['share of loss'], '%')} of all agents' losses"
        if top["pnl"] < 0 else f"No agent lost since {since:%H:%M} UTC",
        f"All positions together {amount(total, 'USDT')}; the equity from fills moved {amount(change, 'USDT')} in the same time. "
        f"Fees are part of it. Positions held then: {amount(float(frame['positions'].sum()))}.",
        {"since": since, "pnl": total, "agent": top["agent"], "agent_pnl": float(top["pnl"]), "agent_share": float(top["share of loss"]),
         "agents_losing": int((parts["agent"]["pnl"] < -0.1 * losses).sum()) if losses else 0, "agent_positions": float(top["positions"]),
         "symbol": parts["symbol"].iloc[0]["symbol"], "side": parts["side"].iloc[0]["side"], "equity_change": change},
        tuple(Table(f"PnL since the fall began, by {by}", part, units) for by, part in parts.items()),
        {by: dict(zip(part[by].astype(str), part["pnl"], strict=True)) for by, part in parts.items()},
    )  # fmt: skip
