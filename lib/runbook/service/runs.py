"""Doing one run: begin it in the history, run the notebook, keep its files, write down how it ended."""

from __future__ import annotations

import gzip
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from runbook import runner
from runbook.errors import InputError, RunbookError, StorageError
from runbook.history import Connection, archive, copies
from runbook.history import runs as history
from runbook.history.artifacts import NAMES
from runbook.history.rows import Step
from runbook.kernels import Warm
from runbook.runner import Progress, Request, RunResult, RunStatus
from runbook.service import announce
from runbook.service.context import Context
from runbook.service.intake import put

_log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 0.2
_PROGRESS_MAX = 400
_UPLOAD_ATTEMPTS = 2
_UPLOAD_PATIENCE_SECONDS = 5.0
_NAME_MAX = 200
_UNNAMED = "UnnamedAlert"

Execute = Callable[..., RunResult]


@dataclass(slots=True)
class Runs:
    """The runs of one worker process. `stop` ends those that are under way; they are queued again."""

    context: Context
    worker: str
    execute: Execute = runner.run
    warm: Warm | None = None
    active: dict[int, threading.Event] = field(default_factory=dict)
    stopping: bool = False

    def stop(self) -> None:
        """Cancel what is under way, because this worker has to go."""
        self.stopping = True
        for cancelled in list(self.active.values()):
            cancelled.set()

    def do(self, run: int, job: int | None = None) -> None:
        """Do the run if it still waits. What it came to is in the history on return, also when it broke."""
        database = self.context.database
        order = database.persist(lambda connection: history.begin(connection, run, self.worker, job))
        if order is None:
            return
        cancelled = self.active[run] = threading.Event()
        if self.stopping:
            cancelled.set()
        try:
            result, ended = self._run(order, cancelled)
        finally:
            self.active.pop(run, None)
        if self.stopping and ended.state == RunStatus.CANCELLED:
            database.persist(lambda connection: self._give_back(connection, run))
            return
        files = self._keep(result) if result else {}
        if result:
            ended = replace(ended, stored="database" if files else "artifacts")
        was_killed = result is not None and result.was_killed
        database.persist(lambda connection: self._finish(connection, order, ended, files, was_killed))

    def _run(self, order: history.Order, cancelled: threading.Event) -> tuple[RunResult | None, history.Ended]:
        begun = time.monotonic()
        subject = replace(order.subject, name=(order.subject.name or _UNNAMED)[:_NAME_MAX])
        request = Request.of_alert(subject, order.alerts)
        told = _Told(self.context, order.run)
        try:
            result = self.execute(
                request,
                self.context.artifacts.spool,
                folders=self.context.folders,
                settings=self.context.settings,
                on_progress=told.take,
                cancelled=cancelled,
                warm=self.warm,
                is_owed=True,
            )
        except (InputError, RunbookError, OSError) as error:
            said = str(error) if isinstance(error, RunbookError) else f"{error.strerror or type(error).__name__}"
            _log.error("run %s broke: %s", order.run, said)
            ended = history.Ended("failed", f"No report: {said}", time.monotonic() - begun)
            return None, ended
        state = result.status.value
        return result, history.Ended(state, result.verdict, time.monotonic() - begun, result.outcome)

    def _finish(
        self,
        connection: Connection,
        order: history.Order,
        ended: history.Ended,
        files: Mapping[str, bytes],
        was_killed: bool,
    ) -> None:
        if not history.finish(connection, order.run, ended):
            _log.warning("run %s was given up before it ended; its result is left out", order.run)
            return
        copies.keep(connection, order.run, files)
        if was_killed and order.attempt < history.ATTEMPTS:
            killed = history.get(connection, order.run)
            retry = history.again(connection, killed) if killed else None
            if retry:
                put(connection, self.context, retry)
                return
        announce.report(connection, self.context, order.run)

    def _give_back(self, connection: Connection, run: int) -> None:
        retry = history.abandon(connection, run, "Its worker was stopped; it is done again elsewhere.", counts=False)
        if retry:
            put(connection, self.context, retry)

    def _keep(self, result: RunResult) -> dict[str, bytes]:
        """Upload the run's folder -> {}; where that cannot be, what the database keeps of it meanwhile."""
        artifacts = self.context.artifacts
        for attempt in range(0 if result.unsaved else _UPLOAD_ATTEMPTS):
            begun = time.monotonic()
            try:
                artifacts.save(result.folder)
            except StorageError as error:
                _log.warning("run %s: %s", result.run_id, error)
                if time.monotonic() - begun > _UPLOAD_PATIENCE_SECONDS:
                    break  # it hangs: the report is awaited, the sweep has time
                time.sleep(0.5 * (attempt + 1))
            else:
                if not artifacts.is_local:
                    shutil.rmtree(result.folder, ignore_errors=True)
                return {}
        if result.unsaved:
            _log.warning("run %s: no room for its files in %s; the database keeps them", result.run_id, artifacts.spool)
        return _copies(result, with_evidence=not artifacts.is_local)


def _copies(result: RunResult, with_evidence: bool) -> dict[str, bytes]:
    """What the database keeps of a run, packed: its files, and its evidence where another machine may need it."""
    texts = dict(result.unsaved)
    for name in NAMES:
        if name not in texts and (path := result.folder / name).is_file():
            texts[name] = path.read_bytes()
    packed = {name: gzip.compress(text) for name, text in texts.items()}
    evidence = archive.pack(result.folder) if with_evidence else None
    if evidence is not None:
        packed[archive.EVIDENCE] = evidence
    elif with_evidence:
        _log.warning("run %s: its evidence is too large for the database; it stays on this machine", result.run_id)
    return packed


def store_again(context: Context) -> int:
    """Store the runs that the database keeps, now that the store is back or the disk has room -> how many went.

    The worker of a run does it itself while it lives; when it is gone, whoever comes first, from the database's copies.
    """
    artifacts, stored = context.artifacts, 0
    here: list[str] = []
    if not artifacts.is_local and artifacts.spool.is_dir():
        here = [path.name for path in artifacts.spool.iterdir()]
    with context.database.transaction() as connection:
        waiting = copies.to_store(connection, here, artifacts.is_local)
    for kept in waiting:
        try:
            _store(context, kept)
        except StorageError:
            return stored  # the store is still away, or the disk full: the next sweep tries again
        stored += 1
    return stored


def _store(context: Context, kept: copies.Kept) -> None:
    """Bring one run's files to where they belong, from the database's copies and the folder here."""
    with context.database.transaction() as connection:
        files = copies.files(connection, kept.run)
    folder = context.artifacts.restore(kept.run_id, files)
    context.artifacts.save(folder)
    with context.database.transaction() as connection:
        copies.stored(connection, kept.run)
    if not context.artifacts.is_local:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Told:
    """What the page of a running run shows, written down as it comes; never worth failing a run."""

    context: Context
    run: int
    steps: list[Step] = field(default_factory=list)
    written: float = 0.0

    def take(self, step: Progress) -> None:
        if len(self.steps) < _PROGRESS_MAX:
            self.steps.append(Step(step.kind, step.cell, step.cells, step.title, step.status, step.seconds))
        now = time.monotonic()
        # What may be the last word for long is written at once.
        if step.kind == "cell_finished" and now - self.written < _PROGRESS_SECONDS:
            return
        self.written = now
        try:
            with self.context.database.transaction() as connection:
                if step.kind == "started":
                    history.name_folder(connection, self.run, step.run_id)
                history.progress(connection, self.run, self.steps)
        except StorageError:
            _log.warning("the progress of run %s could not be written down", self.run)
