"""The trading database, read only: named questions from sql/, and ad hoc ones."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, cast

import psycopg
from psycopg import sql

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources.columns import frame_of
from runbook.sources.connecting import connect, reason
from runbook.sources.evidence import Answer, Call, Evidence, Partial, Recording, collect, collecting

NAME = "database"
CONNECTIONS_MAX = 6
"""It is somebody's production database: a report takes no more connections than that at a time."""
ROWS_MAX = 5_000
AD_HOC_ROWS_MAX = 1_000
_AT_MOST = re.compile(r"^-- at most: (\d+)$", re.MULTILINE)
# The server stops a slow query before the seam gives up waiting: a refused question, not a source that hangs.
_SERVER_SHARE = 0.8

# Which schema is this? The written runbook's has positions.status, the platform's positions.exit_time only.
_DETECT = """\
SELECT count(*) FILTER (WHERE table_name = 'trading_sessions' AND column_name = 'id') AS platform,
       count(*) FILTER (WHERE table_name = 'trading_sessions' AND column_name = 'session_id') AS documented
FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))"""


_Rows = tuple[list[Any], list[str]]
"""Rows, and the names of their columns."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A named question as it is sent, and how many rows of its answer are taken."""

    statement: str
    rows_max: int


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
        schema's own wording is taken where there is one. A file that says "-- at most: 200" is asked for
        one row more, so that an answer which was cut off there is known to be. NUMERIC comes back as float64,
        times as UTC, UUID and enums as text; see columns for what is none. Raises SourceError.
        """
        if _has_own_wording(question):
            with self._places:
                return self._ask_own_wording(question, parameters)
        try:
            with self._places:
                return self._put_question(_question(question, "platform"), parameters)
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
            return self._put_question(_question(question, self.schema), parameters)
        likely = _question(question, "platform")
        begun = Call(lambda: self._fetch(likely, parameters), "ask-likely")
        asked = _question(question, self.schema)
        if asked == likely:
            return self._put(asked.statement, parameters, begun.result)
        begun.has_ended(self._evidence.limit_seconds)  # for its connection: no more than CONNECTIONS_MAX at a time
        return self._put_question(asked, parameters)

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
                row = self._put_question(_Question(_DETECT, 1), {}).frame.iloc[0]
                if not row["platform"] and not row["documented"]:
                    raise QueryFailed(
                        "database has no table trading_sessions that this role can see: "
                        "check the database's name in DATABASE_URL and the role's SELECT grants"
                    )
        except SourceError:
            collect(answers)
            raise
        return "platform" if row["platform"] else "documented"

    def _put_question(self, asked: _Question, parameters: Mapping[str, Any]) -> Answer:
        return self._put(asked.statement, parameters, lambda: self._fetch(asked, parameters))

    def _put(self, statement: str, parameters: Mapping[str, Any], fetch: Callable[[], Any]) -> Answer:
        return self._evidence.ask(
            NAME,
            statement.strip(),
            parameters,
            self._command(statement, parameters),
            fetch,
            replay=self._recording,
        )

    def _fetch(self, asked: _Question, parameters: Mapping[str, Any]) -> Partial:
        """The result of one of our own statements, which are bounded: one round trip."""

        def rows_of(connection: psycopg.Connection[Any]) -> _Rows:
            with connection.cursor() as cursor:
                cursor.execute(asked.statement.encode(), parameters or None)
                return cursor.fetchall(), [column.name for column in cursor.description or ()]

        return self._read(rows_of, asked.rows_max)

    def _fetch_ad_hoc(self, statement: str, parameters: Mapping[str, Any]) -> Partial:
        """The result of anybody's statement: no more of its rows than are shown, and nothing it SETs stays."""
        text = statement.encode("utf-8", "replace")

        def rows_of(connection: psycopg.Connection[Any]) -> _Rows:
            with (
                connection.transaction(force_rollback=True),
                connection.cursor() as cursor,
                # stream() speaks the extended protocol: one statement only, and no more rows than are taken.
                closing(cast("Generator[Any, None, None]", cursor.stream(text, parameters or None))) as stream,
            ):
                rows = list(islice(stream, AD_HOC_ROWS_MAX + 1))
                if not rows:  # a stream without rows does not name its columns
                    stream.close()
                    cursor.execute(text, parameters or None)
                return rows, [column.name for column in cursor.description or ()]

        return self._read(rows_of, AD_HOC_ROWS_MAX)

    def _read(self, rows_of: Callable[[psycopg.Connection[Any]], _Rows], rows_max: int) -> Partial:
        """The first `rows_max` rows, and what of them, or after them, is missing."""
        if not self._dsn:
            raise NotConfigured("database is not configured: set DATABASE_URL to the trading database, read-only role")
        stale = bool(self._idle)
        try:
            with self._connection() as connection:
                rows, names = rows_of(connection)
        except psycopg.Error as error:
            if stale and _is_lost(error):  # the connection may have died while it was idle: once more
                self.close()
                return self._read(rows_of, rows_max)
            raise self._failure(error) from None
        frame, missing = frame_of(rows[:rows_max], names)
        cut = f"the rows after the first {rows_max:,} were not read" if len(rows) > rows_max else ""
        return Partial(frame, "; ".join(filter(None, (cut, missing))))

    def _failure(self, error: psycopg.Error) -> SourceError:
        """What the failure of a question is called."""
        if isinstance(error, psycopg.errors.QueryCanceled):
            return QueryFailed(f"database stopped the query after {self._server_seconds:g} s (statement_timeout)")
        if _is_lost(error):
            return SourceUnavailable(f"database cannot be used: {reason(error)}")
        if error.sqlstate is not None:
            return QueryFailed(f"database refused the query: {reason(error)}")
        if isinstance(error, psycopg.DataError):  # psycopg's own: of a type that columns does not read leniently
            return QueryFailed("database sent a value that cannot be read here; cast it to text")
        # psycopg's own word that a command like SET, or an empty one, has no rows.
        return QueryFailed("database has no rows to show for this statement; ask with SELECT")

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = connect(self._dsn or "", self._evidence.limit_seconds, self._server_seconds)
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


def _is_lost(error: psycopg.Error) -> bool:
    """Whether the connection failed, not the question."""
    is_operational = isinstance(error, psycopg.OperationalError)
    return is_operational and not isinstance(error, psycopg.errors.QueryCanceled)


@cache
def _has_own_wording(question: str) -> bool:
    """Whether the documented schema words `question` its own way."""
    return (resources.files(__package__) / "sql" / "documented" / f"{question}.sql").is_file()


@cache
def _question(question: str, schema: str) -> _Question:
    """`question` as it is sent: one that says "at most" is asked for a row more."""
    text = _statement(question, schema)
    bound = _AT_MOST.search(text)
    if bound is None:
        return _Question(text, ROWS_MAX)
    rows_max = int(bound[1])
    return _Question(f"{text.rstrip()}\nLIMIT {rows_max + 1}\n", rows_max)


@cache
def _statement(question: str, schema: str) -> str:
    folder = resources.files(__package__) / "sql"
    for candidate in dict.fromkeys((schema, "platform")):
        path = folder / candidate / f"{question}.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise LookupError(f"no question {question!r} in sources/sql/{schema}")


def _literal(value: Any) -> str:
    """`value` as an SQL literal on one line, so that hostile text cannot leave it or the heredoc."""
    value = value.replace("\x00", "\ufffd") if isinstance(value, str) else value
    text = sql.Literal(value).as_string(None).strip()
    if "\n" in text or "\r" in text:
        text = sql.Literal(str(value).replace("\r", " ").replace("\n", " ")).as_string(None).strip()
    return text
