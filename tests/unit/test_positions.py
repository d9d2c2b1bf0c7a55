"""Positions: whose loss it was, and whether a restart is safe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runbook.alert import Window
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.drawdown import observations as drawdown
from runbook.steps.exposure import positions

START = datetime(2026, 1, 15, 8, 2, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=6), START + timedelta(hours=6, minutes=8))
SESSION = Finding(
    "sessions.latest", Status.OK, "t", figures={"session_id": "s", "initial_capital": 10_000.0, "total_pnl": -900.0}
)


class Tables:
    """A database that gives the table of each question."""

    def __init__(self, **frames: pd.DataFrame) -> None:
        self._frames = {name.replace("__", "/"): frame for name, frame in frames.items()}
        self.frame = pd.DataFrame()

    def ask(self, question: str, **parameters: Any) -> Tables:
        self.frame = self._frames[question]
        return self


def fills() -> Finding:
    values = np.concatenate([np.full(100, 10_000.0), np.linspace(10_000, 9_000, 268)])
    times = pd.date_range(START, periods=368, freq="60s").astype("datetime64[us, UTC]")
    return drawdown._measured("drawdown.from_fills", "fills", pd.DataFrame({"time": times, "value": values}), 0.1)


def parts(*rows: tuple[str, str, str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["agent", "symbol", "side", "pnl"])
    return frame.assign(positions=2, open=1, fees=1.0, notional=100.0, moved=frame["pnl"] + 1)


def contributed(frame: pd.DataFrame) -> Finding:
    return positions.contributions(SESSION, fills(), Tables(positions__contributions=frame), WINDOW)  # type: ignore[arg-type]


def test_the_agent_that_lost_most_is_named_with_its_share_of_the_losses() -> None:
    found = contributed(
        parts(
            ("trend", "A", "LONG", -600.0),
            ("trend", "B", "SHORT", -150.0),
            ("mean", "A", "LONG", -250.0),
            ("sent", "B", "LONG", 400.0),
        )
    )
    assert found.figures["agent"] == "trend"
    assert found.figures["agent_share"] == pytest.approx(0.75)
    assert found.figures["pnl"] == pytest.approx(-600)
    assert found.series["agent"] == {"trend": -750.0, "mean": -250.0, "sent": 400.0}
    assert found.figures["symbol"] == "A"
    assert found.status is Status.WARNING


def test_shares_of_each_table_add_up() -> None:
    found = contributed(parts(("a", "A", "LONG", -1.0), ("b", "B", "SHORT", -2.0), ("c", "C", "LONG", 5.0)))
    for table in found.tables:
        assert table.frame["share of loss"].sum() in (0.0, pytest.approx(1.0))


def test_nobody_lost() -> None:
    found = contributed(parts(("a", "A", "LONG", 1.0)))
    assert found.title.startswith("No agent lost")
    assert found.status is Status.OK


def test_nothing_was_held() -> None:
    assert contributed(parts()).figures["agent_share"] == 0.0


def orders(*protects: bool) -> pd.DataFrame:
    return pd.DataFrame({"symbol": "A", "protects": list(protects), "quantity": 1.0}, index=range(len(protects)))


def safety(stray: int = 0, bare: int = 0, candle: float = 30.0, fill: float = 60.0) -> Finding:
    opened = Finding("exposure.open_positions", Status.OK, "t", figures={"without_stop": bare})
    fresh = Finding(
        "sessions.activity", Status.OK, "t", figures={"candle_age_seconds": candle, "fill_age_seconds": fill}
    )
    table = orders(*[False] * stray, True)
    return positions.restart_safety(opened, fresh, Tables(orders__open=table), WINDOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("world", "says"),
    [({"stray": 1}, "1 open order that protects no position"), ({"stray": 2}, "2 open orders that protect no position"), ({"bare": 1}, "1 open position has no stop"),
     ({"candle": 600.0}, "the last candle is 10 min old"), ({"candle": float("nan")}, "the last candle is n/a old")],
)  # fmt: skip
def test_what_speaks_against_a_restart(world: dict[str, Any], says: str) -> None:
    found = safety(**world)
    assert found.status is Status.WARNING
    assert found.figures["safe"] is False
    assert says in found.title


def test_a_safe_restart() -> None:
    found = safety()
    assert found.status is Status.OK
    assert found.figures["safe"] is True


@pytest.mark.parametrize(("without", "status"), [(0, Status.OK), (1, Status.WARNING)])
def test_open_positions_without_a_stop(without: int, status: Status) -> None:
    stops = [None] * without + [90.0] * (2 - without)
    frame = pd.DataFrame({"symbol": ["A", "B"], "side": "LONG", "quantity": 1.0, "entry_price": 100.0, "last_price": 95.0, "unrealized_pnl": -5.0,
                          "notional": 95.0, "stop_loss": pd.Series(stops, dtype=float), "agent": "x", "entry_time": START, "position_id": "p"})  # fmt: skip
    found = positions.open_now(Tables(positions__open=frame), WINDOW)  # type: ignore[arg-type]
    assert found.status is status
    assert found.figures["without_stop"] == without
    assert found.figures["notional"] == 190.0


def losing(totals: dict[str, Any], rows: list[float]) -> Finding:
    frame = pd.DataFrame({"symbol": "A", "realized_pnl": rows}, index=range(len(rows)))
    base = {
        "closed": 3,
        "open": 1,
        "losing": 2,
        "realized_pnl": -800.0,
        "unrealized_pnl": -100.0,
        "fees": 20.0,
        "without_pnl": 0,
    }
    return positions.losing(
        SESSION, Tables(positions__totals=pd.DataFrame([{**base, **totals}]), positions__losing=frame), WINDOW
    )  # type: ignore[arg-type]


def test_losing_trades_agree_with_the_session() -> None:
    assert "differs" not in losing({}, [-500.0, -400.0]).detail
    assert "differs from the session's total PnL by −50.00 USDT" in losing({"realized_pnl": -850.0}, [-1.0]).detail
    assert "2 positions have no usable PnL" in losing({"without_pnl": 2}, []).detail
    assert losing({"without_pnl": 2, "realized_pnl": 0.0}, []).status is Status.WARNING


def test_a_session_without_positions_is_unknown() -> None:
    assert losing({"closed": 0, "open": 0, "losing": 0}, []).status is Status.UNKNOWN
