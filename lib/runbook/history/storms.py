"""When one procedure's alerts come in numbers: a parent incident whose one run covers what is not run singly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal

from runbook.catalog import FALLBACK
from runbook.history.alerts import Known, is_worse
from runbook.history.database import Connection, execute, only, row, value
from runbook.history.events import count, note
from runbook.words import duration


@dataclass(frozen=True, slots=True)
class Limits:
    """When a storm begins: at most `runs` incidents of one procedure are run singly in `minutes`.

    `pause_seconds` are between a storm's own runs.
    """

    runs: int = 10
    minutes: float = 10.0
    pause_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Parent:
    """The storm that takes an alert, and how long its next run has to wait."""

    id: int
    delay_seconds: float
    became_critical: bool = False


@dataclass(frozen=True, slots=True)
class _Load:
    """How many other incidents of a procedure were run singly of late, and whether this one was."""

    others: int
    has_own: bool


@dataclass(frozen=True, slots=True)
class _Storm:
    """An open storm. `seconds_since_run`: since its newest run was queued that waits no more; None before the first."""

    id: int
    severity: str
    seconds_since_run: Decimal | None


def parent_for(connection: Connection, incident: int, lead: Known, limits: Limits) -> Parent | None:
    """The storm that this alert of the incident belongs to, opened now if the limit is reached; None while it is not.

    Of the general procedure each alert name counts, for each has a run of its own.
    """
    statement = """
        SELECT (SELECT count(DISTINCT (r.incident_id, r.about)) FROM runbook.runs r
                JOIN runbook.incidents i ON i.id = r.incident_id
                WHERE r.procedure = %(procedure)s AND r.state <> 'not_run' AND i.kind = 'group'
                  AND (r.incident_id, r.about) <> (%(incident)s, runbook.about(%(procedure)s, %(name)s))
                  AND r.queued_at > now() - make_interval(secs => %(seconds)s)) AS others,
               EXISTS (SELECT 1 FROM runbook.runs r WHERE r.incident_id = %(incident)s
                       AND r.procedure = %(procedure)s AND r.about = runbook.about(%(procedure)s, %(name)s)
                       AND r.state <> 'not_run') AS has_own
        """
    load = row(
        connection,
        _Load,
        statement,
        procedure=lead.procedure,
        name=lead.alert.name,
        incident=incident,
        seconds=limits.minutes * 60,
    )
    if load is None or load.has_own or load.others < limits.runs:
        return None
    return _parent(connection, lead.procedure, lead.severity, limits)


def _parent(connection: Connection, procedure: str, severity: str, limits: Limits) -> Parent:
    key = hashlib.sha256(f"storm of {procedure}".encode()).hexdigest()
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [key])
    statement = """
        SELECT i.id, i.severity, (SELECT extract(epoch FROM now() - max(r.queued_at)) FROM runbook.runs r
                      WHERE r.incident_id = i.id AND r.state <> 'queued') AS seconds_since_run
        FROM runbook.incidents i WHERE i.key_hash = %(key)s AND i.closed_at IS NULL
        """
    storm = row(connection, _Storm, statement, key=key)
    if storm:
        return _joined(connection, storm, severity, limits)
    statement = """
        INSERT INTO runbook.incidents (kind, key_hash, title, procedure, severity, starts_at)
        VALUES ('storm', %(key)s, %(title)s, %(procedure)s, %(severity)s, now()) RETURNING id
        """
    made = only(
        connection, int, statement, key=key, title=f"Many alerts: {procedure}", procedure=procedure, severity=severity
    )
    span = duration(limits.minutes * 60)
    shared = "one run for each alert name" if procedure == FALLBACK else "one run"
    text = f"over {limits.runs} incidents of {procedure} in {span}: the next ones share {shared}"
    note(connection, made, "storm", text)
    return Parent(made, 0.0, severity == "critical")


def _joined(connection: Connection, storm: _Storm, severity: str, limits: Limits) -> Parent:
    """The open storm, as severe as its worst alert; its next run keeps the pause."""
    raised = is_worse(severity, storm.severity)
    statement = "UPDATE runbook.incidents SET last_seen_at = now(), severity = %(severity)s WHERE id = %(id)s"
    execute(connection, statement, severity=severity if raised else storm.severity, id=storm.id)
    if raised:
        note(connection, storm.id, "severity", f"{storm.severity} -> {severity}")
    delay_seconds = 0.0
    if storm.seconds_since_run is not None:
        delay_seconds = max(0.0, limits.pause_seconds - float(storm.seconds_since_run))
    return Parent(storm.id, delay_seconds, raised and severity == "critical")


def leave_to_parent(connection: Connection, incident: int, parent: Parent, lead: Known) -> None:
    """Write down that this procedure is not run singly, why, and where its alerts are covered instead."""
    statement = """
        UPDATE runbook.alerts SET storm_id = %(storm)s
        WHERE incident_id = %(incident)s AND procedure = %(procedure)s
          AND about = runbook.about(procedure, %(name)s) AND resolved_at IS NULL
        """
    name = lead.alert.name
    execute(connection, statement, storm=parent.id, incident=incident, procedure=lead.procedure, name=name)
    why = f"Not run singly: many {lead.procedure} alerts came at once. Incident {parent.id} covers it."
    statement = """
        INSERT INTO runbook.runs (incident_id, procedure, alertname, severity, reason, state, note, finished_at,
            verdict)
        VALUES (%(incident)s, %(procedure)s, %(name)s, %(severity)s, 'storm', 'not_run', %(why)s, now(), %(why)s)
        RETURNING id
        """
    run = only(
        connection,
        int,
        statement,
        incident=incident,
        procedure=lead.procedure,
        name=lead.alert.name,
        severity=lead.severity,
        why=why,
    )
    note(connection, incident, "not_run", why, run)
    count(connection, "runs", lead.procedure, "not_run")


def take_back(connection: Connection, incident: int, procedure: str, name: str) -> None:
    """Alerts that share a run with one of this procedure and name are run by the incident itself from now on."""
    statement = """
        UPDATE runbook.alerts SET storm_id = NULL
        WHERE incident_id = %(incident)s AND procedure = %(procedure)s
          AND about = runbook.about(procedure, %(name)s) AND storm_id IS NOT NULL
        """
    execute(connection, statement, incident=incident, procedure=procedure, name=name)


def settle(connection: Connection, incident: int) -> int | None:
    """The storm that covers every alert of the incident, which then has no place of its own; else None."""
    statement = """
        UPDATE runbook.incidents i SET parent_id = (
            SELECT CASE WHEN bool_and(a.storm_id IS NOT NULL) THEN max(a.storm_id) END
            FROM runbook.alerts a WHERE a.incident_id = i.id)
        WHERE i.id = %(id)s RETURNING i.parent_id
        """
    return value(connection, int, statement, id=incident)
