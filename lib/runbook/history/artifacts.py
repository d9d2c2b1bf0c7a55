"""Where run folders are kept: any fsspec URL. A run is written to a local folder first, then uploaded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from runbook.errors import ConfigurationError, StorageError
from runbook.history import archive
from runbook.settings import Settings

NAMES = ("report.html", "notebook.ipynb", "outcome.json")
# What object stores and their clients raise; many clients' own errors are no OSError but ValueError or RuntimeError.
_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TimeoutError)
_UPLOADS = 8
_NEXT = {
    "NoSuchBucket": "there is no such bucket. Make it, or correct RUNBOOK_ARTIFACTS",
    "SignatureDoesNotMatch": "it refuses the key (SignatureDoesNotMatch). Check AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "it does not know the key (InvalidAccessKeyId). Check AWS_ACCESS_KEY_ID",
    "AccessDenied": "it refuses access (AccessDenied). The key has to list, read, write and delete there",
    "NoCredentials": "no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The store at `url`.

    `spool` is the local folder that runs are written to; the store itself where that is local.
    """

    url: str
    spool: Path
    filesystem: Any
    root: str
    is_local: bool

    def address(self, run_id: str, name: str) -> str:
        """Where a file of a run is, for a person: a path or an address, without credentials."""
        return str(self.spool / run_id / name) if self.is_local else f"{self.url.rstrip('/')}/{run_id}/{name}"

    def save(self, folder: Path) -> None:
        """Upload a run's folder where the store is not local. Raises StorageError; the folder stays."""
        if self.is_local:
            return
        target = f"{self.root.rstrip('/')}/{folder.name}"
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        uploads = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
        try:
            for parent in sorted({str(Path(f"{target}/{path.relative_to(folder)}").parent) for path in paths}):
                self.filesystem.makedirs(parent, exist_ok=True)
            for done in [
                uploads.submit(self.filesystem.put_file, str(path), f"{target}/{path.relative_to(folder).as_posix()}")
                for path in paths
            ]:
                done.result()
        except _FAILURES as error:
            raise StorageError(
                f"A run's files cannot be stored: {self._why(error)}. They stay on this machine."
            ) from error
        finally:
            uploads.shutdown(cancel_futures=True)

    def read(self, run_id: str, name: str) -> bytes | None:
        """One file of a run, None when it is not there. Raises StorageError when the store does not answer."""
        if name not in NAMES or not _is_plain(run_id):
            return None
        try:
            # What waits here for its upload is newer than what the store may have.
            return (self.spool / run_id / name).read_bytes()
        except OSError:
            if self.is_local:
                return None
        try:
            content: bytes = self.filesystem.cat_file(f"{self.root.rstrip('/')}/{run_id}/{name}")
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            raise StorageError(f"A report cannot be read: {self._why(error)}.") from error
        return content

    def delete(self, run_id: str) -> None:
        """Remove a run's folder, if it is there. Raises StorageError when the store does not answer."""
        if not _is_plain(run_id):
            return
        if not self.is_local:
            shutil.rmtree(self.spool / run_id, ignore_errors=True)
        try:
            self.filesystem.rm(f"{self.root.rstrip('/')}/{run_id}", recursive=True)
        except FileNotFoundError:
            return
        except _FAILURES as error:
            raise StorageError(f"A report cannot be removed: {self._why(error)}.") from error

    def restore(self, run_id: str, copies: Mapping[str, bytes]) -> Path:
        """The run's folder on this machine, made from what the database kept of it. Raises StorageError."""
        if not _is_plain(run_id):
            raise StorageError("A run's files cannot be written: its id is not one of ours.")
        folder = self.spool / run_id
        try:
            for name in NAMES:
                if name in copies:
                    archive.write_whole(folder / name, copies[name])
            if archive.EVIDENCE in copies and not (folder / "evidence" / "manifest.json").exists():
                archive.unpack(copies[archive.EVIDENCE], folder)
        except OSError as error:
            raise StorageError(f"A run's files cannot be written to {self.spool}: {error.strerror}.") from error
        return folder

    def _why(self, error: Exception) -> str:
        """What is wrong with the store and what to do, as a clause; of the client's own text only its code."""
        if not self.url.startswith("s3://"):
            return (
                f"{self.url} does not answer ({type(error).__name__}). Check RUNBOOK_ARTIFACTS and that the store runs"
            )
        code = str(error)
        if code in _NEXT:
            return f"{self.url}: {_NEXT[code]}"
        if code:
            return f"{self.url} answers {code}. Check RUNBOOK_ARTIFACTS and the AWS_* variables"
        return f"{self.url} does not answer. Check that the store runs, and AWS_ENDPOINT_URL"


def open_artifacts(settings: Settings, state: Path) -> Artifacts:
    """The store that RUNBOOK_ARTIFACTS names. Raises ConfigurationError when its kind is unknown here."""
    url = settings.runbook_artifacts
    scheme = url.split("://", 1)[0]
    if scheme == "s3" and "://" in url:
        return _open_bucket(url, state)
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"RUNBOOK_ARTIFACTS begins with {scheme}://, for which fsspec has no driver here. Install it, or use s3://."
        ) from error
    protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
    is_local = protocol in ("file", "local")
    return Artifacts(_public(url), Path(root) if is_local else state / "spool", filesystem, root, is_local)


def _open_bucket(url: str, state: Path) -> Artifacts:
    from runbook.history.bucket import Bucket

    root = url.split("://", 1)[1].strip("/")
    name = root.split("/", 1)[0]
    if not name or any(c in url for c in "@?#") or "//" in root or not set(root.split("/")).isdisjoint({".", ".."}):
        raise ConfigurationError(
            "RUNBOOK_ARTIFACTS has to be s3://BUCKET/PREFIX and nothing else; credentials go into AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, an address of your own into AWS_ENDPOINT_URL."
        )
    return Artifacts(f"s3://{root}", state / "spool", Bucket(name), root, False)


def _public(url: str) -> str:
    """The address without the credentials that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def _is_plain(run_id: str) -> bool:
    """Whether the id is a single folder name of ours: it comes from an address."""
    return bool(run_id) and run_id not in (".", "..") and all(c.isalnum() or c in "-_." for c in run_id)
