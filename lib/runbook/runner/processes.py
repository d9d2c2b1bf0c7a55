"""The processes of one run, and their end: found by family, by session and by RUNBOOK_RUN_ID."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

import psutil

RUN_ID = "RUNBOOK_RUN_ID"
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError)


def family(pid: int) -> set[psutil.Process]:
    """The process `pid` and all that descend from it; empty when it is gone."""
    try:
        parent = psutil.Process(pid)
        return {parent, *parent.children(recursive=True)}
    except _GONE:
        return set()


def of_run(run_id: str, spare: int = 0) -> set[psutil.Process]:
    """Every process that carries `run_id` in its environment, with all that descend from each.

    A child that cleared its environment is found through its parent; an orphan through the environment.
    """
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE, OSError):
            if process.environ().get(RUN_ID) == run_id:
                found |= {process, *process.children(recursive=True)}
    return {process for process in found if process.pid not in (spare, os.getpid())}


def kill(run_id: str, known: Iterable[psutil.Process] = (), spare: int = 0) -> None:
    """Kill every process of the run, `known` ones and those found now, until none is left.

    SIGKILL alone: it also ends stopped processes. Twice at least, as one may have been forking.
    """
    pending = {process for process in known if process.pid not in (spare, os.getpid())}
    for _ in range(20):
        pending = {process for process in pending | of_run(run_id, spare) if _lives(process)}
        if not pending:
            return
        for process in pending:
            with contextlib.suppress(*_GONE):
                process.kill()
        psutil.wait_procs(list(pending), timeout=0.5)
        time.sleep(0)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False
