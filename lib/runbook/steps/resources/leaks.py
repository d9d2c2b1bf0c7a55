"""Leak or burst: whether usage still grows, what holds the memory, and what began with the rise."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.steps.resources import heap
from runbook.steps.resources.observations import shown
from runbook.steps.shared import trend
from runbook.steps.shared.log_patterns import patterns
from runbook.words import amount, counted, duration, moment

_PROVEN_SECONDS = 90 * 60
_NO_GO = ("postgres", "redis", "grafana")


def leak_or_burst(past: Finding) -> Finding:
    """Leak or burst: does usage still grow, how surely, and since when."""
    limit, kind = past.figures["limit"], past.figures["resource"]
    frame, restarted = _since_reset(past.series["usage"])
    last = trend.last_stretch(frame)
    recent = trend.slope(last)
    if recent is None:
        return Finding("resources.leak_or_burst", Status.UNKNOWN, "Leak or burst: too few samples for a trend",
                       f"{len(frame)} samples" + (f" since it restarted {moment(restarted)}." if restarted is not None else "."))  # fmt: skip
    scale = limit if math.isfinite(limit) else past.figures["highest"]
    base, level = float(frame["value"].head(max(len(frame) // 10, 3)).median()), recent.level
    span = float((last["time"].iloc[-1] - last["time"].iloc[0]).total_seconds())
    shape = _shape(recent, level - base, span, scale, kind)
    grows = shape in ("leak", "climbing")
    likely, earliest, latest = trend.until(limit - level, recent) if grows else (math.inf, math.inf, math.inf)
    onset = _onset(frame) if shape != "steady" else None
    hourly = f"{shown(recent.per_second * 3600, kind, signed=True)} an hour (95 %: {shown(recent.low * 3600, kind, signed=True)} to {shown(recent.high * 3600, kind, signed=True)})"
    began = f" from about {onset:%H:%M} UTC on" if onset is not None else ""
    words = {
        "leak": f"It grows without end: {hourly} over {duration(span)}{', a leak by its shape' if kind == 'memory' else ''}",
        "climbing": f"It climbs: {hourly}, for {duration(span)} only: too short to tell a leak from a burst",
        "burst": f"A burst, not a leak: it rose by {shown(level - base, kind)}{began} and has been level for {duration(span)}: {hourly}",
        "step": f"A step: it rose by {shown(level - base, kind)}{began} and has stayed there for {duration(span)}: {hourly}",
        "steady": f"Steady: {hourly}",
    }  # fmt: skip
    notes = (
        [f"At this rate the limit is reached in {duration(likely)} ({trend.spread(likely, earliest, latest)})."]
        if math.isfinite(likely)
        else []
    )
    notes.append("The trend is Theil and Sen's over the last stretch without a bend.")
    notes += [f"Counted since the restart at {moment(restarted)}."] if restarted is not None else []
    return Finding(
        "resources.leak_or_burst",
        Status.CRITICAL if likely < 2 * 3600 else Status.WARNING if shape != "steady" else Status.OK,
        words[shape],
        " ".join(notes),
        {"shape": shape, "per_hour": recent.per_second * 3600, "per_hour_low": recent.low * 3600, "per_hour_high": recent.high * 3600,
         "seconds_to_limit": _finite(likely), "earliest_seconds": _finite(earliest), "latest_seconds": _finite(latest), "onset": onset,
         "level": level, "base": base, "restarted_at": restarted},
    )  # fmt: skip


def _shape(recent: trend.Slope, risen: float, span: float, scale: float, kind: str) -> str:
    """leak, climbing, burst (memory) or step (CPU), or steady; six hours' growth under 2 % of `scale` is none."""
    if recent.rises and recent.per_second * 6 * 3600 > 0.02 * scale:
        return "leak" if span >= _PROVEN_SECONDS else "climbing"
    if risen > 0.1 * scale:
        return "burst" if kind == "memory" else "step"
    return "steady"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _since_reset(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timestamp | None]:
    """`frame` from the last fall by more than a third on, and when that was: a restart begins anew."""
    values = frame["value"].to_numpy()
    falls = [i for i in range(1, len(values)) if values[i] < values[i - 1] * 0.66]
    if not falls or falls[-1] > len(values) - 8:
        return frame.reset_index(drop=True), None
    return frame.iloc[falls[-1] :].reset_index(drop=True), frame["time"].iloc[falls[-1]]


