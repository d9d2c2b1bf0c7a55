"""Who is told what, and when: one message an incident, then only what is new. Decided where it is committed."""

from __future__ import annotations

from runbook.history import Connection, deliveries, listing
from runbook.history.changes import changes
from runbook.history.rows import ReportedRun
from runbook.service.context import Context


def report(connection: Connection, context: Context, run: int) -> None:
    """A run has ended: the incident's first message, or a follow-up where something changed or it was asked for.

    The first report on a critical alert is a first message too, whatever was told before it turned critical.
    """
    found = listing.reported(connection, run)
    incident = listing.incident(connection, found.incident_id) if found else None
    if found is None or incident is None or incident.parent_id:
        return
    if not deliveries.has_kind(connection, incident.id, "report"):
        _tell(connection, context, incident.id, "report", f"{incident.id}:report", run)
    elif found.severity == "critical" and not deliveries.has_kind(connection, incident.id, "report", "critical"):
        _tell(connection, context, incident.id, "report", f"{incident.id}:report:critical", run)
    elif found.reason in ("asked", "escalation") or _has_changed(connection, found):
        _tell(connection, context, incident.id, "update", f"{incident.id}:update:{run}", run)


def _has_changed(connection: Connection, run: ReportedRun) -> bool:
    """Whether the run says anything else than the one before it."""
    before = listing.previous(connection, run)
    if before is None or before.outcome is None or before.state != run.state:
        return True
    return bool(changes(before.outcome, run.outcome))


def resolved(connection: Connection, context: Context, incident: int) -> None:
    """An incident that people were told of has ended."""
    if deliveries.was_told(connection, incident):
        _tell(connection, context, incident, "resolved", f"{incident}:resolved")


def escalated(connection: Connection, context: Context, incident: int, level: int) -> None:
    """The next level is called in."""
    _tell(connection, context, incident, "escalation", f"{incident}:escalation:{level}", text=str(level))


def dead_man(connection: Connection, context: Context, incident: int, procedure: str, event: int) -> None:
    """A critical alert of the procedure has no report after the time it should have; said once an `event` of it."""
    _tell(connection, context, incident, "dead_man", f"{incident}:dead_man:{event}", text=procedure)


def _tell(
    connection: Connection,
    context: Context,
    incident: int,
    kind: str,
    key: str,
    run: int | None = None,
    text: str = "",
) -> None:
    found = listing.incident(connection, incident)
    for medium in context.mediums(found.severity if found else ""):
        made = deliveries.add(connection, incident, medium, kind, f"{key}:{medium}", run, text)
        if made is not None:
            context.queue.message(connection, made, medium)
