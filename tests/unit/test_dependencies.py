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


def flow(orders: int) -> Finding[Flow]:
    rows = [
        {"what": "orders", "rows_now": orders, "rows_before": 72, "last_at": MOMENT},
        {"what": "candles", "rows_now": 48, "rows_before": 8_640, "last_at": MOMENT},
    ]
    return dependencies.flow(Answers(pd.DataFrame(rows)), WINDOW)  # type: ignore[arg-type]


def test_no_order_is_as_usual_only_beside_what_is_usual() -> None:
    assert flow(0).title == "What is written since 14:02 UTC is as usual: 0 orders, usual 0.4 in that time"
    assert flow(1).title == "What is written since 14:02 UTC is as usual: 1 order"


def test_more_than_usual_is_not_too_few_to_tell() -> None:
    rows = [
        {"what": "orders refused", "rows_now": 12, "rows_before": 0, "last_at": MOMENT},
        {"what": "orders", "rows_now": 12, "rows_before": 72, "last_at": MOMENT},
        {"what": "fills", "rows_now": 0, "rows_before": 72, "last_at": MOMENT},
    ]
    found = dependencies.flow(Answers(pd.DataFrame(rows)), WINDOW)  # type: ignore[arg-type]
    assert found.title == "12 orders refused, in the 8 min since 14:02 UTC"
    assert found.frame is not None
    assert list(found.frame["judgement"]) == ["more than usual", "", "too few to tell"]
