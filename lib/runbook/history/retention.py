"""What is kept and for how long: old, closed incidents go with their runs and artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.history.database import Connection, values


@dataclass(frozen=True, slots=True)
class Doomed:
    """What is to be removed: incidents by their numbers, and the ids of runs whose artifacts go with them."""

    incidents: tuple[int, ...]
    run_ids: tuple[str, ...]


def prunable(connection: Connection, days: float, most_runs: int, limit: int = 500) -> list[int]:
    """The numbers of closed incidents older than `days`, or beyond the newest `most_runs` runs; oldest first."""
    statement = """
        WITH newest AS (SELECT min(id) AS id FROM
            (SELECT id FROM runbook.runs WHERE state <> 'not_run' ORDER BY id DESC LIMIT %(runs)s) n)
        SELECT i.id FROM runbook.incidents i, newest
        WHERE i.closed_at IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM runbook.runs r WHERE r.incident_id = i.id AND r.state IN ('queued', 'running'))
          AND NOT EXISTS (SELECT 1 FROM runbook.alerts a WHERE a.incident_id = i.id AND a.resolved_at IS NULL)
          AND (i.closed_at < now() - make_interval(secs => %(seconds)s)
               OR NOT EXISTS (SELECT 1 FROM runbook.runs r WHERE r.incident_id = i.id AND r.id >= newest.id))
        ORDER BY i.id LIMIT %(limit)s
        """
    return values(connection, int, statement, seconds=days * 86_400, runs=most_runs, limit=limit)


def doomed(connection: Connection, days: float, most_runs: int) -> Doomed:
    """What `prunable` lists -> Doomed. Its artifacts go first, then `remove` the rest: nothing is left without a trace.

    Alerts that still fire stay with their incident: their identity is what stops a second report.
    """
    ids = prunable(connection, days, most_runs)
    statement = "SELECT run_id FROM runbook.runs WHERE incident_id = ANY(%(ids)s) AND run_id IS NOT NULL"
    run_ids = values(connection, str, statement, ids=ids)
    return Doomed(tuple(ids), tuple(run_ids))


def remove(connection: Connection, incidents: tuple[int, ...]) -> None:
    """Remove incidents from the history, with all that belongs to them."""
    connection.execute("DELETE FROM runbook.incidents WHERE id = ANY(%s)", [list(incidents)])
