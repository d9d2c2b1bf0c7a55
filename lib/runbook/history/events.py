"""The timeline of an incident: what happened, when, in a word and a line."""

from __future__ import annotations

from runbook.history.database import Connection, storable

TEXT_MAX = 1_000


def note(connection: Connection, incident: int, kind: str, text: str = "", run: int | None = None) -> int:
    """Add a line to the incident's timeline, dated now -> its id."""
    made = connection.execute(
        "INSERT INTO runbook.events (incident_id, run, at, kind, text) VALUES (%s, %s, clock_timestamp(), %s, %s)"
        " RETURNING id",
        [incident, run, kind, storable(text[:TEXT_MAX])],
    ).fetchone()
    if made is None:
        raise AssertionError("the event was not made")
    return int(made["id"])


def count(connection: Connection, metric: str, *labels: str, by: float = 1) -> None:
    """Raise a figure that only grows, kept for /metrics."""
    connection.execute(
        "INSERT INTO runbook.counts (metric, labels, value) VALUES (%s, %s, %s)"
        " ON CONFLICT (metric, labels) DO UPDATE SET value = counts.value + excluded.value",
        [metric, list(labels), by],
    )
