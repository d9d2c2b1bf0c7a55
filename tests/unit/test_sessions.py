"""Sessions: whether trading is paused, crashed or without what it needs, and whether a restart is safe."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings
from runbook.outcome import Status
from runbook.steps import sessions
from runbook.steps.agents import LastWords, McpServers
from runbook.steps.exposure import OpenPositions
from runbook.steps.platform import Pods, Rollout, Rollouts
from runbook.steps.sessions.figures import Flow, Freshness, Halt, OrchestratorHealth, RestartSafety
from runbook.steps.sessions.verdict import Failure, diagnosis_of

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
ALERT = Alert("TradingSessionFailure", {"alertname": "TradingSessionFailure"}, {}, MOMENT)
NO_ROWS = pd.DataFrame()
UP = (Pods("orchestrator", NO_ROWS), OrchestratorHealth(failing=()))
DOWN = (Pods("orchestrator", NO_ROWS, not_ready=("orchestrator",), restarted=("orchestrator",)),)
KILLED = (Pods("orchestrator", NO_ROWS, not_ready=("orchestrator",), oom_killed=("orchestrator",)),)
FLOWS = Flow(True, None, signals=3, orders=1, fills=1, sessions=0, bucket_minutes=5, rows={})
STILL = Flow(False, MOMENT, signals=0, orders=0, fills=0, sessions=0, bucket_minutes=5, rows={})
RUNS, PAUSED = Halt(paused=False), Halt(True, MOMENT, "ops", "maintenance")
SERVER_DOWN = McpServers(("risk-analyzer-server",), ())


def known(figures: Any, status: Status = Status.OK) -> Finding[Any]:
    return Finding(status, type(figures).__name__, figures=figures)


def all_known(*figures: Any) -> Findings:
    return Findings(map(known, figures))


@pytest.mark.parametrize(
    ("figures", "failure"),
    [
        ((*UP, FLOWS, RUNS), Failure.RUNNING),
        ((*UP, STILL, PAUSED), Failure.PAUSED),
        ((*UP, STILL, RUNS), Failure.STALLED),
        ((*DOWN, STILL, RUNS), Failure.CRASHED),
        ((*DOWN, STILL, PAUSED), Failure.CRASHED),
        ((*KILLED, STILL, RUNS), Failure.MEMORY),
        ((*DOWN, STILL, RUNS, SERVER_DOWN), Failure.DEPENDENCY),
        ((*UP, STILL, RUNS, SERVER_DOWN), Failure.DEPENDENCY),
        ((STILL, RUNS), Failure.SILENT),
        ((FLOWS, RUNS), Failure.UNKNOWN),
        (UP, Failure.UNKNOWN),
    ],
)
def test_paused_crashed_or_without_what_it_needs(figures: tuple[Any, ...], failure: Failure) -> None:
    found = all_known(*figures)
    assert diagnosis_of(found).failure is failure
    verdict = sessions.decide(found, ALERT, WINDOW)
    assert (verdict.status is Status.OK) == (failure is Failure.RUNNING)


def test_a_crash_since_a_rollout_is_taken_back_before_a_restart_that_is_not_safe_yet() -> None:
    rolled, unsafe = Rollouts((Rollout(MOMENT, "orchestrator"),)), RestartSafety(1, 1, ("one", "two"))
    verdict = sessions.decide(all_known(*DOWN, STILL, RUNS, rolled, unsafe), ALERT, WINDOW)
    assert verdict.decision == "take the orchestrator's rollout back"
    assert "A restart is not safe yet: one; two." in verdict.reasons
    undo, restart = verdict.actions[:2]
    assert undo.command == "kubectl -n cryptofunk rollout undo deployment/orchestrator"
    assert restart.why.endswith("Not before this is settled: one; two.")


def test_where_it_is_not_known_which_server_is_down_that_is_looked_up() -> None:
    words = LastWords("orchestrator", "mcp: connection refused")
    verdict = sessions.decide(all_known(*DOWN, STILL, RUNS, words), ALERT, WINDOW)
    assert verdict.decision == "repair an MCP server first"
    assert verdict.actions[0].title == "See which MCP server is down"


def orders(*protects: bool) -> pd.DataFrame:
    return pd.DataFrame({"symbol": "A", "protects": list(protects), "quantity": 1.0}, index=range(len(protects)))


def safety(stray: int = 0, bare: int = 0, candle: float = 30.0, fill: float = 60.0) -> Finding[RestartSafety]:
    held = known(OpenPositions(without_stop=bare))
    stale = () if candle <= 180 else ("candle",)
    fresh = known(Freshness(fill, math.nan, math.nan, candle, math.nan, stale=stale))
    table = orders(*[False] * stray, True)
    database: Any = SimpleNamespace(ask=lambda *_, **__: SimpleNamespace(frame=table))
    return sessions.restart_safety(held, fresh, database, WINDOW)


@pytest.mark.parametrize(
    ("world", "says"),
    [
        ({"stray": 1}, "1 open order that protects no position"),
        ({"stray": 2}, "2 open orders that protect no position"),
        ({"bare": 1}, "1 open position has no stop"),
        ({"candle": 600.0}, "the last candle is 10 min old"),
        ({"candle": float("nan")}, "the last candle is n/a old"),
    ],
)
def test_what_speaks_against_a_restart(world: dict[str, Any], says: str) -> None:
    found = safety(**world)
    assert found.status is Status.WARNING
    assert not found.known.is_safe
    assert says in found.title


def test_a_safe_restart() -> None:
    found = safety()
    assert found.status is Status.OK
    assert found.known.is_safe
    assert found.detail == "1 open order, 1 of them stops or targets of open positions."


def test_fills_are_old_when_trading_is_paused_which_is_no_reason_against_a_restart() -> None:
    found = safety(fill=3600.0)
    assert found.known.is_safe
    assert found.detail.endswith("The last fill is 1 h old, as when trading is paused.")


def sessions_table(*rows: dict[str, Any]) -> SimpleNamespace:
    row = {
        "session_id": "s",
        "mode": "LIVE",
        "symbol": "BTCUSDT",
        "started_at": pd.Timestamp(WINDOW.start),
        "stopped_at": pd.NaT,
        "initial_capital": 10_000.0,
        "total_trades": 1,
        "losing_trades": 0,
        "total_pnl": 1.0,
        "max_drawdown": 0.01,
        "roi": 0.0,
        "open_positions": 1,
        "max_drawdown_limit": None,
    }
    frame = pd.DataFrame([{**row, **changes} for changes in rows])
    return SimpleNamespace(ask=lambda *_, **__: SimpleNamespace(frame=frame))


def test_every_open_session_is_looked_at_and_none_is_mixed() -> None:
    paper = {"session_id": "p", "mode": "PAPER", "symbol": "SOLUSDT", "max_drawdown": 0.2}
    ended = {"session_id": "e", "stopped_at": pd.Timestamp(WINDOW.start), "max_drawdown": 0.5}
    found = sessions.latest(sessions_table({}, {"session_id": "t", "symbol": "ETHUSDT"}, paper, ended), WINDOW)  # type: ignore[arg-type]
    assert found.status is Status.WARNING
    assert [other.session_id for other in found.known.beside] == ["t", "p"]
    assert [other.session_id for other in found.known.partners] == ["t"]
    assert "Over their limits: PAPER SOLUSDT fell 20.0 %, its limit is 10.0 %" in found.detail
    assert "It configures no limit of drawdown: the default, 10.0 %, counts." in found.detail
    untold = sessions.latest(sessions_table({}, {"session_id": "t", "max_drawdown": math.nan}), WINDOW)  # type: ignore[arg-type]
    assert untold.status is Status.UNKNOWN


def test_the_default_limit_counts_where_none_is_configured() -> None:
    assert sessions.latest(sessions_table({"max_drawdown": 0.12}), WINDOW).status is Status.WARNING  # type: ignore[arg-type]
    own = {"max_drawdown": 0.12, "max_drawdown_limit": 0.2}
    assert sessions.latest(sessions_table(own), WINDOW).status is Status.OK  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("candle", "minutes", "stale"),
    [("1m", 2, False), ("1m", 10, True), ("1h", 70, False), ("1h", 130, True), (None, 10, True)],
)
def test_candles_of_an_hour_are_not_stale_within_it(candle: str | None, minutes: int, stale: bool) -> None:
    now = pd.Timestamp(WINDOW.as_of)
    row = dict.fromkeys(("last_fill", "last_order", "last_signal", "last_performance"), now)
    frame = pd.DataFrame([{**row, "last_candle": now - pd.Timedelta(minutes=minutes), "candle": candle}])
    database: Any = SimpleNamespace(ask=lambda *_, **__: SimpleNamespace(frame=frame))
    assert ("candle" in sessions.activity(database, WINDOW).known.stale) == stale


def test_a_session_without_a_beginning_is_not_known() -> None:
    row = dict.fromkeys(("initial_capital", "total_pnl", "roi", "max_drawdown", "max_drawdown_limit"), 1.0)
    frame = pd.DataFrame([{**row, "session_id": "s", "mode": "LIVE", "started_at": pd.NaT, "stopped_at": pd.NaT}])
    database: Any = SimpleNamespace(ask=lambda *_, **__: SimpleNamespace(frame=frame))
    found = sessions.latest(database, WINDOW)
    assert (found.status, found.figures) == (Status.UNKNOWN, None)
