"""The connection to the service's own PostgreSQL, its migrations, and psycopg's errors made ours."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import Any, ClassVar, Protocol, TypeVar

import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row, dict_row, scalar_row

from runbook.errors import ConfigurationError, StorageError

# Rows are read as a class of ours, through `row` and `rows`: what `execute` itself fetches has no type to read by key.
Connection = psycopg.Connection[object]
Result = TypeVar("Result")
Row = TypeVar("Row")
Stored = TypeVar("Stored", bound="StoredRow")
Value = TypeVar("Value")

_log = logging.getLogger(__name__)
# One number for everyone who migrates this database: the second waits, then finds nothing to do.
_MIGRATION_LOCK = 7_246_531_190
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed)
_CONFLICTS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation)
_ATTEMPTS = 4
# What PostgreSQL and its client say, and what we say of it: their own words may repeat parts of a mistyped address.
_REASONS = {
    "Connection refused": (
        "the connection is refused; start the server, or correct host and port in RUNBOOK_DATABASE_URL"
    ),
    "could not translate host name": "the host in RUNBOOK_DATABASE_URL is unknown",
    "failed to resolve host": "the host in RUNBOOK_DATABASE_URL is unknown",
    "authentication failed": "the login is refused; correct user and password in RUNBOOK_DATABASE_URL",
    "no password supplied": "the server wants a password; RUNBOOK_DATABASE_URL has none",
    "no pg_hba.conf entry": "the server lets this user or machine not in; see its pg_hba.conf",
    "is not permitted to log in": "the user in RUNBOOK_DATABASE_URL may not log in",
    "permission denied for database": "the user in RUNBOOK_DATABASE_URL may not use this database",
    'database "[^"]*" does not exist': "the database named in RUNBOOK_DATABASE_URL does not exist; create it",
    'role "[^"]*" does not exist': "the user in RUNBOOK_DATABASE_URL does not exist",
    "timeout expired": "it does not answer within 5 s; is the host right, and is a firewall between?",
    "No route to host": "there is no way to its host; is a firewall or network policy between?",
    "Network is unreachable": "there is no way to its host",
    "starting up": "it is starting up",
    "shutting down": "it is shutting down",
    "too many clients": "it has no connection left (max_connections)",
    "remaining connection slots": "it has no connection left (max_connections)",
    "No such file or directory": "no server listens on this machine's socket; start it, or name its host",
    "SSL": "TLS could not be agreed; see sslmode in RUNBOOK_DATABASE_URL",
}


class DatabaseAwayError(StorageError):
    """The database of queue and history does not answer. Start it; what was accepted is kept in it."""


class StoredRow(Protocol):
    """A class of rows that are all of one table's columns: a dataclass that names the table and its alias."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    TABLE: ClassVar[str]


