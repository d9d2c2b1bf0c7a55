"""What is usual of a series, what rose, and where a histogram ends."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Window
from runbook.steps.shared import histograms
from runbook.steps.shared.levels import counted_from_start, level, usually

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))


def series(*values: float, seconds: float = 60) -> pd.DataFrame:
    """Samples up to the report's moment."""
    times = [WINDOW.as_of - timedelta(seconds=seconds * (len(values) - 1 - i)) for i in range(len(values))]
    return pd.DataFrame({"time": pd.to_datetime(times, utc=True), "value": values})


@pytest.mark.parametrize(
    ("frame", "usual"),
    [
        (series(*[10.0] * 300), 10.0),
        (series(*[10.0] * 30), 10.0),
        # Ten seconds of it, a handful of samples, one sample.
        (series(*[10.0] * 40, seconds=0.25), math.nan),
        (series(*[10.0] * 4, seconds=3600), math.nan),
        (series(10.0), math.nan),
        (series(), math.nan),
    ],
)
def test_what_is_usual_needs_a_history(frame: pd.DataFrame, usual: float) -> None:
    found = level(frame, WINDOW)
    assert found.usual == pytest.approx(usual, nan_ok=True)
    assert found.has_history == math.isfinite(usual)
    assert math.isnan(found.growth) == math.isnan(usual)
    assert found.rose_at is None


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_samples_that_are_none_are_left_out(odd: float) -> None:
    found = level(series(*[10.0, odd] * 150, odd), WINDOW)
    assert (found.usual, found.now, found.peak) == (10.0, 10.0, 10.0)


def test_usually_says_why_it_does_not_know() -> None:
    assert usually(math.nan) == "not known yet (too little history)"
    assert usually(1.26, digits=1) == "1.3"
    assert usually(0.5, "%") == "50.0 %"


def test_a_counter_that_appears_counted_nothing_before() -> None:
    old, new = series(*[2.0] * 300), series(*[5.0] * 6)
    found = counted_from_start({"old": old, "new": new})
    assert len(found["new"]) == len(old)
    assert level(found["new"], WINDOW).usual == 0.0
    assert level(counted_from_start({"new": new})["new"], WINDOW).has_history is False


@pytest.mark.parametrize(
    ("value", "metric", "says"),
    [
        (1_000.0, "cryptofunk_database_query_duration_ms", "at least 1,000 ms"),
        (999.99, "cryptofunk_database_query_duration_ms", "at least 1,000 ms"),
        (950.0, "cryptofunk_database_query_duration_ms", "950 ms"),
        # Where the platform's buckets go further than we know, what is read is what it is.
        (2_000.0, "cryptofunk_database_query_duration_ms", "2,000 ms"),
        (1_000.0, "some_other_histogram", "1,000 ms"),
        (math.nan, "cryptofunk_database_query_duration_ms", "n/a"),
    ],
)
def test_a_quantile_at_the_end_is_at_least_that(value: float, metric: str, says: str) -> None:
    assert histograms.reading(value, metric) == says


def test_growth_is_told_from_what_could_be_read() -> None:
    metric = "cryptofunk_llm_request_duration_ms"
    assert histograms.growth(10_000, 1_000, metric) == 10
    assert math.isnan(histograms.growth(10_000, 10_000, metric))
    assert math.isnan(histograms.growth(100, 0, metric))


@pytest.mark.parametrize("by", ["", "endpoint"])
@pytest.mark.parametrize("offset", ["", "30m"])
def test_a_quantile_is_promql(by: str, offset: str) -> None:
    promql_parser.parse(histograms.quantile(0.95, "x_ms", by=by, over="7m", offset=offset))
