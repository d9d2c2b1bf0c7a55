"""What the pages and `runbook reports` show: lists with filters, and one incident or run in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runbook.history.database import Connection, row, rows

PAGE = 50


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


_ORDER = "i.closed_at IS NOT NULL, (i.closed_at IS NULL AND i.severity = 'critical') DESC, i.opened_at DESC, i.id DESC"
# Of each procedure the newest report; of these the worst of what still fires. {only} narrows the runs.
_HEADLINE = """
    SELECT l.* FROM (
        SELECT DISTINCT ON (r.procedure) r.*, r.state IN ('complete', 'degraded', 'failed', 'timed_out') AS is_reported
        FROM runbook.runs r WHERE r.incident_id = i.id {only}
        ORDER BY r.procedure, is_reported DESC, r.id DESC) l
    ORDER BY l.is_reported DESC,
             EXISTS (SELECT 1 FROM runbook.alerts a WHERE (a.incident_id = i.id OR a.storm_id = i.id)
                     AND a.procedure = l.procedure AND a.resolved_at IS NULL) DESC,
             array_position(ARRAY['critical', 'warning', 'unknown', 'ok'], l.level), l.id DESC LIMIT 1
"""
# Chosen first ({chosen}), then looked at: what is shown of an incident costs more than to find it.
_INCIDENTS = f"""
    SELECT i.*, r.id AS last_run, r.run_id AS last_run_id, r.state AS last_state, r.verdict AS last_verdict,
           r.level AS last_level, r.finished_at AS last_finished,
           (SELECT count(*) FROM runbook.alerts a
             WHERE (a.incident_id = i.id OR a.storm_id = i.id) AND a.resolved_at IS NULL) AS firing,
           (SELECT count(*) FROM runbook.runs q WHERE q.incident_id = i.id AND q.state <> 'not_run') AS runs,
           (SELECT count(*) FROM runbook.deliveries d WHERE d.incident_id = i.id AND d.state = 'failed') AS untold
    FROM (SELECT i.* FROM runbook.incidents i WHERE {{chosen}}) i
    LEFT JOIN LATERAL ({_HEADLINE.format(only="")}) r ON true
    ORDER BY {_ORDER}
