"""Volumes: how full, when they will be, and how large they should be."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, quote, selector
from runbook.steps.shared import trend
from runbook.words import amount, duration, moment

THRESHOLD = 0.8
DAY = 86_400.0
_PREFIX = "kubelet_volume_stats_"
_COLUMNS = {"used_bytes": "used", "capacity_bytes": "capacity", "available_bytes": "available"}
_MEBI = 1024 * 1024
_TARGET = 0.7
_DRAWN_DAYS = 7.0
# Sizes between which a new one is chosen: a power of two MiB, and half as much again.
_LADDER = tuple(step * 2**power * _MEBI for power in range(30) for step in (1.0, 1.5))


def usage(metrics: Metrics, alert: Alert, window: Window, volume: str = "") -> Finding:
    """Disk usage: used and capacity of every volume at the report's moment; the alert's, else the fullest, is the subject."""
    where = selector(namespace=alert.labels.get("namespace"))
    inside = "," + where[1:-1] if where else ""
    names = "|".join(_PREFIX + name for name in _COLUMNS)
    frame = metrics.instant(
        f'topk(300, max by (__name__, persistentvolumeclaim) ({{__name__=~"{names}"{inside}}}))', window.as_of
    ).frame.dropna(subset=["value"])
    if frame.empty or "persistentvolumeclaim" not in frame:
        return Finding("disk.usage", Status.UNKNOWN, "Disk usage: Prometheus has no volume metrics",
                       "kubelet_volume_stats_used_bytes has no sample; is the kubelet scraped?")  # fmt: skip
    kinds = frame["__name__"].str.removeprefix(_PREFIX).map(_COLUMNS)
    wide = (
        frame.assign(kind=kinds)
        .pivot_table(index="persistentvolumeclaim", columns="kind", values="value", aggfunc="max")
        .reset_index()
    )
    rows = wide.reindex(columns=["persistentvolumeclaim", "used", "capacity", "available"]).rename(
        columns={"persistentvolumeclaim": "volume"}
    )
    rows["full"] = rows["used"] / rows["capacity"].where(rows["capacity"] > 0)
    rows = rows.sort_values("full", ascending=False, ignore_index=True, na_position="last")
    wanted = volume or alert.labels.get("persistentvolumeclaim", "")
    mine = rows[rows["volume"] == wanted] if wanted else rows
    table = Table(
        "Volumes, the fullest first",
        rows.dropna(axis="columns", how="all"),
        {"used": "bytes", "capacity": "bytes", "available": "bytes", "full": "%"},
    )
    if mine.empty:
        return Finding("disk.usage", Status.UNKNOWN, f"Disk usage: there is no sample of the volume {wanted[:100]}",
                       f"Prometheus knows {len(rows)} other volumes.", tables=(table,))  # fmt: skip
    row = mine.iloc[0]
    if not (math.isfinite(row["used"]) and row["capacity"] > 0):
        return Finding("disk.usage", Status.UNKNOWN, f"Disk usage: {row['volume']} lacks its {'capacity' if math.isfinite(row['used']) else 'usage'}",
                       "Both kubelet_volume_stats_used_bytes and kubelet_volume_stats_capacity_bytes are needed.", tables=(table,))  # fmt: skip
    ratio = float(row["full"])
    return Finding(
        "disk.usage",
        Status.CRITICAL if ratio > 0.95 else Status.WARNING if ratio > THRESHOLD else Status.OK,
        f"{row['volume']} is {amount(ratio, '%')} full: {amount(row['used'], 'bytes')} of {amount(row['capacity'], 'bytes')}",
        f"{amount(row['capacity'] - row['used'], 'bytes')} are left. " + ("As the alert names it." if wanted else "The alert names no volume; this is the fullest."),
        {"volume": str(row["volume"]), "used_bytes": float(row["used"]), "capacity_bytes": float(row["capacity"]), "ratio": ratio,
         "left_bytes": float(row["capacity"] - row["used"])},
        (table,),
    )  # fmt: skip


def forecast(volume: Finding, metrics: Metrics, alert: Alert, window: Window, trend_hours: float = 48.0) -> Finding:
    """Forecast: how fast the volume fills, when it is full (with a range), and since when it grows as it does."""
    pairs = {"namespace": alert.labels.get("namespace", ""), "persistentvolumeclaim": volume.figures["volume"]}
    chosen = ",".join(f"{name}={quote(value)}" for name, value in pairs.items() if value)
    start = window.as_of - timedelta(hours=trend_hours)
    frame = metrics.range(
        f"max(kubelet_volume_stats_used_bytes{{{chosen}}})", start, window.as_of, series=4
    ).frame.dropna(subset=["value"])
    last = trend.last_stretch(frame)
    recent, whole = trend.slope(last), trend.slope(frame)
    if recent is None or whole is None:
        return Finding("disk.forecast", Status.UNKNOWN, "Forecast: too few samples of the volume for a trend",
                       f"{len(frame)} samples in {trend_hours:g} hours; eight are needed.")  # fmt: skip
    capacity, left = volume.figures["capacity_bytes"], volume.figures["left_bytes"]
    per_day = recent.per_second * DAY
    bent = last["time"].iloc[0] if len(last) < len(frame) else None
    if per_day < 0.0005 * capacity or not recent.rises:
        return Finding(
            "disk.forecast", Status.OK, f"It does not fill up: {_signed(per_day)} a day (95 %: {_signed(recent.low * DAY)} to {_signed(recent.high * DAY)})",
            f"{len(last)} samples since {moment(last['time'].iloc[0])}.",
            {"per_day": per_day, "grows": False, "capacity_bytes": capacity, "seconds_left": None, "since": bent},
            series={"used": frame[["time", "value"]]},
        )  # fmt: skip
    likely, earliest, latest = _range(left, recent, whole)
    faster = (
        f"It grows so since {moment(bent)}; before, it grew by {_signed(_before(frame, last) * DAY)} a day."
        if bent is not None
        else "It grew evenly all the time."
    )
    return Finding(
        "disk.forecast",
        Status.CRITICAL if earliest < DAY else Status.WARNING if likely < 14 * DAY else Status.OK,
        f"Full in {duration(likely)}{_when(_at(window, likely))} ({trend.spread(likely, earliest, latest)}): {_signed(per_day)} a day",
        f"{faster} The trend is Theil and Sen's over the last stretch without a bend; the range is its 95 % interval, widened by the trend of the whole {trend_hours:g} hours.",
        {"per_day": per_day, "per_day_low": recent.low * DAY, "per_day_high": recent.high * DAY, "grows": True, "capacity_bytes": capacity,
         "seconds_left": likely, "earliest_seconds": earliest, "latest_seconds": latest, "full_at": _at(window, likely), "since": bent},
        series={"used": frame[["time", "value"]], "forecast": _drawn(capacity - left, recent.per_second, likely, window)},
    )  # fmt: skip


def _range(left: float, recent: trend.Slope, whole: trend.Slope) -> tuple[float, float, float]:
    """(likely, earliest, latest) seconds until `left` is used up, by the recent trend and, where it rises, the whole."""
    likely, earliest, latest = trend.until(left, recent)
    if whole.rises:
        other = trend.until(left, whole)
        earliest, latest = min(earliest, other[0]), max(latest, other[0])
    return likely, earliest, latest


def _drawn(used: float, per_second: float, likely: float, window: Window) -> pd.DataFrame:
    """The forecast as a line (time, value): from what is used now, at the same growth, to full; a week of it at most."""
    seconds = min(likely, _DRAWN_DAYS * DAY)
    times = [window.as_of, window.as_of + timedelta(seconds=seconds)]
    return pd.DataFrame(
        {"time": pd.Series(times).astype("datetime64[us, UTC]"), "value": [used, used + per_second * seconds]}
    )


def _when(at: pd.Timestamp | None) -> str:
    return f", on {at:%Y-%m-%d %H:%M} UTC" if at is not None else ""


def _before(frame: pd.DataFrame, last: pd.DataFrame) -> float:
    earlier = trend.slope(frame[frame["time"] < last["time"].iloc[0]])
    return earlier.per_second if earlier is not None else math.nan


def _at(window: Window, seconds: float) -> pd.Timestamp | None:
    return pd.Timestamp(window.as_of) + pd.Timedelta(seconds=seconds) if seconds < 3650 * DAY else None


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{amount(value, 'bytes')}"


def expansion(volume: Finding, growth: Finding, cluster: Cluster) -> Finding:
    """Expand the volume: the claim, its storage class, and the size at which a month's growth stays below 70 %."""
    claims = cluster.volumes().frame
    mine = claims[claims["name"] == volume.figures["volume"]]
    if mine.empty:
        return Finding("disk.expansion", Status.UNKNOWN, f"Expand the volume: there is no claim {volume.figures['volume'][:100]}",
                       f"The namespace holds {len(claims)} claims; is KUBE_NAMESPACE right?")  # fmt: skip
    row = mine.iloc[0]
    month = 30 * max(growth.figures["per_day"], 0.0) if growth.figures["grows"] else 0.0
    now = float(row["capacity_bytes"]) if row["capacity_bytes"] > 0 else volume.figures["capacity_bytes"]
    size = next_size(volume.figures["used_bytes"] + month, now)
    needed = volume.figures["ratio"] > THRESHOLD or (growth.figures["seconds_left"] or math.inf) < 14 * DAY
    lasts = (
        (size * THRESHOLD - volume.figures["used_bytes"]) / growth.figures["per_day"] * DAY
        if growth.figures["grows"]
        else math.inf
    )
    return Finding(
        "disk.expansion",
        Status.WARNING if needed else Status.OK,
        f"{row['name']} ({amount(now, 'bytes')}, class {row['storage_class'] or 'default'}) would do for a month with {amount(size, 'bytes')}"
        if needed else f"{row['name']} need not grow now; {amount(size, 'bytes')} would be its next size",
        (f"At the present growth it would pass 80 % again in {duration(lasts)}. " if math.isfinite(lasts) else "")
        + "Only a storage class with allowVolumeExpansion: true takes it, and a volume cannot shrink again.",
        {"volume": str(row["name"]), "new_bytes": size, "text": size_text(size), "needed": needed, "storage_class": str(row["storage_class"])},
    )  # fmt: skip


def next_size(bytes_needed: float, now: float) -> float:
    """The smallest size above `now` of a power of two (or 1.5 of one) MiB that `bytes_needed` fills to 70 % at most."""
    return float(next((size for size in _LADDER if size > now * 1.01 and size * _TARGET >= bytes_needed), _LADDER[-1]))


def size_text(size: float) -> str:
    """`size` as a Kubernetes quantity: 384Mi, 96Gi."""
    mebi = math.ceil(size / _MEBI)
    return f"{mebi // 1024}Gi" if mebi % 1024 == 0 else f"{mebi}Mi"


def patch_body(text: str) -> str:
    """The patch that asks for a claim of that size, as compact JSON."""
    return json.dumps({"spec": {"resources": {"requests": {"storage": text}}}}, separators=(",", ":"))
