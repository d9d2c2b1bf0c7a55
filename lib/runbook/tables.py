"""Rows and findings -> escaped HTML, with the class names that the report's style sheet knows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape as _escape_markup
from typing import Any

import numpy as np
import pandas as pd

from runbook.findings import Finding, Table
from runbook.outcome import Action, Status, Verdict
from runbook.sources.evidence import Answer
from runbook.words import amount, counted, moment, visible

ROWS_SHOWN = 50
_CELL_MAX = 300
_UNITS = re.compile(r"(?<=\d) (?=(?:%|USDT|ms|s|min|h|d|B|[KMGT]iB)(?:\W|$))")
_WORDS = {
    Status.OK: "✓ ok",
    Status.WARNING: "▲ warning",
    Status.CRITICAL: "■ critical",
    Status.UNKNOWN: "? unknown",
    Status.SKIPPED: "– skipped",
}
_QUESTION_LINES = 60
NOTEBOOK_STYLE = (
    "<style>"
    ".rb-finding,.rb-verdict{border-left:4px solid #5b6570;padding:2px 0 2px 10px;margin:6px 0}"
    ".rb-finding.rb-critical,.rb-verdict.rb-critical{border-color:#b3261e}.rb-finding.rb-warning,.rb-verdict.rb-warning{border-color:#b07d00}"
    ".rb-finding.rb-ok,.rb-verdict.rb-ok{border-color:#007a5a}.rb-finding.rb-unknown,.rb-verdict.rb-unknown{border-color:#a8487f}"
    ".rb-status{border:1px solid currentColor;border-radius:9px;padding:0 7px;margin-right:4px;white-space:nowrap;font-weight:600}"
    ".rb-changes{border:1px solid #b07d00;border-radius:4px;padding:0 5px}"
    ".rb-command,.rb-how pre{background:var(--jp-layout-color2,#eee);padding:6px 8px;white-space:pre-wrap}"
    ".rb-table td,.rb-table th{text-align:left!important}.rb-table .rb-num{text-align:right!important;white-space:nowrap}.rb-muted{opacity:.75}.rb-table caption{text-align:left;font-weight:600}"
    ".rb-scroll{overflow-x:auto}"
    "</style>"
)
"""How findings look in JupyterLab; the report has a style sheet of its own and drops this."""


def escape(text: str) -> str:
    """`text` as HTML text: markup escaped; control and direction characters, which a page must not obey, shown as �."""
    return _escape_markup(visible(text))


def render(table: Table) -> str:
    """One table as HTML: caption, header with units, at most 50 rows, and how many were left out."""
    frame = table.frame
    shown = frame.head(ROWS_SHOWN)
    numeric = {name for name in frame.columns if table.units.get(name) is not None}
    header = "".join(
        f"<th scope='col'{_class(name in numeric)}>{_heading(str(name), table.units.get(name), frame.columns)}</th>"
        for name in frame.columns
    )
    body = "".join(
        "<tr>"
        + "".join(
            _cell(value, table.units.get(name), name in numeric) for name, value in zip(frame.columns, row, strict=True)
        )
        + "</tr>"
        for row in shown.itertuples(index=False, name=None)
    )
    if frame.empty:
        body = f"<tr><td colspan='{max(len(frame.columns), 1)}' class='rb-muted'>none</td></tr>"
    more = f" (the first {len(shown)} of {len(frame):,})" if len(frame) > len(shown) else ""
    return (
        f"<div class='rb-scroll'><table class='rb-table'><caption>{escape(table.caption)}{more}</caption>"
        f"<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def context(situation: str, labels: str, planned: Sequence[tuple[str, str]]) -> str:
    """What an investigation is about, as HTML: alert and window, labels, and the plan, (step, subject) each, folded."""
    steps = "".join(f"<li>{escape(subject)} <code>{escape(name)}</code></li>" for name, subject in planned)
    plan = f"<details class='rb-how'><summary>The plan: {counted(len(planned), 'check')}</summary><ol>{steps}</ol></details>"
    return (
        f"<div class='rb-context'><p>{escape(situation)}</p><p class='rb-muted'>{escape(labels)}</p>"
        f"{plan if planned else ''}</div>"
    )


def finding(result: Finding[Any]) -> str:
    """A finding as HTML: status in words, title, detail, tables, and how it was found, folded."""
    detail = "".join(f"<p class='rb-detail'>{prose(line)}</p>" for line in result.detail.split("\n") if line.strip())
    return (
        f"<div class='rb-finding rb-{result.status}'><p class='rb-title'>{status(result.status)} "
        f"<strong>{prose(result.title)}</strong></p>{detail}"
        f"{''.join(render(table) for table in result.tables)}{how(result.answers)}</div>"
    )


def prose(text: str) -> str:
    """`text` as HTML: escaped, a number and its unit kept on one line."""
    return _UNITS.sub("\u00a0", escape(text))


def status(value: Status) -> str:
    """A status as a word with its sign, so that colour is never alone."""
    return f"<span class='rb-status rb-{value}'>{_WORDS[value]}</span>"


def how(answers: Iterable[Answer]) -> str:
    """How something was found, folded away: each question, its parameters, time and rows, and the shell's line for it."""
    parts = [_how(answer) for answer in answers]
    if not parts:
        return ""
    return f"<details class='rb-how'><summary>How this was found ({len(parts)} {'query' if len(parts) == 1 else 'queries'})</summary>{''.join(parts)}</details>"


