"""The child process of one run: papermill executes the notebook and reports each cell over a pipe.

It decides nothing. Limits, states and the killing belong to the parent (`runbook.runner.run`). What it
owes the parent: the notebook on disk after every cell and every display, an event as each cell starts
and ends, and its own end when the parent is gone. Importing this module has no side effects and is
cheap: papermill and Jupyter (`engine.py`) are imported by `main`, so that a warm process can fork into it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from typing import Any

from runbook.runner.spec import Spec

_LINUX = sys.platform == "linux"


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

    from runbook.runner.engine import execute

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
