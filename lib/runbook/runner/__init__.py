"""One run: a notebook executed in processes of its own, watched, ended without remainder, and told honestly.

The executor (`executor.py`) runs papermill in a child process and reports over a pipe. This side owns
the time limits, the cell states, the verdict when there is none, and the end of every process.
"""

from __future__ import annotations

from runbook.outcome import RunStatus
from runbook.runner.record import CellState
from runbook.runner.request import Prepared, Request, prepare
from runbook.runner.run import Progress, RunResult, cancelled_by_signals, run

__all__ = [
    "CellState",
    "Prepared",
    "Progress",
    "Request",
    "RunResult",
    "RunStatus",
    "cancelled_by_signals",
    "prepare",
    "run",
]
