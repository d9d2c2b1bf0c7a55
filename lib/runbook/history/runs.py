"""The life of a run: queued, running, then how it ended. Each step asks for the state before it.

A worker that was thought dead and comes back with its report is believed, unless another run was begun in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from runbook.alert import Alert
from runbook.history.database import Connection, row, rows, storable
from runbook.history.events import count, note

TERMINAL = ("complete", "degraded", "failed", "timed_out", "cancelled", "abandoned", "not_run")
REPORTED = ("complete", "degraded", "failed", "timed_out")
# A run that was lost with its worker, or whose kernel was killed, is tried once more and never again.
ATTEMPTS = 2
SECONDS_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_FINDINGS_MAX = 500
_TEXT_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Order:
    """A run that has begun: what to run it on. `alerts` are all that fire, the subject among them."""

    run: int
    incident: int
    procedure: str
    reason: str
    attempt: int
    subject: Alert
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """The run that takes the place of a lost one."""

    run: int
    incident: int
    procedure: str
    severity: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, as the history keeps it. `outcome` is what outcome.json holds; {} when there is none."""

    state: str
    verdict: str
    seconds: float
    outcome: Mapping[str, Any]
    stored: str = ""


def begin(connection: Connection, run: int, worker: str, job: int | None) -> Order | None:
    """The order of a queued run, now running; None when it is not queued any more or nothing is left to run on."""
    found = row(
        connection,
        "UPDATE runbook.runs SET state = 'running', started_at = clock_timestamp(), worker = %(worker)s,"
        " job_id = %(job)s WHERE id = %(run)s AND state = 'queued' RETURNING *",
        {"run": run, "worker": worker, "job": job},
    )
    if not found:
        return None
    alerts = _alerts(connection, found)
    if not alerts:
        _end(connection, found, Ended("cancelled", "Cancelled before it began: its alerts are gone.", 0.0, {}))
        return None
    connection.execute(
        "INSERT INTO runbook.run_alerts (run, fingerprint, starts_at)"
        " SELECT %s, * FROM unnest(%s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING",
        [run, [a.fingerprint for a in alerts], [a.starts_at for a in alerts]],
    )
    note(connection, found["incident_id"], "started", f"attempt {found['attempt']}", run)
    lead = next((a for a in alerts if a.name == found["alertname"]), alerts[0])
    return Order(run, found["incident_id"], found["procedure"], found["reason"], found["attempt"], lead, tuple(alerts))


def _alerts(connection: Connection, run: Mapping[str, Any]) -> list[Alert]:
    """All firing alerts of the run's procedure, worst first; those it was queued for, when none fires any more."""
    found = rows(
        connection,
        """
        SELECT a.*, a.resolved_at IS NULL AS fires FROM runbook.alerts a
        WHERE a.procedure = %(procedure)s AND (a.incident_id = %(incident)s OR a.storm_id = %(incident)s)
          AND (a.resolved_at IS NULL OR EXISTS (SELECT 1 FROM runbook.run_alerts c
               WHERE c.run = %(run)s AND c.fingerprint = a.fingerprint AND c.starts_at = a.starts_at))
        ORDER BY a.resolved_at IS NOT NULL, array_position(ARRAY['critical', 'warning', 'info'], a.severity),
                 a.starts_at, a.fingerprint LIMIT 10000
        """,
        {"procedure": run["procedure"], "incident": run["incident_id"], "run": run["id"]},
    )
    firing = [item for item in found if item["fires"]]
    return [as_alert(item) for item in firing or found]


def as_alert(stored: Mapping[str, Any]) -> Alert:
    """A stored alert as the Alert it was."""
    return Alert(
        name=stored["name"],
        labels=stored["labels"],
        annotations=stored["annotations"],
        starts_at=stored["starts_at"],
        ends_at=stored["ends_at"],
        status="resolved" if stored["resolved_at"] else "firing",
        generator_url=stored["generator_url"],
        fingerprint=stored["fingerprint"],
    )


def name_folder(connection: Connection, run: int, run_id: str) -> None:
    """Write down the run's own id, which names its folder and its page."""
    connection.execute("UPDATE runbook.runs SET run_id = %s WHERE id = %s AND state = 'running'", [run_id, run])


def progress(connection: Connection, run: int, steps: list[dict[str, Any]]) -> None:
    """Replace what the page of a running run shows."""
    connection.execute(
        "UPDATE runbook.runs SET progress = %s WHERE id = %s AND state = 'running'", [Jsonb(_clean(steps)), run]
    )


def finish(connection: Connection, run: int, ended: Ended) -> bool:
    """Write down how the run ended, with its findings. False when it was given up and another was begun in its place.

    A run that was given up and has its report after all counts, and what waits in its place is taken back.
    """
    found = row(
        connection,
        "SELECT * FROM runbook.runs WHERE id = %(run)s AND state IN ('running', 'abandoned') FOR UPDATE",
        {"run": run},
    )
    if not found or (found["state"] == "abandoned" and not _still_first(connection, found, ended)):
        return False
    _end(connection, found, ended)
    findings = list(ended.outcome.get("findings", []))[:_FINDINGS_MAX]
    for position, finding in enumerate(findings):
        connection.execute(
            "INSERT INTO runbook.findings (run, position, finding_id, status, title, detail)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [run, position, *(_text(finding.get(name)) for name in ("id", "status", "title", "detail"))],
        )
    return True


