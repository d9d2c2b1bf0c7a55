"""Start the executor's process: forked from the warm zygote where there is one, else a new Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

from runbook.kernels import Fork, Warm, WarmUnavailable, fork_call
from runbook.kernels.owner import ADDRESS


class Child(Protocol):
    """What is used of the executor's process: subprocess.Popen has it, a fork too."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float | None = None) -> int: ...


def launch(environment: Mapping[str, str], log: Path, events: int, warm: Warm | None) -> tuple[Child, IO[bytes]]:
    """An executor that writes its events to the descriptor `events`, and the pipe to its standard input."""
    if warm is not None:
        try:
            return _fork(environment, log, events, warm)
        except WarmUnavailable:
            warm.ensure()  # for the next run; this one does not wait for the imports
    return _spawn(environment, log, events)


def _spawn(environment: Mapping[str, str], log: Path, events: int) -> tuple[Child, IO[bytes]]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "runbook.runner.executor", str(events)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(events,),
            start_new_session=True,
            env=dict(environment),
        )
    if child.stdin is None:
        raise AssertionError("stdin=PIPE gives a pipe")
    return child, child.stdin


def _fork(environment: Mapping[str, str], log: Path, events: int, warm: Warm) -> tuple[Fork, IO[bytes]]:
    reading, writing = os.pipe()
    told = {**environment, ADDRESS: warm.address}
    try:
        with log.open("wb") as output:
            streams = (reading, output.fileno(), output.fileno())
            fork = fork_call(
                warm.address, "runbook.runner.executor:main", ["{0}"], told, str(Path.cwd()), streams, [events]
            )
    except WarmUnavailable:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return fork, os.fdopen(writing, "wb")
