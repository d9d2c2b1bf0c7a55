"""`run`: from a request to a folder with report.html, notebook.ipynb, outcome.json and evidence/."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from runbook import catalog as catalogs
from runbook import parameters, report
from runbook import settings as settings_module
from runbook.errors import InputError, StorageError
from runbook.kernels import Warm
from runbook.outcome import CellCounts, Conclusion, Outcome, RunStatus, Status
from runbook.parameters import Folders
from runbook.redaction import TextRedactor
from runbook.runner import record as records
from runbook.runner.printed import without_printed_secrets
from runbook.runner.record import Record
from runbook.runner.request import FACTS, REDACTED, Prepared, Request, prepare
from runbook.runner.spec import Spec
from runbook.runner.watch import Limits, kernel_environment, watching
from runbook.settings import Settings

_log = logging.getLogger(__name__)
CELL_SECONDS = 60.0
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIAL", re.IGNORECASE)
_SECRET_MIN = 6
_shapes = TextRedactor()
"""Takes out what looks like a secret, whether its value is known or not."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a run, for a terminal or a page: started, cell_started, cell_finished, finding, reporting, finished.

    `cell` is the cell's place among the `cells` code cells, from 1; `status` a finding's, a cell's or the run's.
    """

    kind: str
    run_id: str
    cell: int = 0
    cells: int = 0
    title: str = ""
    status: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """Where a run's files are and how it ended. `outcome` is what outcome.json holds."""

    run_id: str
    folder: Path
    status: RunStatus
    verdict: str
    outcome: Outcome
    was_killed: bool = False
    """Whether its kernel, or the process that drives it, was killed: worth one more try, unlike a failing cell."""
    unsaved: Mapping[str, bytes] = field(default_factory=dict)
    """The files, by name, that could not be written to the folder: its disk is full, or gone."""

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def notebook(self) -> Path:
        return self.folder / "notebook.ipynb"

    @property
    def exit_code(self) -> int:
        return self.status.exit_code


def run(
    request: Request,
    folder: Path,
    *,
    folders: Folders | None = None,
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    cancelled: threading.Event | None = None,
    warm: Warm | None = None,
    is_owed: bool = False,
) -> RunResult:
    """Run the procedure of `request` in a new folder under `folder` -> RunResult, whatever the notebook does.

    With `warm` (a worker has one) nothing is imported for the run; without, its processes are new ones.
    `is_owed`: nobody is there to name another folder, so whatever is wrong with this one the files go to `unsaved`.

    Raises InputError or ConfigurationError before anything has run; afterwards there is a page, in the
    result's `unsaved` where there was no room for it.
    """
    folders = folders or parameters.folders()
    settings = settings or settings_module.load()
    catalog = catalogs.load(folders.catalog)
    evidence = request.evidence or (Path(settings.runbook_evidence) if settings.runbook_evidence else None)
    prepared = prepare(request, catalog, folders, settings)
    run_id, run_folder, has_room = _new_folder(folder, prepared.entry.procedure, is_owed)
    started_at = datetime.now(UTC)
    on_progress(Progress("started", run_id, title=prepared.entry.procedure))
    # Rendering needs libraries that take half a second to import: do that while the notebook runs.
    threading.Thread(target=report.preload, daemon=True).start()
    limits = Limits(
        request.limit_seconds or settings.runbook_run_seconds,
        request.cell_seconds or CELL_SECONDS,
    )
    progress = _progress_of(run_id, on_progress)
    with _private_folder() as private:
        place = run_folder if has_room else Path(private) / "run"
        place.mkdir(exist_ok=True)
        environment = kernel_environment(place, run_id, evidence)
        environment["IPYTHONDIR"] = str(Path(private) / "ipython")
        environment["RUNBOOK_NOTEBOOK"] = str(prepared.notebook)
        output = place / "notebook.ipynb"
        spec = Spec(run_id, str(prepared.notebook), str(output), private, dict(prepared.parameters))
        with watching(spec, environment, limits, cancelled or threading.Event(), progress, warm) as record:
            on_progress(Progress("reporting", run_id, seconds=record.seconds))
            outcome, unsaved = _write_all(run_id, place, prepared, record, settings, catalog, started_at)
        if not has_room:
            unsaved = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} | unsaved
    was_killed = record.end in (records.End.KERNEL_DIED, records.End.EXECUTOR_DIED)
    result = RunResult(run_id, run_folder, outcome.status, outcome.verdict, outcome, was_killed, unsaved)
    on_progress(Progress("finished", run_id, title=result.verdict, status=result.status, seconds=record.seconds))
    return result


