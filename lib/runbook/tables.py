"""Findings, rows and answers as what is shown of them: text, with units, for people. Markup is made in templates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from runbook.findings import Finding, Findings, Table, figures_json
from runbook.outcome import Column, FindingRecord, ShownAnswer, ShownFinding, ShownTable
from runbook.sources.evidence import Answer
from runbook.words import amount, counted, moment

ROWS_SHOWN = 50
_CELL_MAX = 300
_QUESTION_LINES = 60
_PARAMETERS_MAX = 1000


def shown(finding: Finding[Any]) -> ShownFinding:
    """A finding as it is displayed: its figures as JSON, its tables as text, and how it was found."""
    return ShownFinding(
        id=finding.id,
        status=finding.status,
        title=finding.title,
        detail=finding.detail,
        figures=figures_json(finding.figures),
        evidence=tuple(answer.id for answer in finding.answers),
        tables=tuple(shown_table(table) for table in finding.tables),
        answers=tuple(shown_answer(answer) for answer in finding.answers),
    )


def records(findings: Iterable[Finding[Any]] | Findings) -> tuple[FindingRecord, ...]:
    """Findings as outcome.json holds them."""
    return tuple(
        FindingRecord(id=found.id, status=found.status, title=found.title, detail=found.detail) for found in findings
    )


def shown_table(table: Table) -> ShownTable:
    """One table as text: heads with units, at most 50 rows, and how many there were."""
    frame, units = table.frame, table.units
    columns = tuple(_column(str(name), units.get(name), frame.columns) for name in frame.columns)
    by_column = [units.get(name) for name in frame.columns]
    rows = tuple(
        tuple(_cell(value, unit) for value, unit in zip(row, by_column, strict=True))
        for row in frame.head(ROWS_SHOWN).itertuples(index=False, name=None)
    )
    return ShownTable(caption=table.caption, columns=columns, rows=rows, rows_in_all=len(frame))


def shown_answer(answer: Answer) -> ShownAnswer:
    """How something was found: source, moment, time taken and rows in a line; the question; the shell's line for it."""
    lines = answer.question.splitlines()
    question = "\n".join(lines[:_QUESTION_LINES])
    if len(lines) > _QUESTION_LINES:
        question += "\n…"
    came_back = counted(answer.rows, "row") if answer.status == "ok" else f"no answer: {answer.reason}"
    if answer.missing:
        came_back += f", not whole: {answer.missing}"
    milliseconds = answer.seconds * 1000
    asked = f"{answer.source}, {moment(answer.asked_at)}, {milliseconds:.0f} ms, {came_back}"
    if answer.origin == "recorded":
        asked += ", from recorded evidence"
    parameters = ", ".join(f"{name} = {value}" for name, value in answer.parameters.items())
    return ShownAnswer(
        id=answer.id,
        asked=asked,
        question=question,
        parameters=parameters[:_PARAMETERS_MAX],
        command=answer.command,
    )


def _column(name: str, unit: str | None, names: Iterable[Any]) -> Column:
    # The cells say the unit: "mean_ms" over "1,464 ms" would say it twice.
    bare = re.sub(rf"_{re.escape(unit.lower())}(?=_|$)", "", name) if unit else name
    head = name if bare in names else bare
    return Column(name=head.replace("_", " "), unit="UTC" if unit == "time" else "", is_number=unit is not None)


def _cell(value: Any, unit: str | None) -> str:
    if unit == "time" or isinstance(value, datetime):
        return _moment(value)
    if unit is not None:
        return amount(value, unit)
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return amount(value)
    text = str(value)
    return text if len(text) <= _CELL_MAX else f"{text[: _CELL_MAX - 1]}…"


def _moment(value: Any) -> str:
    if value is None or pd.isna(value):
        return "n/a"
    return f"{value:%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
