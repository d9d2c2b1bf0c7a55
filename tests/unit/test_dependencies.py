"""What trading depends on: the pool's size and title, and what none at all means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from runbook.alert import Window
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.steps import dependencies
from runbook.steps.dependencies import Flow, Pool

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))


class Answers:
    """A source whose every answer is this frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def range(self, *_: Any, **__: Any) -> Answers:
        return self

    def ask(self, *_: Any, **__: Any) -> Answers:
        return self


def pool(*now: tuple[float, float], disk: float = 0.3) -> Finding[Pool]:
    """The pool's finding: 3 active and 7 idle for hours, then these (active, idle), a minute apart."""
    pairs = [(3.0, 7.0)] * 300 + list(now)
    times = [MOMENT + timedelta(minutes=8 - len(pairs) + 1 + i) for i in range(len(pairs))]
    rows = [
        {"time": time, "value": value, "what": what}
        for time, pair in zip(times, pairs, strict=True)
        for what, value in zip(("active", "idle"), pair, strict=True)
    ]
    rows.append({"time": times[-1], "value": disk, "what": "disk"})
    frame = pd.DataFrame(rows)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    return dependencies.pool(Answers(frame), WINDOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "disk", "status", "title"),
    [
        ((3, 7), 0.3, Status.OK, "The connection pool has room: 3 of 10 connections in use"),
        ((9, 1), 0.3, Status.WARNING, "The connection pool is nearly full: 9 of 10 connections in use"),
        (
            (3, 7),
            0.9,
            Status.WARNING,
            "The connection pool has room: 3 of 10 connections in use; but the fullest volume is 90.0 % full",
        ),
        (
            (10, 0),
            0.3,
            Status.CRITICAL,
            "The connection pool is exhausted: 10 of 10 connections in use, none idle, since 14:06 UTC",
        ),
    ],
)
def test_the_pools_title_says_what_its_status_says(
    now: tuple[float, float], disk: float, status: Status, title: str
) -> None:
    found = pool(*[now] * 5, disk=disk)
    assert (found.status, found.title) == (status, title)


def test_the_pools_size_is_the_most_it_had_at_one_time() -> None:
    assert pool(*[(3, 6)] * 5).known.size == 10


def flow(orders: int, before: int = 72, hours: float = 24, candles: int = 8_640) -> Finding[Flow]:
    first = {"last_at": MOMENT, "first_at": MOMENT - timedelta(hours=hours)}
    rows = [
        {"what": "orders", "rows_now": orders, "rows_before": before, **first},
        {"what": "candles", "rows_now": 48, "rows_before": candles, **first},
    ]
    return dependencies.flow(Answers(pd.DataFrame(rows)), WINDOW)  # type: ignore[arg-type]


def test_no_order_is_as_usual_only_beside_what_is_usual() -> None:
    few = "As usual since 14:02 UTC: candles; {} and the usual 0.4 in that time are too few to tell"
    assert flow(0).title == few.format("0 orders,")
    assert flow(1).title == few.format("1 order,")
    assert flow(12, before=2_000).title == "What is written since 14:02 UTC is as usual: 12 orders"
    assert {flow(0).status, flow(12, before=2_000).status} == {Status.OK}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        # Usually nothing at all is written.
        ({"before": 0, "candles": 3}, "cannot be told: 0 orders, and the usual 0 in that time are too few to tell"),
        # Ten minutes of history.
        (
            {"before": 20, "hours": 1 / 6, "candles": 60},
            "0 orders, what is usual is not known yet (too little history)",
        ),
    ],
)
def test_what_is_usually_none_or_too_young_is_not_as_usual(given: dict[str, Any], says: str) -> None:
    found = flow(0, **given)
    assert found.status is Status.UNKNOWN
    assert says in found.title


def test_what_is_usual_is_told_from_the_history_there_is() -> None:
    """Two hours of it make a rate of their own, not that of a day that was silent but for them."""
    assert flow(0, before=400, hours=2, candles=720).status is Status.WARNING


