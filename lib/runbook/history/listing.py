"""What the pages and `runbook reports` show: lists with filters, and one incident or run in full."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runbook.history import alerts, deliveries, events
from runbook.history.database import Connection, columns, only, ranked, row, rows, select, select_one
from runbook.history.rows import (
    CoveredIncident,
    Delivery,
    Event,
    Incident,
    ListedIncident,
    ReportedRun,
    Run,
    StoredAlert,
    WatchedRun,
)
from runbook.words import STATUSES

PAGE = 50
_ALERTS_MAX, _RUNS_MAX, _EVENTS_MAX, _DELIVERIES_MAX, _COVERED_MAX = 500, 200, 300, 100, 500


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list: text in alert, procedure, verdict and findings; severity; a run state or incident status."""

    text: str = ""
    severity: str = ""
    status: str = ""
    page: int = 1

    @property
    def parameters(self) -> dict[str, Any]:
        escaped = self.text.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return {
            "like": f"%{escaped}%" if escaped else None,
            "severity": self.severity or None,
            "status": self.status or None,
            "limit": PAGE + 1,
            "offset": (self.page - 1) * PAGE,
        }


@dataclass(frozen=True, slots=True)
class IncidentDetails:
    """One incident in full. `latest` is the run that speaks for it, None before one has an outcome.

    All but the alerts are the newest first. `covered` are the incidents that it covers as a storm, of which there
    are `covered_count`.
    """

    incident: ListedIncident
    latest: ReportedRun | None
    alerts: list[StoredAlert]
    runs: list[Run]
    events: list[Event]
    deliveries: list[Delivery]
    covered: list[CoveredIncident]
    covered_count: int


@dataclass(frozen=True, slots=True)
class Count:
    """A figure that only grows, with the values of its labels."""

    metric: str
    labels: list[str]
    value: float


@dataclass(frozen=True, slots=True)
class LiveRuns:
    """How many runs of a severity wait or run (`state`), and the age of the oldest."""

    state: str
    severity: str
    count: int
    oldest_seconds: Decimal


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """How many incidents of a severity are open."""

    severity: str
    count: int


@dataclass(frozen=True, slots=True)
class UnsentMessages:
    """How many messages of a medium are waiting or failed (`state`)."""

    medium: str
    state: str
    count: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What /metrics shows. `workers` are the processes that gave a sign of life in 30 s."""

    counts: list[Count]
    live: list[LiveRuns]
    incidents: list[OpenIncidents]
    messages: list[UnsentMessages]
    workers: int

    def live_count(self, state: str) -> int:
        """How many runs wait (queued) or run (running)."""
        return sum(runs.count for runs in self.live if runs.state == state)


_ORDER = "i.closed_at IS NOT NULL, (i.closed_at IS NULL AND i.severity = 'critical') DESC, i.opened_at DESC, i.id DESC"
# Of each procedure (of the general one, of each alert name) the newest report; of these the worst of what still fires.
# {only} narrows the runs.
_HEADLINE = f"""
    SELECT l.* FROM (
        SELECT DISTINCT ON (r.procedure, r.about) r.*,
            r.state IN ('complete', 'degraded', 'failed', 'timed_out') AS is_reported
        FROM runbook.runs r WHERE r.incident_id = i.id {{only}}
        ORDER BY r.procedure, r.about, is_reported DESC, r.id DESC) l
    ORDER BY l.is_reported DESC,
             EXISTS (SELECT 1 FROM runbook.alerts a WHERE (a.incident_id = i.id OR a.storm_id = i.id)
                     AND a.procedure = l.procedure AND a.about = l.about AND a.resolved_at IS NULL) DESC,
             {ranked("l.level", STATUSES)}, l.id DESC LIMIT 1
