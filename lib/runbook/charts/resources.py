"""Charts of what is used up: memory and CPU, heap, disk, tables, exposure."""

from __future__ import annotations

import math

from runbook.alert import Window
from runbook.charts.figure import Line, bars, timeline
from runbook.charts.frame import Chart, Threshold
from runbook.findings import Finding
from runbook.steps.disk import Forecast, Growth, Tables
from runbook.steps.exposure import Exposure, PositionValues
from runbook.steps.resources import HeapProfile, Throttling, UsageHistory
from runbook.words import amount

_UNITS = {"memory": ("bytes", "memory"), "cpu": ("cores", "CPU")}
"""Of a resource: the unit, and what it is called."""


def usage(finding: Finding[UsageHistory], window: Window) -> Chart | None:
    """A container's memory or CPU over the window, with its limit."""
    found = finding.known
    unit, label = _UNITS[found.resource]
    limit = Threshold(found.limit, f"limit {amount(found.limit, unit)}")
    limits = [limit] if math.isfinite(found.limit) else []
    return timeline(finding.title, unit, window, [Line(label, found.curve, fill=True)], thresholds=limits)


def throttled(finding: Finding[Throttling], window: Window) -> Chart | None:
    """The share of throttled CPU periods over the window; None where it hardly was."""
    curve = finding.known.curve
    if curve["value"].max() < 0.02:
        return None
    limit = Threshold(0.25, "latency suffers above 25 %")
    return timeline(finding.title, "%", window, [Line("throttled", curve, "orange")], thresholds=[limit])


def heap(finding: Finding[HeapProfile], window: Window) -> Chart | None:
    """Live heap memory by the function that holds it."""
    return bars(finding.title, "bytes", finding.known.by_function)


def volume(finding: Finding[Forecast], window: Window) -> Chart | None:
    """A volume's used bytes over the time that the forecast rests on, then the forecast itself, with its capacity."""
    found = finding.known
    lines, end = [Line("used", found.used, fill=True)], window.as_of
    if found.line is not None:
        full = f": full {found.full_at:%m-%d %H:%M}" if found.full_at is not None else ""
        lines.append(Line(f"forecast{full}", found.line))  # dashed, as the second line of a chart
        last = found.line["time"].iloc[-1].to_pydatetime()
        end = last + (last - window.as_of) / 20  # so that it is seen to meet the capacity
    span = Window(found.used["time"].iloc[0].to_pydatetime(), window.starts_at, end)
    capacity = found.capacity_bytes
    limits = [Threshold(capacity, f"capacity {amount(capacity, 'bytes')}"), Threshold(0.8 * capacity, "80 %")]
    return timeline(finding.title, "bytes", span, lines, thresholds=limits)


def tables(finding: Finding[Tables], window: Window) -> Chart | None:
    """The biggest tables, with their indexes."""
    rows = finding.known.rows[:6]
    return bars(finding.title, "bytes", dict(zip(rows["table"].astype(str), rows["total_bytes"], strict=True)))


def growth(finding: Finding[Growth], window: Window) -> Chart | None:
    """What each table grew by in the last day."""
    return bars(finding.title, "bytes", finding.known.by_table)


def exposure(finding: Finding[Exposure], window: Window) -> Chart | None:
    """The share of the portfolio in each symbol, with the limit."""
    limit = finding.known.limit
    thresholds = [Threshold(limit, f"limit {amount(limit, '%')}")]
    return bars(finding.title, "%", finding.known.shares.to_dict(), thresholds=thresholds)


def position_values(finding: Finding[PositionValues], window: Window) -> Chart | None:
    """The value held in each symbol over the window, with the limit."""
    limit = finding.known.limit_usdt
    lines = [Line(symbol.symbol, symbol.curve, step=True) for symbol in finding.known.symbols]
    thresholds = [Threshold(limit, f"limit {amount(limit, 'USDT')}")]
    return timeline(finding.title, "USDT", window, lines, thresholds=thresholds)
