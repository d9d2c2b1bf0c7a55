"""Messages to people: what is to be told, whether it was, and why not."""

from __future__ import annotations

from typing import Any

from runbook.history.database import Connection, row, storable
from runbook.history.events import count, note

ATTEMPTS = 8
_ERROR_MAX = 300


def add(
    connection: Connection, incident: int, medium: str, kind: str, key: str, run: int | None = None, text: str = ""
) -> int | None:
    """A message that waits -> its id; None when one with this key was made before: it is never told twice."""
    made = row(
        connection,
        """
        INSERT INTO runbook.deliveries (incident_id, run, key, medium, kind, text)
        VALUES (%(incident)s, %(run)s, %(key)s, %(medium)s, %(kind)s, %(text)s)
        ON CONFLICT (key) DO NOTHING RETURNING id
        """,
        {"incident": incident, "run": run, "key": key, "medium": medium, "kind": kind, "text": text},
    )
    return made["id"] if made else None


def waiting(connection: Connection, delivery: int) -> dict[str, Any] | None:
    """The message if it still waits."""
    return row(
        connection,
        "SELECT * FROM runbook.deliveries WHERE id = %(id)s AND state = 'waiting'",
        {"id": delivery},
    )


def sent(connection: Connection, delivery: int) -> None:
    """The message is out."""
    done = row(
        connection,
        "UPDATE runbook.deliveries SET state = 'sent', sent_at = now(), attempts = attempts + 1, error = ''"
        " WHERE id = %(id)s RETURNING *",
        {"id": delivery},
    )
    if done:
        note(connection, done["incident_id"], "told", f"{done['medium']}: {done['kind']}", done["run"])
        count(connection, "messages", done["medium"], "sent")


def failed(connection: Connection, delivery: int, error: str) -> bool:
    """One attempt failed -> whether that was the last. The reason is shown on the incident's page."""
    done = row(
        connection,
        """
        UPDATE runbook.deliveries SET attempts = attempts + 1, error = %(error)s,
            state = CASE WHEN attempts + 1 >= %(most)s THEN 'failed' ELSE state END
        WHERE id = %(id)s RETURNING *
        """,
        {"id": delivery, "error": storable(error[:_ERROR_MAX]), "most": ATTEMPTS},
    )
    count(connection, "messages", done["medium"] if done else "unknown", "failed")
    is_last = bool(done and done["state"] == "failed")
    if done and is_last:
        note(connection, done["incident_id"], "not_told", f"{done['medium']}: {done['kind']}: {error}", done["run"])
    return is_last


def was_told(connection: Connection, incident: int) -> bool:
    """Whether any message of this incident was made."""
    return bool(
        row(connection, "SELECT 1 AS one FROM runbook.deliveries WHERE incident_id = %(id)s LIMIT 1", {"id": incident})
    )