def test_more_than_usual_is_not_too_few_to_tell() -> None:
    rows = [
        {"what": "orders refused", "rows_now": 12, "rows_before": 0, "last_at": MOMENT, "first_at": MOMENT},
        {"what": "orders", "rows_now": 12, "rows_before": 72, "last_at": MOMENT, "first_at": MOMENT - DAY},
        {"what": "fills", "rows_now": 0, "rows_before": 72, "last_at": MOMENT, "first_at": MOMENT - DAY},
    ]
    found = dependencies.flow(Answers(pd.DataFrame(rows)), WINDOW)  # type: ignore[arg-type]
    assert found.title == "12 orders refused, in the 8 min since 14:02 UTC"
    assert found.frame is not None
    assert list(found.frame["judgement"]) == ["more than usual", "", "too few to tell"]


def watched(minutes: float = 360, **values: float | tuple[float, float]) -> Answers:
    """A metrics source: a union whose parts had this value for so many `minutes`; of a pair the second since then."""
    count = max(2, int(minutes * 2))
    times = pd.date_range(end=WINDOW.as_of, periods=count, freq=pd.Timedelta(minutes=minutes) / (count - 1))
    parts = []
    for what, value in values.items():
        before, since = value if isinstance(value, tuple) else (value, value)
        shown = [before if time < pd.Timestamp(MOMENT) else since for time in times]
        parts.append(
            pd.DataFrame({"time": times, "value": shown}).assign(what=what, endpoint="/x", error_type="timeout")
        )
    return Answers(pd.concat(parts, ignore_index=True))


LLM = {"p95": 800.0, "requests": 12.0, "decisions": 12.0}
NATS = {"published": 30.0, "received": 30.0}
EXCHANGE = {"errors": 0.0, "requests": 20.0, "p95": 90.0}
REDIS = {"": 0.9}
STEPS = [
    (dependencies.llm, LLM),
    (dependencies.nats, NATS),
    (dependencies.exchange, EXCHANGE),
    (dependencies.redis, REDIS),
]


@pytest.mark.parametrize(("step", "values"), STEPS)
def test_ten_seconds_of_history_make_nothing_usual(step: Any, values: dict[str, float]) -> None:
    assert step(watched(**values), WINDOW).status is Status.OK
    found = step(watched(minutes=1 / 6, **values), WINDOW)
    assert found.status is Status.UNKNOWN
    assert "as usual" not in found.title or "cannot be told" in found.title
    assert "too little history" in found.detail or "cannot be told" in found.title


def test_the_pool_s_use_is_not_usual_after_ten_seconds() -> None:
    found = dependencies.pool(watched(minutes=1 / 6, active=10.0, idle=3.0, p95=20.0), WINDOW)  # type: ignore[arg-type]
    assert "too little history" in found.detail
    assert "Usually 10" not in found.detail


def test_what_is_not_asked_does_not_answer_as_usual() -> None:
    llm = dependencies.llm(watched(**{**LLM, "requests": 0.0}), WINDOW)  # type: ignore[arg-type]
    exchange = dependencies.exchange(watched(**{**EXCHANGE, "requests": 0.0}), WINDOW)  # type: ignore[arg-type]
    assert {llm.status, exchange.status} == {Status.UNKNOWN}
    assert "is not asked" in llm.title
    assert "Nothing is asked of the exchange now" in exchange.title


@pytest.mark.parametrize(
    ("p95", "status", "says"),
    [
        ((800.0, 10_000.0), Status.CRITICAL, "p95 at least 10,000 ms"),
        ((10_000.0, 10_000.0), Status.WARNING, "p95 at least 10,000 ms"),
        ((800.0, 900.0), Status.OK, "p95 900 ms"),
    ],
)
def test_the_end_of_the_histogram_is_at_least_that(p95: tuple[float, float], status: Status, says: str) -> None:
    found = dependencies.llm(watched(**{**LLM, "p95": p95}), WINDOW)  # type: ignore[arg-type]
    assert (found.status in (Status.WARNING, Status.CRITICAL)) == (status is not Status.OK)
    assert says in found.title


def test_latency_that_always_stood_at_the_end_is_not_as_usual() -> None:
    found = dependencies.exchange(watched(**{**EXCHANGE, "p95": 5_000.0}), WINDOW)  # type: ignore[arg-type]
    assert found.status is Status.UNKNOWN
    pool = dependencies.pool(watched(active=3.0, idle=7.0, p95=1_000.0), WINDOW)  # type: ignore[arg-type]
    assert "p95 at least 1,000 ms" in pool.detail