def _onset(frame: pd.DataFrame) -> pd.Timestamp | None:
    """When the rise began: the last time that usage was within a tenth of the way up; None where it began before `frame`."""
    smooth = frame["value"].rolling(5, center=True, min_periods=1).median()
    edge = max(len(smooth) // 10, 3)
    base, top = float(smooth.head(edge).median()), float(smooth.tail(edge).median())
    low = smooth[smooth <= base + 0.1 * (top - base)]
    return pd.Timestamp(frame["time"][int(low.index[-1])]) if len(low) and low.index[-1] > 2 * edge else None


def at_the_rise(shape: Finding, subject: Finding, cluster: Cluster, window: Window) -> Finding:
    """What began with the rise: log patterns of the affected deployment that first appear around it."""
    onset, app = shape.figures["onset"], subject.figures["deployment"]
    if onset is None:
        return Finding("resources.at_the_rise", Status.OK, "The window holds no beginning of a rise to look at",
                       "Usage is steady, or it rose before the window began: a longer lookback_hours would show it.", {"pattern": ""})  # fmt: skip
    frame = cluster.logs(app, window.start, window.as_of, tail=2000).frame
    grouped = (
        patterns(frame)
        if len(frame)
        else pd.DataFrame(columns=["level", "pattern", "lines", "first", "last", "example"])
    )
    near = grouped[
        (grouped["first"] >= onset - pd.Timedelta(minutes=10)) & (grouped["first"] <= onset + pd.Timedelta(minutes=30))
    ]
    seen_before = len(frame) > 0 and bool((frame["time"].dropna() < onset - pd.Timedelta(minutes=10)).any())
    if not seen_before:
        return Finding("resources.at_the_rise", Status.UNKNOWN, f"What began with the rise: the log of {app} does not reach back to {onset:%H:%M} UTC",
                       "Without lines from before it, nothing can be called new.")  # fmt: skip
    if near.empty:
        return Finding("resources.at_the_rise", Status.OK, f"{app} logged nothing new when the rise began at {onset:%H:%M} UTC", "", {"pattern": ""},
                       (Table(f"What {app} logged", grouped, {"lines": "", "first": "time", "last": "time"}),))  # fmt: skip
    first = near.sort_values("first").iloc[0]
    return Finding(
        "resources.at_the_rise",
        Status.WARNING,
        f"With the rise at {onset:%H:%M} UTC began “{str(first['pattern'])[:90]}” ({first['lines']}×, first {first['first']:%H:%M})",
        f"{counted(len(near), 'pattern')} of {app}'s log first appear around then. In time is not yet because of.",
        {"pattern": str(first["pattern"])[:160], "first": first["first"], "lines": int(first["lines"])},
        (
            Table(
                "Log patterns that began with the rise",
                near.sort_values("first", ignore_index=True),
                {"lines": "", "first": "time", "last": "time"},
            ),
        ),
    )


def heap_profile(subject: Finding, cluster: Cluster) -> Finding:
    """Heap profile: where the affected Go program's live memory was allocated, from its pprof port."""
    pod, name = subject.figures["pod"], "resources.heap_profile"
    if subject.figures["deployment"] in _NO_GO:
        return Finding(name, Status.OK, f"{subject.figures['deployment']} is no Go program: there is no heap profile to read",
                       "Look at its own figures: connections and work_mem for PostgreSQL, INFO memory for Redis.")  # fmt: skip
    answer = cluster.pod_port(pod, heap.PORT, "/debug/pprof/heap?debug=1").data
    if answer["code"] >= 300:
        return Finding(name, Status.UNKNOWN, f"Heap profile: port {heap.PORT} of {pod} does not answer",
                       "Nothing with net/http/pprof listens there: is profiling switched on in this program?")  # fmt: skip
    try:
        sites, stats = heap.parse(answer["body"])
    except ValueError:
        return Finding(name, Status.UNKNOWN, f"Heap profile: {pod} answers with something else", f"Port {heap.PORT} is used by another server.")  # fmt: skip
    if not sites:
        return Finding(name, Status.UNKNOWN, "Heap profile: it holds no samples", "The program just started, or profiling is switched off.")  # fmt: skip
    table = heap.top(sites)
    first, live = table.iloc[0], float(table["bytes"].sum())
    alloc = stats.get("HeapAlloc", live)
    used = subject.figures["used"] if subject.figures["resource"] == "memory" else float("nan")
    beside = f" The working set is {amount(used, 'bytes')}: {amount(max(used - stats.get('HeapInuse', alloc), 0.0), 'bytes')} of it is not Go's heap in use (stacks, freed pages not yet returned, page cache)." if math.isfinite(used) else ""  # fmt: skip
    shown_sites = table.head(8).assign(function=table["function"].map(heap.short)).round({"objects": 0})
    return Finding(
        name,
        Status.WARNING if first["share"] > 0.4 else Status.OK,
        f"{heap.short(first['function'])} holds {amount(first['bytes'], 'bytes')}, {amount(first['share'], '%')} of the live heap",
        f"{amount(round(first['objects']))} objects, allocated at {first['at']}. Heap in use {amount(stats.get('HeapInuse', alloc), 'bytes')}.{beside}",
        {"function": heap.short(first["function"]), "at": str(first["at"]), "bytes": float(first["bytes"]), "share": float(first["share"]), "live": live,
         "heap_in_use": stats.get("HeapInuse"), "collections": stats.get("NumGC")},
        (Table("Live memory by where it was allocated", shown_sites, {"bytes": "bytes", "objects": "", "share": "%"}),),
        {"sites": {heap.short(f): b for f, b in zip(table["function"][:8], table["bytes"][:8], strict=True)}},
    )  # fmt: skip
