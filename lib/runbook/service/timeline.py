"""One time axis for an incident: when it fired, its runs, escalations and its end, as places in an SVG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

WIDTH = 1_000
_LEFT, _RIGHT = 110, 20
_ROW = 24
_TOP = 26
_RUNS_MAX = 12
_STEPS = (1, 5, 15, 30, 60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000, 31_536_000)


@dataclass(frozen=True, slots=True)
class Bar:
    """A span or a moment on a row: x and width in units of the drawing; `tone` is its colour, `title` what it is."""

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
    """The drawing: rows by name, bars on them, moments as lines over all rows, ticks in UTC."""

    height: int
    rows: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    moments: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    summary: str


def axis(incident: Mapping[str, Any], now: datetime) -> Axis:
    """The axis of an incident, from its first sign to its end or `now`."""
    end = incident["closed_at"] or now
    # An alert may say it began long ago, or later than our clock: the axis shows the part that happened here.
    start = max(min(incident["starts_at"], end), incident["opened_at"] - timedelta(hours=1))
    runs = [run for run in incident["all_runs"] if run["started_at"]][:_RUNS_MAX][::-1]
    end = max([end, start + timedelta(seconds=10), *(r["finished_at"] for r in runs if r["finished_at"])])
    span = (end - start).total_seconds()

    def place(moment: datetime) -> float:
        share: float = min(1.0, max(0.0, (moment - start).total_seconds() / span))
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    names = ["Alerts", *(f"Run {run['id']}" for run in runs)]
    rows = tuple((_TOP + _ROW * index + _ROW / 2, name) for index, name in enumerate(names))
    fires = Bar(
        place(start),
        _TOP + 7,
        max(3.0, place(end) - place(start)),
        incident["severity"],
        f"{incident['title']} from {start:%H:%M:%S} to {end:%H:%M:%S}",
    )
    bars = [fires]
    for index, run in enumerate(runs, 1):
        finish = run["finished_at"] or end
        x = place(run["started_at"])
        title = f"Run {run['id']}: {run['state']}, {run['started_at']:%H:%M:%S} to {finish:%H:%M:%S}"
        bars.append(Bar(x, _TOP + _ROW * index + 7, max(4.0, place(finish) - x), run["level"], title))
    height = _TOP + _ROW * len(names) + 8
    kinds = ("escalated", "resolved", "closed", "dead_man", "joined")
    moments = tuple(
        Bar(place(event["at"]), _TOP, height - _TOP, event["kind"], f"{event['kind']}: {event['text']}")
        for event in incident["events"]
        if event["kind"] in kinds
    )
    return Axis(
        height, rows, tuple(bars), moments, _ticks(start, end, span, place), _summary(incident, runs, start, end)
    )


def _ticks(start: datetime, end: datetime, span: float, place: Any) -> tuple[Tick, ...]:
    step = next((s for s in _STEPS if span / s <= 7), _STEPS[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43_200 else "%m-%d"
    first = start.timestamp() // step * step + step
    moments = [datetime.fromtimestamp(first + step * index, start.tzinfo) for index in range(8)]
    return tuple(Tick(place(m), f"{m:{form}}") for m in moments if m < end)


def _summary(incident: Mapping[str, Any], runs: list[Any], start: datetime, end: datetime) -> str:
    state = "closed" if incident["closed_at"] else "open"
    return f"{len(runs)} runs between {start:%Y-%m-%d %H:%M:%S} and {end:%H:%M:%S} UTC; the incident is {state}."
