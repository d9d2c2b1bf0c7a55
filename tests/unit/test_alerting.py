"""An alert without a procedure: its expression is split, its labels resolved, its condition judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from runbook.alert import Alert, Window
from runbook.errors import SourceUnavailable
from runbook.findings import Finding, Findings, step_id
from runbook.outcome import Status, Verdict
from runbook.steps import alerting
from runbook.steps.alerting import About, Evaluated, Firing, History, Rule, Standing, expression, naming
from runbook.steps.platform import MergedLog

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
QUANTILE = "histogram_quantile(0.95, sum by (le) (rate({}_bucket[5m])))"
PODS = pd.DataFrame(
    {
        "name": ["redis-abc-1", "trend-agent-x-2", "market-data-server-y-3"],
        "app": ["redis", "trend-agent", "market-data-server"],
    }
)
DEPLOYMENTS = pd.DataFrame(
    {"name": ["redis", "trend-agent", "market-data-server"], "component": ["cache", "trading-agent", "mcp-server"]}
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cryptofunk_redis_cache_hit_rate < 0.5", ("cryptofunk_redis_cache_hit_rate{}", "<", "0.5")),
        ("(up == 0)", ("up{}", "==", "0")),
        ("0.5 > x", ("x{}", "<", "0.5")),
        ("a > 0.9 * b", ("a{}", ">", "0.9 * b{}")),
        ("a > 3 and on (x) b == 1", ("a{}", ">", "3")),
        ("absent(x)", ("absent(x)", "", "")),
        ("not promql {{", ("not promql {{", "", "")),
        ("(" * 500 + "x" + ")" * 500, ("(" * 500 + "x" + ")" * 500, "", "")),
    ],
)
def test_an_expression_is_split_at_its_comparison(text: str, expected: tuple[str, str, str]) -> None:
    assert expression.split(text) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://prometheus:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1", "up == 0"),
        ("javascript:alert(1)?g0.expr=up", ""),
        ("http://[broken?g0.expr=up", ""),
        ("https://grafana/alerting/list", ""),
        ("", ""),
    ],
)
def test_only_prometheus_own_link_gives_an_expression(url: str, expected: str) -> None:
    assert expression.of_generator(url) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("redis-service", ["redis"]),
        ("redis-abc-1", ["redis"]),
        ("trend", ["trend-agent"]),
        ("market-data", ["market-data-server"]),
        ("cache", ["redis"]),
        ("trading-agent", ["trend-agent"]),
        ("binance", ["market-data-server"]),
        ("<script>", []),
        ("", []),
    ],
)
def test_a_labels_value_is_resolved_to_deployments(value: str, expected: list[str]) -> None:
    assert naming.deployments_of(value, PODS, DEPLOYMENTS) == expected


class Answers:
    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def range(self, *_: Any, **__: Any) -> Answers:
        return self


UNDER_HALF = Rule("x < 0.5", "x", "<", "0.5", for_seconds=60.0, health="ok", linked=False, differs=False)


class NoRules:
    def rules(self) -> Any:
        raise SourceUnavailable("Prometheus did not answer in 5 s.")


def test_rules_that_cannot_be_read_are_not_said_to_be_missing() -> None:
    url = "http://prometheus/graph?g0.expr=up+%3D%3D+0"
    source: Any = NoRules()
    found = alerting.rule(Alert("X", {"alertname": "X"}, {}, MOMENT, generator_url=url), source)
    assert (found.status, found.known.expression) == (Status.OK, "up == 0")
    assert found.detail.endswith("Prometheus' rules are not known: Prometheus did not answer in 5 s.")


def frame(values: list[float], end_minute: float = 8, **labels: str) -> pd.DataFrame:
    times = pd.to_datetime(
        [MOMENT + timedelta(minutes=end_minute - len(values) + 1 + i) for i in range(len(values))], utc=True
    )
    return pd.DataFrame({"time": times, "value": values, "what": "value", **labels})


def evaluated(rows: pd.DataFrame, severity: str = "warning", **labels: str) -> Finding[Evaluated]:
    alert = Alert("X", {"alertname": "X", "severity": severity, **labels}, {}, MOMENT)
    source: Any = Answers(rows)
    return alerting.evaluated(Finding(Status.OK, "", figures=UNDER_HALF), alert, source, WINDOW)


def test_a_condition_that_holds_says_since_when() -> None:
    found = evaluated(frame([0.9] * 20 + [0.1] * 10))
    assert (found.status, found.known.since) == (Status.WARNING, MOMENT - timedelta(minutes=1))
    assert found.title == "The alert's condition holds: it is 0.1, under 0.5, since 14:01 UTC"


def test_a_critical_alert_that_holds_is_critical() -> None:
    assert evaluated(frame([0.9, 0.1]), "critical").status is Status.CRITICAL


def test_a_condition_that_no_longer_holds_is_ok() -> None:
    found = evaluated(frame([0.1, 0.9]))
    assert (found.status, found.known.holds) == (Status.OK, False)
    assert found.title == "The alert's condition does not hold: it is 0.9, not under 0.5"


@pytest.mark.parametrize("rows", [frame([]), frame([float("nan")]), frame([0.9, 0.9], end_minute=-30)])
def test_no_current_sample_is_unknown_and_never_ok(rows: pd.DataFrame) -> None:
    assert evaluated(rows).status is Status.UNKNOWN


def test_the_alerts_own_series_is_judged_not_another() -> None:
    rows = pd.concat([frame([0.9, 0.9], pod="a"), frame([0.1, 0.1], pod="b")])
    assert evaluated(rows, pod="b").known.holds is True
    assert evaluated(rows, pod="a").known.holds is False


def test_an_alert_that_cannot_be_evaluated_is_unknown() -> None:
    alert = Alert("X", {"alertname": "X"}, {}, MOMENT)
    unknown = Finding[Evaluated](Status.UNKNOWN, "no sample", id=step_id(alerting.evaluated))
    assert alerting.decide(Findings([unknown]), alert, WINDOW).status is Status.UNKNOWN


def active(*alerts: tuple[str, str, list[str]]) -> Any:
    rows = [(name, severity, "active", MOMENT, {"alertname": name, "pod": "a"}, by) for name, severity, by in alerts]
    columns = ["name", "severity", "state", "since", "labels", "silenced_by"]
    answer = Answers(pd.DataFrame(rows, columns=columns))
    return SimpleNamespace(active=lambda: answer)


@pytest.mark.parametrize(
    ("silenced_by", "standing"),
    [([], Standing.NOT_FIRING), ([[]], Standing.FIRING), ([["s"], []], Standing.FIRING), ([["s"]], Standing.SILENCED)],
)
def test_other_alerts_are_counted_and_named_once(silenced_by: list[list[str]], standing: Standing) -> None:
    own = [("X", "warning", by) for by in silenced_by]
    others = [("Z", "critical", []), ("Y", "warning", []), ("Z", "critical", [])]
    found = alerting.firing(active(*own, *others), Alert("X", {"alertname": "X"}, {}, MOMENT), WINDOW)
    assert found.known == Firing(others=3, critical=2, names=("Y", "Z"), this=standing)
    assert (found.status, found.title) == (Status.WARNING, "3 other alerts fire: Y, Z")
    assert found.detail == f"X itself is {standing.value} in Alertmanager."


def test_an_alert_that_fired_before_says_how_often_and_for_how_long() -> None:
    ends = [MOMENT - timedelta(days=day, minutes=minutes) for day in (3, 2, 1) for minutes in (10, 0)]
    times = pd.to_datetime([*ends, MOMENT], utc=True)
    source: Any = Answers(pd.DataFrame({"time": times, "value": 1.0}))
    found = alerting.history(source, Alert("X", {"alertname": "X"}, {}, MOMENT), WINDOW)
    assert found.known == History(3, pd.Timestamp(MOMENT - timedelta(days=1, minutes=20)), 1200.0)
    assert (found.status, found.title) == (
        Status.WARNING,
        "X fired 3 times before in 14 days, last on 2026-01-14 13:42:00Z",
    )


def conclusion(*found: Finding[Any]) -> Verdict:
    return alerting.decide(Findings(found), Alert("X", {"alertname": "X"}, {}, MOMENT), WINDOW)


def judged(*, holds: bool) -> Finding[Evaluated]:
    found = evaluated(frame([0.9, 0.1 if holds else 0.9]))
    return found.named(step_id(alerting.evaluated))


REDIS = Finding(Status.OK, "It is about redis; ready", figures=About(apps=("redis",)))


def test_an_alert_that_holds_is_looked_into_where_it_points() -> None:
    quiet = Finding(Status.OK, "redis: no error", figures=MergedLog(("redis",)))
    verdict = conclusion(judged(holds=True), REDIS, quiet)
    assert (verdict.status, verdict.decision) == (Status.WARNING, "look into redis")
    assert verdict.summary.endswith("redis itself shows no fault: ready, no error logged.")
    assert verdict.actions[0].title == "Follow the log of redis"


def test_what_else_is_broken_comes_before_the_alert() -> None:
    broken = Finding[Any](Status.CRITICAL, "No pod of nats is ready", id="platform.pods")
    verdict = conclusion(judged(holds=True), REDIS, broken)
    assert (verdict.status, verdict.decision) == (Status.CRITICAL, "fix what is broken first")
    assert verdict.summary.endswith("Broken: No pod of nats is ready.")
    assert verdict.reasons[0] == "No pod of nats is ready."


def test_a_condition_that_no_longer_holds_is_watched() -> None:
    verdict = conclusion(judged(holds=False), REDIS)
    assert (verdict.status, verdict.decision) == (Status.OK, "no action, watch")
    assert verdict.summary.startswith("Healthy: the alert's condition does not hold")


@pytest.mark.parametrize(
    ("measured", "value", "limit", "status", "says"),
    [
        (QUANTILE.format("cryptofunk_agent_processing_duration_ms"), 5_000.0, 5_000, Status.UNKNOWN, "cannot be told"),
        (
            QUANTILE.format("cryptofunk_agent_processing_duration_ms"),
            4_000.0,
            5_000,
            Status.OK,
            "it is 4,000, not over",
        ),
        (QUANTILE.format("cryptofunk_agent_processing_duration_ms"), 5_000.0, 3_000, Status.WARNING, "at least 5,000"),
        (QUANTILE.format("cryptofunk_vector_search_latency_seconds"), 10.0, 10, Status.UNKNOWN, "at least 10, where"),
        ("cryptofunk_agent_processing_duration_ms_sum", 5_000.0, 5_000, Status.OK, "it is 5,000, not over"),
    ],
)
def test_a_quantile_at_its_histogram_s_end_may_be_over_any_limit(
    measured: str, value: float, limit: int, status: Status, says: str
) -> None:
    """AgentHighProcessingTime asks for over 5,000 ms of a histogram that ends there."""
    rule = Rule(f"{measured} > {limit}", measured, ">", str(limit), 60.0, "ok", linked=False, differs=False)
    times = pd.date_range(end=WINDOW.as_of, periods=5, freq="60s")
    frame = pd.DataFrame({"time": times, "value": value, "what": "value"})
    source = SimpleNamespace(range=lambda *_, **__: SimpleNamespace(frame=frame))
    alert = Alert("X", {"alertname": "X"}, {}, MOMENT)
    found = alerting.evaluated(Finding(Status.OK, "", figures=rule), alert, source, WINDOW)  # type: ignore[arg-type]
    assert found.status is status
    assert says in found.title
