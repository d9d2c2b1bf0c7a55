"""Volumes: how full they are, and when they will be."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.metrics import Metrics, quote, selector
from runbook.steps.disk.figures import DAY, Forecast, VolumeUsage
from runbook.steps.disk.wording import forecast_detail, forecast_title, usage_title
from runbook.steps.shared import trend
from runbook.steps.shared.grading import graded
from runbook.words import amount, moment

_PREFIX = "kubelet_volume_stats_"
_KINDS = {"used_bytes": "used", "capacity_bytes": "capacity", "available_bytes": "available"}
_UNITS = {"used": "bytes", "capacity": "bytes", "available": "bytes", "full": "%"}
_DRAWN_DAYS = 7.0
_FORESEEN_DAYS = 3650.0
_SLOWEST = 0.0005
"""Growth under this share of the capacity a day is none."""


def usage(metrics: Metrics, alert: Alert, window: Window, volume: str = "") -> Finding[VolumeUsage]:
    """Disk usage: used and capacity of every volume at the report's moment.

    The alert's volume, else the fullest, is the subject.
    """
    samples = _samples(metrics, alert, window)
    if samples.empty or "persistentvolumeclaim" not in samples:
        return Finding(
            Status.UNKNOWN,
            "Disk usage: Prometheus has no volume metrics",
            "kubelet_volume_stats_used_bytes has no sample; is the kubelet scraped?",
        )
    rows = _volumes(samples)
    tables = (Table("Volumes, the fullest first", rows.dropna(axis="columns", how="all"), _UNITS),)
    wanted = volume or alert.labels.get("persistentvolumeclaim", "")
    mine = rows[rows["volume"] == wanted] if wanted else rows
    if mine.empty:
        title = f"Disk usage: there is no sample of the volume {wanted[:100]}"
        return Finding(Status.UNKNOWN, title, f"Prometheus knows {len(rows)} other volumes.", tables=tables)
    row = mine.iloc[0]
    has_usage = math.isfinite(row["used"])
    if not (has_usage and row["capacity"] > 0):
        missing = "capacity" if has_usage else "usage"
        return Finding(
            Status.UNKNOWN,
            f"Disk usage: {row['volume']} lacks its {missing}",
            "Both kubelet_volume_stats_used_bytes and kubelet_volume_stats_capacity_bytes are needed.",
            tables=tables,
        )
    found = VolumeUsage(str(row["volume"]), float(row["used"]), float(row["capacity"]))
    left = f"{amount(found.left_bytes, 'bytes')} are left."
    whose = "As the alert names it." if wanted else "The alert names no volume; this is the fullest."
    status = graded(found.is_critical, found.is_over)
    return Finding(status, usage_title(found), f"{left} {whose}", found, tables)


def _samples(metrics: Metrics, alert: Alert, window: Window) -> pd.DataFrame:
    where = selector(namespace=alert.labels.get("namespace"))
    inside = "," + where[1:-1] if where else ""
    names = "|".join(_PREFIX + name for name in _KINDS)
    expression = f'topk(300, max by (__name__, persistentvolumeclaim) ({{__name__=~"{names}"{inside}}}))'
    return metrics.instant(expression, window.as_of).frame.dropna(subset=["value"])


def _volumes(samples: pd.DataFrame) -> pd.DataFrame:
    """volume, used, capacity, available (bytes) and full (a ratio), the fullest first; NaN where there is no sample."""
    kinds = samples["__name__"].str.removeprefix(_PREFIX).map(_KINDS)
    wide = samples.assign(kind=kinds).pivot_table(
        index="persistentvolumeclaim", columns="kind", values="value", aggfunc="max"
    )
    rows = wide.reset_index().reindex(columns=["persistentvolumeclaim", *_KINDS.values()])
    rows = rows.rename(columns={"persistentvolumeclaim": "volume"})
    rows["full"] = rows["used"] / rows["capacity"].where(rows["capacity"] > 0)
    return rows.sort_values("full", ascending=False, ignore_index=True, na_position="last")


def forecast(
    volume: Finding[VolumeUsage], metrics: Metrics, alert: Alert, window: Window, trend_hours: float = 48.0
) -> Finding[Forecast]:
    """Forecast: how fast the volume fills, when it is full (with a range), and since when it grows as it does."""
    pairs = {"namespace": alert.labels.get("namespace", ""), "persistentvolumeclaim": volume.known.volume}
    chosen = ",".join(f"{name}={quote(value)}" for name, value in pairs.items() if value)
    expression = f"max(kubelet_volume_stats_used_bytes{{{chosen}}})"
    start = window.as_of - timedelta(hours=trend_hours)
    used = metrics.range(expression, start, window.as_of, series=4).frame.dropna(subset=["value"])
    last = trend.last_stretch(used)
    recent, whole = trend.slope(last), trend.slope(used)
    if recent is None or whole is None:
        return Finding(
            Status.UNKNOWN,
            "Forecast: too few samples of the volume for a trend",
            f"{len(used)} samples in {trend_hours:g} hours; eight are needed.",
        )
    found = _forecast(volume.known, used, last, recent, whole, window)
    detail = f"{len(last)} samples since {moment(last['time'].iloc[0])}."
    if found.grows:
        detail = forecast_detail(found, trend_hours)
    return Finding(graded(found.is_imminent, found.is_near), forecast_title(found), detail, found)


def _forecast(
    volume: VolumeUsage,
    used: pd.DataFrame,
    last: pd.DataFrame,
    recent: trend.Slope,
    whole: trend.Slope,
    window: Window,
) -> Forecast:
    """By the trend of the `last` stretch of `used`; the range is widened by the trend of the whole."""
    since = last["time"].iloc[0] if len(last) < len(used) else None
    per_day = recent.per_second * DAY
    steady = Forecast(
        per_day, recent.low * DAY, recent.high * DAY, volume.capacity_bytes, used[["time", "value"]], since
    )
    if per_day < _SLOWEST * volume.capacity_bytes or not recent.rises:
        return steady
    likely, earliest, latest = trend.until(volume.left_bytes, recent)
    if whole.rises:
        by_whole = trend.until(volume.left_bytes, whole)[0]
        earliest, latest = min(earliest, by_whole), max(latest, by_whole)
    return replace(
        steady,
        per_day_before=_before(used, last) * DAY,
        grows=True,
        seconds_left=likely,
        earliest_seconds=earliest,
        latest_seconds=latest,
        full_at=_at(window, likely),
        line=_drawn(volume.capacity_bytes - volume.left_bytes, recent.per_second, likely, window),
    )


def _drawn(used: float, per_second: float, likely: float, window: Window) -> pd.DataFrame:
    """The forecast as a line (time, value): from what is used now, at the same growth, to full; at most a week."""
    seconds = min(likely, _DRAWN_DAYS * DAY)
    times = [window.as_of, window.as_of + timedelta(seconds=seconds)]
    return pd.DataFrame(
        {"time": pd.Series(times).astype("datetime64[us, UTC]"), "value": [used, used + per_second * seconds]}
    )


def _before(used: pd.DataFrame, last: pd.DataFrame) -> float:
    """The growth a second before the last stretch; NaN where there is none."""
    earlier = trend.slope(used[used["time"] < last["time"].iloc[0]])
    return earlier.per_second if earlier is not None else math.nan


def _at(window: Window, seconds: float) -> pd.Timestamp | None:
    return pd.Timestamp(window.as_of) + pd.Timedelta(seconds=seconds) if seconds < _FORESEEN_DAYS * DAY else None
