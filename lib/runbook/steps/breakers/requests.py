"""What goes through breakers: the share of requests that fail, what an open breaker stops, what its service logs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, union
from runbook.steps import platform
from runbook.steps.breakers import wording
from runbook.steps.breakers.figures import Affected, Effect, Effects, FailureRatio, Failures
from runbook.steps.breakers.services import PROTECTED, TRIP_RATIO, TRIP_SECONDS
from runbook.steps.platform import MergedLog
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import level, part

_BREAKERS_MAX = 12
_APPS = ("order-executor-server", "bifrost", "postgres")
"""Whose logs to read where no service's breaker is meant: one of each service."""
FAILURES_QUERY = "sum by (service, result) (rate(circuit_breaker_requests_total[2m]))"
EFFECTS_QUERY = union({service.value: protected.counter for service, protected in PROTECTED.items()})


def failures(metrics: Metrics, window: Window) -> Finding[Failures]:
    """Failure ratio: failed of all requests by breaker, against the 60 % at which a breaker trips."""
    frame = metrics.range(FAILURES_QUERY, window.start, window.as_of, series=7).frame
    ratios = tuple(islice(_ratios(frame, window), _BREAKERS_MAX))
    if not ratios:
        return Finding(
            Status.UNKNOWN,
            "Failure ratio: no usable sample of circuit_breaker_requests_total",
            "No request of any breaker was counted in the window, so no ratio can be told.",
        )
    found = Failures(ratios, max(ratios, key=_reached), TRIP_RATIO)
    levels = [breaker.level for breaker in ratios]
    has_tripped = any(ratio.peak >= TRIP_RATIO for ratio in levels)
    has_risen = any(ratio.rose_at for ratio in levels)
    return Finding(
        graded(has_tripped, has_risen, not all(ratio.has_history for ratio in levels)),
        wording.failures_title(found),
        wording.failures_detail(found),
        found,
        (_table(ratios),),
    )


def _ratios(frame: pd.DataFrame, window: Window) -> Iterator[FailureRatio]:
    """The failure ratio of each breaker that has any request in the window."""
    if "service" not in frame or "result" not in frame:
        return
    for name, rows in frame.groupby("service"):
        by_result = rows.pivot_table(index="time", columns="result", values="value", aggfunc="sum")
        none = pd.Series(0.0, index=by_result.index)
        failed, good = (by_result.get(result, none).fillna(0.0) for result in ("failure", "success"))
        total = failed + good
        ratio = (failed / total.where(total > 0)).rename("value").reset_index()
        if ratio["value"].notna().any():
            requests = float(total.median()) * TRIP_SECONDS
            yield FailureRatio(str(name), level(ratio, window, least=0.05), requests, ratio)


def _reached(breaker: FailureRatio) -> float:
    return breaker.level.peak if math.isfinite(breaker.level.peak) else -1.0


def _table(ratios: tuple[FailureRatio, ...]) -> Table:
    levels = [breaker.level for breaker in ratios]
    shown = pd.DataFrame(
        {
            "breaker": [breaker.breaker for breaker in ratios],
            "usual": [ratio.usual for ratio in levels],
            "highest": [ratio.peak for ratio in levels],
            "now": [ratio.now for ratio in levels],
            "rose at": pd.to_datetime([ratio.rose_at for ratio in levels], utc=True),
            "requests in 10 s": [round(breaker.requests_in_10s, 1) for breaker in ratios],
        }
    )
    units = {"usual": "%", "highest": "%", "now": "%", "rose at": "time", "requests in 10 s": ""}
    return Table("Failure ratio by breaker", shown, units)


def effects(affected: Finding[Affected], metrics: Metrics, window: Window) -> Finding[Effects]:
    """What the open breaker stops: orders executed, decisions made, rows written, now against the usual."""
    frame = metrics.range(EFFECTS_QUERY, window.start, window.as_of, series=4).frame
    levels = {service: level(part(frame, service.value), window) for service in PROTECTED}
    known = tuple(Effect(service, done) for service, done in levels.items() if math.isfinite(done.now))
    if not known:
        return Finding(
            Status.UNKNOWN,
            "What the breaker stops: no current sample of orders, decisions or writes",
            "Their counters are missing, so what is lost cannot be told.",
        )
    found = Effects(affected.known.service, known)
    is_stopped = found.own is not None and found.own.is_low
    return Finding(
        graded(is_stopped, found.low, found.untold),
        wording.effects_title(found),
        wording.effects_detail(found),
        found,
        (_effects_table(known),),
    )


def _effects_table(effects: tuple[Effect, ...]) -> Table:
    shown = pd.DataFrame(
        {
            "what": [PROTECTED[effect.service].work for effect in effects],
            "breaker": [effect.service.value for effect in effects],
            "usual": [round(effect.level.usual, 2) for effect in effects],
            "now": [round(effect.level.now, 2) for effect in effects],
            "of usual": [effect.level.growth for effect in effects],
        }
    )
    return Table("What breakers protect, per minute", shown, {"usual": "", "now": "", "of usual": "%"})


def logs(affected: Finding[Affected], cluster: Cluster, window: Window) -> Finding[MergedLog]:
    """Log patterns of the affected service's deployments, worst first."""
    service = affected.known.service
    apps = PROTECTED[service].deployments if service else _APPS
    return platform.logs_of(cluster, window, apps)
