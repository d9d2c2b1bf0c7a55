"""Latency: what counts as slow, and which part is named the bottleneck."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.errors import SourceUnavailable
from runbook.findings import Finding, Findings
from runbook.outcome import Status
from runbook.steps import latency
from runbook.steps.latency import Bottleneck, Decisions, Part, Parts, SlowLog, Throttling, durations, slow_statements
from runbook.steps.latency import series as latency_series
from runbook.steps.latency.bottleneck import together
from runbook.steps.latency.figures import AgentLatency, PartLatency
from runbook.steps.shared.quotas import Limits

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
ALERT = Alert("AgentHighLatency", {"alertname": "AgentHighLatency"}, {}, MOMENT)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
TIMES = pd.date_range(WINDOW.start, WINDOW.as_of, freq="2min", tz="UTC").astype("datetime64[us, UTC]")
ROSE = MOMENT - timedelta(minutes=25)


def steps(before: float, now: float, rose: datetime = ROSE) -> pd.DataFrame:
    """A series at `before` that goes to `now`, with a little noise."""
    noise = 1 + 0.02 * np.random.default_rng(1).standard_normal(len(TIMES))
    return pd.DataFrame({"time": TIMES, "value": np.where(pd.Timestamp(rose) <= TIMES, now, before) * noise})


def seen(slow: str, fast: str, before: float = 900.0, now: float = 7000.0) -> Finding[Decisions]:
    agents = [measured(agent, before, now, is_slow=True) for agent in slow.split()]
    agents += [measured(agent, before, before, is_slow=False) for agent in fast.split()]
    series = {agents[0].agent: {"mean": steps(before, now)}}
    return Finding(Status.WARNING, "", figures=Decisions(tuple(agents), 5000.0, series))


def measured(agent: str, before: float, now: float, *, is_slow: bool) -> AgentLatency:
    return AgentLatency(agent, is_slow, now, now, now, before, now, before, over_share=0.0)


def parts(**series: tuple[pd.DataFrame, pd.DataFrame]) -> Finding[Parts]:
    found = tuple(part(Part[name.upper()], p95, share) for name, (p95, share) in series.items())
    return Finding(Status.OK, "", figures=Parts(found, moved=(), missing=()))


def part(name: Part, p95: pd.DataFrame, share: pd.DataFrame) -> PartLatency:
    calls, each = durations.medians(p95, WINDOW), durations.medians(share, WINDOW)
    ratio = durations.ratio_of(calls.now, calls.before)
    return PartLatency(name, *calls, ratio, *each, p95, share)


def throttled(**share: tuple[float, float]) -> Finding[Throttling]:
    figures = Throttling(
        throttled=(),
        highest=max(now for _, now in share.values()),
        highest_before=max(before for before, _ in share.values()),
        now={f"{agent}-agent": now for agent, (_, now) in share.items()},
        before={f"{agent}-agent": before for agent, (before, _) in share.items()},
        limits={},
        series={f"{agent}-agent": steps(*pair) for agent, pair in share.items()},
    )
    return Finding(Status.OK, "", figures=figures)


CALM = throttled(trend=(0.002, 0.002), risk=(0.002, 0.003))
STEADY = (steps(2500, 2500), steps(1500, 1500))


def test_before_and_now_leave_out_what_led_to_the_alert() -> None:
    assert durations.medians(steps(10, 100), WINDOW) == pytest.approx((10, 100), rel=0.05)
    assert np.isnan(durations.medians(None, WINDOW)).all()
    assert np.isnan(durations.ratio_of(3.0, 0.0))


class Throttled:
    """Metrics that saw a throttled pod, and a cluster that does not answer."""

    namespace = "cryptofunk"

    def range(self, *_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(frame=steps(0.002, 0.7).assign(pod="trend-agent-7d9c5b8f6-x2x9k"))

    def pods(self) -> SimpleNamespace:
        raise SourceUnavailable("Kubernetes did not answer in 5 s.")


def test_throttling_is_known_without_the_limits_and_says_why_they_are_not() -> None:
    source: Any = Throttled()
    found = latency.throttling(source, source, WINDOW)
    assert (found.status, found.known.throttled, found.known.limits) == (Status.WARNING, ("trend-agent",), {})
    assert found.detail.endswith("Their limits are not known: Kubernetes did not answer in 5 s.")


def test_the_part_that_moved_and_explains_the_time_is_named() -> None:
    found = latency.cause(
        seen("trend risk", ""),
        parts(llm=(steps(2600, 4100), steps(1500, 2000)), database=(steps(9, 930), steps(50, 6000)), mcp_tools=STEADY),
        CALM,
    )
    assert found.known.part is Part.DATABASE
    assert [candidate.part for candidate in found.known.innocent] == [Part.LLM]


def test_a_part_that_was_slow_before_is_not_the_cause() -> None:
    found = latency.cause(
        seen("trend", "risk"),
        parts(llm=(steps(8000, 8100), steps(5000, 5000))),
        throttled(trend=(0.002, 0.75), risk=(0.002, 0.003)),
    )
    assert found.known.part is Part.CPU
    assert [candidate.part for candidate in found.known.innocent] == [Part.LLM]
    assert "was so before" in found.detail


def test_throttling_of_an_agent_that_is_fast_is_not_the_cause() -> None:
    slow_database = {"database": (steps(9, 930), steps(50, 6000))}
    found = latency.cause(seen("trend", "risk"), parts(**slow_database), throttled(trend=(0.0, 0.0), risk=(0.0, 0.9)))
    assert found.known.part is Part.DATABASE


def test_without_cpu_metrics_cpu_stays_a_suspect() -> None:
    away = Finding[Throttling](Status.UNKNOWN, "CPU throttling: not known")
    found = latency.cause(seen("trend", "risk"), parts(llm=STEADY), away)
    assert found.known.part is None
    assert "remains a suspect" in found.detail


def test_without_a_slow_agent_nothing_is_blamed() -> None:
    found = latency.cause(seen("", "trend", now=900.0), parts(database=(steps(9, 930), steps(50, 60))), CALM)
    assert (found.status, found.known.part, found.known.slow) == (Status.OK, None, ())


def test_correlation_needs_enough_points_and_movement() -> None:
    assert together(steps(1, 10), steps(5, 50)) > 0.95
    assert np.isnan(together(steps(1, 10).head(5), steps(5, 50).head(5)))
    flat = pd.DataFrame({"time": TIMES, "value": 1.0})
    assert np.isnan(together(flat, steps(5, 50)))


@pytest.mark.parametrize(
    "expression",
    [
        latency_series.quantiles_expression(),
        latency_series.means_expression(),
        latency_series.parts_expression(),
        latency_series.throttling_expression('a"b'),
    ],
)
def test_the_promql_is_valid(expression: str) -> None:
    promql_parser.parse(expression)


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("SELECT close FROM candlesticks WHERE exchange = ?", True),
        ("SELECT 1; DROP TABLE orders", False),
        ("SELECT 1 \\! id", False),
        ("DELETE FROM orders", False),
        ("SELECT 1 -- x", False),
        ("SELECT 1\nSQL", False),
    ],
)
def test_only_one_plain_select_becomes_a_command(statement: str, allowed: bool) -> None:
    assert bool(slow_statements.explainable(statement)) == allowed


@pytest.mark.parametrize(
    ("statement", "explained"),
    [
        ("SELECT 1 FROM orders WHERE side = ? AND price > ?", "SELECT 1 FROM orders WHERE side = $1 AND price > $2"),
        ("SELECT 1 FROM orders WHERE id = $1 LIMIT ?", "SELECT 1 FROM orders WHERE id = $1 LIMIT $2"),
        ("SELECT 1 FROM orders WHERE at > $1 - interval ?", "SELECT 1 FROM orders WHERE at > $1 - $2::interval"),
        ("SELECT 1 FROM orders WHERE tags ? ?", ""),  # ? as an operator on json
        ("SELECT $$x$$", ""),
        ("SELECT " + "a, " * 130 + "a", "SELECT " + "a, " * 130 + "a"),
        ("SELECT " + "a, " * 200, ""),  # cut off
    ],
)
def test_values_become_parameters_that_a_generic_plan_takes(statement: str, explained: str) -> None:
    assert slow_statements.explainable(statement) == explained


def test_a_statements_own_parameters_are_no_values() -> None:
    statement = "SELECT 1 FROM orders WHERE id = $12 AND price > 4.5"
    assert slow_statements.shape(statement) == "SELECT ? FROM orders WHERE id = $12 AND price > ?"


def test_no_part_explains_more_than_all_of_the_added_time() -> None:
    found = latency.cause(
        seen("trend risk", "", now=3000.0), parts(database=(steps(9, 930), steps(50, 6000)), mcp_tools=STEADY), CALM
    )
    assert found.tables[0].frame.set_index("part")["explains"]["database"] == 1.0
    assert found.known.candidates[0].explained == 1.0
    assert "explains 100.0 %" in found.detail


COUNTED = ["query", "calls", "mean_ms", "max_ms", "share_of_time", "counted_since"]


class Statistics:
    """A database whose pg_stat_statements counts since `since` and holds one fast statement."""

    def __init__(self, since: datetime) -> None:
        self.since = pd.Timestamp(since)

    def ask(self, question: str, **_: Any) -> Any:
        frames = {
            "latency/running": pd.DataFrame({"seconds": [], "waits_for": []}),
            "latency/extension": pd.DataFrame({"installed": [True]}),
            "latency/statements": pd.DataFrame([("SELECT $1", 9, 1.0, 2.0, 1.0, self.since)], columns=COUNTED),
        }
        return SimpleNamespace(frame=frames[question])


@pytest.mark.parametrize(
    ("days", "logged", "status", "detail"),
    [
        (-3, 0, Status.OK, ""),
        (-3, 50, Status.WARNING, "believe the log"),
        (3, 0, Status.WARNING, "only from after the alert began"),
    ],
)
def test_statistics_do_not_acquit_what_the_log_or_their_age_contradicts(
    days: int, logged: int, status: Status, detail: str
) -> None:
    log = Finding(Status.WARNING if logged else Status.OK, "", figures=SlowLog(logged))
    since = WINDOW.starts_at + timedelta(days=days)
    found = latency.slow_queries(Statistics(since), WINDOW, log)  # type: ignore[arg-type]
    assert found.status is status
    assert f"since {since:%Y-%m-%d %H:%M:%SZ}" in found.title
    assert detail in found.detail


def test_a_throttled_agent_gets_the_next_cpu_limit_and_no_other() -> None:
    held = replace(
        throttled(trend=(0.0, 0.7)).known,
        throttled=("trend-agent",),
        limits={"trend-agent": Limits("trend-agent", 512 * 2**20, 0.5)},
    )
    bottleneck = Bottleneck(Part.CPU, ("trend",), added_ms=6000.0)
    found = Findings(Finding(Status.WARNING, "", figures=figures) for figures in (held, bottleneck))
    raised = latency.decide(found, ALERT).actions[0]
    assert raised.changes
    assert '"limits":{"cpu":"750m"}' in raised.command


class Told:
    """Metrics that answer each question with one series, and keep what was asked."""

    def __init__(self, series: pd.DataFrame) -> None:
        self.series = series
        self.asked: list[str] = []

    def range(self, expression: str, start: datetime, end: datetime, *, series: int = 0) -> Any:
        self.asked.append(expression)
        return SimpleNamespace(frame=self.series)


def about(name: str, series: pd.DataFrame) -> tuple[Finding[Any], list[str]]:
    told = Told(series)
    found = latency.subject(told, WINDOW, Alert(name, {"alertname": name}, {}, MOMENT))  # type: ignore[arg-type]
    return found.named("latency.subject"), told.asked


@pytest.mark.parametrize(
    ("name", "metric", "now", "status", "said"),
    [
        (
            "HighOrchestratorLatency",
            "cryptofunk_orchestrator_latency_ms",
            2500.0,
            Status.WARNING,
            "its rule allows 2,0",
        ),
        ("HighOrchestratorLatency", "cryptofunk_orchestrator_latency_ms", 900.0, Status.OK, "p95 9"),
        ("HighAPILatency", "cryptofunk_api_request_duration_ms", 1400.0, Status.WARNING, "API requests"),
        ("HighOrderExecutionLatency", "cryptofunk_order_execution_latency_ms", 5300.0, Status.WARNING, "at least"),
        ("HighLLMRequestLatency", "cryptofunk_llm_request_duration_ms", 10400.0, Status.WARNING, "at least"),
    ],
)
def test_an_alert_on_another_latency_is_about_its_own_histogram(
    name: str, metric: str, now: float, status: Status, said: str
) -> None:
    found, (asked,) = about(name, steps(400.0, now))
    assert f"{metric}_bucket" in asked
    promql_parser.parse(asked)
    assert (found.status, said in found.title) == (status, True)
    verdict = latency.decide(Findings([found, replace(seen("", "trend"), id="latency.agents")]), ALERT)
    assert verdict.status is status
    assert found.known.what in verdict.summary.split("Beside it")[0]
    assert metric_words(found) in verdict.reasons[0]


def metric_words(found: Finding[Any]) -> str:
    return f"The alert is about {found.known.what}"


def test_an_own_histogram_without_samples_is_unknown_however_well_the_agents_are() -> None:
    found, _ = about("HighAPILatency", pd.DataFrame({"time": TIMES[:0], "value": []}))
    assert found.status is Status.UNKNOWN
    verdict = latency.decide(Findings([found, replace(seen("", "trend"), id="latency.agents")]), ALERT)
    assert verdict.status is Status.UNKNOWN


def test_an_alert_on_agents_asks_nothing_of_its_own() -> None:
    found, asked = about("AgentHighLatency", steps(400.0, 900.0))
    assert (found.status, found.figures, asked) == (Status.OK, None, [])
