"""The timeline of an incident: what happened, when, in a word and a line."""

from __future__ import annotations

from runbook.history.database import Connection, only, rows, storable
from runbook.history.rows import Event

TEXT_MAX = 1_000


def note(connection: Connection, incident: int, kind: str, text: str = "", run: int | None = None) -> int:
    """Add a line to the incident's timeline, dated now -> its id."""
    statement = """
        INSERT INTO runbook.events (incident_id, run, at, kind, text)
        VALUES (%(incident)s, %(run)s, clock_timestamp(), %(kind)s, %(text)s) RETURNING id
        """
    return only(connection, int, statement, incident=incident, run=run, kind=kind, text=storable(text[:TEXT_MAX]))


def of_incident(connection: Connection, incident: int, most: int) -> list[Event]:
    """The incident's timeline, newest first."""
    statement = """
        SELECT e.id, e.run, e.at, e.kind, e.text, r.run_id
        FROM runbook.events e LEFT JOIN runbook.runs r ON r.id = e.run
        WHERE e.incident_id = %(id)s ORDER BY e.id DESC LIMIT %(most)s
        """
    return rows(connection, Event, statement, id=incident, most=most)


def count(connection: Connection, metric: str, *labels: str, by: float = 1) -> None:
    """Raise a figure that only grows, kept for /metrics."""
    statement = """
        INSERT INTO runbook.counts (metric, labels, value) VALUES (%s, %s, %s)
        ON CONFLICT (metric, labels) DO UPDATE SET value = counts.value + excluded.value
        """
    connection.execute(statement, [metric, list(labels), by])