"""  # noqa: S608 - constants
# Chosen first ({chosen}), then looked at: what is shown of an incident costs more than to find it.
_INCIDENTS = f"""
    SELECT {columns(Incident)},
           r.run_id AS last_run_id, r.state AS last_state, r.verdict AS last_verdict, r.level AS last_level,
           (SELECT count(*) FROM runbook.alerts a
             WHERE (a.incident_id = i.id OR a.storm_id = i.id) AND a.resolved_at IS NULL) AS firing,
           (SELECT count(*) FROM runbook.deliveries d WHERE d.incident_id = i.id AND d.state = 'failed') AS untold
    FROM (SELECT i.* FROM runbook.incidents i WHERE {{chosen}}) i
    LEFT JOIN LATERAL ({_HEADLINE.format(only="")}) r ON true
    ORDER BY {_ORDER}
"""  # noqa: S608 - constants


def incidents(connection: Connection, wanted: Filter) -> list[ListedIncident]:
    """Incidents: open critical ones, then open ones, then closed, each newest first.

    One more than a page if there are more.
    """
    chosen = f"""
        (%(severity)s::text IS NULL OR i.severity = %(severity)s)
          AND (%(like)s::text IS NOT NULL OR i.parent_id IS NULL
               OR (i.closed_at IS NULL AND EXISTS (SELECT 1 FROM runbook.incidents p
                   WHERE p.id = i.parent_id AND p.closed_at IS NOT NULL)))
          AND (%(status)s::text IS NULL
               OR %(status)s = CASE WHEN i.closed_at IS NULL THEN 'open' ELSE 'closed' END
               OR EXISTS (SELECT 1 FROM runbook.runs s WHERE s.incident_id = i.id
                          AND (s.state = %(status)s OR s.level = %(status)s)))
          AND (%(like)s::text IS NULL OR i.title ILIKE %(like)s OR i.procedure ILIKE %(like)s
               OR EXISTS (SELECT 1 FROM runbook.runs s LEFT JOIN runbook.findings f ON f.run = s.id
                          WHERE s.incident_id = i.id AND (s.verdict ILIKE %(like)s OR s.run_id ILIKE %(like)s
                               OR f.title ILIKE %(like)s OR f.detail ILIKE %(like)s))
               OR EXISTS (SELECT 1 FROM runbook.alerts a WHERE a.incident_id = i.id
                          AND (a.name ILIKE %(like)s OR a.labels::text ILIKE %(like)s)))
        ORDER BY {_ORDER} LIMIT %(limit)s OFFSET %(offset)s
        """  # noqa: S608 - constants joined; what is searched for is bound
    return rows(connection, ListedIncident, _INCIDENTS.format(chosen=chosen), **wanted.parameters)


def reports(connection: Connection, wanted: Filter) -> list[Run]:
    """Runs that have a page, newest first; one more than a page of them if there are more."""
    rest = """
        WHERE r.run_id IS NOT NULL AND r.state <> 'not_run'
          AND (%(severity)s::text IS NULL OR r.severity = %(severity)s)
          AND (%(status)s::text IS NULL OR r.state = %(status)s OR r.level = %(status)s)
          AND (%(like)s::text IS NULL OR r.alertname ILIKE %(like)s OR r.procedure ILIKE %(like)s
               OR r.verdict ILIKE %(like)s OR r.run_id ILIKE %(like)s
               OR EXISTS (SELECT 1 FROM runbook.findings f WHERE f.run = r.id
                          AND (f.title ILIKE %(like)s OR f.detail ILIKE %(like)s)))
        ORDER BY r.queued_at DESC, r.id DESC LIMIT %(limit)s OFFSET %(offset)s
        """
    return select(connection, Run, rest, **wanted.parameters)


def incident(connection: Connection, number: int, for_update: bool = False) -> Incident | None:
    """The incident's row, or None; locked `for_update` until the transaction ends."""
    lock = "FOR UPDATE" if for_update else ""
    return select_one(connection, Incident, f"WHERE i.id = %(id)s {lock}", id=number)


