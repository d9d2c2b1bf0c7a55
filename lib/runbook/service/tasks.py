"""What the queue's tasks do, and the sweep that finds what was lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runbook.errors import StorageError
from runbook.history import Connection, closing, retention, runs, storms
from runbook.history.database import row, rows
from runbook.history.events import note
from runbook.history.intake import Queued
from runbook.queue import Work
from runbook.service import announce, messages
from runbook.service.context import Context
from runbook.service.intake import put, watch_over
from runbook.service.runs import Runs, requeue, store_again

_log = logging.getLogger(__name__)
_PRUNE_SECONDS = 3_600


def work(context: Context, doing: Runs) -> Work:
    """The task bodies of a process that works for `context`."""

    def run(job: Any, run: int) -> None:
        doing.do(run, job.job.id)

    def message(delivery: int) -> None:
        messages.send(context, delivery)

    def next_level(incident: int, level: int) -> None:
        context.database.persist(lambda connection: escalate(connection, context, incident, level))

    def look(incident: int, received: str = "") -> None:
        until = datetime.fromisoformat(received) if received else None
        context.database.persist(lambda connection: dead_man(connection, context, incident, until))

    return Work(run=run, message=message, escalate=next_level, dead_man=look)


def escalate(connection: Connection, context: Context, incident: int, level: int) -> bool:
    """Call in the next level and run again, unless the incident has ended; whether it was done."""
    found = row(
        connection,
        "UPDATE runbook.incidents SET level = %(level)s WHERE id = %(id)s AND closed_at IS NULL"
        " AND severity = 'critical' AND parent_id IS NULL AND level < %(level)s RETURNING *",
        {"id": incident, "level": level},
    )
    if not found:
        return False
    who = next((x.who for x in context.catalog.escalation if x.level == level), "")
    note(connection, incident, "escalated", f"level {level}: {who}")
    ask(connection, context, incident, "escalation")
    announce.escalated(connection, context, incident, level)
    return True


def ask(connection: Connection, context: Context, incident: int, reason: str) -> tuple[Queued, ...]:
    """Queue one more run of each procedure that still fires, of all where none does -> those that no run waited for.

    Asked by a person, an incident also runs by itself what a storm covers, and then has its own place again.
    """
    found = rows(
        connection,
        """
        SELECT DISTINCT ON (a.procedure) a.procedure, a.name, a.severity, a.resolved_at IS NULL AS fires,
            a.incident_id = %(id)s AND a.storm_id IS NOT NULL AS is_covered
        FROM runbook.alerts a
        WHERE a.storm_id = %(id)s OR (a.incident_id = %(id)s AND (a.storm_id IS NULL OR %(reason)s = 'asked'))
        ORDER BY a.procedure, a.resolved_at IS NOT NULL,
            array_position(ARRAY['critical', 'warning', 'info'], a.severity), a.starts_at, a.fingerprint
        """,
        {"id": incident, "reason": reason},
    )
    wanted = [item for item in found if item["fires"]] or found
    covered = [item["procedure"] for item in wanted if item["is_covered"]]
    if covered:
        _leave_storm(connection, context, incident, covered)
    queued = [_ask(connection, incident, item, reason) for item in wanted]
    for run in queued:
        if run:
            put(connection, context, run)
    return tuple(run for run in queued if run)


def _leave_storm(connection: Connection, context: Context, incident: int, procedures: list[str]) -> None:
    """Run these procedures by itself from now on; a critical incident that gets its own place so is watched from now."""
    was = row(
        connection, "SELECT parent_id, severity FROM runbook.incidents WHERE id = %(id)s FOR UPDATE", {"id": incident}
    )
    for procedure in procedures:
        storms.take_back(connection, incident, procedure)
    parent = storms.settle(connection, incident)
    if was and was["parent_id"] and not parent and was["severity"] == "critical":
        watch_over(connection, context, incident)


def _ask(connection: Connection, incident: int, lead: Mapping[str, Any], reason: str) -> Queued | None:
    made = row(
        connection,
        """
        INSERT INTO runbook.runs (incident_id, procedure, alertname, severity, reason)
        VALUES (%(id)s, %(procedure)s, %(name)s, %(severity)s, %(reason)s)
        ON CONFLICT (incident_id, procedure) WHERE state = 'queued' DO NOTHING RETURNING *
        """,
        {"id": incident, "reason": reason, **{name: lead[name] for name in ("procedure", "name", "severity")}},
    )
    if not made:
        return None
    connection.execute(
        "INSERT INTO runbook.run_alerts (run, fingerprint, starts_at)"
        " SELECT %s, a.fingerprint, a.starts_at FROM runbook.alerts a"
        " WHERE (a.incident_id = %s OR a.storm_id = %s) AND a.procedure = %s ON CONFLICT DO NOTHING",
        [made["id"], incident, incident, made["procedure"]],
    )
    return Queued(made["id"], incident, made["procedure"], made["severity"])


def dead_man(connection: Connection, context: Context, incident: int, until: datetime | None = None) -> bool:
    """Say plainly which procedures' critical alerts, received `until` then, have no report; whether any was named.

    Each procedure is named once until it has a report again. What a storm covers is the storm's to say.
    """
    if not row(
        connection,
        "SELECT 1 AS one FROM runbook.incidents WHERE id = %(id)s AND closed_at IS NULL FOR UPDATE",
        {"id": incident},
    ):
        return False
    silent = rows(
        connection,
        """
        SELECT DISTINCT a.procedure FROM runbook.alerts a
        WHERE ((a.incident_id = %(id)s AND a.storm_id IS NULL) OR a.storm_id = %(id)s)
          AND a.severity = 'critical' AND a.resolved_at IS NULL
          AND (%(until)s::timestamptz IS NULL OR a.received_at <= %(until)s)
          AND NOT EXISTS (SELECT 1 FROM runbook.run_alerts c JOIN runbook.runs r ON r.id = c.run
              WHERE c.fingerprint = a.fingerprint AND c.starts_at = a.starts_at
                AND r.state = ANY(%(reported)s) AND r.finished_at >= a.received_at)
          AND NOT EXISTS (SELECT 1 FROM runbook.events e
              WHERE e.incident_id = %(id)s AND e.kind = 'dead_man' AND starts_with(e.text, a.procedure || ': ')
                AND NOT EXISTS (SELECT 1 FROM runbook.runs r WHERE r.incident_id = %(id)s AND r.finished_at > e.at
                                AND r.procedure = a.procedure AND r.state = ANY(%(reported)s)))
        ORDER BY a.procedure
        """,
        {"id": incident, "until": until, "reported": list(runs.REPORTED)},
    )
    for item in silent:
        procedure = item["procedure"]
        seconds = context.settings.runbook_dead_man_seconds
        event = note(connection, incident, "dead_man", f"{procedure}: no report after {seconds:g} s")
        announce.dead_man(connection, context, incident, procedure, event)
    return bool(silent)


@dataclass(slots=True)
class Sweep:
    """Looks, every few seconds and in every process, for what a killed one left behind."""

    context: Context
    worker: str = ""
    concurrency: int = 0
    pruned: float = field(default_factory=time.monotonic)

    def once(self) -> None:
        """Give up lost runs, free their jobs, close empty storms, store what could not be stored, prune."""
        context = self.context
        seconds = context.settings.runbook_stalled_seconds
        try:
            context.database.commit(lambda connection: sweep(connection, context, seconds))
            if self.worker:
                context.database.commit(lambda c: runs.sign_of_life(c, self.worker, self.concurrency))
            store_again(context)
            if time.monotonic() - self.pruned > _PRUNE_SECONDS:
                self.pruned = time.monotonic()
                prune(context, context.settings.runbook_keep_days, context.settings.runbook_keep_runs)
        except StorageError as error:
            _log.warning("the sweep waits: %s", error)


def sweep(connection: Connection, context: Context, seconds: float) -> int:
    """One transaction of the sweep -> how many runs were given up. Only one process does it at a time."""
    free = row(connection, "SELECT pg_try_advisory_xact_lock(7246531191) AS free")
    if not free or not free["free"]:
        return 0
    lost = runs.lost(connection, seconds)
    for run in lost:
        _log.warning("run %s was lost with its worker", run["id"])
        retry = runs.abandon(connection, run["id"], f"Its worker gave no sign of life for {seconds:g} s.")
        if retry:
            requeue(connection, context, retry)
        else:
            announce.report(connection, context, run["id"])
    context.queue.release_stalled(connection, seconds)
    for waiting in context.queue.without_job(connection):
        put(
            connection,
            context,
            Queued(waiting["id"], waiting["incident_id"], waiting["procedure"], waiting["severity"]),
        )
    for storm in closing.close_silent_storms(connection):
        announce.resolved(connection, context, storm)
    return len(lost)


def prune(context: Context, days: float, most_runs: int) -> retention.Doomed:
    """Remove what is kept no longer, its artifacts first -> what went. Raises StorageError; the rest is tried again."""
    doomed = context.database.commit(lambda connection: retention.doomed(connection, days, most_runs))
    for run_id in doomed.run_ids:
        context.artifacts.delete(run_id)
    context.database.commit(lambda connection: retention.remove(connection, doomed.incidents))
    return doomed
