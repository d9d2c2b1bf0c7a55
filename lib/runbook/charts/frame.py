"""What every chart is drawn in: colours for light and dark, text widths, margins, axes, and the way out to SVG.

Margins are worked out from the texts' widths instead of matplotlib's layout engines, which draw
everything once more to find them.
"""

from __future__ import annotations

import functools
import io
import math
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator, NullLocator

from runbook.alert import Window
from runbook.words import amount, one_line, unbroken

_WIDTH = 7.4  # inches, as every length here
_LINE = 0.22  # a line of text
_EDGE = 0.09
_RIGHT = 0.16
_TITLE_LETTERS = 78
_TICKS = 7
_SVG_DPI = 72  # an SVG's unit is a point
_IMAGE_DPI = 100
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

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
LABEL_BOX: Any = {"facecolor": LIGHT["surface"], "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "runbook",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": LIGHT["grid"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.linewidth": 0.8,
    "axes.titlecolor": LIGHT["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "figure.facecolor": LIGHT["surface"],
    "axes.facecolor": LIGHT["surface"],
    "savefig.facecolor": LIGHT["surface"],
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
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
class Threshold:
    """A horizontal limit with its label."""

    value: float
    label: str


_ready: list[Axes] = []


def prepare(count: int) -> None:
    """Make axes ahead of time, which takes as long as drawing: a warm process does this before it is forked."""
    with mpl.rc_context(_RC):
        _ready.extend(_make_axes() for _ in range(count))


@contextmanager
def new_axes() -> Iterator[Axes]:
    """Axes of a figure of their own, with our settings while the block lasts. `finish` gives them their place."""
    with mpl.rc_context(_RC):
        yield _ready.pop() if _ready else _make_axes()


def _make_axes() -> Axes:
    axes = Figure(dpi=_SVG_DPI).add_axes((0.1, 0.1, 0.8, 0.8))
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_ticks(_TICKS)
    return axes


def finish(axes: Axes, title: str, alt: str, plot: float, *, right: float = _RIGHT, labels_above: int = 0) -> Chart:
    """The chart, its plot `plot` inches high with room for what stands around it: title, legend, tick and axis labels.

    `labels_above` lines are free between the plot and its legend.
    """
    figure: Any = axes.figure
    names = [text.get_text() for text in axes.get_yticklabels()]
    label = _LINE if axes.get_ylabel() else 0.0
    width = plot_width(names, right) - label
    left = _WIDTH - right - width
    lines = textwrap.wrap(unbroken(one_line(title, 240)), _TITLE_LETTERS)[:3]
    rows = _legend(axes, width, 1 + (_LINE * labels_above + 0.02) / plot)
    top = _EDGE + _LINE * (len(lines) + labels_above + rows) + 0.06
    bottom = (_LINE + 0.06) + (_LINE if axes.get_xlabel() else 0)
    height = top + plot + bottom
    figure.set_size_inches(_WIDTH, height)
    axes.set_position((left / _WIDTH, bottom / height, width / _WIDTH, plot / height))
    for more in figure.axes[1:]:  # the scale of colours beside a heatmap
        more.set_position((1 - (right - 0.08) / _WIDTH, bottom / height, 0.14 / _WIDTH, plot / height))
    axes.xaxis.set_label_coords(0.5, -(_LINE + 0.06) / plot)
    axes.yaxis.set_label_coords(-(left - _EDGE - 0.08) / width, 0.5)
    figure.text(
        _EDGE / _WIDTH, 1 - _EDGE / height, "\n".join(lines), va="top", ha="left", fontsize=11, fontweight="bold"
    )
    return Chart(_svg(figure), title, one_line(alt, 1500))


def plot_width(names: Sequence[str], right: float = _RIGHT) -> float:
    """The plot's width in inches beside tick labels `names` and `right` inches at the other side."""
    return _WIDTH - right - _EDGE - 0.06 - max((text_width(name) for name in names), default=0.0)


def time_axis(axes: Axes, window: Window) -> None:
    """The window's time along the bottom, in UTC."""
    start, end = date2num(window.start), date2num(window.as_of)
    axes.set_xlim(start, end + max((end - start) * 0.01, 1 / 86_400))
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False, tz=UTC))
    axes.set_xlabel(f"UTC, {window.start:%Y-%m-%d %H:%M} to {window.as_of:%Y-%m-%d %H:%M}", fontsize=9)


def value_ticks(axis: Axis, unit: str) -> None:
    """About five round ticks with their values in `unit`; of bytes, round in powers of 1024."""
    low, high = axis.get_view_interval()
    power = int(math.log(max(abs(low), abs(high), 1), 1024)) if unit == "bytes" else 0
    size = 1024 ** min(power, len(_BYTES) - 1)
    values: Any = [v for v in MaxNLocator(5).tick_values(low / size, high / size) if low <= v * size <= high]
    if unit == "bytes":
        names = [f"{value:,.6g} {_BYTES[min(power, len(_BYTES) - 1)]}".replace("-", "−") for value in values]
    else:
        names = [_tick(value, unit) for value in values]
    axis.set_ticks([value * size for value in values], names)
    axis.set_minor_locator(NullLocator())


def value_axis(axes: Axes, unit: str) -> None:
    """Values in `unit` along the left, with lines across."""
    value_ticks(axes.yaxis, unit)
    axes.grid(axis="y")
    axes.set_ylabel(unit_name(unit), fontsize=9)


def names_axis(axes: Axes, positions: Sequence[float], names: Sequence[str]) -> None:
    """One name a lane along the left, the first at the top."""
    axes.set_yticks(positions, names, color=LIGHT["ink"])
    axes.invert_yaxis()


def alert_moment(axes: Axes, moment: datetime) -> None:
    """The line where the alert began; its label stands in the first line above the plot."""
    x = date2num(moment)
    left, right = axes.get_xlim()
    if left <= x <= right:
        axes.axvline(x, color=LIGHT["alarm"], linewidth=1.2)
        near_end = (x - left) / (right - left) > 0.5
        axes.annotate(
            f"alert {moment:%H:%M}",
            (x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2 if near_end else -2, 2),
            textcoords="offset points",
            ha="right" if near_end else "left",
            va="bottom",
            fontsize=9,
            color=LIGHT["alarm"],
        )


def limits_across(axes: Axes, thresholds: Sequence[Threshold]) -> None:
    """A dashed line with its label at each threshold's value."""
    for limit in thresholds:
        if math.isfinite(limit.value):
            axes.axhline(limit.value, color=LIGHT["alarm"], linewidth=1.1, linestyle=(0, (5, 3)))
            axes.annotate(
                short(limit.label, 60),
                (0, limit.value),
                xycoords=("axes fraction", "data"),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=9,
                color=LIGHT["alarm"],
                bbox=LABEL_BOX,
            )


def unit_name(unit: str) -> str:
    """The unit in words, where its values do not carry it."""
    return {"%": "percent", "bytes": "", "s": "", "ms": "milliseconds"}.get(unit, unit)


def short(label: str, most: int = 32) -> str:
    """`label` on one line, at most `most` characters; a leading underscore would hide it from the legend."""
    return one_line(label.lstrip(" _"), most) or "(no name)"


def text_width(text: str, points: float = 9) -> float:
    """The width of one line of `text` in inches, in the font that charts are laid out with."""
    return sum(_advance(letter) for letter in text) * points / 72


@functools.cache
def _advance(letter: str) -> float:
    """How far a letter moves the pen, in em."""
    # Not kept: a font is an open file, which no fork may share. matplotlib keeps it, and drops it in a fork.
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=["sans-serif"])))
    if font.get_char_index(ord(letter)) == 0:  # the reader's fonts have it; those wide in the East are an em
        return 1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.7
    return float(font.load_char(ord(letter), flags=LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM)


def _legend(axes: Axes, width: float, height: float) -> int:
    """The legend of several series above the plot, at `height` of the axes -> its lines."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels or (len(labels) == 1 and axes.lines):  # the title says what a single line is
        return 0
    columns = max(1, min(len(labels), 4, int(width / (max(map(text_width, labels)) + 0.62))))
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.01, height),
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=2.2,
        borderaxespad=0.0,
        borderpad=0.1,
        labelspacing=0.35,
        labelcolor=LIGHT["ink"],
    )
    return math.ceil(len(labels) / columns)


def _tick(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value * 100:,.4g}".replace("-", "−")
    if unit == "s":
        return amount(value, unit)
    text = f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:,.6g}"
    return text.replace("-", "−")


class _Renderer(RendererSVG):
    """Measures a text once a process: the same tick labels come again in chart after chart."""

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        return _measured(s, prop)


@functools.lru_cache(4096)
def _measured(text: str, font: Any) -> tuple[float, float, float]:
    found: tuple[float, float, float] = text_to_path.get_text_width_height_descent(text, font, False)
    return found


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    width, height = figure.get_size_inches()
    metadata = {"Date": None, "Creator": None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # letters stay letters: the reader's fonts draw them
        drawn = _Renderer(width * _SVG_DPI, height * _SVG_DPI, buffer, image_dpi=_IMAGE_DPI, metadata=metadata)
        renderer: Any = MixedModeRenderer(figure, width, height, _IMAGE_DPI, drawn)
        figure.draw(renderer)
        renderer.finalize()
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for name, (light, _) in _COLOURS.items():
        svg = svg.replace(light, f"var(--{name})")
    dark = ";".join(f"--{name}:{pair[1]}" for name, pair in _COLOURS.items())
    light = ";".join(f"--{name}:{pair[0]}" for name, pair in _COLOURS.items())
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    head, rest = svg.split(">", 1)
    return f"{head}>{style}{rest}"
