"""Messages to people: what is to be told, whether it was, and why not."""

from __future__ import annotations

from runbook.history.database import Connection, columns, exists, row, select, select_one, storable, value
from runbook.history.events import count, note
from runbook.history.rows import Delivery

ATTEMPTS = 8
_ERROR_MAX = 300
_COLUMNS = columns(Delivery)


def add(
    connection: Connection, incident: int, medium: str, kind: str, key: str, run: int | None = None, text: str = ""
) -> int | None:
    """A message that waits -> its id; None when one with this key was made before: it is never told twice."""
    statement = """
        INSERT INTO runbook.deliveries (incident_id, run, key, medium, kind, text)
        VALUES (%(incident)s, %(run)s, %(key)s, %(medium)s, %(kind)s, %(text)s)
        ON CONFLICT (key) DO NOTHING RETURNING id
        """
    return value(connection, int, statement, incident=incident, run=run, key=key, medium=medium, kind=kind, text=text)


def waiting(connection: Connection, delivery: int) -> Delivery | None:
    """The message if it still waits."""
    return select_one(connection, Delivery, "WHERE d.id = %(id)s AND d.state = 'waiting'", id=delivery)


def of_incident(connection: Connection, incident: int, most: int) -> list[Delivery]:
    """The incident's messages, newest first."""
    rest = "WHERE d.incident_id = %(id)s ORDER BY d.id DESC LIMIT %(most)s"
    return select(connection, Delivery, rest, id=incident, most=most)


def sent(connection: Connection, delivery: int) -> None:
    """The message is out."""
    statement = f"""
        UPDATE runbook.deliveries d SET state = 'sent', sent_at = now(), attempts = attempts + 1, error = ''
        WHERE d.id = %(id)s RETURNING {_COLUMNS}
        """  # noqa: S608 - a constant
    done = row(connection, Delivery, statement, id=delivery)
    if done:
        note(connection, done.incident_id, "told", f"{done.medium}: {done.kind}", done.run)
        count(connection, "messages", done.medium, "sent")


def failed(connection: Connection, delivery: int, error: str) -> bool:
    """One attempt failed -> whether that was the last. The reason is shown on the incident's page."""
    statement = f"""
        UPDATE runbook.deliveries d SET attempts = attempts + 1, error = %(error)s,
            state = CASE WHEN attempts + 1 >= %(most)s THEN 'failed' ELSE state END
        WHERE d.id = %(id)s RETURNING {_COLUMNS}
        """  # noqa: S608 - a constant
    done = row(connection, Delivery, statement, id=delivery, error=storable(error[:_ERROR_MAX]), most=ATTEMPTS)
    if done is None:
        count(connection, "messages", "unknown", "failed")
        return False
    count(connection, "messages", done.medium, "failed")
    is_last = done.state == "failed"
    if is_last:
        note(connection, done.incident_id, "not_told", f"{done.medium}: {done.kind}: {error}", done.run)
    return is_last


def was_told(connection: Connection, incident: int) -> bool:
    """Whether any message of this incident was made."""
    return exists(connection, "SELECT 1 FROM runbook.deliveries WHERE incident_id = %(id)s LIMIT 1", id=incident)


def has_kind(connection: Connection, incident: int, kind: str, severity: str | None = None) -> bool:
    """Whether a message of this kind was made, of a run of that severity where one is named."""
    statement = """
        SELECT 1 FROM runbook.deliveries d LEFT JOIN runbook.runs r ON r.id = d.run
        WHERE d.incident_id = %(id)s AND d.kind = %(kind)s
          AND (%(severity)s::text IS NULL OR r.severity = %(severity)s) LIMIT 1
        """
    return exists(connection, statement, id=incident, kind=kind, severity=severity)
