"""The end of an incident: its alerts are resolved, or a person closed it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from runbook.history.database import Connection, exists, value, values
from runbook.history.events import note
from runbook.words import duration

# Of a storm i: none of the alerts that it covers fires in an incident that is open.
_IS_SILENT = """NOT EXISTS (SELECT 1 FROM runbook.alerts a JOIN runbook.incidents c ON c.id = a.incident_id
                    WHERE a.storm_id = i.id AND a.resolved_at IS NULL AND c.closed_at IS NULL)"""


def close_quiet(connection: Connection, incidents: Iterable[int]) -> tuple[int, ...]:
    """Close those of `incidents` in which nothing fires any more, and their storms -> the ids closed now."""
    closed: list[int] = []
    touched = list(set(incidents))
    if not touched:
        return ()
    for incident in sorted(touched):
        statement = """
            SELECT now() - starts_at FROM runbook.incidents i
            WHERE id = %(id)s AND kind = 'group' AND closed_at IS NULL AND NOT EXISTS
                (SELECT 1 FROM runbook.alerts a WHERE a.incident_id = i.id AND a.resolved_at IS NULL)
            """
        span = value(connection, timedelta, statement, id=incident)
        if span is not None:
            _close(connection, incident, "resolved", f"after {lasted(span)}")
            closed.append(incident)
    statement = """
        SELECT DISTINCT i.id FROM runbook.alerts a JOIN runbook.incidents i ON i.id = a.storm_id
        WHERE a.incident_id = ANY(%(ids)s) AND i.closed_at IS NULL
        """
    covering = values(connection, int, statement, ids=touched)
    closed.extend(storm for storm in covering if _close_storm(connection, storm))
    return tuple(closed)


def close_by_hand(connection: Connection, incident: int, who: str) -> bool:
    """Close the incident whatever fires; whether it was open. Its alerts start a new one only when one is new.

    A storm takes those along that have no place but in it.
    """
    is_open = exists(connection, "SELECT 1 FROM runbook.incidents WHERE id = %(id)s AND closed_at IS NULL", id=incident)
    if is_open:
        # Children before their storm, in the order in which a message that comes in locks them.
        statement = "SELECT id FROM runbook.incidents WHERE parent_id = %(id)s AND closed_at IS NULL ORDER BY id"
        children = values(connection, int, statement, id=incident)
        for child in children:
            _close(connection, child, "closed", f"by {who}, with incident {incident}, which covers it")
        _close(connection, incident, "closed", f"by {who}")
    return is_open


def _close(connection: Connection, incident: int, how: str, text: str) -> None:
    connection.execute("UPDATE runbook.incidents SET closed_at = now(), closed_how = %s WHERE id = %s", [how, incident])
    note(connection, incident, how, text)
    statement = """
        UPDATE runbook.runs SET state = 'cancelled', finished_at = now(), note = %(why)s, verdict = %(why)s
        WHERE incident_id = %(id)s AND state = 'queued' RETURNING id
        """
    cancelled = values(
        connection, int, statement, id=incident, why=f"Cancelled before it began: the incident was {how}."
    )
    for run in cancelled:
        note(connection, incident, "cancelled", "its run had not begun", run)


def _close_storm(connection: Connection, storm: int) -> bool:
    """Close a storm if its last alert has gone. Its waiting run goes on: it is the report of all of them."""
    statement = f"""
        SELECT now() - starts_at FROM runbook.incidents i
        WHERE id = %(id)s AND closed_at IS NULL AND {_IS_SILENT}
        """  # noqa: S608 - a constant
    span = value(connection, timedelta, statement, id=storm)
    if span is None:
        return False
    connection.execute("UPDATE runbook.incidents SET closed_at = now(), closed_how = 'resolved' WHERE id = %s", [storm])
    note(connection, storm, "resolved", f"after {lasted(span)}")
    return True


def close_silent_storms(connection: Connection) -> list[int]:
    """Close storms of whose alerts none fires any more -> their ids.

    Two last alerts that end at once each still see the other: neither message closes their storm.
    """
    statement = f"""
        UPDATE runbook.incidents i SET closed_at = now(), closed_how = 'resolved'
        WHERE i.kind = 'storm' AND i.closed_at IS NULL AND i.last_seen_at < now() - interval '30 seconds'
          AND {_IS_SILENT}
        RETURNING i.id
        """  # noqa: S608 - a constant
    return values(connection, int, statement)


def lasted(span: timedelta) -> str:
    """How long something lasted, in words; never less than nothing: an alert may begin later than our clock says."""
    return duration(max(0.0, span.total_seconds()))