def _still_first(connection: Connection, run: Mapping[str, Any], ended: Ended) -> bool:
    """Whether the late report of a run that was given up is the first; the run that waits in its place is then cancelled."""
    if ended.state not in REPORTED:
        return False
    place = {"incident": run["incident_id"], "procedure": run["procedure"], "run": run["id"]}
    later = row(
        connection,
        "SELECT 1 AS one FROM runbook.runs WHERE incident_id = %(incident)s AND procedure = %(procedure)s"
        " AND id > %(run)s AND started_at IS NOT NULL LIMIT 1",
        place,
    )
    if later:
        return False
    waits = row(
        connection, "SELECT * FROM runbook.runs WHERE retry_of = %(run)s AND state = 'queued' FOR UPDATE", place
    )
    if waits:
        _end(connection, waits, Ended("cancelled", "Not needed: the run it was made for has ended after all.", 0.0, {}))
    return True


def _end(connection: Connection, run: Mapping[str, Any], ended: Ended) -> None:
    level = ended.outcome.get("level")
    connection.execute(
        """
        UPDATE runbook.runs SET state = %(state)s, finished_at = clock_timestamp(), verdict = %(verdict)s,
            seconds = %(seconds)s, outcome = %(outcome)s, level = %(level)s, stored = %(stored)s
        WHERE id = %(run)s
        """,
        {
            "run": run["id"],
            "state": ended.state,
            "verdict": _text(ended.verdict),
            "seconds": ended.seconds,
            "outcome": Jsonb(_clean(ended.outcome)) if ended.outcome else None,
            "level": level if level in ("ok", "warning", "critical") else "unknown",
            "stored": ended.stored,
        },
    )
    kind = "reported" if ended.state in REPORTED else ended.state
    note(connection, run["incident_id"], kind, f"{ended.state}: {ended.verdict}", run["id"])
    count(connection, "runs", run["procedure"], ended.state)
    if ended.state in REPORTED:
        count(connection, "run_seconds_sum", run["procedure"], by=ended.seconds)
        bucket = next((str(edge) for edge in SECONDS_BUCKETS if ended.seconds <= edge), "+Inf")
        count(connection, "run_seconds", run["procedure"], bucket)


def abandon(connection: Connection, run: int, why: str, counts: bool = True) -> Retry | None:
    """Give up a running run -> the run that takes its place, None when it was tried often enough or had ended.

    `counts` is false where the run itself is not to blame: a worker that is stopped in order.
    """
    found = row(
        connection, "SELECT * FROM runbook.runs WHERE id = %(run)s AND state = 'running' FOR UPDATE", {"run": run}
    )
    if not found:
        return None
    _end(connection, found, Ended("abandoned", why, 0.0, {}))
    return again(connection, found, counts)


def again(connection: Connection, run: Mapping[str, Any], counts: bool = True) -> Retry | None:
    """Queue the run once more -> Retry; None when that was its last attempt. What it covered goes along."""
    attempt = run["attempt"] + (1 if counts else 0)
    if attempt > ATTEMPTS:
        note(connection, run["incident_id"], "given_up", f"after {run['attempt']} attempts", run["id"])
        return None
    made = row(
        connection,
        """
        INSERT INTO runbook.runs (incident_id, procedure, alertname, severity, reason, attempt, note, retry_of)
        VALUES (%(incident)s, %(procedure)s, %(name)s, %(severity)s, 'retry', %(attempt)s, %(note)s, %(run)s)
        ON CONFLICT (incident_id, procedure) WHERE state = 'queued' DO UPDATE SET procedure = excluded.procedure
        RETURNING id
        """,
        {
            "incident": run["incident_id"],
            "procedure": run["procedure"],
            "name": run["alertname"],
            "severity": run["severity"],
            "attempt": attempt,
            "note": f"takes the place of run {run['id']}",
            "run": run["id"],
        },
    )
    if made is None:
        raise AssertionError("the run was not made")
    connection.execute(
        "INSERT INTO runbook.run_alerts (run, fingerprint, starts_at)"
        " SELECT %s, fingerprint, starts_at FROM runbook.run_alerts WHERE run = %s ON CONFLICT DO NOTHING",
        [made["id"], run["id"]],
    )
    note(connection, run["incident_id"], "retried", f"attempt {attempt}", made["id"])
    return Retry(made["id"], run["incident_id"], run["procedure"], run["severity"])


def get(connection: Connection, run: int) -> dict[str, Any] | None:
    """The run's row, or None."""
    return row(connection, "SELECT * FROM runbook.runs WHERE id = %(run)s", {"run": run})


def lost(connection: Connection, seconds: float) -> list[dict[str, Any]]:
    """Running runs whose job's worker has given no sign for `seconds`, and queued ones that no job stands for."""
    return rows(
        connection,
        """
        SELECT r.id, r.state, r.job_id, r.worker FROM runbook.runs r
        LEFT JOIN procrastinate_jobs j ON j.id = r.job_id
        LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
        WHERE r.state = 'running' AND r.started_at < now() - make_interval(secs => %(seconds)s)
          AND (j.id IS NULL OR j.status <> 'doing' OR w.id IS NULL
               OR w.last_heartbeat < now() - make_interval(secs => %(seconds)s))
        """,
        {"seconds": seconds},
    )


def sign_of_life(connection: Connection, worker: str, concurrency: int) -> None:
    """Write down that this process runs reports; 0 at once: it has stopped."""
    connection.execute("DELETE FROM runbook.workers WHERE name = %s OR seen_at < now() - interval '1 day'", [worker])
    if concurrency:
        connection.execute("INSERT INTO runbook.workers (name, concurrency) VALUES (%s, %s)", [worker, concurrency])


def _text(value: Any) -> str:
    return storable(str(value or ""))[:_TEXT_MAX]


def _clean(value: Any) -> Any:
    """JSON-ready data as PostgreSQL takes it: no NUL, no lone surrogates."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {_clean(str(k)): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
