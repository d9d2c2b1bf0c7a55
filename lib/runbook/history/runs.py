"""The life of a run: queued, running, then how it ended. Each step asks for the state before it.

A worker that was thought dead and comes back with its report is believed, unless another run was begun in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from runbook.alert import Alert
from runbook.history import alerts, waiting
from runbook.history.database import Connection, columns, execute, exists, only, row, select_one, storable, values
from runbook.history.events import count, note
from runbook.history.rows import Run, Step
from runbook.history.waiting import Queued
from runbook.outcome import Outcome, Status
from runbook.words import STATUSES, counted

TERMINAL = ("complete", "degraded", "failed", "timed_out", "cancelled", "abandoned", "not_run")
# What a run's verdict says of the platform, the worst first.
LEVELS = tuple(status for status in STATUSES if status != Status.SKIPPED)
REPORTED = ("complete", "degraded", "failed", "timed_out")
# A run that was lost with its worker, or whose kernel was killed, is tried once more and never again.
ATTEMPTS = 2
SECONDS_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_ALERTS_MAX = 10_000
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
class Ended:
    """How a run ended, as the history keeps it. `outcome` is what outcome.json holds; None when there is none."""

    state: str
    verdict: str
    seconds: float = 0.0
    outcome: Outcome | None = None
    stored: str = ""


def begin(connection: Connection, run: int, worker: str, job: int | None) -> Order | None:
    """The order of a queued run, now running; None when it is not queued any more or nothing is left to run on."""
    statement = f"""
        UPDATE runbook.runs r SET state = 'running', started_at = clock_timestamp(), worker = %(worker)s,
            job_id = %(job)s
        WHERE r.id = %(run)s AND r.state = 'queued' RETURNING {columns(Run)}
        """  # noqa: S608 - constants
    begun = row(connection, Run, statement, run=run, worker=worker, job=job)
    if begun is None:
        return None
    found = alerts.covered_by(connection, run, _ALERTS_MAX)
    # All that fire; those it was queued for, when none fires any more.
    covered = [item.as_alert() for item in found if item.fires] or [item.as_alert() for item in found]
    if not covered:
        _end(connection, begun, Ended("cancelled", "Cancelled before it began: its alerts are gone."))
        return None
    waiting.cover(connection, run, [(alert.fingerprint, alert.starts_at) for alert in covered])
    note(connection, begun.incident_id, "started", f"attempt {begun.attempt}", run)
    subject = next((alert for alert in covered if alert.name == begun.alertname), covered[0])
    return Order(run, begun.incident_id, begun.procedure, begun.reason, begun.attempt, subject, tuple(covered))


def name_folder(connection: Connection, run: int, run_id: str) -> None:
    """Write down the run's own id, which names its folder and its page."""
    connection.execute("UPDATE runbook.runs SET run_id = %s WHERE id = %s AND state = 'running'", [run_id, run])


def progress(connection: Connection, run: int, steps: Sequence[Step]) -> None:
    """Replace what the page of a running run shows."""
    stored = Jsonb([_clean(asdict(step)) for step in steps])
    connection.execute("UPDATE runbook.runs SET progress = %s WHERE id = %s AND state = 'running'", [stored, run])


def finish(connection: Connection, run: int, ended: Ended) -> bool:
    """Write down how the run ended, with its findings. False when it was given up and another was begun in its place.

    A run that was given up and has its report after all counts, and what waits in its place is taken back.
    """
    rest = "WHERE r.id = %(run)s AND r.state IN ('running', 'abandoned') FOR UPDATE"
    found = select_one(connection, Run, rest, run=run)
    if found is None:
        return False
    if found.state == "abandoned" and not _still_first(connection, found, ended):
        return False
    _end(connection, found, ended)
    statement = """
        INSERT INTO runbook.findings (run, position, finding_id, status, title, detail)
        VALUES (%s, %s, %s, %s, %s, %s)
        """
    findings = ended.outcome.findings if ended.outcome else ()
    for position, finding in enumerate(findings[:_FINDINGS_MAX]):
        texts = (finding.id, finding.status.value, finding.title, finding.detail)
        connection.execute(statement, [run, position, *(_text(text) for text in texts)])
    return True


