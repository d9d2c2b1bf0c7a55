"""Which dependency is behind the errors: what others rest on is judged first. And every query is PromQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.logs import frame_of
from runbook.steps.error_rates import observations as error_rates

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
ALERT = Alert("HighErrorRate", {"alertname": "HighErrorRate", "severity": "critical"}, {}, MOMENT)


class Answers:
    """A source whose every answer is this frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def logs(self, *_: Any, **__: Any) -> Answers:
        return self

    def instant(self, *_: Any) -> Answers:
        return self

    def range(self, *_: Any, **__: Any) -> Answers:
        return self


def found(name: str, status: Status = Status.OK, **figures: Any) -> Finding:
    return Finding(name, status, name, "", figures)


API = found(
    "error_rates.api",
    Status.CRITICAL,
    now=0.22,
    peak=0.3,
    over=True,
    was_over=True,
    client=0.0,
    client_usual=0.0,
    since=MOMENT - timedelta(minutes=9),
)
POOL = found(
    "dependencies.pool",
    Status.CRITICAL,
    exhausted=True,
    active=10.0,
    size=10.0,
    usual=3.0,
    p95_ms=900.0,
    usual_p95_ms=9.0,
    since=None,
)
SERVER = found("dependencies.database", full=False)
EXCHANGE = found(
    "dependencies.exchange", Status.WARNING, trouble=True, errors_per_minute=9.0, kind="timeout", since=None
)
NATS_POD = found(
    "platform.pods",
    Status.CRITICAL,
    not_ready="api, nats",
    waiting="CrashLoopBackOff",
    oom_killed="nats",
    last_exit_at=None,
)


def decide(*findings: Finding) -> Any:
    return error_rates.decide({one.id: one for one in findings}, ALERT, WINDOW)


@pytest.mark.parametrize("expression", list(error_rates.expressions().values()))
def test_every_query_is_promql(expression: str) -> None:
    assert promql_parser.parse(expression) is not None


def test_an_exhausted_pool_is_named_before_the_exchange_that_times_out_with_it() -> None:
    verdict = decide(API, POOL, SERVER, EXCHANGE)
    assert "connection pool is exhausted; the server itself has room" in verdict.summary
    assert verdict.decision.startswith("free the pool")


def test_a_store_that_is_down_is_named_before_a_service_that_is() -> None:
    assert "nats is down (CrashLoopBackOff, out of memory)" in decide(API, NATS_POD).summary


def test_without_anything_deeper_the_exchange_is_named() -> None:
    assert "the exchange answers timeout" in decide(API, SERVER, EXCHANGE).summary


def test_nothing_known_is_unknown_and_never_ok() -> None:
    unknown = [Finding(name, Status.UNKNOWN, name) for name in ("error_rates.api", "error_rates.components")]
    assert decide(*unknown).status is Status.UNKNOWN


def test_no_errors_and_a_known_ratio_is_healthy() -> None:
    calm = found(
        "error_rates.api", now=0.001, peak=0.002, over=False, was_over=False, client=0.0, client_usual=0.0, since=None
    )
    assert decide(calm, found("error_rates.components", risen="", rates={})).status is Status.OK


def test_errors_that_have_gone_are_a_warning() -> None:
    gone = found(
        "error_rates.api", now=0.001, peak=0.4, over=False, was_over=True, client=0.0, client_usual=0.0, since=MOMENT
    )
    assert decide(gone, found("error_rates.components", risen="", rates={})).status is Status.WARNING


def test_client_errors_alone_are_trouble_too() -> None:
    client = found(
        "error_rates.api",
        Status.WARNING,
        now=0.0,
        peak=0.0,
        over=False,
        was_over=False,
        client=0.4,
        client_usual=0.01,
        since=None,
    )
    assert "40.0 % of API requests are answered 4xx" in decide(client).summary


def test_the_message_for_the_channel_is_one_shell_word() -> None:
    action = next(one for one in decide(API, POOL).actions if "critical" in one.title)
    assert "database'\"'\"'s" in action.command


def line(minute: float, message: str, level: str = "error") -> dict[str, Any]:
    return {
        "time": MOMENT + timedelta(minutes=minute),
        "level": level,
        "message": message,
        "fields": {},
        "pod": "api-1",
    }