@dataclass(slots=True)
class Refusal:
    """Why the last connection failed, in our words; empty once one has come about."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of a schema: its name, recorded once it has run, and its SQL."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Database:
    """A pool of connections. `transaction` is the only way in; all of it commits, or none."""

    pool: psycopg_pool.ConnectionPool[Connection]
    refusal: Refusal = field(default_factory=Refusal)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection inside a transaction. Raises DatabaseAwayError, or StorageError for a refused statement."""
        with _translated(self.refusal), self.pool.connection() as connection:
            yield connection

    def commit(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, committed. It runs again, at most three times, where two of us met in one row."""
        for attempt in range(_ATTEMPTS):
            try:
                with _translated(self.refusal), self.pool.connection() as connection:
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
            except DatabaseAwayError as error:
                if time.monotonic() + pause > deadline:
                    raise
                _log.warning("what has to be written is kept and tried again: %s", error)
                time.sleep(pause)
                pause = min(pause * 2, 2.0)

    def is_ready(self) -> bool:
        """Whether the database answers and has our schema."""
        return not self.trouble()

    def trouble(self) -> str:
        """Why the database cannot be used now, in one line; empty when it answers and has our schema."""
        try:
            with self.transaction() as connection:
                has_schema = value(connection, bool, "SELECT to_regclass('runbook.runs') IS NOT NULL")
        except StorageError as error:
            return str(error)
        return "" if has_schema else "The database of queue and history has no schema yet."

    def close(self) -> None:
        self.pool.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_database(url: str, *, size: int = 8, wait_seconds: float = 5.0) -> Database:
    """A Database on `url`. Connects when first used, so it can be opened while the server is away.

    Raises ConfigurationError for an address that no server can ever have.
    """
    _check_address(url)
    refusal = Refusal()
    pool: psycopg_pool.ConnectionPool[Connection] = psycopg_pool.ConnectionPool(
        url,
        connection_class=_connection_class(refusal),
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
    return Database(pool, refusal)


def _check_address(url: str) -> None:
    """Raises ConfigurationError; it repeats nothing of the address, which holds a password."""
    form = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme.isalnum() and scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(f"RUNBOOK_DATABASE_URL begins with {scheme}://; only PostgreSQL will do: {form}.")
    try:
        port = str(conninfo_to_dict(url).get("port") or "")
    except psycopg.ProgrammingError:
        port = "none"
    if not all(part.isdecimal() and 0 < int(part) < 65_536 for part in port.split(",") if part):
        raise ConfigurationError(
            f"RUNBOOK_DATABASE_URL is no address of PostgreSQL. Write {form}, and special signs in it as %40 for @."
        )


def _connection_class(refusal: Refusal) -> type[Connection]:
    """Connections that leave in `refusal` why they did not come about: the pool keeps that to itself."""

    class Noting(psycopg.Connection[object]):
        @classmethod
        def connect(cls, *arguments: Any, **options: Any) -> Any:
            try:
                made = super().connect(*arguments, **options)
            except psycopg.Error as error:
                refusal.reason = _reason(error)
                raise
            refusal.reason = ""
            return made

    return Noting


def _reason(error: psycopg.Error) -> str:
    """Why there is no connection, without any word of the address; empty where it is none that we know."""
    text = str(error)
    return next((meaning for sign, meaning in _REASONS.items() if re.search(sign, text)), "")


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
            if exists(connection, "SELECT 1 FROM runbook.migrations WHERE name = %(name)s", name=step.name):
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


def rows(connection: Connection, kind: type[Row], statement: str, /, **parameters: Any) -> list[Row]:
    """All rows of a query, each as a `kind`, whose fields are named as the query's columns."""
    return connection.cursor(row_factory=class_row(kind)).execute(statement.encode(), parameters).fetchall()


def row(connection: Connection, kind: type[Row], statement: str, /, **parameters: Any) -> Row | None:
    """The first row of a query as a `kind`; None where there is none."""
    return connection.cursor(row_factory=class_row(kind)).execute(statement.encode(), parameters).fetchone()


def select(connection: Connection, kind: type[Stored], rest: str, /, **parameters: Any) -> list[Stored]:
    """All rows of the table of a `kind` that the rest of the query, from its WHERE on, asks for."""
    return rows(connection, kind, _selecting(kind, rest), **parameters)


def select_one(connection: Connection, kind: type[Stored], rest: str, /, **parameters: Any) -> Stored | None:
    """The first of what `select` gives; None where there is none."""
    return row(connection, kind, _selecting(kind, rest), **parameters)


def columns(kind: type[StoredRow]) -> str:
    """The fields of a `kind` as columns of its table, to select or return."""
    alias = kind.TABLE.split()[1]
    return ", ".join(f"{alias}.{column.name}" for column in fields(kind))


def ranked(column: str, order: Sequence[str]) -> str:
    """The place of a column's value in `order`, from 1, as SQL to sort by."""
    names = ", ".join(f"'{name}'" for name in order)
    return f"array_position(ARRAY[{names}], {column})"


def values(connection: Connection, kind: type[Value], statement: str, /, **parameters: Any) -> list[Value]:
    """The only column of all rows of a query. Raises TypeError for one that is no `kind`, null among them."""
    found = connection.cursor(row_factory=scalar_row).execute(statement.encode(), parameters).fetchall()
    return [_checked(item, kind) for item in found]


def value(connection: Connection, kind: type[Value], statement: str, /, **parameters: Any) -> Value | None:
    """The only column of the first row; None where there is no row or it is null. Raises TypeError for no `kind`."""
    found = connection.cursor(row_factory=scalar_row).execute(statement.encode(), parameters).fetchone()
    return None if found is None else _checked(found, kind)


def exists(connection: Connection, statement: str, /, **parameters: Any) -> bool:
    """Whether a query has a row."""
    return connection.execute(statement.encode(), parameters).fetchone() is not None


def execute(connection: Connection, statement: str, /, **parameters: Any) -> None:
    """Run a statement that gives nothing back."""
    connection.execute(statement.encode(), parameters)


def only(connection: Connection, kind: type[Value], statement: str, /, **parameters: Any) -> Value:
    """The only column of the row that there must be: of an insertion that gives back its id, of a count."""
    found = value(connection, kind, statement, **parameters)
    if found is None:
        raise AssertionError("the query gave no row, or null")
    return found


def _selecting(kind: type[StoredRow], rest: str) -> str:
    return f"SELECT {columns(kind)} FROM {kind.TABLE} {rest}"  # noqa: S608 - `rest` is one of our statements


def _checked(found: object, kind: type[Value]) -> Value:
    if not isinstance(found, kind):
        raise TypeError(f"the query gave {type(found).__name__}, not {kind.__name__}")
    return found


def _configure(connection: Connection) -> None:
    """Procrastinate names its tables without a schema: they are found in ours."""
    connection.execute("SET search_path TO runbook, public")
    connection.execute("SET timezone TO 'UTC'")
    connection.execute("SET lock_timeout TO '20s'")
    connection.commit()


@contextlib.contextmanager
def _translated(refusal: Refusal) -> Iterator[None]:
    try:
        yield
    except _CONFLICTS as error:
        raise StorageError("Two writers met in the history. Nothing was changed; try again.") from error
    except _AWAY as error:
        if refusal.reason:
            said = f"The database of queue and history is away: {refusal.reason}. What was accepted is kept in it."
            raise DatabaseAwayError(said) from error
        raise DatabaseAwayError from error
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        raise StorageError(f"The history refused a statement: {said}.") from error
