"""The trading database, read only: named questions from sql/, and ad hoc ones."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, cast
from uuid import UUID

import pandas as pd
import psycopg
from psycopg import sql

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources.evidence import Answer, Call, Evidence, Recording, collect, collecting

NAME = "database"
CONNECTIONS_MAX = 6
"""It is somebody's production database: a report takes no more connections than that at a time."""
ROWS_MAX = 5_000
AD_HOC_ROWS_MAX = 1_000
# The server stops a slow query before the seam gives up waiting: a refused question, not a source that hangs.
_SERVER_SHARE = 0.8

# Which schema is this? The written runbook's has positions.status, the platform's positions.exit_time only.
_DETECT = """\
SELECT count(*) FILTER (WHERE table_name = 'trading_sessions' AND column_name = 'id') AS platform,
       count(*) FILTER (WHERE table_name = 'trading_sessions' AND column_name = 'session_id') AS documented
FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))"""


class Database:
    """Asks PostgreSQL over a few autocommit connections, read only, every statement time-limited.

    A question costs one round trip: options are set while connecting, nothing begins or ends a transaction.
    """

    name = NAME

    def __init__(self, dsn: str | None, evidence: Evidence, *, namespace: str = "cryptofunk") -> None:
        self._dsn = dsn
        self._evidence = evidence
        self._namespace = namespace
        self._idle: list[psycopg.Connection[Any]] = []
        self._lock = threading.Lock()
        self._schema: str | None = None
        self._detecting = threading.Lock()
        # One place is kept for detecting the schema, which a question may wait for while it holds its own.
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX - 1)
        self._recording = Recording.at(dsn)

    @property
    def schema(self) -> str:
        """ "platform" or "documented": which of the two schemas this database has. Detected once.

        Raises QueryFailed where it has neither.
        """
        with self._detecting:
            if self._schema is None:
                self._schema = self._detected()
        return self._schema

    def ask(self, question: str, **parameters: Any) -> Answer:
        """The answer to a named question: a DataFrame of at most 5,000 rows.

        `question` is a file of sources/sql without its ending, "positions/open"; the documented
        schema's own wording is taken where there is one. NUMERIC comes back as float64, times as
        UTC, UUID and enums as text. Raises SourceError.
        """
        if _has_own_wording(question):
            with self._places:
                return self._ask_own_wording(question, parameters)
        try:
            with self._places:
                return self._put(_statement(question, "platform"), parameters)
        except QueryFailed:
            if self._schema is None:
                self.schema  # noqa: B018 - raises where it is another database altogether, which says more
            raise

    def _ask_own_wording(self, question: str, parameters: Mapping[str, Any]) -> Answer:
        """The answer to a question that the schemas word differently.

        Where the schema is not known yet, the platform's wording is sent beside the question after it, and
        its result taken only where that is the schema: this saves a round trip in front of all others.
        """
        if self._schema is not None or self._recording or self._evidence.replay:
            return self._put(_statement(question, self.schema), parameters)
        likely = _statement(question, "platform")
        begun = Call(lambda: self._fetch(likely, parameters, ROWS_MAX), "ask-likely")
        statement = _statement(question, self.schema)
        if statement == likely:
            return self._put(statement, parameters, begun.result)
        begun.has_ended(self._evidence.limit_seconds)  # for its connection: no more than CONNECTIONS_MAX at a time
        return self._put(statement, parameters)

    def sql(self, statement: str, **parameters: Any) -> Answer:
        """The answer to one ad hoc statement (%(name)s placeholders), at most 1,000 rows, read only."""
        with self._places:
            return self._put(statement, parameters, lambda: self._fetch_ad_hoc(statement, parameters))

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            connections, self._idle = self._idle, []
        for connection in connections:
            connection.close()

    def _detected(self) -> str:
        """The schema, by a question of its own: it belongs to no finding, unless it fails."""
        try:
            with collecting() as answers:
                row = self._put(_DETECT, {}).frame.iloc[0]
                if not row["platform"] and not row["documented"]:
                    raise QueryFailed(
                        "database has no table trading_sessions that this role can see: "
                        "check the database's name in DATABASE_URL and the role's SELECT grants"
                    )
        except SourceError:
            collect(answers)
            raise
        return "platform" if row["platform"] else "documented"

    def _put(
        self, statement: str, parameters: Mapping[str, Any], fetch: Callable[[], pd.DataFrame] | None = None
    ) -> Answer:
        return self._evidence.ask(
            NAME,
            statement.strip(),
            parameters,
            self._command(statement, parameters),
            fetch or (lambda: self._fetch(statement, parameters, ROWS_MAX)),
            replay=self._recording,
        )

    def _fetch(self, statement: str, parameters: Mapping[str, Any], rows_max: int) -> pd.DataFrame:
        """The result of one of our own statements, which are bounded: one round trip."""

        def rows_of(connection: psycopg.Connection[Any]) -> tuple[list[Any], list[str]]:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall(), [column.name for column in cursor.description or ()]

        return self._frame(rows_of, rows_max)

    def _fetch_ad_hoc(self, statement: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        """The result of anybody's statement: no more of its rows than are shown, and nothing it SETs stays."""

        def rows_of(connection: psycopg.Connection[Any]) -> tuple[list[Any], list[str]]:
            with (
                connection.transaction(force_rollback=True),
                connection.cursor() as cursor,
                # stream() speaks the extended protocol: one statement only, and no more rows than are taken.
                closing(cast("Generator[Any, None, None]", cursor.stream(statement, parameters or None))) as stream,
            ):
                rows = list(islice(stream, AD_HOC_ROWS_MAX + 1))
                if not rows:  # a stream without rows does not name its columns
                    stream.close()
                    cursor.execute(statement, parameters or None)
                return rows, [column.name for column in cursor.description or ()]

        return self._frame(rows_of, AD_HOC_ROWS_MAX)

    def _frame(
        self, rows_of: Callable[[psycopg.Connection[Any]], tuple[list[Any], list[str]]], rows_max: int
    ) -> pd.DataFrame:
        if not self._dsn:
            raise NotConfigured("database is not configured: set DATABASE_URL to the trading database, read-only role")
        stale = bool(self._idle)
        try:
            with self._connection() as connection:
                rows, names = rows_of(connection)
        except psycopg.errors.QueryCanceled:
            raise QueryFailed(
                f"database stopped the query after {self._server_seconds:g} s (statement_timeout)"
            ) from None
        except psycopg.OperationalError as error:
            if stale:  # the connection may have died while it was idle: once more
                self.close()
                return self._frame(rows_of, rows_max)
            raise SourceUnavailable(f"database cannot be used: {_first_line(error)}") from None
        except psycopg.Error as error:
            if error.sqlstate is None:  # psycopg's own word that a command like SET, or an empty one, has no rows
                raise QueryFailed("database has no rows to show for this statement; ask with SELECT") from None
            raise QueryFailed(f"database refused the query: {_first_line(error)}") from None
        columns = _distinct(names)
        frame = pd.DataFrame(rows[:rows_max], columns=columns, dtype="object")
        frame = frame.assign(**{name: _column(frame[name]) for name in columns}) if columns else frame
        frame.attrs["truncated"] = len(rows) > rows_max
        return frame

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    @property
    def _server_seconds(self) -> float:
        """When the server itself ends a statement: a little before we stop waiting for it."""
        return self._evidence.limit_seconds * _SERVER_SHARE

    def _connect(self) -> psycopg.Connection[Any]:
        milliseconds = int(self._server_seconds * 1000)
        try:
            connection = psycopg.connect(
                self._dsn or "",
                autocommit=True,
                connect_timeout=max(2, round(self._evidence.limit_seconds)),
                application_name="runbook",
                options=f"-c default_transaction_read_only=on -c statement_timeout={milliseconds}"
                f" -c lock_timeout={milliseconds} -c timezone=UTC -c idle_in_transaction_session_timeout=60000",
            )
        except psycopg.ProgrammingError:
            raise NotConfigured("database is not configured: DATABASE_URL is not a PostgreSQL address") from None
        connection.prepare_threshold = None
        return connection

    def _command(self, statement: str, parameters: Mapping[str, Any]) -> str:
        literals = {name: _literal(value) for name, value in parameters.items()}
        text = statement.strip()
        if parameters:
            for name, literal in literals.items():
                text = text.replace(f"%({name})s", literal)
            text = text.replace("%%", "%")
        return (
            f"kubectl exec -i -n {shlex.quote(self._namespace)} deployment/postgres -- "
            f"psql -U postgres -d cryptofunk <<'SQL'\n{text.rstrip(';')};\nSQL"
        )


@cache
def _has_own_wording(question: str) -> bool:
    """Whether the documented schema words `question` its own way."""
    return (resources.files(__package__) / "sql" / "documented" / f"{question}.sql").is_file()


@cache
def _statement(question: str, schema: str) -> str:
    folder = resources.files(__package__) / "sql"
    for candidate in dict.fromkeys((schema, "platform")):
        path = folder / candidate / f"{question}.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise LookupError(f"no question {question!r} in sources/sql/{schema}")


def _distinct(names: list[str]) -> list[str]:
    """`names`, the second "id" called "id_2" and so on: a join of two tables may name a column twice."""
    found: list[str] = []
    for name in names:
        number, own = 1, name
        while own in found:
            number += 1
            own = f"{name}_{number}"
        found.append(own)
    return found


def _column(column: pd.Series[Any]) -> pd.Series[Any]:
    """`column` as float64, int64, UTC times, bool or text, whichever its values are; all missing: object."""
    values = [value for value in column.tolist() if value is not None]
    kinds = {type(value) for value in values}
    if not values:
        return pd.Series([None] * len(column), index=column.index, dtype="object")
    if kinds == {bool}:
        return column if len(values) == len(column) else column.astype("object")
    if kinds == {int} and len(values) == len(column):
        return column.astype("int64")
    if kinds <= {int, float, Decimal}:
        return pd.Series([float("nan") if v is None else float(v) for v in column], index=column.index, dtype="float64")
    if kinds == {datetime}:
        return pd.Series(
            pd.to_datetime([_utc(value) for value in column.tolist()], utc=True), index=column.index
        ).astype("datetime64[us, UTC]")
    return pd.Series([_text(value) for value in column.tolist()], index=column.index, dtype="object")


def _utc(value: datetime | None) -> datetime | None:
    if value is None or pd.isna(value):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | memoryview):
        return f"({len(value)} bytes)"
    return (
        str(value)
        if isinstance(value, UUID) or not isinstance(value, None | bool | int | float | str | list | dict)
        else value
    )