def _write_all(
    run_id: str,
    folder: Path,
    prepared: Prepared,
    record: Record,
    settings: Settings,
    catalog: catalogs.Catalog,
    started_at: datetime,
) -> tuple[Outcome, dict[str, bytes]]:
    """Write notebook.ipynb, outcome.json and report.html, in this order.

    Comes back with what outcome.json holds, and the files, by name, that had no room.
    """
    hidden = _secrets(settings, prepared.notebook)
    record.reason = _shapes(_redact(record.reason, hidden))
    for cell in record.cells.values():
        cell.error = _shapes(_redact(cell.error, hidden))
    _keep_parameters(folder / "evidence" / "manifest.json", prepared, hidden)
    output = folder / "notebook.ipynb"
    notebook = _notebook(output, prepared.notebook, record, hidden)
    unsaved: dict[str, bytes] = {}

    def write(path: Path, text: str) -> None:
        content = text.encode("utf-8", "replace")
        if not _write(path, content):
            unsaved[path.name] = content

    write(output, json.dumps(notebook, ensure_ascii=False))
    made = _outcome(run_id, prepared, record, notebook, started_at)
    outcome = Outcome.model_validate(_redact(made.to_json(), hidden))
    write(folder / "outcome.json", json.dumps(outcome.to_json(), ensure_ascii=False, indent=2) + "\n")
    write(folder / "report.html", _page(notebook, outcome, catalog, prepared, record))
    return outcome, unsaved


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for `run`; the handlers that were there come back afterwards."""
    event = threading.Event()
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda *_: event.set()) for name in names}
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _new_folder(parent: Path, procedure: str, is_owed: bool) -> tuple[str, Path, bool]:
    """A new run's id, its folder, and whether that could be made: a full disk stops no run. Raises InputError."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run_id = f"{moment}-{procedure}-{secrets.token_hex(4)}"
    folder = parent.resolve() / run_id
    try:
        folder.mkdir(parents=True, exist_ok=False)
    except OSError as error:
        if is_owed or error.errno in (errno.ENOSPC, errno.EDQUOT):
            _log.error("the run's folder cannot be made in %s: %s", parent, error.strerror)
            return run_id, folder, False
        raise InputError(f"The run's folder cannot be made in {parent}: {error.strerror}. Name another.") from None
    return run_id, folder, True


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """A folder for what the run's processes need while it lasts. Raises StorageError."""
    try:
        made = tempfile.TemporaryDirectory(prefix="runbook-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(
            f"There is no folder for temporary files: {error.strerror}. Make room in {tempfile.gettempdir()}, or name"
            " another with TMPDIR; then run again."
        ) from None
    with made as private:
        yield private


def _progress_of(run_id: str, on_progress: Callable[[Progress], None]) -> Callable[[Record, Mapping[str, Any]], None]:
    def told(record: Record, event: Mapping[str, Any]) -> None:
        kind, cell = event["event"], record.cells.get(event.get("index", -1))
        if cell is None or not cell.counts:
            return
        number, total = record.number(cell), len(record.counted)
        if kind == "finding":
            title, status = event["title"], event["status"]
        else:
            title, status = cell.title, cell.state.value if kind == "cell_finished" else ""
        on_progress(Progress(kind, run_id, number, total, title, status, record.seconds))

    return told


def _notebook(output: Path, original: Path, record: Record, hidden: tuple[str, ...]) -> dict[str, Any]:
    """The executed notebook, else the original when nothing was saved; states stamped in, secrets out."""
    notebook = record.notebook or _read_first(output, original)
    for index, cell in enumerate(notebook["cells"]):
        known = record.cells.get(index)
        if known is not None and (known.counts or known.started is not None):
            stamp: dict[str, Any] = {"state": known.state.value}
            if known.seconds is not None:
                stamp["seconds"] = round(known.seconds, 3)
            cell["metadata"]["runbook"] = stamp
        elif cell["cell_type"] == "code" and not record.cells:
            cell["metadata"]["runbook"] = {"state": records.CellState.NOT_RUN.value}
        papermill = cell["metadata"].get("papermill")
        if isinstance(papermill, dict):
            papermill.pop("status", None)  # it says `completed` of cells that never ran
    cleaned: dict[str, Any] = _redact(notebook, hidden)
    # What a source gave was redacted when it came; what libraries print on their own was not.
    without_printed_secrets(cleaned, _shapes)
    return cleaned


