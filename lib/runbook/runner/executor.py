"""The child process of one run: papermill executes the notebook and reports each cell over a pipe.

It decides nothing. Limits, states and the killing belong to the parent (`runbook.runner.run`). What it
owes the parent: the notebook on disk after every cell and every display, an event as each cell starts
and ends, and its own end when the parent is gone. Importing this module has no side effects and is
cheap: papermill and Jupyter (`engine.py`) are imported by `execute`, so that a warm process can fork into it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Spec:
    """What to execute: notebook, checked parameters, where the executed one goes, and a private folder."""

    run_id: str
    notebook: str
    output: str
    private: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Spec:
        return cls(**json.loads(text))


Emit = Callable[[dict[str, Any]], None]


def execute(spec: Spec, emit: Emit) -> None:
    """Execute `spec` in this process; events go to `emit`, the notebook to spec.output. Never raises for a cell.

    Events: plan (cells), cell_started, finding, cell_finished (error: its first line or ""), kernel_died, done; and
    notebook (the notebook itself, None once it is on the disk again) where it cannot be written.
    """
    from runbook.runner.engine import execute_with_papermill

    execute_with_papermill(spec, emit)


def main() -> None:
    """Execute the spec on the first line of standard input; events go to the descriptor named in argv.

    Standard input stays open as long as the parent lives. At its end this process kills the run and itself.
    """
    spec = Spec.from_text(sys.stdin.readline())
    events = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", buffering=1)
    os.set_inheritable(events.fileno(), False)
    if _LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGCONT)  # a stopped executor wakes when its parent dies, and sees it
    threading.Thread(target=_end_with_parent, args=(spec,), daemon=True).start()

    def emit(event: dict[str, Any]) -> None:
        try:
            events.write(json.dumps(event) + "\n")
        except BrokenPipeError:
            threading.Event().wait()  # the parent is gone: the other thread is ending the run, let it finish

    execute(spec, emit)


def _end_with_parent(spec: Spec) -> None:
    from runbook.runner import processes

    while os.read(0, 4096):
        pass
    processes.kill(spec.run_id, spare=os.getpid())
    shutil.rmtree(spec.private, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
