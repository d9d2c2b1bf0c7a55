"""The drawing itself: a few kinds of chart, as SVG that follows the reader's light or dark setting.

Every chart has a title that states a finding, units, UTC, the alert's moment and its threshold, and
alternative text. Colours are Okabe and Ito's, which colour-blind people tell apart; lines differ in
dash as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.dates import date2num

from runbook.alert import Window
from runbook.charts.frame import (
    LABEL_BOX,
    LIGHT,
    Chart,
    Threshold,
    alert_moment,
    finish,
    limits_across,
    names_axis,
    new_axes,
    plot_width,
    short,
    text_width,
    time_axis,
    unit_name,
    value_axis,
    value_ticks,
)
from runbook.words import amount

POINTS_MAX = 2_000
_LANE = 0.34  # inches, as heights everywhere
CYCLE = ("blue", "orange", "green", "purple", "amber", "slate")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (4, 1)), (0, (1, 1)))


@dataclass(frozen=True, slots=True)
class Line:
    """One series over time: `frame` has `time` (UTC) and `value`; `colour` is one of CYCLE or "alarm"."""

    label: str
    frame: pd.DataFrame
    colour: str = ""
    fill: bool = False
    step: bool = False


def timeline(
    title: str,
    unit: str,
    window: Window,
    lines: Sequence[Line],
    *,
    thresholds: Sequence[Threshold] = (),
    note: str = "",
    height: float = 2.1,
) -> Chart | None:
    """Series over the window's time with the alert's moment and thresholds; None where no series has two points.

    `unit` is as in outcome.Table.units. Long series are thinned to the extremes of each bucket.
    """
    drawable = [line for line in lines if line.frame["value"].notna().sum() >= 2]
    if not drawable:
        return None
    with new_axes() as axes:
        for number, line in enumerate(drawable):
            colour = LIGHT[line.colour or CYCLE[number % len(CYCLE)]]
            thin = extremes(line.frame, POINTS_MAX // len(drawable))
            x, y = date2num(thin["time"].to_numpy(dtype="datetime64[us]")), thin["value"].to_numpy()
            style = _DASHES[number % len(_DASHES)] if len(drawable) > 1 else "-"
            axes.plot(
                x,
                y,
                color=colour,
                linewidth=1.6,
                linestyle=style,
                label=short(line.label),
                drawstyle="steps-post" if line.step else "default",
            )
            if line.fill:
                axes.fill_between(x, y, 0, color=colour, alpha=0.16, linewidth=0)
        limits_across(axes, thresholds)
        time_axis(axes, window)
        value_axis(axes, unit)
        alert_moment(axes, window.starts_at)
        alt = _describe(title, drawable, unit, thresholds, window, note)
        return finish(axes, title, alt, height, labels_above=1)


def bars(
    title: str, unit: str, values: Mapping[str, float], *, thresholds: Sequence[Threshold] = (), note: str = ""
) -> Chart | None:
    """Horizontal bars, one a name, in the order given, losses in another colour than gains; None without values."""
    shown = {name: value for name, value in list(values.items())[:15] if math.isfinite(value)}
    if not shown:
        return None
    with new_axes() as axes:
        names, sizes = [short(name) for name in shown], list(shown.values())
        positions = range(len(names))
        axes.barh(
            positions, sizes, color=[LIGHT["orange"] if size < 0 else LIGHT["blue"] for size in sizes], height=0.62
        )
        axes.axvline(0, color=LIGHT["muted"], linewidth=0.8)
        low, high = min(0.0, *sizes, *(t.value for t in thresholds)), max(0.0, *sizes, *(t.value for t in thresholds))
        below, above = (
            max((text_width(amount(size, unit)) + 0.1 for size in sizes if (size < 0) == is_loss), default=0.0)
            for is_loss in (True, False)
        )
        scale = ((high - low) or 1) / (plot_width(names) - min(below + above, 3.0))
        axes.set_xlim(low - below * scale, high + above * scale)
        for position, size in zip(positions, sizes, strict=True):
            axes.annotate(
                amount(size, unit),
                (size, position),
                xytext=(4 if size >= 0 else -4, 0),
                textcoords="offset points",
                va="center",
                ha="left" if size >= 0 else "right",
                fontsize=9,
                bbox=LABEL_BOX,
            )
        for limit in thresholds:
            axes.axvline(limit.value, color=LIGHT["alarm"], linewidth=1.1, linestyle=(0, (5, 3)))
            axes.annotate(
                short(limit.label, 60),
                (limit.value, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=9,
                color=LIGHT["alarm"],
            )
        value_ticks(axes.xaxis, unit)
        axes.set_ylim(-0.5, len(names) - 0.5)
        names_axis(axes, positions, names)
        axes.set_xlabel(unit_name(unit))
        axes.grid(axis="x")
        text = "; ".join(f"{name} {amount(size, unit)}" for name, size in shown.items())
        alt = f"{title}. Bars: {text}. {note}".strip()
        return finish(axes, title, alt, _LANE * len(names), labels_above=1 if thresholds else 0)


def states(
    title: str,
    window: Window,
    rows: Mapping[str, pd.DataFrame],
    names: Mapping[float, tuple[str, str]],
    *,
    note: str = "",
) -> Chart | None:
    """One lane a name, coloured and lettered by state over time; `names` maps a value to (word, colour)."""
    lanes = {name: frame.dropna(subset=["value"]) for name, frame in list(rows.items())[:16]}
    lanes = {name: frame for name, frame in lanes.items() if len(frame)}
    if not lanes:
        return None
    spans: dict[str, list[tuple[datetime, datetime, float]]] = {
        name: _spans(frame, window) for name, frame in lanes.items()
    }
    with new_axes() as axes:
        seen: dict[float, None] = {}
        for position, parts in enumerate(spans.values()):
            for value in dict.fromkeys(part[2] for part in parts):
                word, colour = names.get(value, (f"{value:g}", "slate"))
                ranges = [
                    (date2num(start), date2num(end) - date2num(start)) for start, end, state in parts if state == value
                ]
                axes.broken_barh(
                    ranges,
                    (position - 0.3, 0.6),
                    facecolor=LIGHT[colour],
                    alpha=1.0 if colour in ("alarm", "orange") else 0.55,
                    label=short(word) if value not in seen else None,
                    hatch="///" if colour in ("orange", "amber") else None,
                    edgecolor=LIGHT["surface"],
                    linewidth=0.4,
                )
                seen[value] = None
        axes.set_ylim(-0.5, len(lanes) - 0.5)
        names_axis(axes, range(len(lanes)), [short(name) for name in lanes])
        time_axis(axes, window)
        alert_moment(axes, window.starts_at)
        text = "; ".join(
            f"{name}: " + ", ".join(_span_text(part, names) for part in parts[-6:]) for name, parts in spans.items()
        )
        alt = f"{title}. {text}. {note}".strip()
        return finish(axes, title, alt, _LANE * len(lanes), labels_above=1)


def heatmap(
    title: str, unit: str, window: Window, grid: pd.DataFrame, *, threshold: Threshold | None = None, note: str = ""
) -> Chart | None:
    """Rows (index: names) by time (columns: UTC), darker is more; cells over the threshold outlined; None if empty."""
    grid = grid.dropna(how="all").iloc[:16]
    if grid.empty or grid.shape[1] < 2:
        return None
    with new_axes() as axes:
        times = date2num(list(grid.columns))
        width = float(np.median(np.diff(times)))
        edges = np.append(times, times[-1] + width)
        values = grid.to_numpy(dtype="float64")
        mesh = axes.pcolormesh(
            edges, np.arange(len(grid) + 1), np.ma.masked_invalid(values), cmap="cividis_r", rasterized=True
        )
        if threshold is not None:
            for row, column in zip(*np.where(values > threshold.value), strict=True):
                axes.plot(
                    [edges[column], edges[column + 1]], [row + 0.92, row + 0.92], color=LIGHT["alarm"], linewidth=2
                )
        axes.set_ylim(0, len(grid))
        names_axis(axes, [row + 0.5 for row in range(len(grid))], [short(str(name)) for name in grid.index])
        figure: Any = axes.figure
        scale = figure.colorbar(mesh, cax=figure.add_axes((0.9, 0.1, 0.05, 0.8)))
        value_ticks(scale.ax.yaxis, unit)
        scale.set_label(unit_name(unit))
        time_axis(axes, window)
        alert_moment(axes, window.starts_at)
        peaks = "; ".join(
            f"{name} up to {amount(np.nanmax(row), unit)}" for name, row in zip(grid.index, values, strict=True)
        )
        over = f" Red underlines mark cells over {threshold.label}." if threshold else ""
        alt = f"{title}. {peaks}.{over} {note}".strip()
        return finish(axes, title, alt, _LANE * len(grid), right=1.0, labels_above=1)


def extremes(frame: pd.DataFrame, points: int) -> pd.DataFrame:
    """`frame` (time, value) thinned to at most about `points` rows: the least and greatest of each bucket.

    Of a bucket without any value one row is kept, so that a gap stays a gap.
    """
    if len(frame) <= points:
        return frame
    values = frame["value"].reset_index(drop=True)
    buckets = pd.Series(np.arange(len(values)) * (points // 2) // len(values))
    known = values.dropna()
    grouped = known.groupby(buckets[known.index])
    gaps = buckets[~buckets.isin(buckets[known.index])].drop_duplicates()
    keep = sorted({*grouped.idxmin(), *grouped.idxmax(), *gaps.index, 0, len(values) - 1})
    return frame.iloc[keep]


def _spans(frame: pd.DataFrame, window: Window) -> list[tuple[datetime, datetime, float]]:
    """(start, end, value) of each run of equal values, the last one reaching as_of."""
    changed = frame["value"].ne(frame["value"].shift())
    starts = frame.loc[changed]
    ends = [*starts["time"].tolist()[1:], pd.Timestamp(window.as_of)]
    return list(zip(starts["time"].tolist(), ends, starts["value"].tolist(), strict=True))


def _span_text(part: tuple[datetime, datetime, float], names: Mapping[float, tuple[str, str]]) -> str:
    word = names.get(part[2], (f"{part[2]:g}", ""))[0]
    return f"{word} from {part[0]:%H:%M} to {part[1]:%H:%M}"


def _describe(
    title: str, lines: Sequence[Line], unit: str, thresholds: Sequence[Threshold], window: Window, note: str
) -> str:
    parts = []
    at = "%H:%M" if window.seconds <= 86_400 else "%m-%d %H:%M"
    for line in lines:
        values = line.frame["value"].to_numpy(dtype="float64")
        low, high, last = np.nanargmin(values), np.nanargmax(values), np.flatnonzero(~np.isnan(values))[-1]
        times = line.frame["time"]
        parts.append(
            f"{line.label}: lowest {amount(values[low], unit)} at {times.iloc[low]:{at}}, "
            f"highest {amount(values[high], unit)} at {times.iloc[high]:{at}}, last {amount(values[last], unit)}"
        )
    limits = "".join(f" {limit.label}." for limit in thresholds)
    return f"{title}. {'; '.join(parts)}.{limits} Alert at {window.starts_at:{at}} UTC. {note}".strip()
