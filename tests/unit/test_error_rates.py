"""Which dependency is behind the errors: what others rest on is judged first. And every query is PromQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings, step_id
from runbook.outcome import Status, Verdict
from runbook.sources.logs import frame_of
from runbook.steps import dependencies, error_rates
from runbook.steps.dependencies import Database, Exchange, Flow, Pool
from runbook.steps.error_rates import Api, Components, api_requests, component_errors
from runbook.steps.error_rates.figures import Component, Logs, Refused, RisenPattern
from runbook.steps.platform import Pods, Restart, Rollouts
from runbook.steps.shared.levels import Level
from runbook.steps.shared.quotas import Limits

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


EMPTY = pd.DataFrame({"time": pd.to_datetime([], utc=True), "value": pd.Series(dtype=float)})


def api(*, now: float, peak: float, client: float = 0.0, rose_at: datetime | None = None) -> Finding[Api]:
    """What the API's counters say: the share answered 5xx now and at the worst, and 4xx."""
    server = Level(0.001, now, peak, rose_at)
    figures = Api(0.05, server, Level(0.01, client, client, None), Level(100.0, 100.0, 110.0, None), EMPTY, EMPTY)
    return Finding(Status.CRITICAL, "api", figures=figures)


def parts(*now_and_usual: tuple[str, float, float]) -> Finding[Components]:
    """The errors of components: name, a minute now, a minute usually."""
    figures = Components(
        tuple(Component(name, Level(usual, now, now, None), EMPTY) for name, now, usual in now_and_usual)
    )
    return Finding(Status.OK, "components", figures=figures)


def pods(*not_ready: str, oom_killed: tuple[str, ...] = (), limits: dict[str, Limits] | None = None) -> Finding[Pods]:
    figures = Pods(
        "",
        pd.DataFrame(),
        not_ready=not_ready,
        oom_killed=oom_killed,
        waiting=("CrashLoopBackOff",),
        limits=limits or {},
    )
    return Finding(Status.CRITICAL, "pods", figures=figures)


def logged(*, stores: int = 0, orders: int = 0, messages: int = 0) -> Finding[Logs]:
    pattern = RisenPattern("error", "Failed to store decision", stores, MOMENT, 0.0, 9.0)
    figures = Logs("orchestrator", (pattern,), stores, orders, messages)
    return Finding(Status.WARNING, "log", figures=figures, id=step_id(error_rates.logs, "orchestrator"))


def flow(*stopped: str, refused: int = 0) -> Finding[Flow]:
    figures = Flow(MOMENT, 480.0, stopped, refused, refusing=False, orders=3, orders_expected=3.0)
    return Finding(Status.OK, "flow", figures=figures)


API = api(now=0.22, peak=0.3, rose_at=MOMENT - timedelta(minutes=9))
CALM = api(now=0.001, peak=0.002)
POOL = Finding(
    Status.CRITICAL,
    "pool",
    figures=Pool(
        active=10.0,
        idle=0.0,
        size=10.0,
        exhausted=True,
        since=None,
        usual=3.0,
        p95_ms=900.0,
        usual_p95_ms=9.0,
        disk_share=0.1,
        active_curve=EMPTY,
        idle_curve=EMPTY,
    ),
)
SERVER = Finding(
    Status.OK,
    "database",
    figures=Database(
        connections=20.0,
        max_connections=100.0,
        share=0.2,
        full=False,
        active=3.0,
        idle_in_transaction=0.0,
        waiting_for_locks=0.0,
        oldest_transaction_seconds=1.0,
        in_recovery=False,
        size_bytes=1e9,
    ),
)
EXCHANGE = Finding(
    Status.WARNING,
    "exchange",
    figures=Exchange(
        errors_per_minute=9.0,
        usual_errors_per_minute=0.1,
        trouble=True,
        kind="timeout",
        kind_share=1.0,
        since=None,
        endpoint="",
        request_growth=1.0,
        requests_now=30.0,
        requests_usual=30.0,
        requests_since=None,
        slow_endpoint="",
        slowdown=1.0,
        slow_ms=90.0,
        usual_slow_ms=90.0,
    ),
)
NATS_POD = pods("api", "nats", oom_killed=("nats",))
QUERIES = (
    api_requests.RATIOS_QUERY,
    api_requests.PATHS_QUERY,
    component_errors.ERRORS_QUERY,
    component_errors.TYPES_QUERY,
)


def decide(*findings: Finding[Any], **arguments: str) -> Verdict:
    return error_rates.decide(Findings(findings), ALERT, WINDOW, **arguments)


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_is_promql(expression: str) -> None:
    assert promql_parser.parse(expression) is not None