"""  # noqa: S608 - a constant


def incidents(connection: Connection, wanted: Filter) -> list[dict[str, Any]]:
    """Incidents: open critical ones, then open ones, then closed, each newest first; one more than a page if there are more."""
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
    return rows(connection, _INCIDENTS.format(chosen=chosen), wanted.parameters)


def reports(connection: Connection, wanted: Filter) -> list[dict[str, Any]]:
    """Runs that have a page, newest first."""
    return rows(
        connection,
        """
        SELECT r.*, i.title AS incident_title FROM runbook.runs r JOIN runbook.incidents i ON i.id = r.incident_id
        WHERE r.run_id IS NOT NULL AND r.state <> 'not_run'
          AND (%(severity)s::text IS NULL OR r.severity = %(severity)s)
          AND (%(status)s::text IS NULL OR r.state = %(status)s OR r.level = %(status)s)
          AND (%(like)s::text IS NULL OR r.alertname ILIKE %(like)s OR r.procedure ILIKE %(like)s
               OR r.verdict ILIKE %(like)s OR r.run_id ILIKE %(like)s
               OR EXISTS (SELECT 1 FROM runbook.findings f WHERE f.run = r.id
                          AND (f.title ILIKE %(like)s OR f.detail ILIKE %(like)s)))
        ORDER BY r.queued_at DESC, r.id DESC LIMIT %(limit)s OFFSET %(offset)s
        """,
        wanted.parameters,
    )


def incident(connection: Connection, number: int) -> dict[str, Any] | None:
    """One incident in full: its row with `latest`, `alerts`, `all_runs`, `events`, `deliveries`, `children`."""
    found = row(connection, _INCIDENTS.format(chosen="i.id = %(id)s"), {"id": number})
    if not found:
        return None
    by_incident = {"id": number}
    alerts = """
        SELECT a.*, a.incident_id AS child FROM runbook.alerts a
        WHERE a.incident_id = %(id)s OR a.storm_id = %(id)s
        ORDER BY a.resolved_at IS NOT NULL, array_position(ARRAY['critical', 'warning', 'info'], a.severity),
                 a.starts_at, a.fingerprint LIMIT 500"""
    return {
        **found,
        "latest": headline(connection, number),
        "alerts": rows(connection, alerts, by_incident),
        "all_runs": rows(
            connection, "SELECT * FROM runbook.runs WHERE incident_id = %(id)s ORDER BY id DESC LIMIT 200", by_incident
        ),
        "events": rows(
            connection,
            "SELECT e.*, r.run_id, r.procedure FROM runbook.events e LEFT JOIN runbook.runs r ON r.id = e.run"
            " WHERE e.incident_id = %(id)s ORDER BY e.id DESC LIMIT 300",
            by_incident,
        ),
        "deliveries": rows(
            connection,
            "SELECT * FROM runbook.deliveries WHERE incident_id = %(id)s ORDER BY id DESC LIMIT 100",
            by_incident,
        ),
        "children": rows(
            connection,
            "SELECT c.*, (SELECT r.note FROM runbook.runs r WHERE r.incident_id = c.id AND r.state = 'not_run'"
            " ORDER BY r.id DESC LIMIT 1) AS why FROM runbook.incidents c"
            " WHERE c.id IN (SELECT a.incident_id FROM runbook.alerts a WHERE a.storm_id = %(id)s)"
            " ORDER BY c.id DESC LIMIT 500",
            by_incident,
        ),
        "children_count": _count(connection, number),
    }


def headline(connection: Connection, number: int) -> dict[str, Any] | None:
    """The run whose verdict speaks for the incident: the worst of what still fires, each procedure's newest with an outcome."""
    worst = _HEADLINE.format(only="AND r.outcome IS NOT NULL")
    return row(
        connection,
        f"SELECT r.* FROM runbook.incidents i JOIN LATERAL ({worst}) r ON true WHERE i.id = %(id)s",  # noqa: S608 - a constant
        {"id": number},
    )


def _count(connection: Connection, parent: int) -> int:
    found = row(
        connection,
        "SELECT count(DISTINCT incident_id) AS n FROM runbook.alerts WHERE storm_id = %(id)s",
        {"id": parent},
    )
    return int(found["n"]) if found else 0


def run(connection: Connection, run_id: str) -> dict[str, Any] | None:
    """The run with this id, with its incident's title, or None."""
    return row(
        connection,
        "SELECT r.*, i.title AS incident_title FROM runbook.runs r JOIN runbook.incidents i ON i.id = r.incident_id"
        " WHERE r.run_id = %(run_id)s",
        {"run_id": run_id},
    )


def previous(connection: Connection, run: dict[str, Any]) -> dict[str, Any] | None:
    """The last run of the same incident and procedure before this one that has an outcome."""
    return row(
        connection,
        "SELECT * FROM runbook.runs WHERE incident_id = %(incident_id)s AND procedure = %(procedure)s"
        " AND id < %(id)s AND outcome IS NOT NULL ORDER BY id DESC LIMIT 1",
        {name: run[name] for name in ("incident_id", "procedure", "id")},
    )


def figures(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """What /metrics shows: `counts`, waiting and running runs by severity, open incidents, waiting messages."""
    return {
        "counts": rows(connection, "SELECT metric, labels, value FROM runbook.counts ORDER BY metric, labels"),
        "active": rows(
            connection,
            "SELECT state, severity, count(*) AS n, extract(epoch FROM max(now() - queued_at)) AS oldest"
            " FROM runbook.runs WHERE state IN ('queued', 'running') GROUP BY state, severity",
        ),
        "incidents": rows(
            connection,
            "SELECT severity, count(*) AS n FROM runbook.incidents WHERE closed_at IS NULL GROUP BY severity",
        ),
        "messages": rows(
            connection,
            "SELECT medium, state, count(*) AS n FROM runbook.deliveries WHERE state <> 'sent' GROUP BY medium, state",
        ),
        "workers": rows(
            connection,
            "SELECT count(*) AS n FROM runbook.workers WHERE seen_at > now() - interval '30 seconds'",
        ),
    }
