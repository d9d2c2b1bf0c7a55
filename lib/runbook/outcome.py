"""What an investigation says, as data: the one model that both halves share.

Findings and the conclusion travel inside the executed notebook as display outputs with their own MIME
types; the runner reads them back from there, and writes outcome.json. There is no other channel. What
is shown of a finding (rows, how it was found) travels as data too, and each sink renders it itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runbook.words import one_line

FINDING_MIME = "application/vnd.runbook.finding+json"
OUTCOME_MIME = "application/vnd.runbook.outcome+json"
ACTIONS_MIME = "application/vnd.runbook.actions+json"
CONTEXT_MIME = "application/vnd.runbook.context+json"


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


class RunStatus(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    DEGRADED = "degraded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"

    @property
    def exit_code(self) -> int:
        return {"complete": 0, "degraded": 3}.get(self.value, 4)

    @property
    def ran_to_its_end(self) -> bool:
        return self in (RunStatus.COMPLETE, RunStatus.DEGRADED)


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
class ChecklistItem:
    """A post-mortem question and what this run found."""

    item: str
    answer: str


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
    """How one source behaved during the run: name, status (ok, recorded, unknown, not_asked) and the reason."""

    name: str
    status: str
    reason: str = ""


class _Model(BaseModel):
    """Data that another process, or another version, may have written: what it adds is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class Column(_Model):
    """A column of a shown table. `unit` is "" where its cells say it; "UTC" stands beside the heads of times."""

    name: str
    unit: str = ""
    is_number: bool = False


class ShownTable(_Model):
    """A table as text: at most so many rows; `rows_in_all` tells how many there were."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    rows_in_all: int

    @model_validator(mode="after")
    def _even(self) -> ShownTable:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row is longer or shorter than the columns")
        return self


class ShownAnswer(_Model):
    """How something was found: source, time taken and rows in a line, the question, and the shell's line for it."""

    id: str
    asked: str
    question: str
    parameters: str = ""
    command: str


class FindingRecord(_Model):
    """A finding in outcome.json: its id, status, title and detail."""

    id: str
    status: Status
    title: str
    detail: str = ""


class ShownFinding(FindingRecord):
    """A finding as it is displayed: with its figures, its tables, and how it was found."""

    figures: dict[str, Any] = Field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    tables: tuple[ShownTable, ...] = ()
    answers: tuple[ShownAnswer, ...] = ()

    @property
    def record(self) -> FindingRecord:
        return FindingRecord(id=self.id, status=self.status, title=self.title, detail=self.detail)


def read_finding(data: Any, fallback_id: str) -> ShownFinding:
    """A displayed finding; one that cannot be read is unknown, under `fallback_id`: it is never dropped."""
    try:
        return ShownFinding.model_validate(data)
    except ValidationError:
        given = data if isinstance(data, dict) else {}
        return ShownFinding(
            id=str(given.get("id") or fallback_id),
            status=Status.UNKNOWN,
            title=str(given.get("title") or "A check whose result cannot be read"),
            detail=str(given.get("detail") or ""),
        )


def read_conclusion(data: Any) -> Conclusion | None:
    """A displayed conclusion, without those of its parts that cannot be read; None where it has no verdict."""
    try:
        return Conclusion.model_validate(data)
    except ValidationError as error:
        damaged = {part["loc"][0] for part in error.errors() if part["loc"]}
    if not isinstance(data, dict) or "verdict" in damaged:
        return None
    return Conclusion.model_validate({name: part for name, part in data.items() if name not in damaged})


class Context(_Model):
    """What an investigation is about: the alert, the window, the group's alerts and the plan of checks."""

    procedure: str
    alertname: str
    severity: str
    starts_at: str
    as_of: str
    window_start: str
    labels: dict[str, str]
    annotations: dict[str, str]
    alerts: tuple[dict[str, Any], ...] = ()
    situation: str = ""
    """The alert and the window in a sentence."""
    given: str = ""
    """The alert's labels, and how many more alerts there are, in a line."""
    plan: tuple[tuple[str, str], ...] = ()
    """(step, its subject) of each check that the notebook's cells will make."""


class Conclusion(_Model):
    """The end of an investigation: the verdict, every finding and how each source behaved."""

    procedure: str = ""
    alertname: str = ""
    decision: str = ""
    verdict: str
    status: Status = Status.UNKNOWN
    reasons: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    checklist: tuple[ChecklistItem, ...] = ()
    findings: tuple[FindingRecord, ...] = ()
    sources: tuple[SourceState, ...] = ()
    starts_at: str = ""
    as_of: str = ""

    def _ipython_display_(self) -> None:
        """Shows nothing: the session has shown it."""


class Actions(_Model):
    """Next actions as they are displayed at a notebook's end."""

    actions: tuple[Action, ...]


class CellCounts(_Model):
    """Code cells by how they ended."""

    ran: int = 0
    failed: int = 0
    timed_out: int = 0
    not_run: int = 0

    @property
    def total(self) -> int:
        return self.ran + self.failed + self.timed_out + self.not_run


class Outcome(_Model):
    """outcome.json: how a run ended and what it found. docs/outcome.schema.json is made from this.

    The fields to `findings` are the fixed contract; `level` is the verdict's status, unknown where the
    run did not come to one. Times are ISO 8601, UTC.
    """

    run_id: str
    alertname: str
    procedure: str
    severity: str
    status: RunStatus
    verdict: str
    started_at: str
    finished_at: str
    as_of: str
    cells: CellCounts
    sources: tuple[SourceState, ...]
    findings: tuple[FindingRecord, ...]
    starts_at: str
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    level: Status = Status.UNKNOWN
    decision: str = ""
    reasons: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    checklist: tuple[ChecklistItem, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
