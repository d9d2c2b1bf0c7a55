"""The connection to the service's own PostgreSQL, its migrations, and psycopg's errors made ours."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

import psycopg
import psycopg_pool
from psycopg.rows import DictRow, dict_row

from runbook.errors import StorageError

Connection = psycopg.Connection[DictRow]
Result = TypeVar("Result")

_log = logging.getLogger(__name__)
# One number for everyone who migrates this database: the second waits, then finds nothing to do.
_MIGRATION_LOCK = 7_246_531_190
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed)
_CONFLICTS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation)
_ATTEMPTS = 4


class DatabaseAwayError(StorageError):
    """The database of queue and history does not answer. Start it; what was accepted is kept in it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of a schema: its name, recorded once it has run, and its SQL."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Database:
    """A pool of connections. `transaction` is the only way in; all of it commits, or none."""

    pool: psycopg_pool.ConnectionPool[Connection]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection inside a transaction. Raises DatabaseAwayError, or StorageError for a refused statement."""
        with _translated(), self.pool.connection() as connection:
            yield connection

    def commit(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, committed. It runs again, at most three times, where two of us met in one row."""
        for attempt in range(_ATTEMPTS):
            try:
                with _translated(), self.pool.connection() as connection:
                    return work(connection)
            except StorageError as error:
                if not isinstance(error.__cause__, _CONFLICTS) or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.02 * (attempt + 1))
        raise AssertionError("unreachable")

    def persist(self, work: Callable[[Connection], Result], patience_seconds: float = 300.0) -> Result:
        """As `commit`, and where the database is away, again until it is back or the patience ends."""
        deadline = time.monotonic() + patience_seconds
        pause = 0.1
        while True:
            try:
                return self.commit(work)
            except DatabaseAwayError:
                if time.monotonic() + pause > deadline:
                    raise
                _log.warning("the database is away; what has to be written is kept and tried again")
                time.sleep(pause)
                pause = min(pause * 2, 2.0)

    def is_ready(self) -> bool:
        """Whether the database answers and has our schema."""
        try:
            with self.transaction() as connection:
                return bool(_value(connection, "SELECT to_regclass('runbook.runs') IS NOT NULL"))
        except StorageError:
            return False

    def close(self) -> None:
        self.pool.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_database(url: str, *, size: int = 8, wait_seconds: float = 5.0) -> Database:
    """A Database on `url`. Connects when first used, so it can be opened while the server is away."""
    pool: psycopg_pool.ConnectionPool[Connection] = psycopg_pool.ConnectionPool(
        url,
        kwargs={"row_factory": dict_row, "connect_timeout": 5},
        configure=_configure,
        check=psycopg_pool.ConnectionPool.check_connection,
        min_size=1,
        max_size=size,
        timeout=wait_seconds,
        reconnect_timeout=2.0,
        open=True,
        name="runbook",
    )
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # its warnings repeat the address
    return Database(pool)


def migrate(database: Database, others: tuple[Migration, ...] = ()) -> list[str]:
    """Bring the schema up to date -> the names of the steps that ran now. `others` are the queue's own.

    Many may call it at once. Raises StorageError naming the step that was refused; nothing of it stays.
    """
    with database.transaction() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        connection.execute("CREATE SCHEMA IF NOT EXISTS runbook")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS runbook.migrations"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        ran: list[str] = []
        for step in (*_own(), *others):
            # Asked each time: a step may record others that it includes.
            if row(connection, "SELECT 1 AS one FROM runbook.migrations WHERE name = %(n)s", {"n": step.name}):
                continue
            try:
                # No parameters: psycopg then sends the text as it is, many statements at once.
                connection.execute(step.sql.encode())
            except psycopg.Error as error:
                said = error.diag.message_primary or "the server gave no reason"
                raise StorageError(f"The migration {step.name} was refused: {said}. Nothing was changed.") from error
            connection.execute("INSERT INTO runbook.migrations (name) VALUES (%s)", [step.name])
            ran.append(step.name)
        return ran


def _own() -> tuple[Migration, ...]:
    folder = resources.files("runbook.history") / "sql"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(Migration(file.name, file.read_text(encoding="utf-8")) for file in files)


def storable(text: str) -> str:
    """`text` as PostgreSQL takes it: no NUL, no lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def rows(connection: Connection, statement: str, parameters: Mapping[str, Any] | None = None) -> list[DictRow]:
    """All rows of a query as dicts."""
    return connection.execute(statement.encode(), parameters or {}).fetchall()


def row(connection: Connection, statement: str, parameters: Mapping[str, Any] | None = None) -> DictRow | None:
    """The first row of a query, or None."""
    return connection.execute(statement.encode(), parameters or {}).fetchone()


def _value(connection: Connection, statement: str) -> Any:
    found = row(connection, statement)
    return next(iter(found.values())) if found else None


def _configure(connection: Connection) -> None:
    """Procrastinate names its tables without a schema: they are found in ours."""
    connection.execute("SET search_path TO runbook, public")
    connection.execute("SET timezone TO 'UTC'")
    connection.execute("SET lock_timeout TO '20s'")
    connection.commit()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _CONFLICTS as error:
        raise StorageError("Two writers met in the history. Nothing was changed; try again.") from error
    except _AWAY as error:
        raise DatabaseAwayError from error
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        raise StorageError(f"The history refused a statement: {said}.") from error
