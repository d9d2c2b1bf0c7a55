"""When one procedure's alerts come in numbers: a parent incident whose one run covers what is not run singly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from runbook.history.database import Connection, row
from runbook.history.events import count, note


class Lead(Protocol):
    """What is told of the alert that a run would have been about."""

    @property
    def alert(self) -> Any: ...
    @property
    def procedure(self) -> str: ...
    @property
    def severity(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """At most `runs` incidents of one procedure are run singly in `minutes`; a storm's own runs keep `pause_seconds`."""

    runs: int = 10
    minutes: float = 10.0
    pause_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Parent:
    """The storm that takes an alert, and how long its next run has to wait."""

    id: int
    delay_seconds: float
    opened: bool = False


def parent_for(connection: Connection, incident: int, procedure: str, severity: str, limits: Limits) -> Parent | None:
    """The storm this incident's procedure belongs to, opened now if the limit is reached; None while it is not."""
    known = row(
        connection,
        """
        SELECT (SELECT count(DISTINCT r.incident_id) FROM runbook.runs r
                JOIN runbook.incidents i ON i.id = r.incident_id
                WHERE r.procedure = %(procedure)s AND r.state <> 'not_run' AND i.kind = 'group'
                  AND r.incident_id <> %(incident)s
                  AND r.queued_at > now() - make_interval(secs => %(seconds)s)) AS others,
               EXISTS (SELECT 1 FROM runbook.runs r WHERE r.incident_id = %(incident)s
                       AND r.procedure = %(procedure)s AND r.state <> 'not_run') AS has_own
        """,
        {"procedure": procedure, "incident": incident, "seconds": limits.minutes * 60},
    )
    if known is None or known["has_own"] or known["others"] < limits.runs:
        return None
    return _parent(connection, procedure, severity, limits)


def _parent(connection: Connection, procedure: str, severity: str, limits: Limits) -> Parent:
    key = hashlib.sha256(f"storm of {procedure}".encode()).hexdigest()
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [key])
    found = row(
        connection,
        """
        SELECT i.id, i.severity, (SELECT extract(epoch FROM now() - max(r.queued_at)) FROM runbook.runs r
                      WHERE r.incident_id = i.id AND r.state <> 'queued') AS since
        FROM runbook.incidents i WHERE i.key_hash = %(key)s AND i.closed_at IS NULL
        """,
        {"key": key},
    )
    if found:
        wait = 0.0 if found["since"] is None else max(0.0, limits.pause_seconds - float(found["since"]))
        connection.execute(
            "UPDATE runbook.incidents SET last_seen_at = now(), severity = CASE WHEN %(new)s = 'critical'"
            " OR (%(new)s = 'warning' AND severity = 'info') THEN %(new)s ELSE severity END WHERE id = %(id)s",
            {"new": severity, "id": found["id"]},
        )
        return Parent(found["id"], wait)
    made = row(
        connection,
        """
        INSERT INTO runbook.incidents (kind, key_hash, title, procedure, severity, starts_at)
        VALUES ('storm', %(key)s, %(title)s, %(procedure)s, %(severity)s, now()) RETURNING id
        """,
        {"key": key, "title": f"Many alerts: {procedure}", "procedure": procedure, "severity": severity},
    )
    if made is None:
        raise AssertionError("the storm was not made")
    text = f"over {limits.runs} incidents of {procedure} in {limits.minutes:g} minutes: the next ones share one run"
    note(connection, made["id"], "storm", text)
    return Parent(made["id"], 0.0, opened=True)


def leave_to_parent(
    connection: Connection, incident: int, parent: Parent, lead: Lead, keys: list[tuple[str, datetime]]
) -> None:
    """Write down that the incident's run is not run singly, why, and where its alerts are covered instead."""
    connection.execute("UPDATE runbook.incidents SET parent_id = %s WHERE id = %s", [parent.id, incident])
    why = f"Not run singly: many {lead.procedure} alerts came at once. Incident {parent.id} covers it."
    made = row(
        connection,
        """
        INSERT INTO runbook.runs (incident_id, procedure, alertname, severity, reason, state, note, finished_at, verdict)
        VALUES (%(incident)s, %(procedure)s, %(name)s, %(severity)s, 'storm', 'not_run', %(why)s, now(), %(why)s)
        RETURNING id
        """,
        {
            "incident": incident,
            "procedure": lead.procedure,
            "name": lead.alert.name,
            "severity": lead.severity,
            "why": why,
        },
    )
    note(connection, incident, "not_run", why, made["id"] if made else None)
    count(connection, "runs", lead.procedure, "not_run")


def close_empty(connection: Connection) -> None:
    """Close storms whose children have all closed: two last ones, closing at once, each saw the other open."""
    connection.execute(
        """
        UPDATE runbook.incidents i SET closed_at = now(), closed_how = 'resolved'
        WHERE i.kind = 'storm' AND i.closed_at IS NULL AND i.last_seen_at < now() - interval '30 seconds'
          AND NOT EXISTS (SELECT 1 FROM runbook.incidents c WHERE c.parent_id = i.id AND c.closed_at IS NULL)
        """
    )
