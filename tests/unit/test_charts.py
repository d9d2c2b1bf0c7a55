"""Charts: honest to the extremes, legible without the picture, the same every time, and still."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.alert import Window
from runbook.charts import Chart, Line, Threshold, bars, heatmap, states, timeline
from runbook.charts.figure import extremes
from tests.notebooks.inspection import inspect_svg
from tests.worlds import NASTY

START = datetime(2026, 1, 15, 8, 2, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=6), START + timedelta(hours=6, minutes=8))


def series(values: list[float]) -> pd.DataFrame:
    times = pd.date_range(START, periods=len(values), freq="60s").astype("datetime64[us, UTC]")
    return pd.DataFrame({"time": times, "value": np.array(values, dtype="float64")})


def grid(rows: dict[str, list[float]]) -> pd.DataFrame:
    columns = pd.date_range(START, periods=len(next(iter(rows.values()), [])), freq="30min")
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=columns)


def every_kind(text: str) -> list[Chart | None]:
    limit = Threshold(0.5, text)
    named = {0.0: ("closed", "green"), 1.0: (text, "alarm")}
    return [
        timeline(
            text,
            "%",
            WINDOW,
            [Line(text, series([0, 1, 0.2])), Line("b", series([1, 0, 1]), step=True)],
            thresholds=[limit],
            note=text,
        ),
        bars(text, "USDT", {text: -5.0, "b": 3.0}, thresholds=[limit], note=text),
        states(text, WINDOW, {text: series([0, 1, 1, 0]), "b": series([1, 7])}, named, note=text),
        heatmap(text, "s", WINDOW, grid({text: [1, 2, math.nan], "b": [0, 9, 1]}), threshold=limit, note=text),
    ]


def test_every_kind_has_words_and_stands_still() -> None:
    for chart in every_kind("Drawdown 12.5 % now"):
        assert chart is not None
        inspect_svg(chart.svg)
        assert chart.title == "Drawdown 12.5 % now"
        assert chart.alt.startswith("Drawdown 12.5 % now")
        assert "<script" not in chart.svg


def test_every_kind_is_the_same_every_time() -> None:
    first, second = every_kind("Title"), every_kind("Title")
    assert [chart and chart.svg for chart in first] == [chart and chart.svg for chart in second]


@pytest.mark.parametrize("text", [*NASTY, "$\\frac{", "_hidden", "", " ", "\x00", "日本語 🙂"])
def test_nasty_text_is_inert_in_every_kind(text: str) -> None:
    for chart in every_kind(text):
        assert chart is not None
        inspect_svg(chart.svg)
        assert "<script" not in chart.svg
        assert len(chart.alt) <= 1500


def test_colours_follow_the_reader() -> None:
    for chart in every_kind("Title"):
        assert chart is not None
        assert "prefers-color-scheme:dark" in chart.svg
        drawn = chart.svg.split("</style>", 1)[1]
        assert "var(--ink)" in drawn
        used = set(re.findall(r"var\(--(\w+)\)", drawn))
        assert used <= set(re.findall(r"--(\w+):", chart.svg))


def test_a_timeline_says_alert_threshold_unit_and_utc() -> None:
    chart = timeline(
        "Latency rose", "ms", WINDOW, [Line("p95", series([10, 5_000, 20]))], thresholds=[Threshold(5000, "limit 5 s")]
    )
    assert chart is not None
    for part in ("alert 14:02", "limit 5 s", "milliseconds", "UTC"):
        assert part in chart.svg
    assert (
        "p95: lowest 10 ms at 08:02, highest 5,000 ms at 08:03, last 20 ms. limit 5 s. Alert at 14:02 UTC." in chart.alt
    )


@pytest.mark.parametrize("values", [[], [1.0], [math.nan] * 5, [math.nan, 2.0, math.nan]])
def test_too_little_to_draw(values: list[float]) -> None:
    assert timeline("t", "", WINDOW, [Line("a", series(values))]) is None
    assert heatmap("t", "", WINDOW, grid({"a": [math.nan] * len(values)})) is None


def test_nothing_to_draw() -> None:
    assert timeline("t", "", WINDOW, []) is None
    assert bars("t", "", {}) is None
    assert bars("t", "", {"a": math.nan, "b": math.inf}) is None
    assert states("t", WINDOW, {}, {}) is None
    assert states("t", WINDOW, {"a": series([math.nan, math.nan])}, {}) is None
    assert heatmap("t", "", WINDOW, pd.DataFrame()) is None


@pytest.mark.parametrize(
    "values",
    [[5.0, 5.0], [0.0, 0.0], [1e300, -1e300], [1e-300, 2e-300], [math.nan, 1, 2, math.nan], [math.inf, 1, 2, 3]],
)
def test_odd_numbers_can_be_drawn(values: list[float]) -> None:
    for unit in ("", "%", "s", "bytes", "USDT"):
        chart = timeline("t", unit, WINDOW, [Line("a", series(values), fill=True)])
        if chart is not None:
            inspect_svg(chart.svg)


def test_a_window_without_length_can_be_drawn() -> None:
    point = Window(START, START, START)
    chart = timeline("t", "", point, [Line("a", series([1, 2]))])
    assert chart is not None
    inspect_svg(chart.svg)


def test_a_chart_of_a_million_points_stays_small() -> None:
    chart = timeline("t", "", WINDOW, [Line("a", series(list(np.random.default_rng(1).normal(size=1_000_000))))])
    assert chart is not None
    assert len(chart.svg) < 400_000


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_the_extremes(values: list[float], points: int) -> None:
    frame = series(values)
    thin = extremes(frame, points)
    assert len(thin) <= max(points, 2) + 2
    assert thin["time"].is_monotonic_increasing
    assert thin["time"].is_unique
    if frame["value"].notna().any():
        assert thin["value"].min() == frame["value"].min()
        assert thin["value"].max() == frame["value"].max()
    assert set(thin.index) <= set(frame.index)


@given(st.lists(st.floats(0, 1), min_size=100, max_size=300), st.integers(10, 40))
def test_thinning_keeps_the_extremes_of_a_frame_with_another_index(values: list[float], points: int) -> None:
    frame = series(values)
    frame.index = frame.index + 1000
    thin = extremes(frame, points)
    assert (thin["value"].min(), thin["value"].max()) == (frame["value"].min(), frame["value"].max())
