"""What the pages show: incidents and reports with search, one incident, one running report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request

from runbook import words
from runbook.errors import StorageError
from runbook.history import copies, listing
from runbook.history.changes import Change, changes
from runbook.history.closing import lasted
from runbook.history.listing import PAGE, Filter
from runbook.history.rows import ListedIncident, ReportedRun, Run, Step, WatchedRun
from runbook.history.runs import LEVELS
from runbook.service import by_hand, timeline
from runbook.service.context import Context
from runbook.words import SEVERITIES

INCIDENT_STATUSES = (
    "open",
    "closed",
    "complete",
    "degraded",
    "failed",
    "timed_out",
    "abandoned",
    "cancelled",
    "not_run",
)
_TEXT_MAX = 200
# How often an open page asks for itself: while something runs, and while nothing does.
BUSY_SECONDS, IDLE_SECONDS = 2, 5
_OPENERS, _CLOSER = "\u2066\u2067\u2068", "\u2069"
_PAGE_MAX = 1_000
_MINUTE = 60
WORDS = {
    "queued": "waiting",
    "running": "running",
    "complete": "complete",
    "degraded": "degraded",
    "failed": "failed",
    "timed_out": "timed out",
    "cancelled": "cancelled",
    "abandoned": "abandoned",
    "not_run": "not run",
}
EVENTS = {
    "fired": "Fired",
    "joined": "More alerts",
    "severity": "Severity",
    "storm": "Storm",
    "started": "Run began",
    "reported": "Reported",
    "not_run": "Not run",
    "cancelled": "Run cancelled",
    "abandoned": "Run lost",
    "retried": "Runs again",
    "given_up": "Given up",
    "escalated": "Escalated",
    "dead_man": "No report",
    "asked": "Asked for",
    "told": "Told",
    "not_told": "Not told",
    "resolved": "Resolved",
    "closed": "Closed",
}
# The colour of a run's state where it has no level of its own to show.
TONES = {"complete": "ok", "degraded": "unknown", "failed": "critical", "timed_out": "critical", "running": "skipped"}


def wanted(request: Request) -> Filter:
    """The filter that the address asks for; what is not one of ours is left out."""
    query = request.query_params
    page = query.get("page", "1")
    severity, status = query.get("severity", ""), query.get("status", "")
    return Filter(
        text=query.get("q", "").replace("\x00", "")[:_TEXT_MAX],
        severity=severity if severity in SEVERITIES else "",
        status=status if status in (*INCIDENT_STATUSES, *LEVELS) else "",
        page=min(int(page), _PAGE_MAX) if page.isascii() and page.isdecimal() and len(page) < 5 and int(page) else 1,
    )


def index(context: Context, filters: Filter, kind: str) -> dict[str, Any]:
    """Incidents, or reports: a page of them, and what the navigation needs."""
    found: list[ListedIncident] | list[Run]
    with context.database.transaction() as connection:
        if kind == "reports":
            found = listing.reports(connection, filters)
        else:
            found = listing.incidents(connection, filters)
        figures = listing.figures(connection)
    active = {state: figures.live_count(state) for state in ("queued", "running")}
    return {
        "kind": kind,
        "filter": filters,
        "items": found[:PAGE],
        "has_more": len(found) > PAGE,
        "active": active,
        "workers": figures.workers,
        "severities": SEVERITIES,
        "statuses": INCIDENT_STATUSES if kind == "incidents" else INCIDENT_STATUSES[2:],
        "levels": LEVELS,
        "live_seconds": BUSY_SECONDS if active["queued"] or active["running"] else IDLE_SECONDS,
    }


def incident(context: Context, number: int) -> dict[str, Any] | None:
    """One incident with all that belongs to it, or None."""
    with context.database.transaction() as connection:
        details = listing.details(connection, number)
        if details is None:
            return None
        parent_id, latest = details.incident.parent_id, details.latest
        parent = listing.incident(connection, parent_id) if parent_id else None
        before = listing.previous(connection, latest) if latest else None
    return {
        "incident": details.incident,
        "details": details,
        "parent": parent,
        "latest": latest,
        "before": before,
        "changed": _changed(before, latest),
        "axis": timeline.axis(details, datetime.now(UTC)),
        "escalation": context.catalog.escalation,
        "by_hand": _by_hand(context, details),
        "live_seconds": _live_seconds(details),
    }


def _by_hand(context: Context, details: listing.IncidentDetails) -> tuple[str, ...]:
    """What to type in the meantime; nothing where there is a report, or will be one in time."""
    incident = details.incident
    if details.latest or incident.closed_at or not details.alerts:
        return ()
    age = datetime.now(UTC) - incident.opened_at
    if age.total_seconds() < context.settings.runbook_dead_man_seconds:
        return ()
    return by_hand.commands(context, details.alerts[0])  # the worst that fires


def _changed(before: ReportedRun | None, latest: ReportedRun | None) -> tuple[Change, ...]:
    """What changed from one run with an outcome to the next."""
    if before is None or latest is None or before.outcome is None or latest.outcome is None:
        return ()
    return changes(before.outcome, latest.outcome)


def _live_seconds(details: listing.IncidentDetails) -> int:
    """How often the incident's page asks for itself; 0: it has ended, and nothing runs."""
    if any(run.is_live for run in details.runs):
        return BUSY_SECONDS
    return IDLE_SECONDS if details.incident.closed_at is None else 0


