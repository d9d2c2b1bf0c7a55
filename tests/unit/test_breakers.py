"""The breakers' own logic: which is meant, when it tries again, what opened it. And every query is PromQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings, step_id
from runbook.outcome import Status, Verdict
from runbook.sources.metrics import union
from runbook.steps import breakers, dependencies
from runbook.steps.breakers import openings, requests
from runbook.steps.breakers.figures import Affected, Lane, Service, State, States
from runbook.steps.dependencies import (
    Database,
    Exchange,
    Pool,
    language_models,
    market_access,
    middleware,
    postgresql,
    trading_flow,
)
from runbook.steps.platform import Rollout, Rollouts
from runbook.steps.sessions import TradingBreakers
from runbook.steps.shared.levels import level, rise

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))


def alert(**labels: str) -> Alert:
    return Alert("CircuitBreakerOpen", {"alertname": "CircuitBreakerOpen", **labels}, {}, MOMENT)


def series(*pairs: tuple[float, float]) -> pd.DataFrame:
    """(minutes from the alert, value) -> time, value."""
    times = pd.to_datetime([MOMENT + timedelta(minutes=m) for m, _ in pairs], utc=True)
    return pd.DataFrame({"time": times, "value": [value for _, value in pairs]})


def lane(name: str, minutes: float, state: State = State.OPEN) -> Lane:
    """A breaker that opened once, so many minutes from the alert."""
    opened_at = MOMENT + timedelta(minutes=minutes)
    return Lane(name, state, 1.0, 1, opened_at, opened_at, share_open=0.1, samples=series())


def states(*lanes: Lane, **first_open_minutes: float) -> Finding[States]:
    opened = (lane(name, minutes) for name, minutes in first_open_minutes.items())
    return Finding(Status.CRITICAL, "", figures=States((*lanes, *opened)))


UNKNOWN = Finding[States](Status.UNKNOWN, "not known")


BREAKER_QUERIES = (
    openings.STATES_QUERY,
    openings.FREQUENCY_QUERY,
    requests.FAILURES_QUERY,
    requests.EFFECTS_QUERY,
)
QUERIES = (
    language_models.LLM_QUERIES,
    market_access.EXCHANGE_QUERIES,
    middleware.NATS_QUERIES,
    postgresql.POOL_QUERIES,
)


@pytest.mark.parametrize("expression", [*BREAKER_QUERIES, *map(union, QUERIES)])
def test_every_query_is_promql(expression: str) -> None:
    assert promql_parser.parse(expression) is not None


class Metrics:
    """A source whose every answer is this frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def range(self, *_: object, **__: object) -> Metrics:
        return self


def found_states(**values: tuple[tuple[float, float], ...]) -> Finding[States]:
    """What `states` finds in such (minutes from the alert, value) pairs of each breaker."""
    frames = [series(*pairs).assign(service=name) for name, pairs in values.items()]
    return breakers.states(Metrics(pd.concat(frames)), WINDOW)  # type: ignore[arg-type]


def test_a_breaker_that_opened_and_closed_is_told_apart_from_one_that_is_open() -> None:
    found = found_states(exchange=((-9, 0), (-2, 1), (7, 1)), llm=((-9, 0), (-6, 1), (-5, 0), (7, 0)))
    assert found.title == "Open now: exchange"
    assert [(lane.name, lane.state, lane.openings) for lane in found.known.lanes] == [
        ("exchange", State.OPEN, 1),
        ("llm", State.CLOSED, 1),
    ]
    assert found.known.lanes[0].first_open == MOMENT - timedelta(minutes=2)
    assert [lane.name for lane in found.known.opened] == ["llm", "exchange"]


def test_a_breaker_whose_samples_ended_is_not_called_closed() -> None:
    found = found_states(exchange=((-9, 0), (2, 0)))
    assert (found.status, found.title) == (Status.WARNING, "No sample now of: exchange")


def test_a_value_that_no_document_names_is_no_state() -> None:
    found = found_states(exchange=((-2, 1), (7, 3)))
    assert found.known.lanes[0].state is State.UNDOCUMENTED
    assert list(found.tables[0].frame["now"]) == ["state 3"]
    assert "it is state 3 now" in breakers.affected(alert(), found).title


