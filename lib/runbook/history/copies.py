"""Files of runs that the database keeps while the store cannot: packed, as `archive` and gzip made them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runbook.history import archive
from runbook.history.database import Connection, rows, value


@dataclass(frozen=True, slots=True)
class Kept:
    """A run whose files are here: its number, and the id that names its folder."""

    run: int
    run_id: str


@dataclass(frozen=True, slots=True)
class _Copy:
    name: str
    content: bytes


def keep(connection: Connection, run: int, files: Mapping[str, bytes]) -> None:
    """Keep a run's packed files, by name."""
    for name, content in files.items():
        connection.execute("INSERT INTO runbook.copies (run, name, content) VALUES (%s, %s, %s)", [run, name, content])


def read(connection: Connection, run: int, name: str) -> bytes | None:
    """One file of a run, unpacked; None where it is not kept."""
    statement = "SELECT content FROM runbook.copies WHERE run = %(run)s AND name = %(name)s"
    content = value(connection, bytes, statement, run=run, name=name)
    return None if content is None else gzip.decompress(content)


def files(connection: Connection, run: int) -> dict[str, bytes]:
    """All files of a run by name, unpacked but for its evidence, which stays one archive."""
    found = rows(connection, _Copy, "SELECT name, content FROM runbook.copies WHERE run = %(run)s", run=run)
    return {
        copy.name: copy.content if copy.name == archive.EVIDENCE else gzip.decompress(copy.content) for copy in found
    }


def to_store(connection: Connection, here: Sequence[str], is_local: bool) -> list[Kept]:
    """Runs whose files this machine may bring to the store now, at most twenty.

    `here` are the runs that have a folder on it: one that is stored and has a folder was cut off in between, for
    another machine stored it. A run whose worker lives is left to that worker, but where the store is a folder.
    """
    statement = """
        SELECT r.id AS run, r.run_id FROM runbook.runs r
        WHERE (r.stored = 'database' AND (%(is_local)s OR r.run_id = ANY(%(here)s) OR NOT EXISTS (
                   SELECT 1 FROM runbook.workers w
                   WHERE w.name = r.worker AND w.seen_at > now() - interval '1 minute')))
           OR (r.stored = 'artifacts' AND r.run_id = ANY(%(here)s))
        ORDER BY r.id LIMIT 20
        """
    return rows(connection, Kept, statement, here=list(here), is_local=is_local)


def stored(connection: Connection, run: int) -> None:
    """A run's files are in the store: they are kept here no longer."""
    connection.execute("UPDATE runbook.runs SET stored = 'artifacts' WHERE id = %s", [run])
    connection.execute("DELETE FROM runbook.copies WHERE run = %s", [run])
