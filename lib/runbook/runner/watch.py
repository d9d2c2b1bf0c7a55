"""Start the executor of one run, watch it until it is done or has to stop, and end all its processes."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from runbook.kernels import Warm
from runbook.runner import processes
from runbook.runner.launch import Child, launch
from runbook.runner.record import End, Record
from runbook.runner.spec import Spec

_POLL_SECONDS = 0.1
# How often the run's processes are looked up while it runs: one that cleared its environment is found
# through its parent alone, so it has to have been seen before that parent dies.
_LOOK_SECONDS = 1.0
_SHUTDOWN_SECONDS = 2.0
_SERVICE_SECRETS = (
    "RUNBOOK_DATABASE_URL",
    "RUNBOOK_WEBHOOK_TOKEN",
    "RUNBOOK_READ_TOKEN",
    "SLACK_WEBHOOK_URL",
    "SMTP_PASSWORD",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the whole run and for one cell."""

    run_seconds: float
    cell_seconds: float


@contextlib.contextmanager
def watching(
    spec: Spec,
    environment: Mapping[str, str],
    limits: Limits,
    cancelled: threading.Event,
    on_event: Callable[[Record, Mapping[str, Any]], None],
    warm: Warm | None = None,
) -> Iterator[Record]:
    """Execute `spec` in a child process in a session of its own; yields the Record when it has ended.

    With `warm` the child and its kernel are forked from warm processes.

    A run that ended by itself closes its kernel while the body writes the page; any other is killed
    before. Afterwards no process of the run is left, whatever happened.
    """
    record = Record()
    reading, writing = os.pipe()
    log_path = Path(spec.private) / "executor.log"
    try:
        child, stdin = launch(environment, log_path, writing, warm)
    finally:
        os.close(writing)
    known = processes.family(child.pid)
    try:
        _tell(stdin, spec)
        _follow(record, spec.run_id, child.pid, reading, limits, cancelled, on_event, known)
        if record.end is End.EXECUTOR_DIED:
            record.reason = _last_line(log_path)
        if record.end is not End.DONE:
            _kill(spec.run_id, child, known)
        yield record
        if record.end is End.DONE:
            _let_close(child)
    finally:
        _kill(spec.run_id, child, known)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        os.close(reading)


def kernel_environment(run_folder: Path, run_id: str, evidence: Path | None) -> dict[str, str]:
    """This process's environment for the kernel: without the service's own secrets, with the run's folders."""
    environment = {name: value for name, value in os.environ.items() if name not in _SERVICE_SECRETS}
    environment |= {processes.RUN_ID: run_id, "RUNBOOK_RECORD": str(run_folder / "evidence")}
    environment |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    if evidence:
        environment["RUNBOOK_EVIDENCE"] = str(evidence.resolve())
    return environment


def _tell(stdin: IO[bytes], spec: Spec) -> None:
    """Send the spec; the pipe then stays open: its end tells the executor that this process is gone."""
    with contextlib.suppress(BrokenPipeError):  # it died at once: the events' end says so
        stdin.write(spec.to_text().encode() + b"\n")
        stdin.flush()


def _follow(
    record: Record,
    run_id: str,
    pid: int,
    reading: int,
    limits: Limits,
    cancelled: threading.Event,
    on_event: Callable[[Record, Mapping[str, Any]], None],
    known: set[psutil.Process],
) -> None:
    begun = looked = time.monotonic()
    partial = b""
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while record.end is None:
            now = time.monotonic()
            record.seconds = now - begun
            if now - looked >= _LOOK_SECONDS:
                known |= processes.family(pid) | processes.of_run(run_id)
                looked = now
            end = _due(record, now, limits, cancelled)
            if end:
                record.close(end, now)
                return
            if not selector.select(min(_POLL_SECONDS, limits.run_seconds)):
                continue
            chunk = os.read(reading, 65_536)
            now = time.monotonic()
            record.seconds = now - begun
            if not chunk:
                record.close(End.EXECUTOR_DIED, now)
                return
            *lines, partial = (partial + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                record.take(event, now)
                on_event(record, event)
        record.close(record.end, time.monotonic())


def _let_close(child: Child) -> None:
    """Give the kernel a moment to end by itself, so that its connections close in order."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_SHUTDOWN_SECONDS)


def _kill(run_id: str, child: Child, known: set[psutil.Process]) -> None:
    processes.kill(run_id, known | processes.family(child.pid))
    child.wait()


def _due(record: Record, now: float, limits: Limits, cancelled: threading.Event) -> End | None:
    if cancelled.is_set():
        return End.CANCELLED
    if record.seconds >= limits.run_seconds:
        return End.RUN_LIMIT
    cell = record.cells.get(record.running) if record.running is not None else None
    if cell and cell.started is not None and now - cell.started >= limits.cell_seconds:
        return End.CELL_LIMIT
    return None


def _last_line(log: Path) -> str:
    """The last line of the executor's log: the exception that ended it, "" when it was killed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
    return lines[-1][:300] if lines and any(line.startswith("Traceback") for line in lines) else ""