def test_only_patterns_that_became_more_frequent_rose() -> None:
    lines = [line(m, "old noise") for m in range(-300, 8, 5)] + [
        line(m / 10, f"no connection {m}") for m in range(-90, 60)
    ]
    result = error_rates.logs(Answers(frame_of(lines)), WINDOW, app="api")  # type: ignore[arg-type]
    assert result.status is Status.WARNING
    assert list(result.tables[0].frame["pattern"]) == ["no connection #"]


def test_a_log_without_lines_is_unknown() -> None:
    assert error_rates.logs(Answers(frame_of([])), WINDOW, app="api").status is Status.UNKNOWN  # type: ignore[arg-type]


def test_metrics_without_series_are_unknown() -> None:
    empty = Answers(pd.DataFrame({"time": pd.to_datetime([], utc=True), "value": pd.Series(dtype=float)}))
    for step in (error_rates.api, error_rates.paths, error_rates.components):
        assert step(empty, WINDOW).status is Status.UNKNOWN  # type: ignore[arg-type, operator]


def test_errors_without_a_component_label_are_counted() -> None:
    times = pd.to_datetime([MOMENT + timedelta(minutes=m) for m in range(-300, 8)], utc=True)
    frame = pd.DataFrame({"time": times, "value": [0.0] * 290 + [30.0] * 18, "what": "component"})
    result = error_rates.components(Answers(frame), WINDOW)  # type: ignore[arg-type]
    assert result.figures["risen"] == "(none)"


def failing_line(message: str, **fields: str) -> dict[str, Any]:
    return {**line(2, message), "fields": fields}


def test_stores_orders_and_messages_that_failed_in_the_log_are_counted() -> None:
    lines = [
        failing_line("Failed to store decision", error="no connection"),
        failing_line("Failed to store decision", error="no connection"),
        failing_line("MCP tool call timed out", tool="place_order"),
        failing_line("MCP tool call timed out", tool="get_ticker"),
        failing_line("Failed to publish", subject="signals.BTCUSDT"),
        {**line(-200, "Failed to store decision")},
        {**line(2, "Decision stored", "info")},
    ]
    figures = error_rates.logs(Answers(frame_of(lines)), WINDOW, app="api").figures  # type: ignore[arg-type]
    assert [figures[name] for name in ("stores_failed", "orders_failed", "publishes_failed")] == [2, 1, 1]


def test_trading_is_possibly_affected_where_the_logs_tell_of_failed_stores_and_orders() -> None:
    flow = found("dependencies.flow", stopped="", refused=0)
    logs = found("error_rates.logs.orchestrator", Status.WARNING, rose=1, stores_failed=34, orders_failed=12)
    summary = decide(API, POOL, flow, logs).summary
    assert "possibly affected: the logs tell of 34 failed stores and 12 orders that failed or timed out" in summary
    assert "trading is not affected so far" in decide(API, POOL, flow).summary


def test_a_store_killed_for_memory_gets_more_memory_instead_of_a_restart() -> None:
    limits = {"nats": {"container": "nats", "memory": 256 * 1024 * 1024, "cpu": 0.5}}
    killed = found(
        "platform.pods", Status.CRITICAL, not_ready="nats", oom_killed="nats", last_exit_at=None, limits=limits
    )
    changes = [one for one in decide(API, killed).actions if one.changes and "nats" in one.title]
    assert [one.title for one in changes] == ["Raise the memory limit of nats from 256Mi to 384Mi"]
    assert '"memory":"384Mi"' in changes[0].command
    crashed = found("platform.pods", Status.CRITICAL, not_ready="nats", oom_killed="", last_exit_at=None, limits=limits)
    assert "Restart nats" in [one.title for one in decide(API, crashed).actions]


def test_what_the_alert_names_comes_after_what_weighs_more() -> None:
    parts = found("error_rates.components", risen="", rates={"api": 0.1})
    verdict = error_rates.decide({one.id: one for one in (API, POOL, parts)}, ALERT, WINDOW, component="api")
    assert verdict.reasons[-1].startswith("The alert names component api, 0.1 errors a minute")
    assert verdict.reasons[0].startswith("10 of 10 connections in use")
