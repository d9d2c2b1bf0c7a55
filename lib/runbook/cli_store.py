"""Where the report of `runbook run` ends up: a folder here, a store, or wherever there is room."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.errors import StorageError

if TYPE_CHECKING:
    from runbook.history.artifacts import Artifacts
    from runbook.runner import RunResult
    from runbook.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a report is, for the last line, and what went differently from what was asked for; "" when nothing did."""

    report: str
    said: str = ""


def remote(settings: Settings) -> Artifacts | None:
    """The store that RUNBOOK_ARTIFACTS names, None where that is a folder here. Raises ConfigurationError."""
    address = settings.runbook_artifacts
    if "://" not in address or address.startswith("file://"):
        return None
    from runbook.history.artifacts import open_artifacts

    return open_artifacts(settings, Path(settings.runbook_state or ".demo").expanduser().resolve())


def put(result: RunResult, store: Artifacts | None) -> Place:
    """Bring the run's files to the store, if there is one; to a temporary folder where their own has no room.

    Raises StorageError when there is no room anywhere.
    """
    if result.unsaved:
        return _elsewhere(result)
    if store is None:
        return Place(str(result.report))
    try:
        store.save(result.folder)
    except StorageError as error:
        return Place(str(result.report), str(error))
    shutil.rmtree(result.folder, ignore_errors=True)
    return Place(store.address(result.run_id, "report.html"))


def _elsewhere(result: RunResult) -> Place:
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{result.run_id}-"))
        for path in (result.report, result.notebook, result.folder / "outcome.json"):
            content = result.unsaved.get(path.name)
            (folder / path.name).write_bytes(path.read_bytes() if content is None else content)
    except OSError as error:
        raise StorageError(
            f"The report cannot be written, neither to {result.folder.parent} nor to {tempfile.gettempdir()}: "
            f"{error.strerror}. Make room, or name a folder with --out, and run again."
        ) from None
    said = f"There is no room in {result.folder.parent}. The report is in a folder for temporary files."
    return Place(str(folder / "report.html"), said)