def _read_first(*sources: Path) -> dict[str, Any]:
    for source in sources:
        try:
            notebook: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return notebook
    return {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _outcome(
    run_id: str, prepared: Prepared, record: Record, notebook: Mapping[str, Any], started_at: datetime
) -> Outcome:
    """What outcome.json holds: how the run ended, and what the notebook found and concluded."""
    findings = records.findings_in(notebook)
    concluded = records.conclusion_in(notebook)
    status = records.status_of(record, findings, concluded)
    said = concluded or Conclusion(verdict="")
    return Outcome(
        run_id=run_id,
        alertname=prepared.request.alertname,
        procedure=prepared.entry.procedure,
        severity=prepared.severity,
        status=status,
        verdict=records.verdict_of(record, findings, concluded, f"{prepared.entry.procedure}.ipynb"),
        started_at=_text(started_at),
        finished_at=_text(datetime.now(UTC)),
        as_of=_text(prepared.as_of),
        cells=_counts(record, notebook),
        sources=said.sources,
        findings=findings,
        starts_at=_text(prepared.starts_at),
        labels=dict(prepared.labels),
        annotations=dict(prepared.request.annotations),
        level=said.status if status.ran_to_its_end else Status.UNKNOWN,
        decision=said.decision,
        reasons=said.reasons,
        actions=said.actions,
        checklist=said.checklist,
        notes=tuple(prepared.notes),
        seconds=round(record.seconds, 3),
    )


def _counts(record: Record, notebook: Mapping[str, Any]) -> CellCounts:
    """Code cells by state. A run that ended before it had a plan ran none of the notebook's."""
    if record.cells:
        return record.counts()
    not_run = sum(
        cell["cell_type"] == "code" and "injected-parameters" not in cell["metadata"].get("tags", [])
        for cell in notebook["cells"]
    )
    return CellCounts(not_run=not_run)


def _keep_parameters(manifest: Path, prepared: Prepared, hidden: tuple[str, ...]) -> None:
    """Add to the evidence what the notebook was run with, for a replay to ask the same; no secrets."""
    try:
        recorded = json.loads(manifest.read_text(encoding="utf-8"))
        defaults = {one.name: one.default for one in parameters.declared(prepared.notebook)}
        values = {
            name: value
            for name, value in {**defaults, **prepared.parameters}.items()
            if name not in FACTS and not _SECRET_NAME.search(name)
        }
        recorded["context"]["parameters"] = _redact(values, hidden)
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing was recorded, or it was cut short: there is nothing to replay
    _write(manifest, json.dumps(recorded).encode("utf-8", "replace"))


def _page(
    notebook: dict[str, Any],
    outcome: Outcome,
    catalog: catalogs.Catalog,
    prepared: Prepared,
    record: Record,
) -> str:
    facts = report.Facts(
        outcome=outcome,
        entry=prepared.entry,
        response=catalog.severities[prepared.severity],
        channels=catalog.channels(prepared.entry, prepared.severity),
        escalation=catalog.escalation,
        alerts=len(prepared.request.alerts) or 1,
        stopped=records.how_it_stopped(record),
    )
    try:
        return report.render(notebook, facts)
    except Exception:  # noqa: BLE001 (the one place: whatever breaks in rendering, a page is owed at 3 a.m.)
        _log.exception("the report could not be rendered")
        return report.minimal(outcome)


def _secrets(settings: Settings, notebook: Path) -> tuple[str, ...]:
    """Every secret value of the settings and the environment, passwords inside addresses too; longest first.

    A word that stands in the procedure's own text ("postgres") is public, and hiding it would break commands.
    """
    values = set(settings.secrets)
    for value in settings.secrets:
        with contextlib.suppress(ValueError):
            password = urlsplit(value).password
            values |= {password, unquote(password)} if password else set()
    values |= {value for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    public = notebook.read_text(encoding="utf-8")
    hidden = (value for value in values if len(value) >= _SECRET_MIN and value not in public)
    return tuple(sorted(hidden, key=len, reverse=True))


def _redact(data: Any, hidden: tuple[str, ...]) -> Any:
    """`data` (JSON-ready) with every value of `hidden` gone from its texts; keys stay."""
    if isinstance(data, str):
        for value in hidden:
            data = data.replace(value, REDACTED)
        return data
    if isinstance(data, list):
        return [_redact(item, hidden) for item in data]
    if isinstance(data, dict):
        return {key: _redact(value, hidden) for key, value in data.items()}
    return data


def _write(path: Path, content: bytes) -> bool:
    """Write `path` at once or not at all -> whether there was room."""
    temporary = path.with_name(f".{path.name}.{time.monotonic_ns()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        _log.error("%s cannot be written to %s: %s", path.name, path.parent, error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")
