"""The drawing itself: a few kinds of chart, as SVG that follows the reader's light or dark setting.

Every chart has a title that states a finding, units, UTC, the alert's moment and its threshold, and
alternative text. Colours are Okabe and Ito's, which colour-blind people tell apart; lines differ in
dash as well.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from runbook.alert import Window
from runbook.outcome import one_line
from runbook.tables import amount

POINTS_MAX = 2_000
_WIDTH = 7.4

# name: (light, dark). The light value is what matplotlib draws with; the SVG then names it as a variable.
_COLOURS = {
    "surface": ("#fefefe", "#14181d"),
    "ink": ("#1c2127", "#e4e8ec"),
    "muted": ("#5b6570", "#9aa5b1"),
    "grid": ("#dfe3e7", "#2c333b"),
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#d55e01", "#f0904a"),
    "green": ("#007a5a", "#2fbf95"),
    "purple": ("#a8487f", "#d98bb8"),
    "amber": ("#9a6a00", "#e6b422"),
    "slate": ("#4a5a6b", "#b3c0cd"),
    "alarm": ("#b3261e", "#ff8a80"),
}
LIGHT = {name: pair[0] for name, pair in _COLOURS.items()}
CYCLE = ("blue", "orange", "green", "purple", "amber", "slate")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (4, 1)), (0, (1, 1)))
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "runbook",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": LIGHT["grid"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.linewidth": 0.8,
    "axes.titlecolor": LIGHT["ink"],
    "figure.facecolor": LIGHT["surface"],
    "axes.facecolor": LIGHT["surface"],
    "savefig.facecolor": LIGHT["surface"],
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.7,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "text.parse_math": False,
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart: SVG text, its title and its alternative text."""

    svg: str
    title: str
    alt: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series over time: `frame` has `time` (UTC) and `value`; `colour` is one of CYCLE or "alarm"."""

    label: str
    frame: pd.DataFrame
    colour: str = ""
    fill: bool = False
    step: bool = False


@dataclass(frozen=True, slots=True)
class Threshold:
    """A horizontal limit with its label."""

    value: float
    label: str


def timeline(
    title: str,
    unit: str,
    window: Window,
    lines: Sequence[Line],
    *,
    thresholds: Sequence[Threshold] = (),
    note: str = "",
    height: float = 2.9,
) -> Chart | None:
    """Series over the window's time with the alert's moment and thresholds; None where no series has two points.

    `unit` is as in outcome.Table.units. Long series are thinned to the extremes of each bucket.
    """
    drawable = [line for line in lines if line.frame["value"].notna().sum() >= 2]
    if not drawable:
        return None
    with mpl.rc_context(_RC):
        figure, axes = _frame(title, height)
        for number, line in enumerate(drawable):
            colour = LIGHT[line.colour or CYCLE[number % len(CYCLE)]]
            thin = extremes(line.frame, POINTS_MAX // len(drawable))
            x, y = thin["time"].to_numpy(dtype="datetime64[us]"), thin["value"].to_numpy()
            style = _DASHES[number % len(_DASHES)] if len(drawable) > 1 else "-"
            axes.plot(
                x,
                y,
                color=colour,
                linewidth=1.6,
                linestyle=style,
                label=_short(line.label),
                drawstyle="steps-post" if line.step else "default",
            )
            if line.fill:
                axes.fill_between(x, y, 0, color=colour, alpha=0.16, linewidth=0)
        _limits(axes, thresholds)
        _time_axis(axes, window)
        _value_axis(axes, unit)
        if len(drawable) > 1:
            _legend(axes, len(drawable))
        _alert_moment(axes, window.starts_at)
        return _chart(figure, title, _describe(title, drawable, unit, thresholds, window, note))


def bars(
    title: str, unit: str, values: Mapping[str, float], *, thresholds: Sequence[Threshold] = (), note: str = ""
) -> Chart | None:
    """Horizontal bars, one a name, in the order given, losses in another colour than gains; None without values."""
    shown = {name: value for name, value in list(values.items())[:15] if math.isfinite(value)}
    if not shown:
        return None
    with mpl.rc_context(_RC):
        figure, axes = _frame(title, 0.9 + 0.34 * len(shown))
        names, sizes = [_short(name) for name in shown], list(shown.values())
        positions = range(len(names))
        axes.barh(
            positions, sizes, color=[LIGHT["orange"] if size < 0 else LIGHT["blue"] for size in sizes], height=0.62
        )
        axes.set_yticks(positions, names, color=LIGHT["ink"])
        axes.invert_yaxis()
        axes.axvline(0, color=LIGHT["muted"], linewidth=0.8)
        low, high = min(0.0, *sizes, *(t.value for t in thresholds)), max(0.0, *sizes, *(t.value for t in thresholds))
        room = 0.24 * ((high - low) or 1)
        axes.set_xlim(low - (room if low < 0 else 0), high + (room if high > 0 else 0))
        for position, size in zip(positions, sizes, strict=True):
            axes.annotate(amount(size, unit), (size, position), xytext=(4 if size >= 0 else -4, 0), textcoords="offset points",
                          va="center", ha="left" if size >= 0 else "right", fontsize=9)  # fmt: skip
        for limit in thresholds:
            axes.axvline(limit.value, color=LIGHT["alarm"], linewidth=1.1, linestyle=(0, (5, 3)))
            axes.annotate(_short(limit.label, 60), (limit.value, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
                          ha="center", va="bottom", fontsize=9, color=LIGHT["alarm"])  # fmt: skip
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))
        _ticks(axes.xaxis, unit)
        axes.set_xlabel(_unit_name(unit))
        axes.grid(axis="x")
        text = "; ".join(f"{name} {amount(size, unit)}" for name, size in shown.items())
        return _chart(figure, title, f"{title}. Bars: {text}. {note}".strip())


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
    with mpl.rc_context(_RC):
        figure, axes = _frame(title, 1.1 + 0.36 * len(lanes))
        seen: dict[float, None] = {}
        for position, parts in enumerate(spans.values()):
            for start, end, value in parts:
                word, colour = names.get(value, (f"{value:g}", "slate"))
                left, width = date2num(start), date2num(end) - date2num(start)
                axes.barh(position, width, left=left, height=0.6, color=LIGHT[colour], alpha=1.0 if colour in ("alarm", "orange") else 0.55,
                          label=_short(word) if value not in seen else None, hatch="///" if colour in ("orange", "amber") else None,
                          edgecolor=LIGHT["surface"], linewidth=0.4)  # fmt: skip
                seen[value] = None
        axes.set_yticks(range(len(lanes)), [_short(name) for name in lanes], color=LIGHT["ink"])
        axes.invert_yaxis()
        _time_axis(axes, window)
        _legend(axes, len(seen))
        _alert_moment(axes, window.starts_at)
        text = "; ".join(
            f"{name}: " + ", ".join(_span_text(part, names) for part in parts[-6:]) for name, parts in spans.items()
        )
        return _chart(figure, title, f"{title}. {text}. {note}".strip())


def heatmap(
    title: str, unit: str, window: Window, grid: pd.DataFrame, *, threshold: Threshold | None = None, note: str = ""
) -> Chart | None:
    """Rows (index: names) by time (columns: UTC), darker is more; cells over the threshold are outlined. None when empty."""
    grid = grid.dropna(how="all").iloc[:16]
    if grid.empty or grid.shape[1] < 2:
        return None
    with mpl.rc_context(_RC):
        figure, axes = _frame(title, 1.2 + 0.36 * len(grid))
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
        axes.set_yticks(np.arange(len(grid)) + 0.5, [_short(str(name)) for name in grid.index], color=LIGHT["ink"])
        axes.invert_yaxis()
        bar = figure.colorbar(mesh, ax=axes, pad=0.015, fraction=0.045)
        bar.set_label(_unit_name(unit))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))
        _time_axis(axes, window)
        _alert_moment(axes, window.starts_at)
        peaks = "; ".join(
            f"{name} up to {amount(np.nanmax(row), unit)}" for name, row in zip(grid.index, values, strict=True)
        )
        over = f" Red underlines mark cells over {threshold.label}." if threshold else ""
        return _chart(figure, title, f"{title}. {peaks}.{over} {note}".strip())


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


def _frame(title: str, height: float) -> tuple[Figure, Axes]:
    wrapped = textwrap.wrap(one_line(title, 240), 78)[:3]
    figure = Figure(figsize=(_WIDTH, height + 0.22 * len(wrapped)), layout="constrained")
    axes = figure.add_subplot()
    figure.suptitle("\n".join(wrapped), x=0.012, ha="left", fontsize=11, fontweight="bold")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=9)
    return figure, axes


def _time_axis(axes: Axes, window: Window) -> None:
    start, end = date2num(window.start), date2num(window.as_of)
    axes.set_xlim(start, end + max((end - start) * 0.01, 1 / 86_400))
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False, tz=UTC))
    axes.set_xlabel(f"UTC, {window.start:%Y-%m-%d %H:%M} to {window.as_of:%Y-%m-%d %H:%M}", fontsize=9)


def _value_axis(axes: Axes, unit: str) -> None:
    _ticks(axes.yaxis, unit)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))
    axes.grid(axis="y")
    axes.set_ylabel(_unit_name(unit), fontsize=9)


def _ticks(axis: Axis, unit: str) -> None:
    """About five round ticks; of bytes, round in powers of 1024."""
    low, high = axis.get_view_interval()
    size = 1024 ** int(math.log(max(abs(low), abs(high), 1), 1024)) if unit == "bytes" else 1
    values: Any = MaxNLocator(5).tick_values(low / size, high / size)
    axis.set_ticks([value * size for value in values if low <= value * size <= high])


def _alert_moment(axes: Axes, moment: datetime) -> None:
    x = date2num(moment)
    left, right = axes.get_xlim()
    if left <= x <= right:
        axes.axvline(x, color=LIGHT["alarm"], linewidth=1.2)
        near_end = (x - left) / (right - left) > 0.5
        axes.annotate(f"alert {moment:%H:%M}", (x, 1), xycoords=("data", "axes fraction"), xytext=(2 if near_end else -2, 2),
                      textcoords="offset points", ha="right" if near_end else "left", va="bottom", fontsize=9, color=LIGHT["alarm"])  # fmt: skip


def _limits(axes: Axes, thresholds: Sequence[Threshold]) -> None:
    for limit in thresholds:
        if math.isfinite(limit.value):
            axes.axhline(limit.value, color=LIGHT["alarm"], linewidth=1.1, linestyle=(0, (5, 3)))
            axes.annotate(_short(limit.label, 60), (0, limit.value), xycoords=("axes fraction", "data"), xytext=(4, 3), textcoords="offset points",
                          fontsize=9, color=LIGHT["alarm"], bbox={"facecolor": LIGHT["surface"], "edgecolor": "none", "pad": 0.5, "alpha": 0.8})  # fmt: skip


def _legend(axes: Axes, entries: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(entries, 4), frameon=False, fontsize=9, handlelength=2.2,
                borderaxespad=0.1, labelcolor=LIGHT["ink"])  # fmt: skip


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
    for line in lines:
        values = line.frame.dropna(subset=["value"])
        low, high = values["value"].idxmin(), values["value"].idxmax()
        parts.append(
            f"{line.label}: lowest {amount(values['value'][low], unit)} at {values['time'][low]:%H:%M}, "
            f"highest {amount(values['value'][high], unit)} at {values['time'][high]:%H:%M}, last {amount(values['value'].iloc[-1], unit)}"
        )
    limits = "".join(f" {limit.label}." for limit in thresholds)
    return f"{title}. {'; '.join(parts)}.{limits} Alert at {window.starts_at:%H:%M} UTC. {note}".strip()


def _tick(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value * 100:,.4g}".replace("-", "−")
    if unit in ("bytes", "s"):
        return amount(value, unit)
    return f"{value:,.6g}".replace("-", "−")


def _unit_name(unit: str) -> str:
    return {"%": "percent", "bytes": "", "s": "", "ms": "milliseconds"}.get(unit, unit)


def _short(label: str, most: int = 32) -> str:
    """`label` on one line, at most `most` characters; a leading underscore would hide it from the legend."""
    return one_line(label.lstrip(" _"), most) or "(no name)"


def _chart(figure: Figure, title: str, alt: str) -> Chart:
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # letters stay letters: the reader's fonts draw them
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for name, (light, _) in _COLOURS.items():
        svg = svg.replace(light, f"var(--{name})")
    dark = ";".join(f"--{name}:{pair[1]}" for name, pair in _COLOURS.items())
    light = ";".join(f"--{name}:{pair[0]}" for name, pair in _COLOURS.items())
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    head, rest = svg.split(">", 1)
    return Chart(f"{head}>{style}{rest}", title, one_line(alt, 1500))
