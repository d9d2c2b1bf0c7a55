"""Runs that wait: one for each incident and procedure, which new alerts join until it begins.

Of the general procedure one for each alert name: alerts that nobody wrote a procedure for have nothing else in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runbook.history.alerts import Key, Known, is_worse
from runbook.history.database import Connection, execute, row, value


@dataclass(frozen=True, slots=True)
class Queued:
    """A run that now waits: what the queue needs to know of it. `delay_seconds`: not before then."""

    run: int
    incident: int
    procedure: str
    severity: str
    delay_seconds: float = 0.0


def queue(
    connection: Connection,
    incident: int,
    lead: Known,
    reason: str,
    alerts: Sequence[Known],
    delay_seconds: float = 0.0,
) -> Queued | None:
    """The run that covers `alerts`, where a job is due: for a new one, or one that waits and became more urgent."""
    queued = request(connection, incident, lead.procedure, lead.alert.name, lead.severity, reason)
    if queued:
        run = queued.run
    else:
        waits = _waiting(connection, incident, lead)
        if waits is None:  # it started this moment: one more covers the new alerts
            return queue(connection, incident, lead, reason, alerts, delay_seconds)
        run = waits.run
        if is_worse(lead.severity, waits.severity):
            statement = "UPDATE runbook.runs SET severity = %s, alertname = %s WHERE id = %s"
            connection.execute(statement, [lead.severity, lead.alert.name, run])
            queued = replace(waits, severity=lead.severity)
    cover(connection, run, [alert.key for alert in alerts])
    return replace(queued, delay_seconds=delay_seconds) if queued else None


def request(
    connection: Connection, incident: int, procedure: str, alertname: str, severity: str, reason: str
) -> Queued | None:
    """A run that waits now; None when one of this procedure waits already. It takes alerts when it starts."""
    statement = """
        INSERT INTO runbook.runs (incident_id, procedure, alertname, severity, reason)
        VALUES (%(incident)s, %(procedure)s, %(alertname)s, %(severity)s, %(reason)s)
        ON CONFLICT (incident_id, procedure, about) WHERE state = 'queued' DO NOTHING
        RETURNING id
        """
    run = value(
        connection,
        int,
        statement,
        incident=incident,
        procedure=procedure,
        alertname=alertname,
        severity=severity,
        reason=reason,
    )
    return None if run is None else Queued(run, incident, procedure, severity)


def cover(connection: Connection, run: int, keys: Sequence[Key]) -> None:
    """Write down that `run` covers these alerts."""
    statement = """
        INSERT INTO runbook.run_alerts (run, fingerprint, starts_at)
        SELECT %s, * FROM unnest(%s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING
        """
    connection.execute(statement, [run, [fingerprint for fingerprint, _ in keys], [starts_at for _, starts_at in keys]])


def cover_procedure(connection: Connection, queued: Queued) -> None:
    """Write down that the run covers all alerts of its procedure and incident, resolved or not."""
    statement = """
        INSERT INTO runbook.run_alerts (run, fingerprint, starts_at)
        SELECT %(run)s, a.fingerprint, a.starts_at FROM runbook.alerts a
        JOIN runbook.runs r ON r.id = %(run)s AND r.procedure = a.procedure AND r.about = a.about
        WHERE a.incident_id = r.incident_id OR a.storm_id = r.incident_id
        ON CONFLICT DO NOTHING
        """
    execute(connection, statement, run=queued.run)


def _waiting(connection: Connection, incident: int, lead: Known) -> Queued | None:
    """The run that waits and that this alert would join, locked."""
    statement = """
        SELECT id AS run, incident_id AS incident, procedure, severity FROM runbook.runs
        WHERE incident_id = %(incident)s AND procedure = %(procedure)s AND about = runbook.about(procedure, %(name)s)
          AND state = 'queued' FOR UPDATE
        """
    return row(connection, Queued, statement, incident=incident, procedure=lead.procedure, name=lead.alert.name)
