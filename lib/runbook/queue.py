"""The distributed queue: Procrastinate's tasks, their priorities and locks, on the history's own database.

`Queue` defers jobs inside the caller's transaction. What a task does is registered by the service
(`Work`), since it needs the layers above.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import procrastinate
from procrastinate import exceptions, jobs, schema

from runbook.errors import StorageError, TryLaterError
from runbook.history import Connection, Migration
from runbook.history.database import only, rows
from runbook.history.waiting import Queued
from runbook.words import SEVERITIES

RUNS = "runs"
WATCH = "watch"
MESSAGES = "messages"
MAIL = "mail"
_PRIORITIES = dict(zip(SEVERITIES, (100, 50, 10), strict=True))
_log = logging.getLogger(__name__)

Task = Callable[..., None]


@dataclass(frozen=True, slots=True)
class _StalledJob:
    """A job whose worker is gone. `run_state` is the state of its run, None where it is no run's job."""

    id: int
    task_name: str
    run_state: str | None


@dataclass(frozen=True, slots=True)
class Queue:
    """Where jobs are put. Nothing is seen by a worker before the caller's transaction commits."""

    app: procrastinate.App

    def run(
        self, connection: Connection, run: int, incident: int, procedure: str, severity: str, delay_seconds: float = 0
    ) -> None:
        """Queue a run: critical before warning before info, and one at a time for each incident and procedure."""
        self._defer(
            connection,
            "run",
            RUNS,
            {"run": run},
            priority=_PRIORITIES.get(severity, 0),
            lock=f"run:{incident}:{procedure}",
            delay_seconds=delay_seconds,
        )

    def message(self, connection: Connection, delivery: int, medium: str) -> None:
        """Queue a message that waits in the history. Mails by themselves: a mail server may take its time over each."""
        self._defer(connection, "message", MAIL if medium == "mail" else MESSAGES, {"delivery": delivery})

    def watch(self, connection: Connection, incident: int, seconds: float, levels: Sequence[tuple[int, float]]) -> None:
        """Queue the look for the report of critical alerts, due in `seconds`, and the steps to the levels, in minutes.

        It looks for what was received until now: later alerts have a look, and their time, of their own.
        """
        now = datetime.now(UTC)
        received = only(connection, datetime, "SELECT now()").isoformat()
        look = _job("dead_man", {"incident": incident, "received": received}, now + timedelta(seconds=seconds))
        steps = [
            _job("escalate", {"incident": incident, "level": level}, now + timedelta(minutes=minutes))
            for level, minutes in levels
        ]
        with _translated():
            self.app.job_manager.batch_defer_jobs([look, *steps], connection=connection)

    def _defer(
        self,
        connection: Connection,
        name: str,
        queue: str,
        arguments: Mapping[str, Any],
        priority: int = 0,
        lock: str | None = None,
        delay_seconds: float = 0,
    ) -> None:
        at = datetime.now(UTC) + timedelta(seconds=delay_seconds) if delay_seconds > 0 else None
        with _translated():
            self.app.configure_task(
                name,
                queue=queue,
                priority=priority,
                lock=lock,
                schedule_at=at,
                connection=connection,
            ).defer(**arguments)

    def release_stalled(self, connection: Connection, seconds: float) -> int:
        """Free the jobs of workers that gave no sign for `seconds` -> how many.

        The job of a run that has begun ends here (its run was given up); every other job is done again.
        """
        found = rows(
            connection,
            _StalledJob,
            """
            SELECT j.id, j.task_name, r.state AS run_state FROM procrastinate_jobs j
            LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
            LEFT JOIN runbook.runs r ON j.task_name = 'run' AND r.id = (j.args->>'run')::bigint
            WHERE j.status = 'doing'
              AND (w.id IS NULL OR w.last_heartbeat < now() - make_interval(secs => %(seconds)s))
            FOR UPDATE OF j SKIP LOCKED
            """,
            seconds=seconds,
        )
        for job in found:
            if job.task_name == "run" and job.run_state != "queued":
                connection.execute("SELECT procrastinate_finish_job_v1(%s, 'failed', true)", [job.id])
            else:
                connection.execute("SELECT procrastinate_retry_job_v2(%s, now(), NULL, NULL, NULL)", [job.id])
        return len(found)

    def without_job(self, connection: Connection) -> list[Queued]:
        """Runs that wait for minutes and that no job stands for."""
        return rows(
            connection,
            Queued,
            """
            SELECT r.id AS run, r.incident_id AS incident, r.procedure, r.severity FROM runbook.runs r
            WHERE r.state = 'queued' AND r.queued_at < now() - interval '2 minutes' AND NOT EXISTS
                (SELECT 1 FROM procrastinate_jobs j WHERE j.task_name = 'run' AND j.status IN ('todo', 'doing')
                 AND (j.args->>'run')::bigint = r.id)
            LIMIT 100
            """,
        )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The driver's own error instead of Procrastinate's around it: the history tells what it means."""
    try:
        yield
    except exceptions.ConnectorException as error:
        cause = error.__cause__
        raise cause if cause is not None else StorageError("The queue refused a job.") from error


def _job(name: str, arguments: dict[str, Any], at: datetime) -> jobs.Job:
    return jobs.Job(
        id=None,
        queue=WATCH,
        task_name=name,
        priority=0,
        lock=None,
        queueing_lock=None,
        task_kwargs=arguments,
        scheduled_at=at,
    )


def open_queue(url: str) -> Queue:
    """A Queue on the database at `url`. It opens no connection of its own: it uses its callers'."""
    return Queue(procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=url)))


