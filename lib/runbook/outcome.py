"""What an investigation says: statuses, findings, actions and the outcome.

Findings and outcomes travel inside the executed notebook as display outputs with their own MIME
types; the runner reads them back from there. There is no other channel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from runbook.sources.evidence import Answer

FINDING_MIME = "application/vnd.runbook.finding+json"
OUTCOME_MIME = "application/vnd.runbook.outcome+json"
CONTEXT_MIME = "application/vnd.runbook.context+json"

_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


class Status(StrEnum):
    """What a check came to. `unknown`: its source gave no answer; `skipped`: it needed one that is unknown."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"

    @property
    def is_known(self) -> bool:
        return self not in (Status.UNKNOWN, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to show: a caption, a DataFrame (one row a line) and the unit of each numeric column.

    `units` maps a column to a unit: "USDT", "USD", "%" (the value is a ratio, shown times 100), "s", "ms",
    "bytes", "time", "ratio" (three digits are enough), or "" for a plain number. Columns that are not named are shown as they are.
    """

    caption: str
    frame: pd.DataFrame
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    `id` is stable ("drawdown.gauge"); `title` is one line that states the result with its figures;
    `detail` says how it follows and what it means. `figures` are named numbers (units in the names)
    that verdicts and checklists read; `tables` are shown; `series` feed charts. `answers` are the
    source answers it rests on, filled in by the session.
    """

    id: str
    status: Status
    title: str
    detail: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    series: Mapping[str, Any] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        # Labels and messages find their way into titles: one line, no control characters, not endless.
        object.__setattr__(self, "title", one_line(self.title, 400))

    @property
    def is_known(self) -> bool:
        return self.status.is_known

    @property
    def frame(self) -> pd.DataFrame | None:
        """The rows of its first table; None where it has none."""
        return self.tables[0].frame if self.tables else None

    def _ipython_display_(self) -> None:
        """Shows nothing: the session has shown it, and a notebook's last line would show it again."""

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-ready data, without tables and series; figures are finite numbers, text or null."""
        return {
            "id": self.id,
            "status": self.status.value,
            "title": self.title,
            "detail": self.detail,
            "figures": {name: plain(value) for name, value in self.figures.items()},
            "evidence": [answer.id for answer in self.answers],
        }

    def with_answers(self, answers: tuple[Answer, ...]) -> Finding:
        return replace(self, answers=answers)


@dataclass(frozen=True, slots=True)
class Action:
    """A next step that a person may take: why, and the command to copy. Nothing runs it.

    `changes` is true where the command changes the platform; the report marks it.
    """

    title: str
    command: str
    why: str = ""
    changes: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision point: one sentence, a status, the reasons it follows from, and what to do next.

    `decision` is the procedure's own choice in a word or two ("pause trading"); `summary` is the one
    sentence with figures; `checklist` are post-mortem items, filled in.
    """

    decision: str
    summary: str
    status: Status
    reasons: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    checklist: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "decision", one_line(self.decision, 200))
        object.__setattr__(self, "summary", one_line(self.summary, 1_000))


@dataclass(frozen=True, slots=True)
class SourceState:
    """How one source behaved during the run: name, status (ok, recorded, unknown) and the reason."""

    name: str
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an investigation: the verdict, every finding and how each source behaved."""

    procedure: str
    alertname: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    sources: tuple[SourceState, ...]
    starts_at: str
    as_of: str

    def _ipython_display_(self) -> None:
        """Shows nothing: the session has shown it."""

    def to_json(self) -> dict[str, Any]:
        return {
            "procedure": self.procedure,
            "alertname": self.alertname,
            "decision": self.verdict.decision,
            "verdict": self.verdict.summary,
            "status": self.verdict.status.value,
            "reasons": list(self.verdict.reasons),
            "actions": [
                {"title": a.title, "command": a.command, "why": a.why, "changes": a.changes}
                for a in self.verdict.actions
            ],
            "checklist": [{"item": item, "answer": answer} for item, answer in self.verdict.checklist],
            "findings": [finding.to_json() for finding in self.findings],
            "sources": [{"name": s.name, "status": s.status, "reason": s.reason} for s in self.sources],
            "starts_at": self.starts_at,
            "as_of": self.as_of,
        }


_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|USDT|USD|ms|s|min|h|d|[KMGT]?i?B)(?![A-Za-z]))")


def unbroken(text: str) -> str:
    """`text` whose numbers keep to their units at the end of a line."""
    return _BEFORE_UNIT.sub("\u00a0", text)


def one_line(text: str, most: int) -> str:
    """`text` on one line, at most `most` characters, without control and direction characters."""
    line = " ".join("".join(ch if ch.isprintable() else " " for ch in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def visible(text: str) -> str:
    """`text` with what a reader cannot see, and a page or terminal must not obey, shown as �: control and direction characters."""
    return _UNSEEN.sub("\ufffd", text)


def plain(value: Any) -> Any:
    """`value` as something JSON holds: numbers stay finite or become null, times ISO 8601, all else text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "isoformat"):
        text = value.isoformat()
        return None if text == "NaT" else text
    if hasattr(value, "item"):  # numpy's own numbers and booleans
        return plain(value.item())
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and isinstance(value, int) else number
