"""Memory and CPU: trends against scipy, leak or burst, heap profiles, the limit that is asked for."""

from __future__ import annotations

import json
import math
import shlex
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import promql_parser
import pytest
from scipy import stats

from cryptofunk_demo import heap as demo_heap
from cryptofunk_demo import incidents_resources, objects, patches
from cryptofunk_demo.workloads import BY_NAME
from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.resources import heap
from runbook.steps.resources import observations as usage
from runbook.steps.resources import verdict as resources
from runbook.steps.resources.leaks import leak_or_burst
from runbook.steps.shared import trend

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
POD = "market-data-server-aba2b6ad8-0ae76"
ALERT = Alert("HighMemoryUsage", {"alertname": "HighMemoryUsage", "namespace": 'we"ird', "pod": POD}, {}, MOMENT)
TIMES = pd.date_range(WINDOW.start, WINDOW.as_of, freq="45s", tz="UTC").astype("datetime64[us, UTC]")
MINUTES = np.arange(len(TIMES)) * 0.75
MEBI = 1024.0**2


def series(values: Any, noise: float = 0.0) -> pd.DataFrame:
    scatter = 1 + noise * np.random.default_rng(7).standard_normal(len(TIMES))
    return pd.DataFrame({"time": TIMES, "value": np.broadcast_to(values, len(TIMES)) * scatter})


def past(values: Any, *, limit: float = 512 * MEBI, resource: str = "memory", noise: float = 0.01) -> Finding:
    frame = series(values, noise)
    figures = {"limit": limit, "resource": resource, "highest": float(frame["value"].max()), "pod": POD}
    return Finding("resources.history", Status.WARNING, "", figures=figures, series={"usage": frame})


@pytest.mark.parametrize("ties", [False, True])
def test_theil_sen_is_scipys(ties: bool) -> None:
    rng = np.random.default_rng(3)
    x, y = np.arange(70.0), 0.4 * np.arange(70.0) + rng.normal(0, 6, 70)
    if ties:
        x, y = np.floor(x / 3), np.round(y)
    ours, theirs = trend.theil_sen(x, y), stats.theilslopes(y, x, 0.95)
    assert ours == pytest.approx((theirs.slope, theirs.low_slope, theirs.high_slope))


def test_few_or_unusable_samples_have_no_trend() -> None:
    assert trend.slope(series(1.0).head(7)) is None
    assert trend.slope(series(math.nan)) is None
    assert trend.slope(pd.DataFrame({"time": TIMES[:0], "value": np.array([], dtype=float)})) is None


def test_a_bend_is_found_where_it_is_and_noise_has_none() -> None:
    bent = trend.bent_at(series(np.where(MINUTES < 200, 100.0, 100 + 0.5 * (MINUTES - 200)), 0.002))
    assert bent is not None
    assert abs((bent - TIMES[0]).total_seconds() / 60 - 200) < 15
    assert trend.bent_at(series(100.0, 0.02)) is None


@pytest.mark.parametrize(
    ("values", "resource", "shape"),
    [
        (MEBI * (200 + 0.6 * MINUTES), "memory", "leak"),
        (MEBI * np.clip(200 + 11 * (MINUTES - 320), 200, 430), "memory", "burst"),
        (MEBI * np.clip(200 + 4 * (MINUTES - 330), 200, 500), "memory", "climbing"),
        (MEBI * 430.0, "memory", "steady"),
        (np.where(MINUTES < 300, 0.08, 0.46), "cpu", "step"),
    ],
)
def test_the_shape_of_use(values: Any, resource: str, shape: str) -> None:
    found = leak_or_burst(past(values, resource=resource, limit=0.5 if resource == "cpu" else 512 * MEBI))
    assert found.figures["shape"] == shape


