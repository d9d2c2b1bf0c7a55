"""Memory and CPU: trends against scipy, leak or burst, heap profiles, the limit that is asked for."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
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
from runbook.findings import Finding, Findings
from runbook.outcome import Status, Verdict
from runbook.steps.platform import ConfigChange, ConfigChanges
from runbook.steps.resources import container, figures, heap, pods, proposals, rises, verdict
from runbook.steps.resources.figures import Chosen, Shape
from runbook.steps.resources.trends import leak_or_burst
from runbook.steps.shared import quotas, trend

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


def finding(found: Any, status: Status = Status.WARNING) -> Finding[Any]:
    return Finding(status, type(found).__name__, figures=found)


def past(
    values: Any, *, limit: float = 512 * MEBI, resource: str = "memory", noise: float = 0.01
) -> Finding[figures.UsageHistory]:
    curve = series(values, noise)
    highest = float(curve["value"].max())
    return finding(figures.UsageHistory(POD, resource, limit, 0.0, highest, MOMENT, curve))


def near(
    resource: str = "memory", ratio: float = 0.85, chosen: Chosen = Chosen.NAMED, pod: str = POD
) -> figures.Affected:
    limit = 512 * MEBI if resource == "memory" else 0.5
    deployment = "market-data-server"
    return figures.Affected(pod, deployment, deployment, resource, ratio * limit, limit, ratio, "c-3", chosen)


def moving(shape: Shape, **changes: Any) -> figures.UsageTrend:
    steady = figures.UsageTrend(shape, "memory", 36 * MEBI, 30 * MEBI, 40 * MEBI, 437 * MEBI, 200 * MEBI, 3600.0)
    return replace(steady, **changes)


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
        (MEBI * (200 + 0.6 * MINUTES), "memory", Shape.LEAK),
        (MEBI * np.clip(200 + 11 * (MINUTES - 320), 200, 430), "memory", Shape.BURST),
        (MEBI * np.clip(200 + 4 * (MINUTES - 330), 200, 500), "memory", Shape.CLIMBING),
        (MEBI * 430.0, "memory", Shape.STEADY),
        (np.where(MINUTES < 300, 0.08, 0.46), "cpu", Shape.STEP),
    ],
)
def test_the_shape_of_use(values: Any, resource: str, shape: Shape) -> None:
    found = leak_or_burst(past(values, resource=resource, limit=0.5 if resource == "cpu" else 512 * MEBI))
    assert found.known.shape is shape


def test_a_leak_says_when_the_limit_is_reached() -> None:
    found = leak_or_burst(past(MEBI * (200 + 0.7 * MINUTES)))
    left = (512 - (200 + 0.7 * MINUTES[-1])) / 0.7 * 60
    leak = found.known
    assert leak.seconds_to_limit == pytest.approx(left, rel=0.05)
    assert leak.earliest_seconds <= leak.seconds_to_limit <= leak.latest_seconds
    assert found.status is Status.CRITICAL


def test_a_restart_begins_anew() -> None:
    sawtooth = MEBI * np.where(MINUTES < 200, 200 + MINUTES, 150 + 0.001 * MINUTES)
    found = leak_or_burst(past(sawtooth))
    assert found.known.shape is Shape.STEADY
    assert found.known.restarted_at is not None
    assert "Counted since the restart at" in found.detail


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
    [
        (437 * MEBI, "memory", "768Mi"),
        (800 * MEBI, "memory", "1536Mi"),
        (1.4e9, "memory", "2Gi"),
        (0.476, "cpu", "750m"),
        (1.3, "cpu", "2"),
    ],
)
def test_the_next_limit_holds_the_peak_at_70_percent(peak: float, kind: str, text: str) -> None:
    new = quotas.next_limit(peak, kind)
    assert peak <= 0.7 * new
    assert quotas.quantity_text(new, kind) == text


def verdict_of(*found: Finding[Any]) -> Verdict:
    return verdict.decide(Findings(found), ALERT)


def test_the_patch_is_what_the_api_server_takes() -> None:
    new = figures.Proposal(True, 768 * MEBI, "768Mi")
    decided = verdict_of(finding(near()), finding(new))
    change = next(action for action in decided.actions if action.changes and "patch" in action.command)
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
    trial = next(action for action in decided.actions if "--dry-run=server" in action.command)
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
    subject = finding(figures.Affected('p"} or vector(1)', "c\n", "c", "cpu", 0.5, 1.0, 0.5))
    found: list[Finding[Any]] = [
        pods.usage(metrics, ALERT, WINDOW),
        container.history(subject, metrics, ALERT, WINDOW),
        container.throttling(subject, metrics, ALERT, WINDOW),
    ]
    assert {one.status for one in found} == {Status.UNKNOWN}
    for expression in metrics.expressions:
        promql_parser.parse(expression)


def test_the_alerts_pod_is_the_subject_and_a_gone_one_is_said() -> None:
    rows = pd.DataFrame(
        {
            "pod": ["a-1", "b-2"],
            "deployment": ["a", "b"],
            "container": ["a", "b"],
            "memory": [400.0, 90.0],
            "memory_limit": [500.0, 100.0],
            "of memory limit": [0.8, 0.9],
            "cpu": [0.1, 0.1],
            "cpu_limit": [1.0, 1.0],
            "of CPU limit": [0.1, 0.1],
        }
    )
    known = finding(figures.PodUsage(rows))
    away: Finding[figures.PodUsage] = Finding(Status.UNKNOWN, "Top pods: not known")
    alert = Alert("HighMemoryUsage", {}, {}, MOMENT)
    assert pods.affected(alert, known, away, pod="a-1").known.pod == "a-1"
    assert pods.affected(alert, known, away).known.pod == "b-2"
    gone = pods.affected(alert, known, away, pod="c-3")
    assert gone.status is Status.WARNING
    assert gone.known.chosen is Chosen.STRANGER
    assert gone.title.startswith("c-3 is not there now; b-2 uses")
    replaced = pods.affected(alert, known, away, pod="a-7c9f8d6b5-x2x4z").known
    assert (replaced.pod, replaced.chosen) == ("a-1", Chosen.SIBLING)


@pytest.mark.parametrize(("chosen", "status"), [(Chosen.SIBLING, Status.WARNING), (Chosen.STRANGER, Status.UNKNOWN)])
def test_what_became_of_the_alerts_pod_is_said_before_another_is_called_fine(chosen: Chosen, status: Status) -> None:
    decided = verdict_of(finding(near(ratio=0.5, chosen=chosen, pod="b-2")))
    assert decided.status is status
    assert decided.summary.startswith("c-3, which the alert names, is not there now")


def test_nothing_is_known_of_a_pod_when_no_usage_is() -> None:
    away: Finding[figures.PodUsage] = Finding(Status.UNKNOWN, "Top pods: not known")
    alert = Alert("HighMemoryUsage", {}, {}, MOMENT)
    assert pods.affected(alert, away, away).status is Status.UNKNOWN


def test_unknown_usage_is_never_ok() -> None:
    decided = verdict_of(Finding[None](Status.UNKNOWN, "Affected pod: not known"))
    assert decided.status is Status.UNKNOWN
    assert any("not known" in reason for reason in decided.reasons)


@pytest.mark.parametrize(
    ("found", "status", "decision"),
    [
        (moving(Shape.LEAK, seconds_to_limit=1e5), Status.WARNING, "raise the limit for time, repair the leak"),
        (moving(Shape.LEAK, seconds_to_limit=3600.0), Status.CRITICAL, "raise the limit for time, repair the leak"),
        (moving(Shape.CLIMBING), Status.WARNING, "watch it closely"),
        (moving(Shape.BURST), Status.WARNING, "no leak: raise the limit one step, or undo what filled it"),
        (moving(Shape.STEADY), Status.WARNING, "raise the limit one step"),
    ],
)
def test_each_shape_has_its_decision(found: figures.UsageTrend, status: Status, decision: str) -> None:
    decided = verdict_of(finding(near()), finding(found))
    assert (decided.status, decided.decision) == (status, decision)


def test_a_burst_says_what_began_with_it_and_what_holds_it() -> None:
    change = ConfigChange(MOMENT - timedelta(minutes=10), "market_data.cache.days 7 -> 90")
    decided = verdict_of(
        finding(near()),
        finding(moving(Shape.BURST, onset=MOMENT)),
        finding(figures.HeapProfile("market.Fill", share=0.6, by_function={"market.Fill": 1.0})),
        finding(figures.Rise("Candle cache warm-up started", 1, MOMENT)),
        finding(ConfigChanges((change,))),
    )
    began = "after the change “market_data.cache.days 7 -> 90” at 13:52 UTC"
    assert f"{began}, with “Candle cache warm-up started” in its log; market.Fill holds it." in decided.summary
    assert any("go tool pprof" in action.command for action in decided.actions)


def test_a_limit_that_holds_the_peak_is_not_raised() -> None:
    enough = proposals.proposal(finding(near(ratio=0.5)), past(MEBI * 250.0), finding(moving(Shape.STEADY)))
    assert not enough.known.is_needed
    short = proposals.proposal(finding(near()), past(MEBI * 430.0, noise=0.0), finding(moving(Shape.LEAK)))
    assert short.known.quantity == "768Mi"
    assert short.known.lasts_seconds == pytest.approx((768 - 437) / 36 * 3600)


@pytest.mark.parametrize(("hours_ago", "is_recent"), [(1, True), (30, False)])
def test_a_kill_is_recent_for_a_day(hours_ago: float, is_recent: bool) -> None:
    ended = pd.Timestamp(WINDOW.as_of) - pd.Timedelta(hours=hours_ago)
    rows = pd.DataFrame({"name": [POD], "last_exit": ["OOMKilled"], "last_exit_at": [ended]})
    cluster: Any = SimpleNamespace(pods=lambda: SimpleNamespace(frame=rows))
    metrics: Any = Asked()
    found = container.oom_history(finding(near()), cluster, metrics, ALERT, WINDOW)
    assert (found.known.is_killed, found.known.is_recent) == (True, is_recent)
    assert found.status is (Status.CRITICAL if is_recent else Status.WARNING)


def test_nothing_is_called_new_in_a_log_that_does_not_reach_back() -> None:
    lines = pd.DataFrame({"time": pd.to_datetime([MOMENT]), "level": ["info"], "message": ["hello"], "fields": [{}]})
    cluster: Any = SimpleNamespace(logs=lambda *_, **__: SimpleNamespace(frame=lines))
    rise = finding(moving(Shape.BURST, onset=pd.Timestamp(MOMENT)))
    assert rises.at_the_rise(rise, finding(near()), cluster, WINDOW).status is Status.UNKNOWN
