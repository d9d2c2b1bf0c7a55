"""Starting, joining and giving up a server; databases on it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote

from runbook.embedded.binaries import find_binaries
from runbook.embedded.locks import OWNERS, has_owners, has_supervisor, open_lock
from runbook.embedded.supervisor import READY_SECONDS, STOP_SECONDS, USER, unusable
from runbook.errors import EmbeddedError

if TYPE_CHECKING:
    from psycopg import sql

_holds: dict[int, int] = {}  # a Server's hold -> the descriptor whose shared lock makes this process an owner


@dataclass(frozen=True, slots=True)
class Server:
    """A running server that this process owns, alone or with others. `bin_dir` also has pg_dump and psql."""

    folder: Path
    port: int
    bin_dir: Path
    password: str = field(repr=False)
    hold: int = field(repr=False)

    def url(self, database: str = "postgres", user: str = USER, password: str | None = None) -> str:
        """The address of `database`. It holds the password: for connecting, never for showing."""
        word = quote(self.password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{word}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def stop(self) -> None:
        """Give the server up. Unless another owner is left, it has stopped on return."""
        if not _release(self.hold):
            return
        deadline = time.monotonic() + STOP_SECONDS + 10
        while has_supervisor(self.folder) and not has_owners(self.folder) and time.monotonic() < deadline:
            time.sleep(0.02)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def start(folder: Path) -> Server:
    """The server of `folder`, started or joined; the folder is made where there is none.

    Raises EmbeddedError when there are no binaries for this platform or the folder cannot be used.
    """
    folder = folder.expanduser().resolve()
    bin_dir = find_binaries()
    hold = _hold(folder)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not has_supervisor(folder):
                _launch(folder, bin_dir)
            if server := _answering(folder, bin_dir, hold):
                return server
            time.sleep(0.02)
        raise EmbeddedError(f"PostgreSQL in {folder} did not answer in {READY_SECONDS:.0f} s. See {folder / 'log'}.")
    except BaseException:
        _release(hold)
        raise


def create_database(server: Server, name: str, template: str = "template1") -> str:
    """The address of a new database, a copy of `template`, to which nobody may be connected meanwhile.

    Raises EmbeddedError with PostgreSQL's reason.
    """
    from psycopg import sql

    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    _execute(server, statement, f"Database {name} cannot be made")
    return server.url(name)


def drop_database(server: Server, name: str) -> None:
    """Drop the database if it is there, whoever is connected to it. Raises EmbeddedError with PostgreSQL's reason."""
    from psycopg import sql

    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    _execute(server, statement, f"Database {name} cannot be dropped")


def _execute(server: Server, statement: sql.Composed, failed: str) -> None:
    import psycopg

    try:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(statement)
    except psycopg.Error as error:
        said = error.diag.message_primary or "the server does not answer"
        raise EmbeddedError(f"{failed} in {server.folder}: {said}.") from error


def _hold(folder: Path) -> int:
    """Make this process an owner. Waits while the supervisor, which found no owner left, stops the server."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_lock(folder / OWNERS)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        raise unusable(folder, error) from error
    hold = secrets.randbits(63)
    _holds[hold] = descriptor
    return hold


def _release(hold: int) -> bool:
    descriptor = _holds.pop(hold, None)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def _forget_holds() -> None:
    """In a forked child: the parent's locks are not the child's, and must not outlive the parent in it."""
    for hold in tuple(_holds):
        _release(hold)


os.register_at_fork(after_in_child=_forget_holds)


def _answering(folder: Path, bin_dir: Path, hold: int) -> Server | None:
    """The server if it lets us in. A stale port may be anybody's by now: only ours knows the password."""
    import psycopg

    try:
        port = int(json.loads((folder / "server.json").read_text())["port"])
        server = Server(folder, port, bin_dir, (folder / "password").read_text().strip(), hold)
        psycopg.connect(server.url(), connect_timeout=2).close()
    except (OSError, ValueError, KeyError, psycopg.Error):
        return None
    return server


def _launch(folder: Path, bin_dir: Path) -> None:
    """Run a supervisor; return when it is ready or another was first. Raises EmbeddedError with its reason."""
    command = [sys.executable, "-P", "-m", "runbook.embedded.supervisor", str(folder), str(bin_dir)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=READY_SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return
    if said := done.stdout.decode(errors="replace").strip():
        raise EmbeddedError(said)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise EmbeddedError(f"The supervisor of PostgreSQL in {folder} failed: {''.join(last)}.")
