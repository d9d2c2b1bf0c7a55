"""Where run folders are kept: any fsspec URL. A run is written to a local folder first, then uploaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.errors import ConfigurationError, StorageError
from runbook.settings import Settings

_log = logging.getLogger(__name__)
NAMES = ("report.html", "notebook.ipynb", "outcome.json")
# What object stores and their clients raise; botocore's own errors are no OSError but ValueError or RuntimeError.
_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The store at `url`. `spool` is the local folder that runs are written to; the store itself where that is local."""

    url: str
    spool: Path
    filesystem: Any
    root: str
    is_local: bool

    def save(self, folder: Path) -> None:
        """Upload a run's folder where the store is not local. Raises StorageError; the folder stays."""
        if self.is_local:
            return
        target = f"{self.root.rstrip('/')}/{folder.name}"
        try:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self.filesystem.makedirs(str(Path(f"{target}/{path.relative_to(folder)}").parent), exist_ok=True)
                    self.filesystem.put_file(str(path), f"{target}/{path.relative_to(folder).as_posix()}")
        except _FAILURES as error:
            raise StorageError(
                f"The run's files cannot be stored ({type(error).__name__}). They stay on the worker; check RUNBOOK_ARTIFACTS."
            ) from error

    def read(self, run_id: str, name: str) -> bytes | None:
        """One file of a run, None when it is not there. Raises StorageError when the store does not answer."""
        if name not in NAMES or not _is_plain(run_id):
            return None
        for filesystem, path in self._places(run_id, name):
            try:
                content: bytes = filesystem.cat_file(path)
            except FileNotFoundError:
                continue
            except _FAILURES as error:
                raise StorageError("The store of reports does not answer. Check RUNBOOK_ARTIFACTS.") from error
            return content
        return None

    def _places(self, run_id: str, name: str) -> list[tuple[Any, str]]:
        import fsspec

        places = [(self.filesystem, f"{self.root.rstrip('/')}/{run_id}/{name}")]
        if not self.is_local:
            places.insert(0, (fsspec.filesystem("file"), str(self.spool / run_id / name)))
        return places

    def delete(self, run_id: str) -> None:
        """Remove a run's folder, if it is there. Raises StorageError when the store does not answer."""
        if not _is_plain(run_id):
            return
        try:
            self.filesystem.rm(f"{self.root.rstrip('/')}/{run_id}", recursive=True)
        except FileNotFoundError:
            return
        except _FAILURES as error:
            raise StorageError("The store of reports does not answer. Check RUNBOOK_ARTIFACTS.") from error


def open_artifacts(settings: Settings, state: Path) -> Artifacts:
    """The store that RUNBOOK_ARTIFACTS names. Raises ConfigurationError when its kind is unknown here."""
    import fsspec

    url = settings.runbook_artifacts
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        scheme = url.split("://", 1)[0]
        raise ConfigurationError(
            f"RUNBOOK_ARTIFACTS begins with {scheme}://, for which fsspec has no driver here. Install it (s3fs for s3)."
        ) from error
    protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
    is_local = protocol in ("file", "local")
    return Artifacts(url, Path(root) if is_local else state / "spool", filesystem, root, is_local)


def _is_plain(run_id: str) -> bool:
    """Whether the id is a single folder name of ours: it comes from an address."""
    return bool(run_id) and run_id not in (".", "..") and all(c.isalnum() or c in "-_." for c in run_id)