def test_a_leak_says_when_the_limit_is_reached() -> None:
    found = leak_or_burst(past(MEBI * (200 + 0.7 * MINUTES)))
    left = (512 - (200 + 0.7 * MINUTES[-1])) / 0.7 * 60
    assert found.figures["seconds_to_limit"] == pytest.approx(left, rel=0.05)
    assert found.figures["earliest_seconds"] <= found.figures["seconds_to_limit"] <= found.figures["latest_seconds"]
    assert found.status is Status.CRITICAL


def test_a_restart_begins_anew() -> None:
    sawtooth = MEBI * np.where(MINUTES < 200, 200 + MINUTES, 150 + 0.001 * MINUTES)
    found = leak_or_burst(past(sawtooth))
    assert found.figures["shape"] == "steady"
    assert found.figures["restarted_at"] is not None


def test_a_heap_profile_gives_back_what_was_put_in() -> None:
    text = demo_heap.profile(BY_NAME["market-data-server"], incidents_resources.CACHE_WARMUP)
    sites, memory = heap.parse(text)
    first = heap.top(sites).iloc[0]
    assert heap.short(first["function"]) == "market.(*CandleCache).Fill"
    assert first["bytes"] == pytest.approx(214 * MEBI, rel=0.01)
    assert first["objects"] == pytest.approx(1_880_000, rel=0.01)
    assert memory["HeapAlloc"] > 214 * MEBI


def test_library_frames_do_not_own_memory() -> None:
    site = heap.Site(1.0, 1.0, (("bytes.growSlice", "buffer.go:1"), ("example.com/app.Read", "read.go:2")))
    assert site.owner == ("example.com/app.Read", "read.go:2")
    assert heap.Site(1.0, 1.0, ()).owner == ("(unknown)", "")


@pytest.mark.parametrize("text", ["", "<html>", "goroutine profile: total 3", "heap profile: x"])
def test_other_text_is_no_heap_profile(text: str) -> None:
    with pytest.raises(ValueError, match="heap profile"):
        heap.parse(text)


def test_garbage_within_a_profile_is_passed_over() -> None:
    sites, _ = heap.parse("heap profile: 1: 1 [1: 1] @ heap/1048576\n0: 0 [9: 9] @ 0x1\nnonsense\n2: 20 [2: 20] @\n")
    assert [round(one.objects) for one in sites] == [round(2 / (1 - math.exp(-10 / 524288)))]


@pytest.mark.parametrize(
    ("peak", "kind", "text"),
    [(437 * MEBI, "memory", "768Mi"), (800 * MEBI, "memory", "1536Mi"), (1.4e9, "memory", "2Gi"), (0.476, "cpu", "750m"), (1.3, "cpu", "2")],
)  # fmt: skip
def test_the_next_limit_holds_the_peak_at_70_percent(peak: float, kind: str, text: str) -> None:
    new = resources.next_limit(peak, kind)
    assert peak <= 0.7 * new
    assert resources.quantity_text(new, kind) == text


def test_the_patch_is_what_the_api_server_takes() -> None:
    subject = Finding("resources.affected", Status.WARNING, "", figures={"pod": POD, "container": "market-data-server", "deployment": "market-data-server",
                      "resource": "memory", "used": 437 * MEBI, "limit": 512 * MEBI, "ratio": 0.85, "gone": "", "is_sibling": False})  # fmt: skip
    new = Finding("resources.proposal", Status.WARNING, "", figures={"needed": True, "text": "768Mi"})
    verdict = resources.decide({one.id: one for one in (subject, new)}, ALERT)
    change = next(action for action in verdict.actions if action.changes and "patch" in action.command)
    words = shlex.split(change.command)
    deployment = next(
        one
        for one in objects.every(incidents_resources.CACHE_WARMUP)["deployments"]
        if f"deployment/{one['metadata']['name']}" in words
    )
    after = patches.patched(deployment, words[words.index("-p") + 1].encode(), patches.STRATEGIC)
    patches.validate(deployment, after)
    assert after["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {
        "cpu": "500m",
        "memory": "768Mi",
    }
    assert after["spec"]["template"]["spec"]["containers"][0]["image"]
    trial = next(action for action in verdict.actions if "--dry-run=server" in action.command)
    assert not trial.changes
    json.loads(shlex.split(trial.command)[-2])


