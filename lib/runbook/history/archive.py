"""A run's files in memory, for the database to keep while the store cannot: its evidence as one archive."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

EVIDENCE = "evidence.tar.gz"
EVIDENCE_BYTES = 20_000_000
"""More packed evidence than this stays on its machine alone: the database is not a file store."""


def pack(folder: Path, limit: int = EVIDENCE_BYTES) -> bytes | None:
    """The folder `evidence` of a run's folder as a .tar.gz; empty where there is none, None where it is too large."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as packed:
        for path in sorted((folder / "evidence").glob("*.json")):
            packed.add(path, f"evidence/{path.name}", recursive=False)
            if buffer.tell() > limit:
                return None
    return buffer.getvalue() if buffer.tell() <= limit else None


def unpack(content: bytes, folder: Path) -> None:
    """Write what `pack` gave into a run's folder, the manifest last. Raises OSError."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as packed:
        members = sorted(packed.getmembers(), key=lambda member: member.name.endswith("/manifest.json"))
        for member in members:
            file = packed.extractfile(member) if member.isfile() else None
            if file:
                write_whole(folder / "evidence" / Path(member.name).name, file.read())


def write_whole(path: Path, content: bytes) -> None:
    """Write `path` at once or not at all, and leave nothing behind. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
