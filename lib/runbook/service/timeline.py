"""One time axis for an incident: when it fired, its runs, escalations and its end, as places in an SVG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_BEFORE = timedelta(hours=1)
_ROW = 24
_TOP = 26
_THINNEST = 0.8
_RUNS_MAX = 12
_STEPS = (1, 5, 15, 30, 60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000, 31_536_000)


@dataclass(frozen=True, slots=True)
class Bar:
    """A span or a moment on a row: x and width in percent of the drawing; `tone` is its colour, `title` what it is."""

    x: float
    y: float
    width: float
    tone: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """The drawing: rows by name, bars on them, moments as lines over all rows, ticks in UTC.

    `began_earlier` is where the axis begins, when that is after the alert's own start; else None.
    """

    height: int
    rows: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    moments: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    summary: str
    began_earlier: datetime | None


def axis(incident: Mapping[str, Any], now: datetime) -> Axis:
    """The axis of an incident, from its first sign to its end or `now`."""
    end = incident["closed_at"] or now
    # An alert may say it began long ago, or later than our clock: the axis shows the part that happened here.
    began = min(incident["starts_at"], end)
    start = max(began, incident["opened_at"] - _BEFORE)
    runs = [run for run in incident["all_runs"] if run["started_at"]][:_RUNS_MAX][::-1]
    end = max([end, start + timedelta(seconds=10), *(r["finished_at"] for r in runs if r["finished_at"])])
    span = (end - start).total_seconds()

    def place(moment: datetime) -> float:
        share: float = min(1.0, max(0.0, (moment - start).total_seconds() / span))
        return round(100 * share, 2)

    def bar(row: int, first: datetime, last: datetime, tone: str, title: str) -> Bar:
        width = max(_THINNEST, place(last) - place(first))
        return Bar(min(place(first), 100 - width), _TOP + _ROW * row + 7, width, tone, title)

    names = ["Alerts", *(f"Run {run['id']}" for run in runs)]
    rows = tuple((_TOP + _ROW * index + _ROW / 2, name) for index, name in enumerate(names))
    title = f"{incident['title']} from {began:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC"
    bars = [bar(0, start, end, incident["severity"], title)]
    for index, run in enumerate(runs, 1):
        finish = run["finished_at"] or end
        title = f"Run {run['id']}: {run['state']}, {run['started_at']:%H:%M:%S} to {finish:%H:%M:%S} UTC"
        bars.append(bar(index, run["started_at"], finish, run["level"], title))
    height = _TOP + _ROW * len(names) + 8
    kinds = ("escalated", "resolved", "closed", "dead_man", "joined")
    moments = tuple(
        Bar(place(event["at"]), _TOP, height - _TOP, event["kind"], f"{event['kind']}: {event['text']}")
        for event in incident["events"]
        if event["kind"] in kinds
    )
    return Axis(
        height,
        rows,
        tuple(bars),
        moments,
        _ticks(start, end, span, place),
        _summary(incident, runs, start, end, began),
        start if began < start else None,
    )


def _ticks(start: datetime, end: datetime, span: float, place: Any) -> tuple[Tick, ...]:
    step = next((s for s in _STEPS if span / s <= 7), _STEPS[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43_200 else "%m-%d"
    first = start.timestamp() // step * step + step
    moments = [datetime.fromtimestamp(first + step * index, start.tzinfo) for index in range(8)]
    return tuple(Tick(place(m), f"{m:{form}}") for m in moments if m < end)


def _summary(incident: Mapping[str, Any], runs: list[Any], start: datetime, end: datetime, began: datetime) -> str:
    state = "closed" if incident["closed_at"] else "open"
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    earlier = f" The alert began earlier, {began:%Y-%m-%d %H:%M:%S} UTC." if began < start else ""
    return f"{count} between {start:%Y-%m-%d %H:%M:%S} and {end:%H:%M:%S} UTC; the incident is {state}.{earlier}"
