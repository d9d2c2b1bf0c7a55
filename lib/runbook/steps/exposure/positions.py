"""Open positions, marked to the last close, and which of them have no stop."""

from __future__ import annotations

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.exposure import wording
from runbook.steps.exposure.figures import OpenPositions, Unprotected

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
    frame = database.ask("positions/open", as_of=window.as_of).frame
    if frame.empty:
        return Finding(Status.OK, "No position is open", "", OpenPositions())
    bare = frame[frame["stop_loss"].isna()]
    figures = OpenPositions(
        count=len(frame),
        without_stop=len(bare),
        notional=float(frame["notional"].sum()),
        unrealized_pnl=float(frame["unrealized_pnl"].sum()),
        unprotected=tuple(map(Unprotected, bare["symbol"].map(str), bare["notional"].map(float))),
    )
    table = Table("Open positions, the greatest loss first", frame[_SHOWN], _UNITS)
    status = Status.WARNING if figures.without_stop else Status.OK
    return Finding(status, wording.open_positions(figures), wording.open_positions_detail(figures), figures, (table,))