def run(context: Context, run_id: str) -> WatchedRun | None:
    """A run by its id, or None."""
    with context.database.transaction() as connection:
        return listing.run(connection, run_id)


def file(context: Context, run: Run, name: str) -> bytes | None:
    """One of a run's files: from the store, else the copy in the database; None when neither has it."""
    if run.run_id is None:
        return None
    if run.stored == "database":
        with context.database.transaction() as connection:
            copy = copies.read(connection, run.id, name)
        if copy is not None:
            return copy
    try:
        return context.artifacts.read(run.run_id, name)
    except StorageError:
        return None


@dataclass(frozen=True, slots=True)
class Steps:
    """What a running report has come to: findings so far, cells done of all, the title of the one it is at."""

    findings: tuple[Step, ...]
    cells: int
    done: int
    now: str
    is_reporting: bool


def steps(run: WatchedRun) -> Steps:
    """The steps of a running report."""
    cells = max((step.cells for step in run.progress), default=0)
    done = len({step.cell for step in run.progress if step.kind == "cell_finished"})
    started = [step.title for step in run.progress if step.kind == "cell_started"]
    return Steps(
        findings=tuple(step for step in run.progress if step.kind == "finding"),
        cells=cells,
        done=done,
        now=started[-1] if started and done < cells else "",
        is_reporting=any(step.kind == "reporting" for step in run.progress),
    )


def templates() -> Environment:
    """The page templates: everything escaped, a name that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("runbook.service", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "moment": words.moment,
        "clock": words.clock_seconds,
        "duration": words.duration,
        "lasted": lasted,
        "ago": _ago,
        "iso": _iso,
        "given": _given,
    }
    environment.globals |= {"words": WORDS, "event_words": EVENTS, "tones": TONES, "counted": words.counted}
    return environment


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _ago(moment: datetime) -> str:
    """An age in words, from a minute on without seconds.

    An open page asks for itself every few seconds, and is sent again only where its text has changed.
    """
    seconds = max(1, int((datetime.now(UTC) - moment).total_seconds()))
    return words.ago(seconds if seconds < _MINUTE else seconds - seconds % _MINUTE)


def _given(text: object, most: int = 0) -> str:
    """`text` from outside, fit to stand beside ours: cut after `most` characters, and it cannot end its own isolation.

    The pages isolate it with <bdi>, which browsers do with an opening and a closing sign of their own: one that is
    closed here without being opened, or opened and not closed, would take ours away.
    """
    whole = str(text)
    kept, depth = [], 0
    for sign in whole[:most] if most else whole:
        if sign == _CLOSER and not depth:
            continue
        depth += (sign in _OPENERS) - (sign == _CLOSER)
        kept.append(" " if sign in "\u2028\u2029" else sign)
    return "".join(kept) + _CLOSER * depth + ("…" if most and len(whole) > most else "")