def details(connection: Connection, number: int) -> IncidentDetails | None:
    """One incident with all that belongs to it, or None."""
    found = row(connection, ListedIncident, _INCIDENTS.format(chosen="i.id = %(id)s"), id=number)
    if found is None:
        return None
    return IncidentDetails(
        incident=found,
        latest=headline(connection, number),
        alerts=alerts.of_incident(connection, number, _ALERTS_MAX),
        runs=select(
            connection,
            Run,
            "WHERE r.incident_id = %(id)s ORDER BY r.id DESC LIMIT %(most)s",
            id=number,
            most=_RUNS_MAX,
        ),
        events=events.of_incident(connection, number, _EVENTS_MAX),
        deliveries=deliveries.of_incident(connection, number, _DELIVERIES_MAX),
        covered=_covered(connection, number),
        covered_count=only(
            connection,
            int,
            "SELECT count(DISTINCT incident_id) FROM runbook.alerts WHERE storm_id = %(id)s",
            id=number,
        ),
    )


def headline(connection: Connection, number: int) -> ReportedRun | None:
    """The run whose verdict speaks for the incident.

    That is the worst of what still fires, of each procedure's newest run that has an outcome.
    """
    worst = _HEADLINE.format(only="AND r.outcome IS NOT NULL")
    statement = f"""
        SELECT {columns(ReportedRun)} FROM runbook.incidents i JOIN LATERAL ({worst}) r ON true WHERE i.id = %(id)s
        """  # noqa: S608 - constants
    return row(connection, ReportedRun, statement, id=number)


def _covered(connection: Connection, storm: int) -> list[CoveredIncident]:
    statement = """
        SELECT c.id, c.title, c.severity, c.closed_at, c.closed_how,
               (SELECT r.note FROM runbook.runs r WHERE r.incident_id = c.id AND r.state = 'not_run'
                ORDER BY r.id DESC LIMIT 1) AS why
        FROM runbook.incidents c
        WHERE c.id IN (SELECT a.incident_id FROM runbook.alerts a WHERE a.storm_id = %(id)s)
        ORDER BY c.id DESC LIMIT %(most)s
        """
    return rows(connection, CoveredIncident, statement, id=storm, most=_COVERED_MAX)


def run(connection: Connection, run_id: str) -> WatchedRun | None:
    """The run with this id, or None."""
    return select_one(connection, WatchedRun, "WHERE r.run_id = %(run_id)s", run_id=run_id)


def reported(connection: Connection, number: int | None) -> ReportedRun | None:
    """The run with this number and its outcome; None where there is none."""
    return select_one(connection, ReportedRun, "WHERE r.id = %(number)s", number=number)


def previous(connection: Connection, run: Run) -> ReportedRun | None:
    """The last run of the same incident and procedure before this one that has an outcome."""
    rest = """
        JOIN runbook.runs later ON later.id = %(id)s AND later.incident_id = r.incident_id
            AND later.procedure = r.procedure AND later.about = r.about AND r.id < later.id
        WHERE r.outcome IS NOT NULL ORDER BY r.id DESC LIMIT 1
        """
    return select_one(connection, ReportedRun, rest, id=run.id)


def figures(connection: Connection) -> Figures:
    """What /metrics shows: counts, runs that wait or run, open incidents, messages that are not out, workers."""
    return Figures(
        counts=rows(connection, Count, "SELECT metric, labels, value FROM runbook.counts ORDER BY metric, labels"),
        live=rows(
            connection,
            LiveRuns,
            """
            SELECT state, severity, count(*) AS count, extract(epoch FROM max(now() - queued_at)) AS oldest_seconds
            FROM runbook.runs WHERE state IN ('queued', 'running') GROUP BY state, severity
            """,
        ),
        incidents=rows(
            connection,
            OpenIncidents,
            "SELECT severity, count(*) AS count FROM runbook.incidents WHERE closed_at IS NULL GROUP BY severity",
        ),
        messages=rows(
            connection,
            UnsentMessages,
            """
            SELECT medium, state, count(*) AS count FROM runbook.deliveries
            WHERE state <> 'sent' GROUP BY medium, state
            """,
        ),
        workers=only(
            connection,
            int,
            "SELECT count(*) FROM runbook.workers WHERE seen_at > now() - interval '30 seconds'",
        ),
    )
