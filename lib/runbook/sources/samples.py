"""Prometheus' results as tidy DataFrames: a sample that is no number is missing, and what is missing is said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from runbook.errors import SourceUnavailable
from runbook.sources.codec import no_values
from runbook.words import duration, one_line

FRESH_SECONDS = 600
"""A series whose last sample is older than this has ended, or is not scraped any more."""
_ANOTHER_FORM = "metrics answered in a form that Prometheus does not use; is PROMETHEUS_URL right?"
_QUOTED_MAX = 200
_PART = re.compile(r', "what", "([^"]*)", "", ""\)$')
# What Prometheus only remarks, or says although the answer rests on fewer samples.
_REMARK = re.compile(r"^PromQL info:|^metric might not be a counter", re.IGNORECASE)
_DROPPED = re.compile(r"ignored|incompatible|dropped|partial", re.IGNORECASE)


def frame_of(content: Any) -> pd.DataFrame:
    """A query's result (vector, matrix or scalar) -> tidy DataFrame sorted by labels and time.

    NaN and infinite samples are NaN. Raises SourceUnavailable for what is no such result.
    """
    try:
        kind, result = content["data"]["resultType"], content["data"]["result"]
        if kind == "scalar":
            result = [{"metric": {}, "value": result}]
        series = [
            ({_label(name): value for name, value in one["metric"].items()}, one.get("values") or [one["value"]])
            for one in result
        ]
        labels = sorted({name for names, _ in series for name in names})
        series.sort(key=lambda one: [one[0].get(name, "") for name in labels])
        samples = [sample for _, part in series for sample in part]
        times = pd.to_datetime(pd.Series([float(at) for at, _ in samples], dtype="float64"), unit="s", utc=True)
        values = np.array([float(value) for _, value in samples], dtype="float64")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SourceUnavailable(_ANOTHER_FORM) from None
    lengths = [len(part) for _, part in series]
    columns = {
        name: np.repeat(np.array([names.get(name, "") for names, _ in series], dtype="object"), lengths)
        for name in labels
    }
    frame = pd.DataFrame({"time": times.astype("datetime64[us, UTC]"), "value": values} | columns)
    return frame.astype(dict.fromkeys(labels, "object"))


def missing_of(content: Mapping[str, Any], frame: pd.DataFrame, expression: str, end: datetime | None = None) -> str:
    """What an answer leaves out, in clauses; "" where it is whole. Puts NaN for the infinite samples of `frame`.

    `end`: the moment up to which samples are expected, where they are.
    """
    clauses = [*_warnings(content), *_no_numbers(frame, expression)]
    if end is not None:
        clauses += _ended(frame, expression, end)
    return "; ".join(clauses)


def rules_of(content: Any) -> pd.DataFrame:
    """The alerting rules: name, expression, for_seconds, state, labels, annotations, health.

    Raises SourceUnavailable.
    """
    columns = ["name", "expression", "for_seconds", "state", "labels", "annotations", "health"]
    try:
        rows = [
            [
                r["name"],
                r["query"],
                float(r.get("duration", 0)),
                r.get("state", ""),
                r.get("labels", {}),
                r.get("annotations", {}),
                r["health"],
            ]
            for group in content["data"]["groups"]
            for r in group["rules"]
            if r.get("type") == "alerting"
        ]
    except (KeyError, TypeError, ValueError):
        raise SourceUnavailable(_ANOTHER_FORM) from None
    return pd.DataFrame(rows, columns=columns)


def names_of(content: Any) -> list[str]:
    """The values of a label. Raises SourceUnavailable."""
    try:
        return [str(name) for name in content["data"]]
    except (KeyError, TypeError):
        raise SourceUnavailable(_ANOTHER_FORM) from None


def warnings_of(content: Mapping[str, Any]) -> str:
    """What Prometheus, Thanos or Mimir warns of beside the answer, in a clause; "" for nothing."""
    return "; ".join(_warnings(content))


def _warnings(content: Mapping[str, Any]) -> Iterator[str]:
    """Warnings say that data is missing; infos only where samples were left out. VictoriaMetrics says isPartial."""
    warnings = [text for text in _texts(content, "warnings") if not _REMARK.search(text) or _DROPPED.search(text)]
    warnings += [text for text in _texts(content, "infos") if _DROPPED.search(text)]
    if warnings:
        more = f" and {len(warnings) - 1} more" if len(warnings) > 1 else ""
        yield f"Prometheus warns: “{one_line(warnings[0], _QUOTED_MAX)}”{more}"
    if content.get("isPartial") is True:
        yield "Prometheus says that part of the data is missing (isPartial)"


def _texts(content: Mapping[str, Any], key: str) -> list[str]:
    found = content.get(key)
    return [str(text) for text in found] if isinstance(found, Sequence) and not isinstance(found, str) else []


def _no_numbers(frame: pd.DataFrame, expression: str) -> Iterator[str]:
    """How many samples are none, by part of a union. 0 / 0, and the quantile of nothing, only say that nothing came."""
    values = frame["value"].to_numpy(dtype="float64")
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    infinite = np.isinf(values)
    frame["value"] = np.where(infinite, np.nan, values)
    for name, rows, text in _parts(frame, expression):
        chosen = infinite if _divides(text) else bad
        if count := int(chosen[rows.index].sum()):
            yield no_values(count, len(rows), name, "number")


def _ended(frame: pd.DataFrame, expression: str, end: datetime) -> Iterator[str]:
    """Since when parts of a union have no sample any more."""
    for name, rows, text in _parts(frame, expression):
        known = rows.loc[rows["value"].notna(), "time"]
        if len(known) and not _divides(text):
            age_seconds = (pd.Timestamp(end) - known.max()).total_seconds()
            if age_seconds > FRESH_SECONDS:
                yield f"{name} has no sample for {duration(age_seconds)}"


def _parts(frame: pd.DataFrame, expression: str) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """(name, rows, PromQL) of each part of a union, see metrics.union; of all where it is none."""
    texts = {found[1]: text for text in expression.split("\nor\n") if (found := _PART.search(text))}
    if "what" not in frame or not texts:
        yield "the query", frame, expression
        return
    for name, rows in frame.groupby("what", sort=False):
        yield str(name), rows, texts.get(str(name), expression)


def _divides(expression: str) -> bool:
    """Whether NaN may come of there being nothing to measure."""
    return "/" in re.sub(r'"[^"]*"', "", expression) or "histogram_quantile" in expression


def _label(name: str) -> str:
    """A label's column; those named like ours get Prometheus' own prefix for such clashes."""
    return f"exported_{name}" if name in ("time", "value") else name
