"""One time axis for an incident: when it fired, its runs, escalations and its end, as places in an SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbook.history.listing import IncidentDetails
from runbook.history.rows import Incident, Run
from runbook.words import clock_seconds, counted, moment

_BEFORE = timedelta(hours=1)
_ROW = 24
_TOP = 26
_THINNEST = 0.8
_RUNS_MAX = 12
# Events that are drawn as lines over all rows.
_MARKED = ("escalated", "resolved", "closed", "dead_man", "joined")
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


def axis(details: IncidentDetails, now: datetime) -> Axis:
    """The axis of an incident, from its first sign to its end or `now`."""
    incident = details.incident
    end = incident.closed_at or now
    # An alert may say it began long ago, or later than our clock: the axis shows the part that happened here.
    began = min(incident.starts_at, end)
    start = max(began, incident.opened_at - _BEFORE)
    runs = _newest(details.runs)
    end = max([end, start + timedelta(seconds=10), *(run.finished_at for run in runs if run.finished_at)])
    span = (end - start).total_seconds()

    def place(instant: datetime) -> float:
        share: float = min(1.0, max(0.0, (instant - start).total_seconds() / span))
        return round(100 * share, 2)

    def bar(row: int, first: datetime, last: datetime, tone: str, title: str) -> Bar:
        width = max(_THINNEST, place(last) - place(first))
        return Bar(min(place(first), 100 - width), _TOP + _ROW * row + 7, width, tone, title)

    names = ["Alerts", *(f"Run {run.id}" for run in runs)]
    rows = tuple((_TOP + _ROW * index + _ROW / 2, name) for index, name in enumerate(names))
    title = f"{incident.title} from {moment(began)} to {clock_seconds(end)}"
    bars = [bar(0, start, end, incident.severity, title)]
    for index, run in enumerate(runs, 1):
        began_run, finish = run.started_at or run.queued_at, run.finished_at or end
        title = f"Run {run.id}: {run.state}, {clock_seconds(began_run)} to {clock_seconds(finish)}"
        bars.append(bar(index, began_run, finish, run.level, title))
    height = _TOP + _ROW * len(names) + 8
    moments = tuple(
        Bar(place(event.at), _TOP, height - _TOP, event.kind, f"{event.kind}: {event.text}")
        for event in details.events
        if event.kind in _MARKED
    )
    return Axis(
        height,
        rows,
        tuple(bars),
        moments,
        _ticks(start, end, span, place),
        _summary(incident, len(runs), start, end, began),
        start if began < start else None,
    )


def _newest(runs: Sequence[Run]) -> list[Run]:
    """Of runs, newest first, the newest that have begun; oldest first."""
    begun = [run for run in runs if run.started_at][:_RUNS_MAX]
    return begun[::-1]


def _ticks(start: datetime, end: datetime, span: float, place: Callable[[datetime], float]) -> tuple[Tick, ...]:
    step = next((s for s in _STEPS if span / s <= 7), _STEPS[-1])
    form = "%m-%d"
    if step < 60:
        form = "%H:%M:%S"
    elif step < 43_200:
        form = "%H:%M"
    first = start.timestamp() // step * step + step
    moments = [datetime.fromtimestamp(first + step * index, start.tzinfo) for index in range(8)]
    return tuple(Tick(place(m), f"{m:{form}}") for m in moments if m < end)


def _summary(incident: Incident, runs: int, start: datetime, end: datetime, began: datetime) -> str:
    state = "closed" if incident.closed_at else "open"
    earlier = f" The alert began earlier, {moment(began)}." if began < start else ""
    span = f"{counted(runs, 'run')} between {moment(start)} and {clock_seconds(end)}"
    return f"{span}; the incident is {state}.{earlier}"