def test_an_exhausted_pool_is_named_before_the_exchange_that_times_out_with_it() -> None:
    verdict = decide(API, POOL, SERVER, EXCHANGE)
    assert "connection pool is exhausted; the server itself has room" in verdict.summary
    assert verdict.decision.startswith("free the pool")


def test_a_store_that_is_down_is_named_before_a_service_that_is() -> None:
    assert "nats is down (CrashLoopBackOff, out of memory)" in decide(API, NATS_POD).summary


def test_the_restart_of_the_store_that_is_down_is_no_change_before_it() -> None:
    ended = tuple(Restart(MOMENT - timedelta(minutes=10), app, 4, "OOMKilled") for app in ("nats", "redis"))
    restarts = Finding(Status.WARNING, "rollouts", figures=Rollouts(restarts=ended))
    before = [reason for reason in decide(API, NATS_POD, restarts).reasons if reason.startswith("Just before")]
    assert before == ["Just before: redis restarted (4×), ended by OOMKilled at 13:52 UTC."]


def test_without_anything_deeper_the_exchange_is_named() -> None:
    assert "the exchange answers timeout" in decide(API, SERVER, EXCHANGE).summary


def test_a_database_without_an_answer_is_the_cause_where_its_component_s_errors_rose() -> None:
    silent = Finding[Database](Status.UNKNOWN, "database", "It is away.", id=step_id(dependencies.database))
    verdict = decide(API, silent, parts(("database", 20.0, 0.1)))
    assert (verdict.decision, verdict.reasons[0]) == ("restore the database", "It is away.")
    assert verdict.decision != decide(API, silent, parts(("api", 20.0, 0.1))).decision


def test_nothing_known_is_unknown_and_never_ok() -> None:
    unknown = [Finding[Any](Status.UNKNOWN, name) for name in ("api", "components")]
    verdict = decide(*unknown, logged(stores=3))
    assert verdict.status is Status.UNKNOWN
    assert verdict.summary.endswith("gave an answer. log.")


def test_no_errors_and_a_known_ratio_is_healthy() -> None:
    assert decide(CALM, parts(("api", 0.1, 0.1))).status is Status.OK


def test_errors_that_have_gone_are_a_warning() -> None:
    gone = api(now=0.001, peak=0.4, rose_at=MOMENT)
    assert decide(gone, parts(("api", 0.1, 0.1))).status is Status.WARNING


def test_client_errors_alone_are_trouble_too() -> None:
    assert "40.0 % of API requests are answered 4xx" in decide(api(now=0.0, peak=0.0, client=0.4)).summary


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
    for step in (error_rates.api, error_rates.paths, error_rates.components):
        assert step(Answers(EMPTY), WINDOW).status is Status.UNKNOWN  # type: ignore[arg-type, operator]


def test_errors_without_a_component_label_are_counted() -> None:
    times = pd.to_datetime([MOMENT + timedelta(minutes=m) for m in range(-300, 8)], utc=True)
    frame = pd.DataFrame({"time": times, "value": [0.0] * 290 + [30.0] * 18, "what": "component"})
    result = error_rates.components(Answers(frame), WINDOW)  # type: ignore[arg-type]
    assert [component.name for component in result.known.risen] == ["(none)"]


def test_of_components_that_rose_together_the_louder_one_is_named_first() -> None:
    def rose(name: str, minutes: float, now: float) -> Component:
        return Component(name, Level(0.1, now, now, MOMENT + timedelta(minutes=minutes)), EMPTY)

    found = Components((rose("api", -6, 30.0), rose("nats", -9, 20.0), rose("mcp", -2, 10.0)))
    assert (found.together, found.first) == (("api", "nats"), "api")
    assert found.since == MOMENT - timedelta(minutes=9)


def test_a_path_fails_where_more_than_a_twentieth_of_its_own_requests_do() -> None:
    rows = [
        ("all", "GET", "/positions", "", 100.0),
        ("all", "GET", "/orders", "", 100.0),
        ("failed", "GET", "/positions", "500", 30.0),
        ("failed", "GET", "/orders", "500", 2.0),
        ("failed", "GET", "/orders", "404", 40.0),
    ]
    frame = pd.DataFrame(rows, columns=["what", "method", "path", "status_code", "value"])
    result = error_rates.paths(Answers(frame), WINDOW)  # type: ignore[arg-type]
    assert (result.known.total, result.known.failing) == (2, ("GET /positions",))
    assert list(result.tables[0].frame["status"]) == ["404", "500", "500"]
    assert result.detail.startswith("Only GET /positions: suspect its handler")


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
    found = error_rates.logs(Answers(frame_of(lines)), WINDOW, app="api").known  # type: ignore[arg-type]
    assert (found.app, found.stores_failed, found.orders_failed, found.publishes_failed) == ("api", 2, 1, 1)


