"""Open positions, marked to the last close, and which of them have no stop."""

from __future__ import annotations

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.exposure import marks, wording
from runbook.steps.exposure.figures import OpenPositions, Unprotected
from runbook.steps.shared.grading import graded

_UNITS = {
    "quantity": "",
    "entry_price": "",
    "last_price": "",
    "unrealized_pnl": "USDT",
    "notional": "USDT",
    "stop_loss": "",
    "entry_time": "time",
}
_SHOWN = ["symbol", "side", *list(_UNITS)[:-1], "agent", "entry_time"]


def open_positions(database: Database, window: Window) -> Finding[OpenPositions]:
    """Open positions: marked to the last close, and which of them have no stop loss."""
    frame = database.ask("exposure/open", as_of=window.as_of).frame
    if frame.empty:
        return Finding(Status.OK, "No position is open", "", OpenPositions())
    held = marks.marked(frame).sort_values("unrealized_pnl", ignore_index=True)
    bare = held[held["stop_loss"].isna()]
    figures = OpenPositions(
        count=len(held),
        without_stop=len(bare),
        notional=marks.total(held["notional"]),
        unrealized_pnl=marks.total(held["unrealized_pnl"]),
        unprotected=tuple(map(Unprotected, bare["symbol"].map(str), bare["notional"].map(float))),
        unpriced=marks.unpriced(held),
    )
    table = Table("Open positions, the greatest loss first", held[_SHOWN], _UNITS)
    status = graded(False, figures.without_stop, figures.unpriced)
    detail = wording.open_positions_detail(figures) + marks.priced_otherwise(held)
    return Finding(status, wording.open_positions(figures), detail, figures, (table,))
