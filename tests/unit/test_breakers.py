"""The breakers' own logic: which is meant, when it tries again, what opened it. And every query is PromQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.metrics import union
from runbook.steps.breakers import observations as breakers
from runbook.steps.dependencies import language_models, market_access, middleware, postgresql, trading_flow
from runbook.steps.shared.levels import level, rise

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))


def alert(**labels: str) -> Alert:
    return Alert("CircuitBreakerOpen", {"alertname": "CircuitBreakerOpen", **labels}, {}, MOMENT)


def series(*pairs: tuple[float, float]) -> pd.DataFrame:
    """(minutes from the alert, value) -> time, value."""
    times = pd.to_datetime([MOMENT + timedelta(minutes=m) for m, _ in pairs], utc=True)
    return pd.DataFrame({"time": times, "value": [value for _, value in pairs]})


def states(**first_open_minutes: float) -> Finding:
    first = {name: MOMENT + timedelta(minutes=minutes) for name, minutes in first_open_minutes.items()}
    figures = {
        "first_open": first,
        "last_open": first,
        "state": dict.fromkeys(first, "open"),
        "times": dict.fromkeys(first, 1),
    }
    return Finding("breakers.states", Status.CRITICAL, "", figures=figures)


UNKNOWN = Finding("breakers.states", Status.UNKNOWN, "not known")


QUERIES = (
    language_models.LLM_QUERIES,
    market_access.EXCHANGE_QUERIES,
    middleware.NATS_QUERIES,
    postgresql.POOL_QUERIES,
)


@pytest.mark.parametrize("expression", [*breakers.expressions().values(), *map(union, QUERIES)])
def test_every_query_is_promql(expression: str) -> None:
    assert promql_parser.parse(expression) is not None


def test_the_label_names_the_service() -> None:
    found = breakers.affected(alert(service="llm"), states(exchange=-9, llm=-2))
    assert (found.figures["service"], found.figures["others"]) == ("llm", "exchange")


def test_without_a_label_the_first_to_open_is_meant() -> None:
    assert breakers.affected(alert(), states(exchange=-2, database=-9)).figures["service"] == "database"


def test_a_named_service_is_known_without_the_metric_but_its_state_is_not() -> None:
    found = breakers.affected(alert(service="exchange"), UNKNOWN)
    assert found.status is Status.WARNING
    assert found.figures["state"] == "unknown"


def test_neither_label_nor_metric_is_unknown() -> None:
    assert breakers.affected(alert(), UNKNOWN).status is Status.UNKNOWN


def test_a_hostile_label_names_no_service() -> None:
    found = breakers.affected(alert(service='"} or vector(1)', breaker_type="<script>"), states())
    assert found.figures["service"] == ""
    assert found.status is Status.WARNING


def test_the_next_try_is_the_last_opening_and_the_open_timeout() -> None:
    affected = breakers.affected(alert(service="llm"), states(llm=7.5))
    found = breakers.recovery(affected, WINDOW)
    assert found.figures["due"] == MOMENT + timedelta(minutes=8, seconds=30)
    assert "in 30 s" in found.title


def test_a_breaker_of_unknown_state_waits_for_nothing_known() -> None:
    assert breakers.recovery(breakers.affected(alert(service="llm"), UNKNOWN), WINDOW).status is Status.UNKNOWN


def exchange(kind: str, growth: float) -> Finding:
    figures = {"kind": kind, "errors_per_minute": 200.0, "kind_share": 0.9, "since": MOMENT - timedelta(minutes=9), "request_growth": growth,
               "endpoint": "klines" if growth >= 2 else "", "requests_usual": 30.0, "requests_now": 30.0 * growth,
               "requests_since": MOMENT - timedelta(minutes=12)}  # fmt: skip
    return Finding("dependencies.exchange", Status.CRITICAL, "", figures=figures)


def conclude(*more: Finding) -> str:
    known = states(exchange=-2)
    found = [known, breakers.affected(alert(service="exchange"), known), *more]
    return breakers.decide({one.id: one for one in found}, alert(service="exchange"), WINDOW).summary


@pytest.mark.parametrize(
    ("kind", "growth", "expected"),
    [
        ("rate_limit", 12.0, "our own request rate, not the exchange"),
        ("rate_limit", 1.0, "although we ask as usual"),
        ("authentication", 1.0, "does not accept our credentials"),
        ("network", 1.0, "the way to the exchange"),
        ("server_error", 1.0, "the exchange itself fails"),
    ],
)
def test_the_kind_of_errors_decides_the_cause(kind: str, growth: float, expected: str) -> None:
    assert expected in conclude(exchange(kind, growth))


def test_the_rollout_before_the_requests_rose_is_named_and_a_later_one_is_not() -> None:
    rows = [{"at": pd.Timestamp(MOMENT + timedelta(minutes=m)), "deployment": name, "what": "rolled out, revision 8"}
            for m, name in ((-14, "market-data-server"), (3, "api"), (-200, "redis"))]  # fmt: skip
    rollouts = Finding("platform.rollouts", Status.WARNING, "", tables=(Table("", pd.DataFrame(rows)),))
    summary = conclude(exchange("rate_limit", 12.0), rollouts)
    assert "market-data-server" in summary
    assert "api rolled" not in summary
    assert "redis" not in summary


def test_no_states_and_no_service_is_unknown() -> None:
    assert breakers.decide({"breakers.states": UNKNOWN}, alert(), WINDOW).status is Status.UNKNOWN


def test_nothing_opened_is_healthy() -> None:
    known = states()
    found = {one.id: one for one in (known, breakers.affected(alert(), known))}
    assert breakers.decide(found, alert(), WINDOW).status is Status.OK


def test_a_level_knows_its_usual_its_growth_and_its_rise() -> None:
    found = level(series(*((m, 2.0) for m in range(-300, -12)), *((m, 24.0) for m in range(-12, 8))), WINDOW)
    assert (found.usual, found.growth) == (2.0, 12.0)
    assert found.rose_at == MOMENT - timedelta(minutes=12)


@pytest.mark.parametrize("rows", [series(), series((0, float("nan"))), series((0, float("inf")))])
def test_a_level_of_nothing_is_nan_and_no_zero(rows: pd.DataFrame) -> None:
    found = level(rows, WINDOW)
    assert found.now != found.now
    assert found.rose_at is None


def test_samples_that_ended_long_ago_are_not_now() -> None:
    assert level(series((-300, 1.0), (-200, 1.0), (-60, 1.0)), WINDOW).now != 1.0


def test_a_dip_under_the_limit_begins_a_new_rise() -> None:
    assert rise(series((0, 5), (1, 1), (2, 5), (3, 9)), 3) == MOMENT + timedelta(minutes=2)


@pytest.mark.parametrize(
    ("count", "expected", "fewer"),
    [(0, 4.0, False), (0, 5.0, True), (3, 12.0, True), (8, 12.0, False), (0, 0.0, False), (900, 1000.0, True)],
)
def test_few_counts_are_only_called_fewer_when_chance_is_unlikely(count: int, expected: float, fewer: bool) -> None:
    assert trading_flow.fewer(count, expected) is fewer