def _still_first(connection: Connection, run: Run, ended: Ended) -> bool:
    """Whether the late report of a run that was given up is the first.

    The run that waits in its place is then cancelled.
    """
    if ended.state not in REPORTED:
        return False
    statement = """
        SELECT 1 FROM runbook.runs r JOIN runbook.runs later USING (incident_id, procedure, about)
        WHERE r.id = %(run)s AND later.id > r.id AND later.started_at IS NOT NULL LIMIT 1
        """
    if exists(connection, statement, run=run.id):
        return False
    rest = "WHERE r.retry_of = %(run)s AND r.state = 'queued' FOR UPDATE"
    waits = select_one(connection, Run, rest, run=run.id)
    if waits:
        _end(connection, waits, Ended("cancelled", "Not needed: the run it was made for has ended after all."))
    return True


def _end(connection: Connection, run: Run, ended: Ended) -> None:
    level = ended.outcome.level if ended.outcome else Status.UNKNOWN
    statement = """
        UPDATE runbook.runs SET state = %(state)s, finished_at = clock_timestamp(), verdict = %(verdict)s,
            seconds = %(seconds)s, outcome = %(outcome)s, level = %(level)s, stored = %(stored)s
        WHERE id = %(run)s
        """
    execute(
        connection,
        statement,
        run=run.id,
        state=ended.state,
        verdict=_text(ended.verdict),
        seconds=ended.seconds,
        outcome=Jsonb(_clean(ended.outcome.to_json())) if ended.outcome else None,
        level=level.value if level.is_known else Status.UNKNOWN.value,
        stored=ended.stored,
    )
    kind = "reported" if ended.state in REPORTED else ended.state
    note(connection, run.incident_id, kind, f"{ended.state}: {ended.verdict}", run.id)
    count(connection, "runs", run.procedure, ended.state)
    if ended.state in REPORTED:
        count(connection, "run_seconds_sum", run.procedure, by=ended.seconds)
        bucket = next((str(edge) for edge in SECONDS_BUCKETS if ended.seconds <= edge), "+Inf")
        count(connection, "run_seconds", run.procedure, bucket)


def abandon(connection: Connection, run: int, why: str, counts: bool = True) -> Queued | None:
    """Give up a running run -> the run that takes its place, None when it was tried often enough or had ended.

    `counts` is false where the run itself is not to blame: a worker that is stopped in order.
    """
    found = select_one(connection, Run, "WHERE r.id = %(run)s AND r.state = 'running' FOR UPDATE", run=run)
    if found is None:
        return None
    _end(connection, found, Ended("abandoned", why))
    return again(connection, found, counts)


def again(connection: Connection, run: Run, counts: bool = True) -> Queued | None:
    """Queue the run once more, with what it covered -> the new one; None when that was its last attempt."""
    attempt = run.attempt + (1 if counts else 0)
    if attempt > ATTEMPTS:
        note(connection, run.incident_id, "given_up", f"after {counted(run.attempt, 'attempt')}", run.id)
        return None
    statement = """
        INSERT INTO runbook.runs (incident_id, procedure, alertname, severity, reason, attempt, note, retry_of)
        VALUES (%(incident)s, %(procedure)s, %(name)s, %(severity)s, 'retry', %(attempt)s, %(note)s, %(run)s)
        ON CONFLICT (incident_id, procedure, about) WHERE state = 'queued' DO UPDATE SET procedure = excluded.procedure
        RETURNING id
        """
    made = only(
        connection,
        int,
        statement,
        incident=run.incident_id,
        procedure=run.procedure,
        name=run.alertname,
        severity=run.severity,
        attempt=attempt,
        note=f"takes the place of run {run.id}",
        run=run.id,
    )
    connection.execute(
        "INSERT INTO runbook.run_alerts (run, fingerprint, starts_at)"
        " SELECT %s, fingerprint, starts_at FROM runbook.run_alerts WHERE run = %s ON CONFLICT DO NOTHING",
        [made, run.id],
    )
    note(connection, run.incident_id, "retried", f"attempt {attempt}", made)
    return Queued(made, run.incident_id, run.procedure, run.severity)


def get(connection: Connection, run: int) -> Run | None:
    """The run, or None."""
    return select_one(connection, Run, "WHERE r.id = %(run)s", run=run)


def lost(connection: Connection, seconds: float) -> list[int]:
    """The numbers of running runs whose job's worker has given no sign for `seconds`."""
    statement = """
        SELECT r.id FROM runbook.runs r
        LEFT JOIN procrastinate_jobs j ON j.id = r.job_id
        LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
        WHERE r.state = 'running' AND r.started_at < now() - make_interval(secs => %(seconds)s)
          AND (j.id IS NULL OR j.status <> 'doing' OR w.id IS NULL
               OR w.last_heartbeat < now() - make_interval(secs => %(seconds)s))
        """
    return values(connection, int, statement, seconds=seconds)


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