def test_trading_is_possibly_affected_where_the_logs_tell_of_failed_stores_and_orders() -> None:
    summary = decide(API, POOL, flow(), logged(stores=34, orders=12)).summary
    assert "possibly affected: the logs tell of 34 failed stores and 12 orders that failed or timed out" in summary
    assert "trading is not affected so far" in decide(API, POOL, flow()).summary


def test_trading_is_affected_where_less_is_written_or_orders_are_refused() -> None:
    refused = Finding(Status.WARNING, "refused", figures=Refused(7))
    assert "far fewer than usual: signals; 7 orders refused" in decide(API, flow("signals"), refused).summary
    assert "Trading is affected: 2 orders refused" in decide(API, flow(refused=2)).summary


def test_a_store_killed_for_memory_gets_more_memory_instead_of_a_restart() -> None:
    limits = {"nats": Limits("nats", 256 * 1024 * 1024, 0.5)}
    killed = pods("nats", oom_killed=("nats",), limits=limits)
    changes = [action for action in decide(API, killed).actions if action.changes and "nats" in action.title]
    assert [action.title for action in changes] == ["Raise the memory limit of nats from 256Mi to 384Mi"]
    assert '"memory":"384Mi"' in changes[0].command
    crashed = pods("nats", limits=limits)
    assert "Restart nats" in [action.title for action in decide(API, crashed).actions]


def test_what_the_alert_names_comes_after_what_weighs_more() -> None:
    verdict = decide(API, POOL, parts(("api", 0.1, 0.1)), component="api")
    assert verdict.reasons[-1].startswith("The alert names component api, 0.1 errors a minute")
    assert verdict.reasons[0].startswith("10 of 10 connections in use")


def decide_on(name: str, *findings: Finding[Any], **labels: str) -> Verdict:
    alert = Alert(name, {"alertname": name, **labels}, {}, MOMENT)
    return error_rates.decide(Findings(findings), alert, WINDOW, component=labels.get("component", ""))


@pytest.mark.parametrize(
    ("name", "finding", "first"),
    [
        ("DatabaseErrors", parts(("database", 9.0, 0.1), ("nats", 99.0, 0.1)), "Database: 9 errors a minute"),
        ("NATSConnectionIssues", parts(("nats", 4.0, 0.1), ("database", 99.0, 0.1)), "NATS: 4 errors a minute"),
        ("MCPToolCallFailures", parts(("mcp", 7.0, 0.1), ("api", 99.0, 0.1)), "MCP tools: 7 errors a minute"),
        ("HighExchangeAPIErrors", EXCHANGE, "The exchange: 9 errors a minute"),
        ("ExchangeConnectionIssues", EXCHANGE, "The exchange: 9 errors a minute"),
        ("HighClientErrorRate", api(now=0.22, peak=0.3, client=0.4), "40.0 % of API requests are answered 4xx"),
    ],
)
def test_the_page_is_about_the_alerts_own_subject_first(name: str, finding: Finding[Any], first: str) -> None:
    verdict = decide_on(name, finding, POOL)
    assert verdict.summary.startswith(first)
    assert "the database's connection pool is exhausted" in verdict.summary
    assert verdict.reasons[0].startswith("The alert is about ")
    assert verdict.reasons[1].startswith("10 of 10 connections in use")


def test_a_subject_that_is_well_is_said_beside_what_is_not() -> None:
    verdict = decide_on("DatabaseErrors", CALM, parts(("database", 0.1, 0.1), ("nats", 9.0, 0.1)))
    assert verdict.summary.startswith("Database: 0.1 errors a minute, usually 0.1")
    assert "Errors rose in nats" in verdict.summary
    healthy = decide_on("DatabaseErrors", CALM, parts(("database", 0.1, 0.1)))
    assert healthy.status is Status.OK
    assert healthy.summary.startswith("Healthy: database: 0.1 errors a minute")


def test_a_subject_that_is_not_known_is_not_healthy() -> None:
    verdict = decide_on("NATSConnectionIssues", CALM)
    assert (verdict.status, verdict.decision) == (Status.UNKNOWN, "find out how NATS fares")
    assert verdict.summary.startswith("NATS: its errors are not known")


def test_errors_as_such_have_no_subject_but_a_component_that_is_named_and_known() -> None:
    risen = parts(("llm", 8.0, 0.1), ("api", 9.0, 0.1))
    assert decide_on("HighErrorRate", risen, component="api").summary.startswith("Errors rose in")
    assert decide_on("CriticalErrorRate", risen, component="system").summary.startswith("Errors rose in")
    assert decide_on("HighErrorRate", risen, component="llm").summary.startswith("Component llm: 8 errors a minute")