class Asked:
    """A metrics source that keeps the expressions and answers with nothing."""

    def __init__(self) -> None:
        self.expressions: list[str] = []

    def instant(self, expression: str, at: datetime) -> SimpleNamespace:
        self.expressions.append(expression)
        return SimpleNamespace(frame=pd.DataFrame({"time": [], "value": []}))

    def range(self, expression: str, start: datetime, end: datetime, **more: int) -> SimpleNamespace:
        return self.instant(expression, end)


def test_every_expression_parses_and_no_answer_is_unknown() -> None:
    metrics: Any = Asked()
    subject = Finding("resources.affected", Status.WARNING, "", figures={"pod": 'p"} or vector(1)', "container": "c\n", "resource": "cpu", "limit": 1.0})  # fmt: skip
    found = [usage.usage(metrics, ALERT, WINDOW), usage.history(subject, metrics, ALERT, WINDOW), usage.throttling(subject, metrics, ALERT, WINDOW)]  # fmt: skip
    assert {one.status for one in found} == {Status.UNKNOWN}
    for expression in metrics.expressions:
        promql_parser.parse(expression)


def test_the_alerts_pod_is_the_subject_and_a_gone_one_is_said() -> None:
    rows = pd.DataFrame({"pod": ["a-1", "b-2"], "deployment": ["a", "b"], "container": ["a", "b"], "memory": [400.0, 90.0], "memory_limit": [500.0, 100.0],
                         "of memory limit": [0.8, 0.9], "cpu": [0.1, 0.1], "cpu_limit": [1.0, 1.0], "of CPU limit": [0.1, 0.1]})  # fmt: skip
    known = Finding("resources.usage", Status.WARNING, "", series={"rows": rows})
    away = Finding("resources.top_pods", Status.UNKNOWN, "")
    alert = Alert("HighMemoryUsage", {}, {}, MOMENT)
    assert usage.affected(alert, known, away, pod="a-1").figures["pod"] == "a-1"
    assert usage.affected(alert, known, away).figures["pod"] == "b-2"
    gone = usage.affected(alert, known, away, pod="c-3")
    assert gone.status is Status.WARNING
    assert gone.title.startswith("c-3 is not there now; b-2 uses")
    assert usage.affected(alert, known, away, pod="a-7c9f8d6b5-x2x4z").figures["pod"] == "a-1"


@pytest.mark.parametrize(("is_sibling", "status"), [(True, Status.WARNING), (False, Status.UNKNOWN)])
def test_what_became_of_the_alerts_pod_is_said_before_another_is_called_fine(is_sibling: bool, status: Status) -> None:
    figures = {
        "pod": "b-2",
        "container": "b",
        "deployment": "b",
        "resource": "memory",
        "used": 1.0,
        "limit": 2.0,
        "ratio": 0.5,
    }
    subject = Finding(
        "resources.affected", Status.WARNING, "", figures=figures | {"gone": "c-3", "is_sibling": is_sibling}
    )
    verdict = resources.decide({subject.id: subject}, ALERT)
    assert verdict.status is status
    assert verdict.summary.startswith("c-3, which the alert names, is not there now")


def test_nothing_is_known_of_a_pod_when_no_usage_is() -> None:
    away = Finding("resources.top_pods", Status.UNKNOWN, "")
    alert = Alert("HighMemoryUsage", {}, {}, MOMENT)
    assert usage.affected(alert, away, away).status is Status.UNKNOWN


def test_unknown_usage_is_never_ok() -> None:
    verdict = resources.decide({"resources.affected": Finding("resources.affected", Status.UNKNOWN, "Affected pod: not known")}, ALERT)  # fmt: skip
    assert verdict.status is Status.UNKNOWN
    assert any("not known" in reason for reason in verdict.reasons)
