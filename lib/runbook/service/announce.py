"""Who is told what, and when: one message an incident, then only what is new. Decided where it is committed."""

from __future__ import annotations

from typing import Any

from runbook.history import Connection, deliveries, listing
from runbook.history.changes import changes
from runbook.history.database import row
from runbook.service.context import Context


def report(connection: Connection, context: Context, run: int) -> None:
    """A run has ended: the incident's first message, or a follow-up where something changed or it was asked for.

    The first report on a critical alert is a first message too, whatever was told before it turned critical.
    """
    found = row(
        connection,
        "SELECT r.*, i.parent_id FROM runbook.runs r JOIN runbook.incidents i ON i.id = r.incident_id"
        " WHERE r.id = %(run)s",
        {"run": run},
    )
    if not found or found["parent_id"]:
        return
    incident = found["incident_id"]
    if not _has(connection, incident, "report"):
        _tell(connection, context, incident, "report", f"{incident}:report", run)
        return
    if found["severity"] == "critical" and not _has(connection, incident, "report", "critical"):
        _tell(connection, context, incident, "report", f"{incident}:report:critical", run)
        return
    before = listing.previous(connection, found)
    changed = before is None or changes(before["outcome"], found["outcome"] or {}) or before["state"] != found["state"]
    if changed or found["reason"] in ("asked", "escalation"):
        _tell(connection, context, incident, "update", f"{incident}:update:{run}", run)


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
    found = row(connection, "SELECT severity FROM runbook.incidents WHERE id = %(id)s", {"id": incident})
    for medium in context.mediums(found["severity"] if found else ""):
        made = deliveries.add(connection, incident, medium, kind, f"{key}:{medium}", run, text)
        if made is not None:
            context.queue.message(connection, made, medium)


def _has(connection: Connection, incident: int, kind: str, severity: str | None = None) -> bool:
    """Whether such a message was made, of a run of that severity where one is named."""
    found: Any = row(
        connection,
        "SELECT 1 AS one FROM runbook.deliveries d LEFT JOIN runbook.runs r ON r.id = d.run"
        " WHERE d.incident_id = %(id)s AND d.kind = %(kind)s"
        " AND (%(severity)s::text IS NULL OR r.severity = %(severity)s) LIMIT 1",
        {"id": incident, "kind": kind, "severity": severity},
    )
    return bool(found)