def migrations() -> tuple[Migration, ...]:
    """Procrastinate's schema as migrations: the whole of it where there is none, later only what it added.

    Its own files are recorded under their names, so that an upgrade of Procrastinate brings its steps along.
    """
    files = sorted(Path(schema.migrations_path).glob("*.sql"))
    first = schema.SchemaManager.get_schema()
    names = ", ".join(f"('procrastinate {file.stem}')" for file in files)
    # S608: what is joined are the names of Procrastinate's own files.
    record = f"INSERT INTO runbook.migrations (name) VALUES {names} ON CONFLICT DO NOTHING"  # noqa: S608
    place = "SET LOCAL search_path TO runbook, public;\n"
    later = (Migration(f"procrastinate {file.stem}", place + file.read_text(encoding="utf-8")) for file in files)
    return (Migration("procrastinate", f"{place}{first};\n{record}"), *later)


class Patient(procrastinate.RetryStrategy):
    """Tries again after a growing pause, and not before the time that who refused it has asked for."""

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> procrastinate.RetryDecision | None:
        asked = exception.retry_after_seconds if isinstance(exception, TryLaterError) else 0.0
        decision = super().get_retry_decision(exception=exception, job=job)
        if decision is None or decision.retry_at is None:
            return decision
        earliest = datetime.now(UTC) + timedelta(seconds=asked)
        return procrastinate.RetryDecision(retry_at=max(decision.retry_at, earliest))


@dataclass(slots=True)
class Work:
    """What a worker process does: the bodies of the tasks, by name."""

    run: Task
    message: Task
    escalate: Task
    dead_man: Task


@dataclass(slots=True)
class Worker:
    """Procrastinate workers of one process: runs with their own concurrency, messages and watching beside them."""

    url: str
    work: Work
    concurrency: int
    heartbeat_seconds: float
    stalled_seconds: float
    stop_seconds: float
    name: str
    does_runs: bool = True
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self) -> None:
        """Work until `stopping` is set. Where the database goes away, begin again when it is back."""
        while not self.stopping.is_set():
            try:
                await self._once()
            except (exceptions.ConnectorException, OSError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError):
                    raise
                _log.warning("the queue's database is away; trying again")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), 1.0)

    async def _once(self) -> None:
        app = self._app()
        async with app.open_async():
            # Each by itself: a mail server that hangs must hold up neither Slack nor the dead man.
            workers = [self._start(app, [WATCH], 2), self._start(app, [MESSAGES], 3), self._start(app, [MAIL], 3)]
            if self.does_runs:
                workers.append(self._start(app, [RUNS], self.concurrency))
            stop = asyncio.create_task(self.stopping.wait())
            tasks = [asyncio.create_task(worker.run()) for worker in workers]
            try:
                await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.cancel()
                for worker in workers:
                    worker.stop()
                results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _app(self) -> procrastinate.App:
        async def configure(connection: Any) -> None:
            await connection.execute("SET search_path TO runbook, public")
            await connection.commit()

        connector = procrastinate.PsycopgConnector(
            conninfo=self.url,
            kwargs={"connect_timeout": 5},
            configure=configure,
            min_size=1,
            max_size=self.concurrency + 8,
            timeout=10.0,
        )
        app = procrastinate.App(connector=connector)
        retry = Patient(max_attempts=10, wait=2, exponential_wait=3)
        app.task(name="run", queue=RUNS, pass_context=True)(self.work.run)
        app.task(name="message", queue=MESSAGES, retry=retry)(self.work.message)
        app.task(name="escalate", queue=WATCH, retry=retry)(self.work.escalate)
        app.task(name="dead_man", queue=WATCH, retry=retry)(self.work.dead_man)
        return app

    def _start(self, app: procrastinate.App, queues: list[str], concurrency: int) -> Any:
        return app._worker(
            queues=queues,
            name=self.name,
            concurrency=concurrency,
            install_signal_handlers=False,
            update_heartbeat_interval=self.heartbeat_seconds,
            stalled_worker_timeout=self.stalled_seconds,
            fetch_job_polling_interval=1.0,
            shutdown_graceful_timeout=self.stop_seconds + 15,
            delete_jobs=jobs.DeleteJobCondition.SUCCESSFUL.value,
        )
