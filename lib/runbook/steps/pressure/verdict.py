"""DatabasePressure: the decision, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runbook.alert import Alert, Window
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import agents, dependencies, disk, latency, platform
from runbook.steps.platform.suspects import Suspect, suspects
from runbook.steps.pressure.figures import LockWaits
from runbook.steps.pressure.locks import lock_waits
from runbook.steps.shared.verdicts import checklist, kubectl, psql, silence, unknown_reasons
from runbook.words import amount, counted, duration

_LEFT_OPEN_SECONDS = 60.0
_SLOW_P95_MS = 500.0
_QUESTIONS = (
    ("How full was the pool, since when?", dependencies.pool),
    ("Had the server room?", dependencies.database),
    ("Did anything wait for a lock?", lock_waits),
    ("Was a statement slow?", latency.slow_log),
    ("What runs now?", latency.slow_queries),
    ("Which tables are large or bloated?", disk.tables),
    ("What was rolled out before?", platform.rollouts),
    ("What was configured before?", platform.config_changes),
)
_HOLDERS = (
    "SELECT pid, application_name, state, wait_event_type, now() - xact_start AS open_for, left(query, 80) AS query"
    " FROM pg_stat_activity WHERE backend_type = 'client backend' ORDER BY xact_start NULLS LAST LIMIT 20;"
)
_BLOCKERS = (
    "SELECT a.pid, pg_blocking_pids(a.pid) AS blocked_by, now() - a.query_start AS waits, left(a.query, 80) AS query"
    " FROM pg_stat_activity a WHERE cardinality(pg_blocking_pids(a.pid)) > 0 ORDER BY waits DESC;"
)


@dataclass(frozen=True, slots=True)
class _Cause:
    """What holds the database up, how sure that is said, and the decision for it."""

    text: str
    decision: str


def decide(findings: Findings, alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision about a database under pressure: end what holds locks or connections, or speed up what is slow."""
    pool = findings.get(dependencies.Pool)
    near = suspects(findings, (pool.since if pool else None) or window.starts_at)
    status, trouble = _trouble(findings)
    cause = _cause(findings, near)
    decision, summary = "no action, watch", f"Healthy: {trouble}."
    if status is Status.UNKNOWN:
        decision, summary = "look at the database by hand", trouble
    elif status is not Status.OK:
        decision, summary = cause.decision, f"{trouble}. Cause: {cause.text}."
    asked = findings.known((dependencies.pool, dependencies.database, lock_waits, latency.slow_log, agents.store))
    reasons = (
        *(f"Just before: {suspect.text}." for suspect in near[:3]),
        *(f"{found.title}." for found in asked),
        *unknown_reasons(findings),
    )
    actions = tuple(_actions(status, near, alert, namespace))
    return Verdict(decision, summary, status, reasons, actions, checklist(findings, _QUESTIONS))


def _trouble(findings: Findings) -> tuple[Status, str]:
    """(status, how full and how slow it is in words), from what is known of pool, server and statements."""
    pool, server = findings.get(dependencies.Pool), findings.get(dependencies.Database)
    if pool is None and server is None:
        return Status.UNKNOWN, "Whether the database is under pressure is not known: neither pool nor server answered."
    if pool is not None and pool.exhausted:
        return Status.CRITICAL, f"The pool is exhausted: {_use(pool)}"
    if server is not None and server.full:
        return Status.CRITICAL, f"The server is full: {findings.title(dependencies.database)}"
    if pool is None:
        return Status.UNKNOWN, f"The pool is not known. {findings.title(dependencies.database)}"
    if pool.idle <= 1:
        return Status.WARNING, f"The pool runs low: {_use(pool)}"
    if pool.p95_ms >= _SLOW_P95_MS:
        return Status.WARNING, f"Queries are slow: {_speed(pool)}; {_use(pool)}"
    return Status.OK, f"{_use(pool)}, and queries take {_speed(pool)}"


def _use(pool: dependencies.Pool) -> str:
    active, size = amount(round(pool.active)), amount(round(pool.size))
    return f"{active} of {size} connections in use, usually {amount(round(pool.usual, 1))}"


def _speed(pool: dependencies.Pool) -> str:
    return f"{amount(pool.p95_ms, 'ms')} (p95), usually {amount(pool.usual_p95_ms, 'ms')}"


def _cause(findings: Findings, near: Sequence[Suspect]) -> _Cause:
    """What lies deepest: a lock holds up statements, which hold connections; a change may be behind any of them."""
    follows = f", after {near[0].text}" if near else ""
    waits, server = findings.get(LockWaits), findings.get(dependencies.Database)
    waiting_now = server.waiting_for_locks if server else 0.0
    if (waits and waits.waits) or waiting_now >= 1:
        held = f"{waits.lock} is waited for" if waits and waits.waits else f"{waiting_now:g} wait for locks now"
        return _Cause(f"a lock holds up the others ({held}){follows}", "end what holds the lock")
    if server and server.idle_in_transaction >= 1 and server.oldest_transaction_seconds >= _LEFT_OPEN_SECONDS:
        left = counted(int(server.idle_in_transaction), "transaction")
        oldest = duration(server.oldest_transaction_seconds)
        return _Cause(f"{left} left open, the oldest for {oldest}{follows}", "end the transactions left open")
    if server and server.full:
        return _Cause(f"the server has no connections left{follows}", "free connections on the server")
    logged, running = findings.get(latency.SlowLog), findings.get(latency.SlowQueries)
    if logged and logged.count:
        slow = logged.statement[:120]
        return _Cause(f"slow statements hold connections: {slow}{follows}", "stop or speed up the slow statement")
    if running and running.running:
        slow = counted(running.running, "statement")
        return _Cause(f"{slow} running for over a second now{follows}", "stop or speed up the slow statement")
    if near:
        return _Cause(f"not seen in the database itself; it follows {near[0].text}", "undo the change before it")
    return _Cause("not found by these checks", "find who holds the connections")


def _actions(status: Status, near: Sequence[Suspect], alert: Alert, namespace: str) -> Iterator[Action]:
    if status is not Status.OK:
        yield Action("See who holds the connections", psql(namespace, _HOLDERS), "The longest open first.")
        ends = "SELECT pg_terminate_backend(pid) ends one; the client connects anew."
        yield Action("See who waits for whom", psql(namespace, _BLOCKERS), ends)
        rolled_out = next((suspect for suspect in near if suspect.deployment), None)
        if rolled_out:
            yield Action(
                f"Roll back {rolled_out.deployment}",
                kubectl(namespace, "rollout", "undo", f"deployment/{rolled_out.deployment}"),
                f"The last change before it: {rolled_out.text}.",
                changes=True,
            )
    yield Action("Follow postgres' log", kubectl(namespace, "logs", "-f", "deployment/postgres", "--tail=50"))
    yield silence(alert)
