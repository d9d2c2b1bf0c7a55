"""Open positions, marked to the last close, and which of them have no stop."""

from __future__ import annotations

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.words import amount


def open_positions(database: Database, window: Window) -> Finding:
    """Open positions: marked to the last close, and which of them have no stop loss."""
    frame = database.ask("positions/open", as_of=window.as_of).frame
    if frame.empty:
        return Finding(
            "exposure.open_positions",
            Status.OK,
            "No position is open",
            "",
            {"count": 0, "without_stop": 0, "notional": 0.0, "unrealized_pnl": 0.0},
        )
    bare = frame[frame["stop_loss"].isna()]
    shown = frame[
        [
            "symbol",
            "side",
            "quantity",
            "entry_price",
            "last_price",
            "unrealized_pnl",
            "notional",
            "stop_loss",
            "agent",
            "entry_time",
        ]
    ]
    named = ", ".join(
        f"{symbol} {amount(size, 'USDT')}"
        for symbol, size in zip(bare["symbol"][:6], bare["notional"][:6], strict=True)
    )
    return Finding(
        "exposure.open_positions",
        Status.WARNING if len(bare) else Status.OK,
        f"{len(frame)} open {'position' if len(frame) == 1 else 'positions'} worth {amount(frame['notional'].sum(), 'USDT')}, "
        + (f"{len(bare)} without a stop loss" if len(bare) else "each with a stop loss"),
        f"Unrealised {amount(frame['unrealized_pnl'].sum(), 'USDT')} at the last closes."
        + (f" Without a stop: {named}." if named else ""),
        {"count": len(frame), "without_stop": len(bare), "notional": float(frame["notional"].sum()), "unrealized_pnl": float(frame["unrealized_pnl"].sum()),
         "unprotected_notional": float(bare["notional"].sum())},
        (Table("Open positions, the greatest loss first", shown,
               {"quantity": "", "entry_price": "", "last_price": "", "unrealized_pnl": "USDT", "notional": "USDT", "stop_loss": "", "entry_time": "time"}),),
    )  # fmt: skip
