"""Positions: whose loss it was, and what is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runbook.alert import Window
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.steps import drawdown, exposure, sessions
from runbook.steps.drawdown.figures import AgentPnl, LosingPositions, Measure
from runbook.steps.drawdown.measures import measured

START = datetime(2026, 1, 15, 8, 2, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=6), START + timedelta(hours=6, minutes=8))
SESSION = Finding(
    Status.OK,
    "t",
    figures=sessions.Session(
        session_id="s",
        mode="LIVE",
        started_at=START,
        is_open=True,
        initial_capital=10_000.0,
        total_pnl=-900.0,
        roi=-0.09,
        max_drawdown=0.1,
        max_drawdown_limit=0.1,
    ),
)


class Tables:
    """A database that gives the table of each question."""

    def __init__(self, **frames: pd.DataFrame) -> None:
        self._frames = {name.replace("__", "/"): frame for name, frame in frames.items()}
        self.frame = pd.DataFrame()

    def ask(self, question: str, **parameters: Any) -> Tables:
        self.frame = self._frames[question]
        return self


def fills() -> Finding[drawdown.ByFills]:
    values = np.concatenate([np.full(100, 10_000.0), np.linspace(10_000, 9_000, 268)])
    times = pd.date_range(START, periods=368, freq="60s").astype("datetime64[us, UTC]")
    curve = pd.DataFrame({"time": times, "value": values})
    return Finding(
        Status.OK, "t", figures=drawdown.ByFills(Measure.FILLS, 0.1, **measured(curve), closes=pd.DataFrame())
    )


def parts(*rows: tuple[str, str, str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["agent", "symbol", "side", "pnl"])
    return frame.assign(positions=2, open=1, fees=1.0, notional=100.0, moved=frame["pnl"] + 1, unusable=0).assign(
        inferred=0, apart_seconds=None
    )


def contributed(frame: pd.DataFrame) -> Finding[drawdown.Contributions]:
    tables = Tables(positions__contributions=frame)
    return drawdown.contributions(SESSION, fills(), tables, WINDOW)  # type: ignore[arg-type]


def test_the_agent_that_lost_most_is_named_with_its_share_of_the_losses() -> None:
    found = contributed(
        parts(
            ("trend", "A", "LONG", -600.0),
            ("trend", "B", "SHORT", -150.0),
            ("mean", "A", "LONG", -250.0),
            ("sent", "B", "LONG", 400.0),
        )
    )
    assert found.known.worst == AgentPnl("trend", -750.0, 4.0, pytest.approx(0.75))
    assert {agent.agent: agent.pnl for agent in found.known.agents} == {"trend": -750.0, "mean": -250.0, "sent": 400.0}
    assert found.known.pnl == pytest.approx(-600)
    assert found.known.symbol == "A"
    assert found.status is Status.WARNING


def test_shares_of_each_table_add_up() -> None:
    found = contributed(parts(("a", "A", "LONG", -1.0), ("b", "B", "SHORT", -2.0), ("c", "C", "LONG", 5.0)))
    for table in found.tables:
        assert table.frame["share of loss"].sum() in (0.0, pytest.approx(1.0))


def test_nobody_lost() -> None:
    found = contributed(parts(("a", "A", "LONG", 1.0)))
    assert found.title.startswith("No agent lost")
    assert found.status is Status.OK


def test_a_position_that_cannot_be_valued_leaves_it_open_who_lost() -> None:
    found = contributed(parts(("a", "A", "LONG", 1.0), ("b", "B", "LONG", float("nan"))).assign(unusable=[0, 2]))
    assert found.status is Status.UNKNOWN
    assert found.title.startswith("As far as positions can be valued, no agent lost")
    assert "2 of them have no usable price" in found.detail
    nobody = contributed(parts(("b", "B", "LONG", float("nan"))).assign(unusable=2))
    assert (nobody.status, nobody.figures) == (Status.UNKNOWN, None)


def test_nothing_was_held() -> None:
    assert contributed(parts()).known.worst is None


def opened(without: int = 0, closes: tuple[float, float] = (95.0, 95.0)) -> Finding[exposure.OpenPositions]:
    stops = [None] * without + [90.0] * (2 - without)
    frame = pd.DataFrame(
        {
            "symbol": ["A", "B"],
            "side": "LONG",
            "quantity": 1.0,
            "entry_price": 100.0,
            "close": closes,
            "closed_at": WINDOW.as_of,
            "candle": "1m",
            "priced_as": ["A", "B"],
            "stop_loss": pd.Series(stops, dtype=float),
            "agent": "x",
            "entry_time": START,
            "position_id": "p",
        }
    )
    return exposure.open_positions(Tables(exposure__open=frame), WINDOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(("without", "status"), [(0, Status.OK), (1, Status.WARNING)])
def test_open_positions_without_a_stop(without: int, status: Status) -> None:
    found = opened(without)
    assert found.status is status
    assert found.known.without_stop == without
    assert found.known.notional == 190.0
    assert "Unrealised −10.00 USDT" in found.detail


def test_a_position_is_worth_what_a_close_says_never_its_entry_price() -> None:
    one, none = opened(closes=(95.0, np.nan)), opened(closes=(np.nan, np.nan))
    assert one.title == "2 open positions of which 1 are worth 95.00 USDT, each with a stop loss"
    assert none.title == "2 open positions worth what is not known, each with a stop loss"
    assert {one.status, none.status} == {Status.UNKNOWN}
    assert "0.00 USDT" not in none.detail
    assert "no usable price of A, B" in none.detail
    assert opened(1, (np.nan, np.nan)).status is Status.WARNING


def losing(totals: dict[str, Any], rows: list[float]) -> Finding[LosingPositions]:
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
    return drawdown.losing_positions(
        SESSION, Tables(positions__totals=pd.DataFrame([{**base, **totals}]), positions__losing=frame), WINDOW
    )  # type: ignore[arg-type]


def test_losing_trades_agree_with_the_session() -> None:
    assert "differs" not in losing({}, [-500.0, -400.0]).detail
    assert "differs from the session's total PnL by −50.00 USDT" in losing({"realized_pnl": -850.0}, [-1.0]).detail
    assert "2 positions have no usable PnL" in losing({"without_pnl": 2}, []).detail
    assert losing({"without_pnl": 2, "realized_pnl": 0.0}, []).status is Status.WARNING


def test_a_session_without_positions_is_unknown() -> None:
    assert losing({"closed": 0, "open": 0, "losing": 0}, []).status is Status.UNKNOWN
