"""An exceeded limit: what reducing to it takes, and why it is exceeded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.steps.exposure import wording
from runbook.steps.exposure.figures import (
    FEE,
    Approvals,
    Breach,
    BreachCause,
    Exposure,
    Limits,
    Openers,
    Reduction,
)
from runbook.steps.shared.fleet import NOT_RECORDED

_ALL = 0.999
"""The part of a position from which on all of it is closed."""
_EXCESS_LEAST = 0.01


def reduction(now: Finding[Exposure], bounds: Finding[Limits]) -> Finding[Reduction]:
    """Reducing to the limits: what would be closed, its notional, the fee and the PnL that becomes real.

    Nothing is done.
    """
    exposure = now.known
    closed = _closed(exposure, exposure.bounds or bounds.known)
    if closed.empty:
        return Finding(Status.OK, "Nothing has to be reduced", "", Reduction())
    held = exposure.positions.loc[closed.index]
    table = pd.DataFrame(
        {
            "symbol": held["symbol"],
            "side": held["side"],
            "agent": held["agent"],
            "close": np.where(closed > _ALL * held["notional"], "all", "part"),
            "quantity": held["quantity"] * closed / held["notional"],
            "notional": closed,
            "fee": closed * FEE,
            "pnl": held["unrealized_pnl"] * closed / held["notional"],
        }
    ).reset_index(drop=True)
    figures = Reduction(
        notional=float(table["notional"].sum()),
        fees=float(table["fee"].sum()),
        pnl=float(table["pnl"].sum()),
        positions=len(table),
        symbols=tuple(dict.fromkeys(map(str, table["symbol"]))),
    )
    shown = Table("What would be closed", table, {"quantity": "", "notional": "USDT", "fee": "USDT", "pnl": "USDT"})
    return Finding(Status.WARNING, wording.reduction(figures), wording.REDUCTION_DETAIL, figures, (shown,))


def _closed(exposure: Exposure, bounds: Limits) -> pd.Series[float]:
    """The notional to close, by row of `positions` and in the order of closing.

    The newest first in a symbol that is over the limit; then the smallest of what is left, where there are too many.
    """
    held, limit = exposure.positions, bounds.limit_usdt
    cuts: dict[int, float] = {}
    if exposure.kind is not Breach.NONE:
        for _, part in held.groupby("symbol"):
            excess = float(part["notional"].sum()) - limit
            if excess > _EXCESS_LEAST * limit:
                newest_first = part.sort_values("entry_time", ascending=False)["notional"]
                for row, notional in newest_first.items():
                    cuts[int(str(row))] = min(max(excess, 0.0), float(notional))
                    excess -= cuts[int(str(row))]
        left = held[pd.Series(cuts, dtype=float).reindex(held.index, fill_value=0.0) < _ALL * held["notional"]]
        too_many = max(len(left) - int(bounds.max_positions), 0)
        for row in left.sort_values("notional").index[:too_many]:
            cuts[int(row)] = float(held["notional"][row])
    closed = pd.Series(cuts, dtype=float)
    return closed[closed > 0]


def cause(now: Finding[Exposure], opened: Finding[Openers], answers: Finding[Approvals]) -> Finding[BreachCause]:
    """Why the limit is exceeded: too large when opened, several together, grown since, or too many."""
    exposure = now.known
    if exposure.kind is Breach.NONE:
        return Finding(Status.OK, "No limit is exceeded now", "", BreachCause(Breach.NONE))
    mine = exposure.positions[exposure.positions["symbol"] == exposure.symbol]
    largest = mine.sort_values("entry_share", ascending=False).iloc[0]
    openings = opened.known.openings
    by = openings[openings["position_id"] == largest["position_id"]]
    together = openings[openings["symbol"] == exposure.symbol]
    figures = BreachCause(
        kind=exposure.kind,
        symbol=exposure.symbol,
        positions=len(mine),
        agent=next((str(agent) for agent in by["agent"] if agent != NOT_RECORDED), ""),
        agents=tuple(dict.fromkeys(map(str, together["agent"]))),
        entry_share=float(largest["entry_share"]),
        approval=answers.known.kind,
        inferred=bool(by["inferred"].any()),
    )
    return Finding(now.status, wording.cause(figures, exposure), wording.cause_detail(figures), figures)
