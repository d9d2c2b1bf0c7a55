"""The gauge that fired and its threshold, and whether it agrees with what the database holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.alert import Alert, Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.drawdown import wording
from runbook.steps.drawdown.figures import Agreement, ByFills, Gauge, Measure, Measured
from runbook.steps.sessions.figures import DEFAULT_MAX_DRAWDOWN
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import number

DEFAULT_LIMIT = DEFAULT_MAX_DRAWDOWN
_AGREE_POINTS = 0.01
_COMPARED_LEAST = 2
_NO_LABELS = ("time", "value", "__name__")


def gauge(metrics: Metrics, window: Window, alert: Alert | None = None) -> Finding[Gauge]:
    """Drawdown by the gauge: cryptofunk_current_drawdown, the metric that fired, and its threshold."""
    series, exported = (
        answer.frame.dropna(subset=["value"])
        for answer in at_once(
            lambda: metrics.range("max(cryptofunk_current_drawdown)", window.start, window.as_of, series=2),
            lambda: metrics.instant("cryptofunk_max_drawdown_threshold", window.as_of),
        )
    )
    threshold, differing = _threshold(exported, alert.labels if alert else {})
    if series.empty:
        # Its threshold is exported all the same, and others are judged by it.
        nothing = Gauge(math.nan, math.nan, None, threshold, math.nan, series[["time", "value"]], differing)
        return Finding(
            Status.UNKNOWN,
            "Drawdown by the gauge: no usable sample",
            "cryptofunk_current_drawdown has no sample in the window, or only NaN.",
            nothing,
        )
    by_alert = series[series["time"] <= window.starts_at]["value"]
    figures = Gauge(
        drawdown=float(series["value"].iloc[-1]),
        highest=float(series["value"].max()),
        at_alert=float(by_alert.iloc[-1]) if len(by_alert) else None,
        threshold=threshold,
        interval_seconds=float(series["time"].diff().dt.total_seconds().median()),
        curve=series[["time", "value"]],
        differing=differing,
    )
    is_over = math.isfinite(figures.threshold) and figures.drawdown > figures.threshold
    return Finding(graded(False, is_over), wording.gauge(figures), wording.gauge_detail(figures), figures)


def _threshold(exported: pd.DataFrame, labels: Mapping[str, str]) -> tuple[float, tuple[float, ...]]:
    """(the exported threshold, NaN for none; all of them where they differ).

    Every service exports one of its own, 0 where it sets none: of those that fit the alert's labels, else of all, the
    strictest counts.
    """
    usable = exported[exported["value"] > 0]
    shared = [name for name in usable.columns if name not in _NO_LABELS and labels.get(name)]
    fitting = usable[[all(row[name] in ("", labels[name]) for name in shared) for row in usable.to_dict("records")]]
    chosen = fitting if len(fitting) else usable
    if chosen.empty:
        return math.nan, ()
    different = tuple(sorted({float(value) for value in usable["value"]}))
    return float(chosen["value"].min()), different if len(different) > 1 else ()


def agreement(
    fills: Finding[ByFills], performance: Finding[Measured], gauge_now: Finding[Gauge], threshold: float = 0.0
) -> Finding[Agreement]:
    """Do the measures agree: fills, performance rows and gauge, and are they over the threshold.

    Those that are known are compared; the first of them is the one that the others are held against.
    """
    read = {Measure.FILLS: _drawdown(fills), Measure.PERFORMANCE: _drawdown(performance)}
    read[Measure.GAUGE] = _drawdown(gauge_now)
    known = {name: value for name, value in read.items() if math.isfinite(value)}
    missing = tuple(name for name in read if name not in known)
    limit = limit_of(threshold, gauge_now.figures.threshold if gauge_now.figures is not None else None)
    reference = next(iter(known), Measure.FILLS)
    apart = {name: value - read[reference] for name, value in known.items()}
    figures = Agreement(
        reference=reference,
        drawdown=read[reference],
        performance=read[Measure.PERFORMANCE],
        gauge=read[Measure.GAUGE],
        threshold=limit,
        odd=tuple(name for name, by in apart.items() if abs(by) > max(_AGREE_POINTS, 0.1 * read[reference])),
        over=tuple(name for name, value in known.items() if value > limit),
        missing=missing,
        partners=max((found.known.partners for found in (fills, performance) if found.is_known), default=0),
    )
    if len(known) < _COMPARED_LEAST:
        detail = f"There is no usable figure by {' and '.join(missing)}."
        return Finding(Status.UNKNOWN, "Do the measures agree: not known", detail, figures)
    status = graded(reference in figures.over, figures.odd or figures.over)
    title, detail = wording.agreement(figures), wording.agreement_detail(figures)
    return Finding(status, title, detail, figures, (_side_by_side(known, apart, figures),))


def _drawdown(found: Finding[Any]) -> float:
    return number(found.known.drawdown) if found.is_known else math.nan


def _side_by_side(known: Mapping[Measure, float], apart: Mapping[Measure, float], figures: Agreement) -> Table:
    against = "against fills" if figures.reference is Measure.FILLS else "against performance rows"
    table = pd.DataFrame(
        {
            "measure": [name.value for name in known],
            "drawdown": list(known.values()),
            against: list(apart.values()),
            "over the threshold": ["yes" if name in figures.over else "no" for name in known],
        }
    )
    return Table("Drawdown now, by measure", table, {"drawdown": "%", against: "%"})


def limit_of(threshold: float, exported: Any) -> float:
    """The threshold to judge by, a ratio: the one given, else the exported one, else DEFAULT_LIMIT."""
    if threshold > 0:
        return threshold
    value = number(exported)
    return value if value > 0 else DEFAULT_LIMIT
