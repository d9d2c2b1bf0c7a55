"""An alert without a procedure: its expression is split, its labels resolved, its condition judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from runbook.alert import Alert, Window
from runbook.errors import SourceUnavailable
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.alerting import expression as alert_expression
from runbook.steps.alerting import observations as alerting
from runbook.steps.alerting import subject as alert_subject

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
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
    ("expression", "expected"),
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
def test_an_expression_is_split_at_its_comparison(expression: str, expected: tuple[str, str, str]) -> None:
    assert alert_expression.split(expression) == expected


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
    assert alert_expression.of_generator(url) == expected


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
    assert alert_subject.deployments_of(value, PODS, DEPLOYMENTS) == expected


class Answers:
    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def range(self, *_: Any, **__: Any) -> Answers:
        return self


def rule(measured: str = "x", operator: str = "<", limit: str = "0.5") -> Finding:
    return Finding("alerting.rule", Status.OK, "", figures={"measured": measured, "operator": operator, "limit": limit})


class NoRules:
    def rules(self) -> Any:
        raise SourceUnavailable("Prometheus did not answer in 5 s.")


def test_rules_that_cannot_be_read_are_not_said_to_be_missing() -> None:
    url = "http://prometheus/graph?g0.expr=up+%3D%3D+0"
    source: Any = NoRules()
    found = alerting.rule(Alert("X", {"alertname": "X"}, {}, MOMENT, generator_url=url), source)
    assert (found.status, found.figures["expression"]) == (Status.OK, "up == 0")
    assert found.detail.endswith("Prometheus' rules are not known: Prometheus did not answer in 5 s.")


def frame(values: list[float], end_minute: float = 8, **labels: str) -> pd.DataFrame:
    times = pd.to_datetime(
        [MOMENT + timedelta(minutes=end_minute - len(values) + 1 + i) for i in range(len(values))], utc=True
    )
    return pd.DataFrame({"time": times, "value": values, "what": "value", **labels})


def evaluated(rows: pd.DataFrame, severity: str = "warning", **labels: str) -> Finding:
    alert = Alert("X", {"alertname": "X", "severity": severity, **labels}, {}, MOMENT)
    return alerting.evaluated(rule(), alert, Answers(rows), WINDOW)  # type: ignore[arg-type]


def test_a_condition_that_holds_says_since_when() -> None:
    found = evaluated(frame([0.9] * 20 + [0.1] * 10))
    assert (found.status, found.figures["since"]) == (Status.WARNING, MOMENT - timedelta(minutes=1))
    assert found.title == "The alert's condition holds: it is 0.1, under 0.5, since 14:01 UTC"


def test_a_critical_alert_that_holds_is_critical() -> None:
    assert evaluated(frame([0.9, 0.1]), "critical").status is Status.CRITICAL


def test_a_condition_that_no_longer_holds_is_ok() -> None:
    found = evaluated(frame([0.1, 0.9]))
    assert (found.status, found.figures["holds"]) == (Status.OK, False)
    assert found.title == "The alert's condition does not hold: it is 0.9, not under 0.5"


@pytest.mark.parametrize("rows", [frame([]), frame([float("nan")]), frame([0.9, 0.9], end_minute=-30)])
def test_no_current_sample_is_unknown_and_never_ok(rows: pd.DataFrame) -> None:
    assert evaluated(rows).status is Status.UNKNOWN


def test_the_alerts_own_series_is_judged_not_another() -> None:
    rows = pd.concat([frame([0.9, 0.9], pod="a"), frame([0.1, 0.1], pod="b")])
    assert evaluated(rows, pod="b").figures["holds"] is True
    assert evaluated(rows, pod="a").figures["holds"] is False


def test_an_alert_that_cannot_be_evaluated_is_unknown() -> None:
    alert = Alert("X", {"alertname": "X"}, {}, MOMENT)
    findings = {"alerting.evaluated": Finding("alerting.evaluated", Status.UNKNOWN, "no sample")}
    assert alerting.decide(findings, alert, WINDOW).status is Status.UNKNOWN
