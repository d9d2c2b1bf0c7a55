"""The runner's own record of a run, and what it comes to: cell states, findings, status, verdict.

papermill marks every cell `completed` when a kernel dies or time runs out, so none of its marks are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from runbook.outcome import (
    FINDING_MIME,
    OUTCOME_MIME,
    CellCounts,
    Conclusion,
    FindingRecord,
    RunStatus,
    Status,
    read_conclusion,
    read_finding,
)
from runbook.words import status_rank, tally


class CellState(StrEnum):
    """How one code cell ended. One that was stopped by a cancellation, or by a kernel's death, failed."""

    RAN = "ran"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NOT_RUN = "not_run"


class End(StrEnum):
    """Why the runner stopped watching."""

    DONE = "done"
    KERNEL_DIED = "kernel_died"
    EXECUTOR_DIED = "executor_died"
    RUN_LIMIT = "run_limit"
    CELL_LIMIT = "cell_limit"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Cell:
    """One cell of the plan. `counts` is false for text, empty cells and the injected parameters."""

    index: int
    counts: bool
    title: str = ""
    state: CellState = CellState.NOT_RUN
    started: float | None = None
    seconds: float | None = None
    error: str = ""


@dataclass(slots=True)
class Record:
    """What the events of one run said, in order; the only source of cell states."""

    cells: dict[int, Cell] = field(default_factory=dict)
    running: int | None = None
    end: End | None = None
    seconds: float = 0.0
    reason: str = ""
    notebook: dict[str, Any] | None = None
    """The executed notebook so far, while it cannot be written to the disk."""

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """Write down one event of the executor. Unknown ones are ignored."""
        match event.get("event"):
            case "plan":
                for cell in event["cells"]:
                    self.cells[cell["index"]] = Cell(cell["index"], cell["counts"], cell["title"])
            case "cell_started":
                self.running = event["index"]
                self.cells[event["index"]].started = now
            case "cell_finished":
                cell = self.cells[event["index"]]
                cell.error = event["error"]
                cell.state = CellState.FAILED if cell.error else CellState.RAN
                cell.seconds = now - (cell.started if cell.started is not None else now)
                self.running = None
            case "notebook":
                self.notebook = event["notebook"]
            case "done" | "kernel_died" as end:
                self.end = End(end)

    def close(self, end: End, now: float) -> None:
        """Fix how the run ended; the cell that was running gets its state from that."""
        self.end = self.end or end
        if self.running is None:
            return
        cell = self.cells[self.running]
        cell.state = CellState.TIMED_OUT if self.end in (End.RUN_LIMIT, End.CELL_LIMIT) else CellState.FAILED
        cell.seconds = now - (cell.started if cell.started is not None else now)

    @property
    def counted(self) -> list[Cell]:
        return [cell for cell in self.cells.values() if cell.counts]

    def counts(self) -> CellCounts:
        """Code cells by how they ended."""
        return CellCounts(**{state.value: sum(cell.state is state for cell in self.counted) for state in CellState})

    @property
    def stopped_in(self) -> Cell | None:
        """The cell the run ended in before its time, if any."""
        bad = [cell for cell in self.counted if cell.state in (CellState.FAILED, CellState.TIMED_OUT)]
        return bad[-1] if bad else None

    def number(self, cell: Cell) -> int:
        """The place of a code cell among the counted ones, from 1."""
        return next((n for n, other in enumerate(self.counted, 1) if other is cell), 0)


def status_of(record: Record, findings: Sequence[FindingRecord], conclusion: Conclusion | None) -> RunStatus:
    """How the run ended. Without a conclusion, or with anything unknown, it is at best degraded."""
    if record.end is End.CANCELLED:
        return RunStatus.CANCELLED
    if record.end in (End.RUN_LIMIT, End.CELL_LIMIT):
        return RunStatus.TIMED_OUT
    counts = record.counts()
    if record.end is not End.DONE or counts.failed or counts.not_run or not record.cells:
        return RunStatus.FAILED
    if conclusion is None:
        return RunStatus.DEGRADED
    has_unknown = any(not finding.status.is_known for finding in findings)
    has_silent = any(source.status == "unknown" for source in conclusion.sources)
    return RunStatus.DEGRADED if has_unknown or has_silent else RunStatus.COMPLETE


def verdict_of(record: Record, findings: Sequence[FindingRecord], conclusion: Conclusion | None, what: str) -> str:
    """The one sentence on top: the notebook's own, or why there is none and what was found until then."""
    stopped = how_it_stopped(record)
    if conclusion is not None:
        return f"{conclusion.verdict} (After this conclusion {stopped}.)" if stopped else conclusion.verdict
    if not stopped:
        return f"No verdict: the notebook {what} ran to its end and concluded nothing. {_found(findings)}"
    return f"No verdict: {stopped}. {_found(findings)}"


def how_it_stopped(record: Record) -> str:
    """Why the run ended before its time, as a clause without a full stop; "" when it did not."""
    cell = record.stopped_in
    where = _place(record, cell) if cell else ""
    match record.end:
        case End.CANCELLED:
            return f"the run was cancelled after {_seconds(record.seconds)}{where}"
        case End.RUN_LIMIT:
            return f"the run was stopped at its time limit after {_seconds(record.seconds)}{where}"
        case End.CELL_LIMIT:
            took = f" after {_seconds(cell.seconds)}" if cell and cell.seconds is not None else ""
            return f"the run was stopped at the time limit of one cell{took}{where}"
        case End.KERNEL_DIED:
            return f"the kernel died{where}"
        case End.EXECUTOR_DIED:
            reason = f": {record.reason.rstrip('.')}" if record.reason else ""
            return f"the process that runs the notebook died{where or ' before the first cell'}{reason}"
        case _:
            return f"the run failed{where}: {cell.error.rstrip('.')}" if cell else ""


def _place(record: Record, cell: Cell) -> str:
    title = f" ({cell.title})" if cell.title else ""
    return f" in cell {record.number(cell)}{title}"


def _seconds(seconds: float) -> str:
    """Whole seconds; below one, hundredths: a limit of 0.01 s was not 0 s."""
    return f"{max(seconds, 0.01):.2f} s" if seconds < 1 else f"{seconds:.0f} s"


def _found(findings: Sequence[FindingRecord]) -> str:
    if not findings:
        return "Nothing was found until then."
    worst = min(findings, key=lambda finding: status_rank(finding.status))
    lead = f" The worst: {worst.title}." if worst.status in (Status.CRITICAL, Status.WARNING) else ""
    return f"Found until then: {tally([finding.status.value for finding in findings])}.{lead}"


def findings_in(notebook: Mapping[str, Any]) -> tuple[FindingRecord, ...]:
    """Every finding displayed in the notebook, in order; what a cell displays twice counts once.

    One that cannot be read counts as unknown, under the number of its cell: it is never dropped.
    """
    displayed = [
        (index, read_finding(data, f"cell-{index}").record) for index, data in _displays(notebook, FINDING_MIME)
    ]
    return tuple(record for _, record in dict.fromkeys(displayed))


def conclusion_in(notebook: Mapping[str, Any]) -> Conclusion | None:
    """The notebook's conclusion (the last that can be read, were there several), or None."""
    for _, data in reversed(_displays(notebook, OUTCOME_MIME)):
        conclusion = read_conclusion(data)
        if conclusion is not None:
            return conclusion
    return None


def _displays(notebook: Mapping[str, Any], mime: str) -> list[tuple[int, Any]]:
    return [
        (index, output["data"][mime])
        for index, cell in enumerate(notebook["cells"])
        for output in cell.get("outputs", [])
        if mime in output.get("data", {})
    ]