def test_the_label_names_the_service() -> None:
    found = breakers.affected(alert(service="llm"), states(exchange=-9, llm=-2)).known
    assert (found.service, found.is_named, found.others) == (Service.LLM, True, ("exchange",))


def test_without_a_label_the_first_to_open_is_meant() -> None:
    found = breakers.affected(alert(), states(exchange=-2, database=-9)).known
    assert (found.service, found.is_named) == (Service.DATABASE, False)


def test_a_named_service_is_known_without_the_metric_but_its_state_is_not() -> None:
    found = breakers.affected(alert(service="exchange"), UNKNOWN)
    assert found.status is Status.WARNING
    assert found.known.state is State.UNKNOWN


def test_neither_label_nor_metric_is_unknown() -> None:
    assert breakers.affected(alert(), UNKNOWN).status is Status.UNKNOWN


def test_a_hostile_label_names_no_service() -> None:
    found = breakers.affected(alert(service='"} or vector(1)', breaker_type="<script>"), states())
    assert found.known.service is None
    assert found.known.halt == "<script>"
    assert found.status is Status.WARNING


def test_the_next_try_is_the_last_opening_and_the_open_timeout() -> None:
    affected = breakers.affected(alert(service="llm"), states(llm=7.5))
    found = breakers.recovery(affected, WINDOW)
    assert found.known.due == MOMENT + timedelta(minutes=8, seconds=30)
    assert "in 30 s" in found.title


def test_a_breaker_of_unknown_state_waits_for_nothing_known() -> None:
    assert breakers.recovery(breakers.affected(alert(service="llm"), UNKNOWN), WINDOW).status is Status.UNKNOWN


def exchange(kind: str, growth: float = 1.0) -> Finding[Exchange]:
    figures = Exchange(
        errors_per_minute=200.0,
        usual_errors_per_minute=1.0,
        trouble=bool(kind),
        kind=kind,
        kind_share=0.9,
        since=MOMENT - timedelta(minutes=9),
        endpoint="klines" if growth >= 2 else "",
        request_growth=growth,
        requests_now=30.0 * growth,
        requests_usual=30.0,
        requests_since=MOMENT - timedelta(minutes=12),
        slow_endpoint="",
        slowdown=1.0,
        slow_ms=90.0,
        usual_slow_ms=90.0,
    )
    return Finding(Status.CRITICAL, "", figures=figures)


def pool(*, exhausted: bool = False, disk_share: float = 0.1) -> Finding[Pool]:
    figures = Pool(10.0, 0.0, 10.0, exhausted, None, 3.0, 900.0, 9.0, disk_share, series(), series())
    return Finding(Status.WARNING, "", figures=figures)


def server(*, full: bool = False, waiting: float = 0.0) -> Finding[Database]:
    figures = Database(
        connections=97.0,
        max_connections=100.0,
        share=0.97,
        full=full,
        active=3.0,
        idle_in_transaction=0.0,
        waiting_for_locks=waiting,
        oldest_transaction_seconds=1.0,
        in_recovery=False,
        size_bytes=1e9,
    )
    return Finding(Status.WARNING, "", figures=figures)


def conclude(service: Service, *more: Finding[Any]) -> Verdict:
    known = states(**{service.value: -2})
    named = alert(service=service.value)
    return breakers.decide(Findings([known, breakers.affected(named, known), *more]), named, WINDOW)


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
    assert expected in conclude(Service.EXCHANGE, exchange(kind, growth)).summary


SILENT = Finding[Database](Status.UNKNOWN, "no answer", "It is away.", id=step_id(dependencies.database))


@pytest.mark.parametrize(
    ("found", "decision"),
    [
        ((pool(exhausted=True), server()), "free the pool: find what holds its connections"),
        ((pool(exhausted=True), server(full=True)), "free connections on the server"),
        ((pool(), server(waiting=3.0)), "end the transaction that holds the locks"),
        ((pool(disk_share=0.95), SILENT), "restore the database"),
        ((pool(disk_share=0.95), server()), "free disk space"),
        ((pool(),), "read the logs, hold the rest"),
    ],
)
def test_the_database_s_own_checks_decide_what_to_do(found: tuple[Finding[Any], ...], decision: str) -> None:
    verdict = conclude(Service.DATABASE, *found)
    assert verdict.decision == decision
    assert "See who holds the connections" in [action.title for action in verdict.actions]


