"""The simulation agrees with itself, comes out the same from the same seed, and is the incident it says."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from cryptofunk_demo import incidents, logs, metrics, records
from cryptofunk_demo.market import NAMES
from cryptofunk_demo.moment import AS_OF, MOMENT, SEED, minute
from cryptofunk_demo.series import openmetrics
from cryptofunk_demo.simulation import Simulation, simulate
from runbook.errors import DemoError

SEEDS = (SEED, 7)
EVERY = [(name, seed) for name in incidents.INCIDENTS for seed in SEEDS]


@cache
def simulated(name: str, seed: int = SEED) -> Simulation:
    return simulate(incidents.named(name), seed)


def drawdown_at(simulation: Simulation, moment: object) -> float:
    return float(simulation.account.drawdown[simulation.account.times.index(moment)])  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "seed"), EVERY)
def test_realised_profit_of_fills_is_that_of_positions_and_sessions(name: str, seed: int) -> None:
    simulation = simulated(name, seed)
    for session, account in zip(simulation.sessions, simulation.accounts, strict=True):
        closed_cash = sum(f.cash for p in session.positions if p.exit_at for f in p.fills)
        fees = sum(f.commission for f in session.fills)
        positions = sum(p.realized_pnl for p in session.positions)
        assert positions == pytest.approx(closed_cash - fees, abs=1e-6)
        assert account.realized[-1] == pytest.approx(positions, abs=1e-6)
        if session.stopped_at:
            assert account.total_pnl[-1] == pytest.approx(positions, abs=1e-6)
            assert all(p.exit_at for p in session.positions)


@pytest.mark.parametrize(("name", "seed"), EVERY)
def test_performance_at_every_time_is_fills_marked_to_the_last_closed_candle(name: str, seed: int) -> None:
    simulation = simulated(name, seed)
    account, session = simulation.account, simulation.session
    for index in range(0, len(account.times), 97):
        time = account.times[index]
        marks = simulation.market.close[minute(time) - 1]
        cash, held = session.initial_capital, defaultdict(float)
        for fill in session.fills:
            if fill.executed_at <= time:
                cash += fill.cash - fill.commission
                held[fill.symbol] += fill.quantity if fill.side == "BUY" else -fill.quantity
        value = cash + sum(quantity * marks[NAMES.index(symbol)] for symbol, quantity in held.items())
        assert account.total_value[index] == pytest.approx(value, abs=1e-6)
        assert account.total_pnl[index] == pytest.approx(account.realized[index] + account.unrealized[index], abs=1e-6)


@pytest.mark.parametrize(("name", "seed"), EVERY)
def test_every_fill_lies_within_its_candle_or_close_to_it(name: str, seed: int) -> None:
    simulation = simulated(name, seed)
    market = simulation.market
    assert (market.low <= np.minimum(market.open, market.close)).all()
    assert (market.high >= np.maximum(market.open, market.close)).all()
    assert (market.open[1:] == market.close[:-1]).all()
    for fill in simulation.session.fills:
        row, column = minute(fill.executed_at), NAMES.index(fill.symbol)
        if row < len(market.close):
            assert market.low[row, column] * 0.998 <= fill.price <= market.high[row, column] * 1.002


@pytest.mark.parametrize("seed", SEEDS)
def test_the_flash_crash_takes_the_market_and_the_portfolio(seed: int) -> None:
    simulation = simulated("flash-crash", seed)
    closes, end = simulation.market.close, minute(MOMENT)
    falls = closes[end - 1] / closes[end - 21] - 1
    assert (falls < -0.13).all()
    assert -0.24 < falls.mean() < -0.17
    assert 0.10 < drawdown_at(simulation, MOMENT) < 0.16
    assert MOMENT - timedelta(minutes=4) < (simulation.session.halted_at or AS_OF) < MOMENT + timedelta(minutes=2)


def test_the_flash_crash_hits_several_agents_and_symbols() -> None:
    by_agent = losses_by_agent(simulated("flash-crash"))
    assert min(by_agent.values()) / sum(by_agent.values()) < 0.5
    assert sum(loss < -50 for loss in by_agent.values()) >= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rogue_strategy_loses_alone_in_a_calm_market(seed: int) -> None:
    simulation = simulated("rogue-strategy", seed)
    closes, end = simulation.market.close, minute(MOMENT)
    assert np.abs(closes[end - 1] / closes[end - 240] - 1).max() < 0.05
    assert 0.10 < drawdown_at(simulation, AS_OF) < 0.13
    by_agent = losses_by_agent(simulation)
    assert by_agent["trend-follower"] / sum(by_agent.values()) > 0.9
    mine = [p for p in simulation.session.positions if p.agent == "trend-follower"]
    assert sum(p.entry_at > MOMENT - timedelta(hours=4) for p in mine) > 40


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bad_metric_is_refuted_by_the_fills(seed: int) -> None:
    simulation = simulated("bad-metric", seed)
    assert drawdown_at(simulation, MOMENT) < 0.03
    gauge = next(s for s in metrics.every(simulation) if s.name == "cryptofunk_current_drawdown")
    assert gauge.values[-1] == pytest.approx(simulation.facts["stale_drawdown"])
    assert gauge.values[-1] > 0.13
    before = gauge.values[gauge.times < (MOMENT - timedelta(minutes=5)).timestamp()]
    assert before.max() < 0.03
    assert simulation.sessions[1].mode == "PAPER"
    assert simulation.sessions[1].initial_capital > simulation.session.initial_capital


def test_the_healthy_platform_has_a_small_drawdown_and_a_resolved_alert() -> None:
    simulation = simulated("healthy")
    assert simulation.account.max_drawdown[-1] < 0.02
    assert not simulation.incident.alert.firing
    assert not simulation.is_halted


@pytest.mark.parametrize("name", ["healthy", "bad-metric", "flash-crash"])
def test_agents_that_are_not_rogue_keep_the_limits_of_their_session(name: str) -> None:
    simulation = simulated(name)
    assert simulation.account.open_positions.max() <= simulation.session.limits.max_positions
    largest = max(p.entry_price * p.quantity for p in simulation.session.positions)
    assert largest <= simulation.session.limits.max_position_size * 10_500


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def written(simulation: Simulation) -> str:
        rows = records.tables(
            simulation.incident, simulation.market, simulation.sessions, simulation.accounts, simulation.seed
        )
        lines = [f"{line.time} {line.text}" for pod in logs.every(simulation).values() for line in pod]
        return repr(rows) + "\n".join(lines) + "".join(openmetrics(metrics.every(simulation)))

    incident = incidents.named("flash-crash")
    assert written(simulate(incident, SEED)) == written(simulate(incident, SEED))
    assert written(simulate(incident, SEED)) != written(simulate(incident, 7))


def test_the_documented_schema_holds_the_same_positions() -> None:
    simulation = simulated("flash-crash")
    rows = records.tables(simulation.incident, simulation.market, simulation.sessions, simulation.accounts, SEED)
    documented = {table.table: table for table in records.documented(rows, simulation.market)}
    positions, sessions = documented["positions"], documented["trading_sessions"]
    by_status = defaultdict(int)
    for row in positions.rows:
        by_status[row[positions.columns.index("status")]] += 1
    assert by_status["OPEN"] == sum(p.exit_at is None for s in simulation.sessions for p in s.positions) > 0
    assert "id" not in sessions.columns
    roi = sessions.rows[-1][sessions.columns.index("roi_percentage")]
    assert roi == pytest.approx(100 * simulation.account.total_pnl[-1] / 10_000)
    status = documented["agent_status"]
    assert {row[status.columns.index("status")] for row in status.rows} == {"ACTIVE"}
    assert "error_message" in status.columns


def test_logs_come_in_every_shape_of_the_platform() -> None:
    lines = [line.text for line in logs.every(simulated("flash-crash"))["risk-agent"]]
    parsed = [json.loads(line) for line in lines if line.startswith("{")]
    assert {type(entry["time"]) for entry in parsed} == {int, str}
    assert any(line.startswith("\x1b[90m") and "\x1b[36m" in line for line in lines)
    assert sum(entry["level"] == "error" for entry in parsed) >= 2
    stores = logs.every(simulated("healthy"))
    assert all(" UTC [" in line.text for line in stores["postgres"])
    assert all(line.text.startswith("1:M ") for line in stores["redis"])


def test_counters_never_fall_and_buckets_are_cumulative() -> None:
    buckets: dict[str, list[np.ndarray]] = defaultdict(list)
    for series in metrics.every(simulated("flash-crash")):
        if series.name.endswith(("_total", "_count", "_bucket")) and "restarts" not in series.name:
            assert (np.diff(series.values) >= 0).all(), series.name
        if series.name.endswith("_bucket"):
            key = series.name + str({k: v for k, v in series.labels.items() if k != "le"})
            buckets[key].append(series.values)
    assert buckets
    for values in buckets.values():
        assert (np.diff(np.array(values), axis=0) >= 0).all()


def test_an_unknown_incident_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(DemoError, match="flash-crash"):
        incidents.named("no-such")


def losses_by_agent(simulation: Simulation) -> dict[str, float]:
    marks = dict(zip(NAMES, simulation.market.close[-1], strict=True))
    found: dict[str, float] = defaultdict(float)
    for position in simulation.session.positions:
        found[position.agent] += position.realized_pnl + position.unrealized_pnl(marks[position.symbol])
    return found