def _how(answer: Answer) -> str:
    lines = answer.question.splitlines()
    question = "\n".join(lines[:_QUESTION_LINES]) + ("\n…" if len(lines) > _QUESTION_LINES else "")
    given = ", ".join(f"{name} = {value}" for name, value in answer.parameters.items())
    result = (
        f"{answer.rows:,} {'row' if answer.rows == 1 else 'rows'}"
        if answer.status == "ok"
        else f"no answer: {answer.reason}"
    )
    asked = f"{answer.source}, {moment(answer.asked_at)}, {answer.seconds * 1000:.0f} ms, {result}"
    asked += ", from recorded evidence" if answer.origin == "recorded" else ""
    return (
        f"<p class='rb-muted'>{escape(answer.id)}: {escape(asked)}</p><pre>{escape(question)}</pre>"
        + (f"<p class='rb-muted'>with {escape(given[:1000])}</p>" if given else "")
        + f"<pre class='rb-command'>{escape(answer.command)}</pre>"
    )


def verdict(result: Verdict, findings: Iterable[Finding[Any]]) -> str:
    """The conclusion as HTML: decision, reasons, every finding in a line, next actions and the checklist."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in result.reasons)
    rows = "".join(f"<tr><td>{status(one.status)}</td><td>{escape(one.title)}</td></tr>" for one in findings)
    return (
        f"<div class='rb-verdict rb-{result.status}'><p class='rb-title'>{status(result.status)} <strong>{escape(result.summary)}</strong></p>"
        f"<p>Decision: <strong>{escape(result.decision)}</strong></p><ul>{reasons}</ul>"
        f"<div class='rb-scroll'><table class='rb-table'><caption>Every check</caption><thead><tr><th scope='col'>status</th>"
        f"<th scope='col'>finding</th></tr></thead><tbody>{rows}</tbody></table></div></div>"
    )


def actions(items: Iterable[Action]) -> str:
    """Next actions as HTML: why, and the command; those that change the platform say so."""
    parts = []
    for item in items:
        mark = "<span class='rb-changes'>changes the platform</span>" if item.changes else ""
        why = f"<p class='rb-reason'>{escape(item.why)}</p>" if item.why else ""
        parts.append(
            f"<li class='rb-action'><p><strong>{escape(item.title)}</strong> {mark}</p>{why}<pre class='rb-command'>{escape(item.command)}</pre></li>"
        )
    return f"<ol class='rb-actions'>{''.join(parts)}</ol>"


def checklist(items: Iterable[tuple[str, str]]) -> str:
    """The post-mortem checklist as a table: each item with the answer found."""
    frame = pd.DataFrame(list(items), columns=["question", "what this run found"])
    return f"<div class='rb-checklist'>{render(Table('Post-mortem checklist', frame))}</div>"


def _class(is_number: bool) -> str:
    return " class='rb-num'" if is_number else ""


def _heading(name: str, unit: str | None, names: Iterable[Any]) -> str:
    # The cells say the unit: "mean_ms" over "1,464 ms" would say it twice.
    bare = re.sub(rf"_{re.escape(unit.lower())}(?=_|$)", "", name) if unit else name
    text = escape((name if bare in names else bare).replace("_", " "))
    return f"{text} <span class='rb-muted'>UTC</span>" if unit == "time" else text


def _cell(value: Any, unit: str | None, is_number: bool) -> str:
    return f"<td{_class(is_number)}>{escape(_shown(value, unit))}</td>"


def _shown(value: Any, unit: str | None) -> str:
    if unit == "time" or isinstance(value, datetime):
        if value is None or pd.isna(value):
            return "n/a"
        return f"{value:%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
    if unit is not None:
        return amount(value, unit)
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return amount(value)
    text = str(value)
    return text if len(text) <= _CELL_MAX else text[: _CELL_MAX - 1] + "…"


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