def _literal(value: Any) -> str:
    """`value` as an SQL literal on one line, so that hostile text cannot leave it or the heredoc."""
    value = value.replace("\x00", "\ufffd") if isinstance(value, str) else value
    text = sql.Literal(value).as_string(None).strip()
    if "\n" in text or "\r" in text:
        text = sql.Literal(str(value).replace("\r", " ").replace("\n", " ")).as_string(None).strip()
    return text


def _first_line(error: Exception) -> str:
    """The server's own first line, without the addresses that libpq adds."""
    if isinstance(error, SourceError):
        return str(error)
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if primary:
        return str(primary)
    text = str(error)
    for sign, meaning in _CONNECTION_PROBLEMS.items():
        if sign in text:
            return meaning
    return "the connection failed or was lost"


_CONNECTION_PROBLEMS = {
    "Connection refused": "connection refused; is the server running and DATABASE_URL right?",
    "timeout expired": "no answer while connecting; is a network policy or firewall between?",
    "could not translate host name": "the host name in DATABASE_URL is unknown",
    "failed to resolve host": "the host name in DATABASE_URL is unknown",
    "Name or service not known": "the host name in DATABASE_URL is unknown",
    "password authentication failed": "the password in DATABASE_URL is not accepted",
    "does not exist": "the role or database in DATABASE_URL does not exist",
    "starting up": "the server is still starting up",
    "too many clients": "the server has no connection left (max_connections)",
    "remaining connection slots": "the server has no connection left (max_connections)",
    "server closed the connection": "the server closed the connection",
    "terminating connection": "the server ended the connection",
}