def test_an_exhausted_pool_is_named_where_the_exchange_answers_as_usual() -> None:
    verdict = conclude(Service.EXCHANGE, exchange(""), pool(exhausted=True))
    assert "connection pool is exhausted; the exchange answers as usual" in verdict.summary
    assert "See who holds the connections" in [action.title for action in verdict.actions]


def test_without_the_exchange_s_metrics_its_cause_is_not_known() -> None:
    assert "not known: the exchange's metrics gave no answer" in conclude(Service.EXCHANGE).summary


def test_credentials_that_are_refused_are_looked_at() -> None:
    titles = [action.title for action in conclude(Service.EXCHANGE, exchange("authentication")).actions]
    assert "Look at when the secret changed" in titles


def test_the_rollout_before_the_requests_rose_is_named_and_a_later_one_is_not() -> None:
    changes = ((-14, "market-data-server"), (3, "api"), (-200, "redis"))
    rolled = tuple(Rollout(MOMENT + timedelta(minutes=minutes), name, "8") for minutes, name in changes)
    rollouts = Finding(Status.WARNING, "", figures=Rollouts(rolled))
    summary = conclude(Service.EXCHANGE, exchange("rate_limit", 12.0), rollouts).summary
    assert "market-data-server rolled out, revision 8" in summary
    assert "api rolled" not in summary
    assert "redis" not in summary


def test_no_states_and_no_service_is_unknown() -> None:
    assert breakers.decide(Findings([UNKNOWN]), alert(), WINDOW).status is Status.UNKNOWN


def test_a_named_service_of_unknown_state_is_not_called_closed() -> None:
    named = alert(service="exchange")
    verdict = breakers.decide(Findings([UNKNOWN, breakers.affected(named, UNKNOWN)]), named, WINDOW)
    assert verdict.status is Status.UNKNOWN
    assert "Whether the exchange breaker is still open is not known" in verdict.summary


def test_nothing_opened_is_healthy() -> None:
    known = states()
    found = Findings([known, breakers.affected(alert(), known)])
    assert breakers.decide(found, alert(), WINDOW).status is Status.OK


def test_a_tripped_halt_without_an_open_breaker_is_critical() -> None:
    known = states()
    halt = Finding(Status.CRITICAL, "", figures=TradingBreakers(("max_drawdown", "daily_loss")))
    verdict = breakers.decide(Findings([known, breakers.affected(alert(), known), halt]), alert(), WINDOW)
    assert verdict.status is Status.CRITICAL
    assert "a trading halt is tripped (max_drawdown, daily_loss)" in verdict.summary


def test_a_closed_breaker_that_the_alert_names_and_that_never_opened_is_healthy() -> None:
    closed = Lane("exchange", State.CLOSED, 0.0, 0, None, None, share_open=0.0, samples=series())
    affected = Finding(Status.OK, "", figures=Affected(Service.EXCHANGE, is_named=True, lane=closed))
    verdict = breakers.decide(Findings([states(closed), affected]), alert(), WINDOW)
    assert (verdict.status, verdict.decision) == (Status.OK, "no action, watch")


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


@pytest.mark.parametrize(
    ("minutes", "status", "title"),
    [
        (24 * 60, Status.OK, "No breaker opened in 24 h"),
        (180, Status.OK, "No breaker opened in the 3 h since they are measured"),
        (10, Status.UNKNOWN, "No breaker opened in the 10 min since they are measured"),
    ],
)
def test_a_day_is_a_day_only_where_it_was_measured(minutes: int, status: Status, title: str) -> None:
    first = (WINDOW.as_of - timedelta(minutes=minutes)).timestamp()
    values = {"day": 0.0, "week": 0.0, "share": 0.0, "first": first}
    rows = [{"service": "llm", "what": what, "value": value, "time": MOMENT} for what, value in values.items()]
    frame = pd.DataFrame(rows)
    source = SimpleNamespace(instant=lambda *_: SimpleNamespace(frame=frame))
    found = breakers.frequency(source, WINDOW)  # type: ignore[arg-type]
    assert (found.status, found.title) == (status, title)
