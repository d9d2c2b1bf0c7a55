"""Drawdown against a well-kept library and a naive implementation, and the decision's rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings
from runbook.outcome import Status, Verdict
from runbook.steps.drawdown import ByFills, Contributions, Gauge, MarketCause, agreement, decide, history
from runbook.steps.drawdown.equity import episodes, from_cash_and_quantities, underwater
from runbook.steps.drawdown.figures import AgentPnl, Agreement, LossCause, Measure, Measured
from runbook.steps.drawdown.measures import limit_of, measured

START = datetime(2026, 1, 15, 8, 2, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=6), START + timedelta(hours=6, minutes=8))
ALERT = Alert("MaxDrawdownExceeded", {"alertname": "MaxDrawdownExceeded"}, {}, WINDOW.starts_at)
EQUITY = st.lists(st.floats(1, 1e6), min_size=2, max_size=120)


def curve(values: list[float]) -> pd.DataFrame:
    times = pd.date_range(START, periods=len(values), freq="60s").astype("datetime64[us, UTC]")
    return pd.DataFrame({"time": times, "value": np.array(values, dtype="float64")})


def fills_of(values: list[float]) -> Finding[ByFills]:
    return Finding(Status.OK, "t", figures=by_fills(values))


def by_fills(values: list[float]) -> ByFills:
    return ByFills(Measure.FILLS, 0.1, **measured(curve(values)), closes=pd.DataFrame())


@given(EQUITY)
def test_the_deepest_point_is_empyricals_maximum_drawdown(values: list[float]) -> None:
    returns = pd.Series(values).pct_change().dropna()
    assert by_fills(values).deepest == pytest.approx(-empyrical.max_drawdown(returns), abs=1e-9)


@given(EQUITY)
def test_the_underwater_curve_is_empyricals(values: list[float]) -> None:
    series = pd.Series(values)
    cumulative = empyrical.cum_returns(series.pct_change().dropna(), starting_value=values[0])
    whole = pd.concat([pd.Series([values[0]]), cumulative])
    expected = whole / np.maximum.accumulate(whole) - 1
    np.testing.assert_allclose(underwater(series).to_numpy(), expected.to_numpy(), atol=1e-9)


def naive_episodes(values: list[float], least: float) -> list[tuple[int, int, int | None, float]]:
    """(peak, trough, recovery, depth) straight from the definition: a stretch strictly below the peak before it."""
    found, n = [], len(values)
    peak = 0
    while peak < n - 1:
        if values[peak + 1] >= values[peak]:
            peak += 1
            continue
        recovery = next((i for i in range(peak + 1, n) if values[i] >= values[peak]), None)
        inside = range(peak + 1, recovery if recovery is not None else n)
        trough = min(inside, key=lambda i: (values[i], i))
        depth = 1 - values[trough] / values[peak]
        if depth >= least:
            found.append((peak, trough, recovery, depth))
        if recovery is None:
            break
        peak = recovery
    return found


@given(st.lists(st.integers(50, 150).map(float), min_size=1, max_size=60), st.sampled_from([0.002, 0.05, 0.3]))
def test_episodes_are_those_of_the_definition(values: list[float], least: float) -> None:
    frame = curve(values)
    times = frame["time"].tolist()
    got = [
        (
            times.index(one.peak_at),
            times.index(one.trough_at),
            times.index(one.recovered_at) if one.recovered_at else None,
            one.depth,
        )
        for one in episodes(frame, least)
    ]
    assert [one[:3] for one in got] == [one[:3] for one in naive_episodes(values, least)]
    assert [one[3] for one in got] == pytest.approx([one[3] for one in naive_episodes(values, least)])


def test_the_deepest_episode_is_the_maximum_drawdown() -> None:
    values = [100, 110, 99, 111, 80, 90, 112, 111, 100.0]
    found = episodes(curve(values))
    assert max(one.depth for one in found) == pytest.approx(
        -empyrical.max_drawdown(pd.Series(values).pct_change().dropna())
    )
    assert [one.recovered_at is None for one in found] == [False, False, True]


def test_equity_from_fills_is_cash_and_holdings_at_the_last_close() -> None:
    times = pd.date_range(START, periods=4, freq="60s")
    fills = pd.DataFrame(
        {
            "symbol": ["A", "A", "B"],
            "bucket": [times[0], times[2], times[1]],
            "quantity": [2.0, -2.0, 1.0],
            "cash": [-200.0 - 1, 220.0 - 1, -50.0],
        }
    )
    closes = pd.DataFrame(
        {
            "symbol": ["A"] * 4 + ["B"] * 3,
            "bucket": [*times, *times[1:]],
            "close": [101.0, 95, 110, 120, 51, 52, 40],
            "time": [t + timedelta(seconds=59) for t in [*times, *times[1:]]],
        }
    )
    made = from_cash_and_quantities(fills, closes, 1000.0, START - timedelta(minutes=5))
    # capital − 201 + 2·101; then − 50 and B at 51; then A sold; B falls to 40
    assert made["value"].tolist() == pytest.approx([1000, 799 + 202, 749 + 190 + 51, 968 + 52, 968 + 40])


def test_a_symbol_without_a_close_is_worth_what_was_paid() -> None:
    times = pd.date_range(START, periods=2, freq="60s")
    fills = pd.DataFrame({"symbol": ["A"], "bucket": [times[0]], "quantity": [2.0], "cash": [-200.0]})
    closes = pd.DataFrame(
        {
            "symbol": pd.Series([], dtype=object),
            "bucket": pd.to_datetime([], utc=True),
            "close": [],
            "time": pd.to_datetime([], utc=True),
        }
    )
    assert from_cash_and_quantities(fills, closes, 1000.0, START)["value"].iloc[-1] == 1000.0


@pytest.mark.parametrize(
    ("given_limit", "exported", "limit"),
    [
        (0.2, 0.1, 0.2),
        (0.0, 0.15, 0.15),
        (0.0, None, 0.1),
        (0.0, float("nan"), 0.1),
        (0.0, "0.12", 0.12),
        (0.0, -1, 0.1),
        (-1.0, "x", 0.1),
    ],
)
def test_the_limit_to_judge_by(given_limit: float, exported: Any, limit: float) -> None:
    assert limit_of(given_limit, exported) == limit


def measures(fills: float, rows: float, gauge: float, limit: float = 0.1) -> Finding[Agreement]:
    read = Gauge(gauge, gauge, gauge, limit, 30.0, curve([gauge]))
    by_rows = Measured(Measure.PERFORMANCE, limit, **(measured(curve([1.0, 1.0])) | {"drawdown": rows}))
    by_all = replace(by_fills([1.0, 1.0]), drawdown=fills)
    return agreement(*(Finding(Status.OK, "t", figures=figures) for figures in (by_all, by_rows, read)))


@pytest.mark.parametrize(
    ("values", "odd", "status"),
    [
        ((0.02, 0.021, 0.019), (), Status.OK),
        ((0.12, 0.121, 0.119), (), Status.CRITICAL),
        ((0.02, 0.021, 0.14), (Measure.GAUGE,), Status.WARNING),
        ((0.12, 0.121, 0.01), (Measure.GAUGE,), Status.CRITICAL),
        ((0.02, 0.14, 0.14), (Measure.PERFORMANCE, Measure.GAUGE), Status.WARNING),
        ((float("nan"), 0.02, 0.02), (), Status.UNKNOWN),
    ],
)
def test_which_measure_differs(values: tuple[float, float, float], odd: tuple[Measure, ...], status: Status) -> None:
    found = measures(*values)
    assert found.status is status
    if status is not Status.UNKNOWN:
        assert found.known.odd == odd


def decided(*found: Finding[Any]) -> Verdict:
    return decide(Findings(found), ALERT)


def cause(kind: LossCause, explained_share: float = 0.9) -> Finding[MarketCause]:
    nothing = pd.DataFrame({"time": [], "value": []})
    figures = MarketCause(kind, START, -0.12, -0.2, 0.5, 0.9, explained_share, nothing, nothing)
    return Finding(Status.WARNING, "t", figures=figures)


def who(agent: str, share: float) -> Finding[Contributions]:
    return Finding(Status.WARNING, "t", figures=Contributions(START, (AgentPnl(agent, -500.0, 9.0, share),)))


def test_the_decision_follows_from_what_is_known() -> None:
    high, low = measures(0.12, 0.12, 0.12), measures(0.02, 0.02, 0.02)
    assert decided(low).status is Status.OK
    assert "Healthy" in decided(low).summary
    market = decided(high, cause(LossCause.MARKET_WIDE), who("trend-follower", 0.9))
    assert (market.status, market.decision) == (Status.CRITICAL, "pause trading")
    assert "Market-wide" in market.summary
    own = decided(high, cause(LossCause.STRATEGY_SPECIFIC, explained_share=0.05), who("trend-follower", 0.9))
    assert own.decision == "modify strategy: stop trend-follower"
    assert decided(high).decision == "pause trading"
    assert "cause is not known" in decided(high).summary
    assert decided(measures(0.02, 0.02, 0.14)).decision == "continue trading, repair the gauge"
    assert decided().status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("used", "exported", "first"),
    [
        (
            0.5,
            0.1,
            (
                "Judged by the parameter threshold = 50 %, while the platform exports 10 %. "
                "By the platform's own it is exceeded: 12.3 %."
            ),
        ),
        (0.2, 0.15, "Judged by the parameter threshold = 20 %, while the platform exports 15 %."),
        (0.1, 0.1, ""),
        (0.1, float("nan"), ""),
    ],
)
def test_a_threshold_that_contradicts_the_exported_one_is_said_first(used: float, exported: float, first: str) -> None:
    agree = measures(0.123, 0.123, 0.123, limit=used)
    read = Finding(Status.OK, "t", figures=Gauge(0.123, 0.123, 0.123, exported, 30.0, curve([0.123])))
    reason = decided(agree, replace(read, id="drawdown.gauge")).reasons[0]
    assert reason == first if first else "Judged by" not in reason


def test_hostile_names_leave_no_command() -> None:
    """A name with shell syntax stands quoted, in one word, in each of the ready commands."""
    import shlex

    nasty = "x'; rm -rf / #$(id)`id`\n"
    high = measures(0.12, 0.12, 0.12)
    findings = Findings([high, cause(LossCause.STRATEGY_SPECIFIC), who(nasty, 0.9)])
    verdict = decide(findings, Alert(nasty, {"alertname": nasty}, {}, WINDOW.starts_at))
    for action in verdict.actions:
        if "<<'SQL'" not in action.command:
            assert "rm" not in shlex.split(action.command.replace("$ALERTMANAGER_URL", "url"), comments=True)


def test_an_agent_named_like_the_gauge_is_stopped_and_no_exporter_restarted() -> None:
    cases = cause(LossCause.STRATEGY_SPECIFIC, explained_share=0.05), who("the gauge", 0.9)
    verdict = decided(measures(0.12, 0.12, 0.12), *cases)
    assert verdict.decision == "modify strategy: stop the gauge"
    assert verdict.actions[0].title == "Pause trading"
    assert not any("exporter" in action.title for action in verdict.actions)


def test_history_says_when_it_is_unusual() -> None:
    flat = [1000.0, 1001, 999.5, 1002, 1000, 1003]
    found = history(fills_of([*flat, 900, 880]), WINDOW)
    assert found.status is Status.WARNING
    assert found.known.ongoing is not None
    assert found.known.ongoing.depth == pytest.approx(1 - 880 / 1003)
    assert found.known.ongoing.needed == pytest.approx(1003 / 880 - 1)
    assert history(fills_of([1000.0, 1001, 1002]), WINDOW).known.episodes == 0
    assert history(fills_of([1000.0, 900, 1002]), WINDOW).title == "The last drawdown has been recovered"
