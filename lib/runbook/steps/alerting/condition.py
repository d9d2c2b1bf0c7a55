"""The alert's condition: the expression it fires on, and whether that holds around the moment."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from runbook.alert import Alert, Window
from runbook.errors import SourceError
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.sources.metrics import Metrics, union
from runbook.sources.promql import metrics_in
from runbook.steps.alerting import expression, wording
from runbook.steps.alerting.figures import Evaluated, Rule
from runbook.steps.shared.grading import graded
from runbook.steps.shared.histograms import is_capped
from runbook.steps.shared.levels import part
from runbook.words import duration

_SERIES_MAX = 8
_DRAWN_MAX = 6
_FRESH_SECONDS = 600
_SERIES_NAME_LENGTH = 120
_UPWARD = (">", ">=")
_NO_LABELS = ("time", "value", "what", "__name__")


def rule(alert: Alert, metrics: Metrics) -> Finding[Rule]:
    """The alert's expression: from its generatorURL, else from the rule of its name in Prometheus."""
    linked = expression.of_generator(alert.generator_url)
    listed, unread = _Listed(), ""
    try:
        listed = _listed(alert, metrics.rules().frame)
    except SourceError as error:
        unread = str(error)
    fires_on = linked or listed.expression
    if not fires_on:
        nowhere = "Neither does its generatorURL hold one, nor has Prometheus a rule of this name."
        return Finding(Status.UNKNOWN, "The alert's expression is not known", unread or nowhere)
    figures = Rule(
        fires_on,
        *expression.split(fires_on),
        for_seconds=listed.for_seconds,
        health=listed.health,
        linked=bool(linked),
        differs=bool(linked) and listed.is_there and linked.split() != listed.expression.split(),
    )
    return Finding(
        graded(False, figures.differs),
        f"The alert fires on: {fires_on[:240]}",
        wording.rule_detail(alert.name, figures, unread),
        figures,
    )


@dataclass(frozen=True, slots=True)
class _Listed:
    """What Prometheus' rules say of the alert; without values where they hold none of its name."""

    expression: str = ""
    for_seconds: float | None = None
    health: str = ""

    @property
    def is_there(self) -> bool:
        return self.for_seconds is not None


def _listed(alert: Alert, rules: pd.DataFrame) -> _Listed:
    """Of the rules of the alert's name the first whose labels it has, else the first."""
    namesakes = rules[rules["name"] == alert.name].to_dict("records")
    fitting = [row for row in namesakes if row["labels"].items() <= alert.labels.items()]
    if not namesakes:
        return _Listed()
    chosen = (fitting or namesakes)[0]
    return _Listed(str(chosen["expression"]), chosen["for_seconds"], str(chosen["health"]))


def evaluated(rule_found: Finding[Rule], alert: Alert, metrics: Metrics, window: Window) -> Finding[Evaluated]:
    """The expression around the moment: what it measures, against its threshold, and when it crossed it."""
    condition = rule_found.known
    threshold = expression.constant(condition.limit)
    asked = union(_parts(condition, threshold))
    frame = metrics.range(asked, window.start, window.as_of, series=_SERIES_MAX).frame.dropna(subset=["value"])
    limits = part(frame, "limit")
    if len(limits):
        threshold = float(limits["value"].iloc[-1])
    series = _series(frame, alert)
    if not series:
        title = "The alert's expression has no sample in the window"
        return Finding(Status.UNKNOWN, title, f"Asked for: {condition.measured[:300]}.")
    name, rows = series[0]
    drawn = dict(series[:_DRAWN_MAX])
    detail = wording.series_detail(name, len(series), len(drawn))
    age_seconds = (pd.Timestamp(window.as_of) - rows["time"].iloc[-1]).total_seconds()
    if age_seconds > _FRESH_SECONDS:
        return Finding(Status.UNKNOWN, f"The alert's condition has no sample for {duration(age_seconds)}", detail)
    now = float(rows["value"].iloc[-1])
    holds = expression.holds(now, condition.operator, threshold)
    since = expression.holds_since(rows, condition.operator, threshold)
    figures = Evaluated(now, threshold, condition.operator, holds, since, name, drawn, _capped_by(condition, now))
    is_untold = bool(figures.capped_by) and condition.operator in _UPWARD
    status = graded(holds and alert.severity == "critical", holds, is_untold)
    if is_untold and not holds:
        detail = (
            f"{detail} The last bucket of {figures.capped_by} ends there: what takes longer reads no higher.".strip()
        )
    return Finding(status, wording.evaluated_title(figures), detail, figures)


def _capped_by(condition: Rule, value: float) -> str:
    """The histogram whose end the measured quantile stands at; "" where it does at none's."""
    if "histogram_quantile" not in condition.measured:
        return ""
    histograms = (name.removesuffix("_bucket") for name in metrics_in(condition.measured))
    return next((name for name in histograms if _is_capped(value, name)), "")


def _is_capped(value: float, histogram: str) -> bool:
    """Whether the value is the end of its last bucket, in its own unit."""
    is_in_seconds = histogram.endswith("_seconds")
    return is_capped(value * 1000 if is_in_seconds else value, histogram)


def _parts(condition: Rule, threshold: float | None) -> dict[str, str]:
    """What to ask for: the measured side, nearest to the limit first, and the limit where it is no constant."""
    nearest = "bottomk" if condition.operator in ("<", "<=") else "topk"
    value = {"value": f"{nearest}({_SERIES_MAX}, {condition.measured})"}
    if threshold is not None or not condition.limit:
        return value
    return value | {"limit": f"topk(1, {condition.limit})"}


def _series(frame: pd.DataFrame, alert: Alert) -> list[tuple[str, pd.DataFrame]]:
    """(name, rows) of each measured series: of those that fit the alert's labels, or of all where none does."""
    if "what" not in frame:
        return []
    measured = frame[frame["what"] == "value"]
    names = [name for name in measured.columns if name not in _NO_LABELS]
    groups = measured.groupby(names, sort=False) if names else [((), measured)]
    found = []
    for key, rows in groups:
        labels = {name: str(value) for name, value in zip(names, key, strict=True) if value}
        fits = all(alert.labels.get(name, value) == value for name, value in labels.items())
        found.append((fits, _series_name(labels), rows[["time", "value"]].reset_index(drop=True)))
    fitting = [series for series in found if series[0]]
    return [(name, rows) for _, name, rows in fitting or found if len(rows)]


def _series_name(labels: dict[str, str]) -> str:
    shown = (f"{name}={value}" for name, value in labels.items() if name != "namespace")
    return ", ".join(shown)[:_SERIES_NAME_LENGTH]
