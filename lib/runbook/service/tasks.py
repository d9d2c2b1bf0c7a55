"""What the queue's tasks do, and the sweep that finds what was lost."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runbook.errors import StorageError
from runbook.history import Connection, closing, listing, retention, runs, storms, waiting
from runbook.history.alerts import WORST_FIRST
from runbook.history.database import exists, rows, value, values
from runbook.history.events import note
from runbook.history.waiting import Queued
from runbook.queue import Work
from runbook.service import announce, messages
from runbook.service.context import Context
from runbook.service.intake import put, watch_over
from runbook.service.runs import Runs, store_again
from runbook.words import duration

_log = logging.getLogger(__name__)
_PRUNE_SECONDS = 3_600
# One number for everyone who sweeps this database: the others leave it to the first.
_SWEEP_LOCK = 7_246_531_191


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
    is_due = exists(
        connection,
        "UPDATE runbook.incidents SET level = %(level)s WHERE id = %(id)s AND closed_at IS NULL"
        " AND severity = 'critical' AND parent_id IS NULL AND level < %(level)s RETURNING id",
        id=incident,
        level=level,
    )
    if not is_due:
        return False
    who = next((x.who for x in context.catalog.escalation if x.level == level), "")
    note(connection, incident, "escalated", f"level {level}: {who}")
    ask(connection, context, incident, "escalation")
    announce.escalated(connection, context, incident, level)
    return True


@dataclass(frozen=True, slots=True)
class _Lead:
    """The alert that a procedure's next run is named after. `is_covered`: a storm runs it for this incident."""

    procedure: str
    name: str
    severity: str
    fires: bool
    is_covered: bool


def ask(connection: Connection, context: Context, incident: int, reason: str) -> tuple[Queued, ...]:
    """Queue one more run of each procedure that still fires, of all where none does -> those that did not wait yet.

    Asked by a person, an incident also runs by itself what a storm covers, and then has its own place again.
    """
    found = rows(
        connection,
        _Lead,
        f"""
        SELECT DISTINCT ON (a.procedure, a.about) a.procedure, a.name, a.severity, a.resolved_at IS NULL AS fires,
            a.incident_id = %(id)s AND a.storm_id IS NOT NULL AS is_covered
        FROM runbook.alerts a
        WHERE a.storm_id = %(id)s OR (a.incident_id = %(id)s AND (a.storm_id IS NULL OR %(reason)s = 'asked'))
        ORDER BY a.procedure, a.about, {WORST_FIRST}
        """,  # noqa: S608 - a constant
        id=incident,
        reason=reason,
    )
    wanted = [lead for lead in found if lead.fires] or found
    covered = [(lead.procedure, lead.name) for lead in wanted if lead.is_covered]
    if covered:
        _leave_storm(connection, context, incident, covered)
    queued: list[Queued] = []
    for lead in wanted:
        run = waiting.request(connection, incident, lead.procedure, lead.name, lead.severity, reason)
        if run:
            waiting.cover_procedure(connection, run)
            queued.append(run)
    for run in queued:
        put(connection, context, run)
    return tuple(queued)


def _leave_storm(connection: Connection, context: Context, incident: int, covered: list[tuple[str, str]]) -> None:
    """Run these procedures, each of an alert's name, by itself from now on.

    A critical incident that gets its own place so is watched from now on.
    """
    was = listing.incident(connection, incident, for_update=True)
    for procedure, name in covered:
        storms.take_back(connection, incident, procedure, name)
    parent = storms.settle(connection, incident)
    if was and was.parent_id and not parent and was.severity == "critical":
        watch_over(connection, context, incident)


def dead_man(connection: Connection, context: Context, incident: int, until: datetime | None = None) -> bool:
    """Say plainly which procedures' critical alerts, received `until` then, have no report; whether any was named.

    Each procedure is named once until it has a report again. What a storm covers is the storm's to say.
    """
    is_open = exists(
        connection,
        "SELECT 1 FROM runbook.incidents WHERE id = %(id)s AND closed_at IS NULL FOR UPDATE",
        id=incident,
    )
    if not is_open:
        return False
    silent = values(
        connection,
        str,
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
                                AND r.procedure = a.procedure AND r.about = a.about
                                AND r.state = ANY(%(reported)s)))
        ORDER BY a.procedure
        """,
        id=incident,
        until=until,
        reported=list(runs.REPORTED),
    )
    waited = duration(context.settings.runbook_dead_man_seconds)
    for procedure in silent:
        event = note(connection, incident, "dead_man", f"{procedure}: no report after {waited}")
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
    if not value(connection, bool, "SELECT pg_try_advisory_xact_lock(%(lock)s)", lock=_SWEEP_LOCK):
        return 0
    lost = runs.lost(connection, seconds)
    for run in lost:
        _log.warning("run %s was lost with its worker", run)
        retry = runs.abandon(connection, run, f"Its worker gave no sign of life for {duration(seconds)}.")
        if retry:
            put(connection, context, retry)
        else:
            announce.report(connection, context, run)
    context.queue.release_stalled(connection, seconds)
    for queued in context.queue.without_job(connection):
        put(connection, context, queued)
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
