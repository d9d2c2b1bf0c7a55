"""What an investigation says: statuses, findings, actions and the outcome.

Findings and outcomes travel inside the executed notebook as display outputs with their own MIME
types; the runner reads them back from there. There is no other channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runbook.words import one_line, worst_status

if TYPE_CHECKING:
    from runbook.findings import Finding

FINDING_MIME = "application/vnd.runbook.finding+json"
OUTCOME_MIME = "application/vnd.runbook.outcome+json"
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


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of `statuses`; unknown when there are none, for nothing checked is not ok."""
    return Status(worst_status(statuses))


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
    findings: tuple[Finding[Any], ...]
    sources: tuple[SourceState, ...]
    starts_at: str
    as_of: str

    def _ipython_display_(self) -> None:
        """Shows nothing: the session has shown it."""

    @property
    def is_degraded(self) -> bool:
        return any(not finding.is_known for finding in self.findings)

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
