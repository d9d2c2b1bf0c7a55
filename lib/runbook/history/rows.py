"""The rows of the history, a class for each shape of question. Fields are columns by their names; times are UTC.

`database.rows` and `database.row` make them. What a person sees of them, the pages and messages read as attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pydantic import ValidationError

from runbook.alert import Alert
from runbook.outcome import Outcome
from runbook.words import severity_text


@dataclass(frozen=True, slots=True)
class Incident:
    """What fires together: the alerts of one Alertmanager group, or of a storm (`kind` is group or storm).

    `title` is the alert it is called after. `parent_id` is the storm that covers all of its alerts. `level` is how
    far it was escalated, from 1. `repeats` are messages that said nothing new; `not_listed` are alerts that
    Alertmanager left out of its last message. `closed_how` is resolved or closed, "" while it is open.
    """

    TABLE: ClassVar = "runbook.incidents i"
    id: int
    kind: str
    parent_id: int | None
    title: str
    procedure: str
    severity: str
    starts_at: datetime
    opened_at: datetime
    last_seen_at: datetime
    repeats: int
    not_listed: int
    level: int
    closed_at: datetime | None
    closed_how: str


@dataclass(frozen=True, slots=True)
class ListedIncident(Incident):
    """An incident with what speaks for it: the worst of what still fires, each procedure's newest run (`last_…`).

    `firing` counts its alerts that fire, those that it covers as a storm among them; `untold` its messages that
    were given up.
    """

    last_run_id: str | None
    last_state: str | None
    last_verdict: str | None
    last_level: str | None
    firing: int
    untold: int


@dataclass(frozen=True, slots=True)
class CoveredIncident:
    """An incident of which a storm covers an alert at least. `why` says that it was not run singly, None if it was."""

    id: int
    title: str
    severity: str
    closed_at: datetime | None
    closed_how: str
    why: str | None


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert as it was received. `resolved_at` is when we heard of its end, `ends_at` the end it had itself."""

    TABLE: ClassVar = "runbook.alerts a"
    fingerprint: str
    starts_at: datetime
    procedure: str
    name: str
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str
    resolved_at: datetime | None
    ends_at: datetime | None

    @property
    def fires(self) -> bool:
        return self.resolved_at is None

    @property
    def severity_text(self) -> str:
        """Its severity, with the original of one that we do not know: "P1, treated as warning"."""
        return severity_text(self.labels.get("severity", ""), self.severity)

    def as_alert(self) -> Alert:
        """The alert as Alertmanager sent it, firing or resolved as it is now."""
        return Alert(
            name=self.name,
            labels=self.labels,
            annotations=self.annotations,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            status="firing" if self.fires else "resolved",
            generator_url=self.generator_url,
            fingerprint=self.fingerprint,
            usual_severity=self.severity,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a procedure, or the note that it was left to a storm (`state` not_run).

    `id` is the history's number, `run_id` the name of its folder and page, None before it began. `state` is queued,
    running, complete, degraded, failed, timed_out, cancelled, abandoned or not_run; `level` is its verdict's, unknown
    without one. `reason` is new, changed, storm, retry, asked or escalation. `seconds` is how long it took. `stored`
    says where its files are: artifacts, database, gone, or "" for none.
    """

    TABLE: ClassVar = "runbook.runs r"
    id: int
    incident_id: int
    run_id: str | None
    procedure: str
    alertname: str
    severity: str
    reason: str
    attempt: int
    state: str
    level: str
    verdict: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    stored: str

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("queued", "running")


@dataclass(frozen=True, slots=True)
class ReportedRun(Run):
    """A run with its outcome; None for one that has none: not ended, or broken before it wrote one."""

    outcome: Outcome | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", _outcome(self.outcome))


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of a run that is under way: cell_started, cell_finished, finding, reporting, …

    `cell` is the cell's place among the `cells` code cells, from 1; `status` a finding's, a cell's or the run's.
    """

    kind: str
    cell: int
    cells: int
    title: str
    status: str
    seconds: float


@dataclass(frozen=True, slots=True)
class WatchedRun(ReportedRun):
    """A run with its outcome and the steps it has taken, for the page that shows it under way."""

    progress: tuple[Step, ...]

    def __post_init__(self) -> None:
        ReportedRun.__post_init__(self)
        object.__setattr__(self, "progress", _steps(self.progress))


@dataclass(frozen=True, slots=True)
class Event:
    """A line of an incident's timeline. `run` is the number of the run it is about, `run_id` that run's page."""

    id: int
    run: int | None
    at: datetime
    kind: str
    text: str
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to people, by `medium` (slack, mail). `state` is waiting, sent or failed; `error` why it is not out.

    `kind` is report, update, resolved, escalation or dead_man; `text` the level of an escalation, the procedure of a
    dead man. `run` is the number of the run it is about, None where it is about the incident.
    """

    TABLE: ClassVar = "runbook.deliveries d"
    id: int
    incident_id: int
    run: int | None
    medium: str
    kind: str
    text: str
    state: str
    attempts: int
    error: str
    created_at: datetime
    sent_at: datetime | None


def _outcome(stored: Outcome | Mapping[str, Any] | None) -> Outcome | None:
    """The outcome in a row's JSON; None for one that cannot be read, as another version may have written it."""
    if stored is None or isinstance(stored, Outcome):
        return stored
    try:
        return Outcome.model_validate(stored)
    except ValidationError:
        return None


def _steps(stored: tuple[Step | Mapping[str, Any], ...]) -> tuple[Step, ...]:
    """The steps in a row's JSON."""
    return tuple(item if isinstance(item, Step) else Step(**item) for item in stored)
