"""The trading database's source against a real PostgreSQL: read only, bounded, and never at a loss for a reason."""

from __future__ import annotations

import re
import secrets
import socket
import socketserver
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pandas as pd
import psycopg
import pytest

from cryptofunk_demo.database import schema_of
from runbook import embedded
from runbook.errors import NotConfigured, QueryFailed, SourceUnavailable
from runbook.sources import connecting
from runbook.sources.database import AD_HOC_ROWS_MAX, CONNECTIONS_MAX, ROWS_MAX, Database, _question
from runbook.sources.evidence import Evidence
from tests import worlds


def fill(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE note (n integer, text text)")
        connection.execute("INSERT INTO note VALUES (1, 'one'), (2, 'two')")
        connection.execute("CREATE TYPE mood AS ENUM ('LIVE', 'PAPER')")
        connection.execute("CREATE SEQUENCE counter")
        connection.execute("CREATE TABLE trading_sessions (id uuid)")


@pytest.fixture
def url(database: Callable[..., str], template_database: Callable[..., str]) -> str:
    return database(template_database("source_notes", fill))


@pytest.fixture
def opened() -> Iterator[Callable[..., Database]]:
    made: list[Database] = []

    def make(url: str | None, limit_seconds: float = 10.0, record: Path | None = None) -> Database:
        made.append(Database(url, Evidence(limit_seconds=limit_seconds, secrets=[url or ""], record=record)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def value(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


WRITES = {
    "insert": "INSERT INTO note VALUES (3, 'three')",
    "returning": "INSERT INTO note VALUES (3, 'three') RETURNING n",
    "with": "WITH gone AS (DELETE FROM note RETURNING n) SELECT * FROM gone",
    "update": "UPDATE note SET n = 5",
    "truncate": "TRUNCATE note",
    "drop": "DROP TABLE note",
    "create": "CREATE TABLE more (n integer)",
    "temporary": "SELECT nextval('counter')",
    "grant": "GRANT ALL ON note TO public",
    "two": "SELECT 1; INSERT INTO note VALUES (3, 'three')",
    "commit": "COMMIT; INSERT INTO note VALUES (3, 'three')",
    "rollback": "ROLLBACK; BEGIN READ WRITE; INSERT INTO note VALUES (3, 'three')",
    "comment": "SELECT 1 --\n; DELETE FROM note",
    "do": "DO $$ BEGIN EXECUTE 'INSERT INTO note VALUES (3, ''three'')'; END $$",
    "copy": "COPY note FROM PROGRAM 'echo 3,three' CSV",
    "prepare": "PREPARE p AS INSERT INTO note VALUES (3, 'x')",
    "explain": "EXPLAIN ANALYZE INSERT INTO note VALUES (3, 'three')",
}


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES)
def test_nothing_is_ever_written(opened: Callable[..., Database], url: str, statement: str) -> None:
    source = opened(url)
    for _ in range(2):
        with suppress(QueryFailed, SourceUnavailable):
            source.sql(statement)
    assert source.sql("SELECT n, text FROM note ORDER BY n").frame.values.tolist() == [[1, "one"], [2, "two"]]
    assert value(url, "SELECT count(*) FROM pg_class WHERE relname = 'more'") == 0
    assert value(url, "SELECT is_called FROM counter") is False


@pytest.mark.parametrize(
    "settings",
    [
        "SET transaction_read_only = off",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET default_transaction_read_only = off",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "COMMIT",
        "BEGIN READ WRITE",
        "RESET ALL",
        "DISCARD ALL",
        "SET ROLE postgres",
    ],
)
def test_settings_do_not_outlive_their_statement(opened: Callable[..., Database], url: str, settings: str) -> None:
    source = opened(url)
    for statement in (settings, "INSERT INTO note VALUES (3, 'three')", "SET statement_timeout = 0", settings):
        with suppress(QueryFailed, SourceUnavailable):
            source.sql(statement)
    with pytest.raises(QueryFailed, match="read-only"):
        source.sql("INSERT INTO note VALUES (3, 'three')")
    assert value(url, "SELECT count(*) FROM note") == 2
    assert source.sql("SHOW statement_timeout").frame.iloc[0, 0] == "8s"
    assert source.sql("SHOW default_transaction_read_only").frame.iloc[0, 0] == "on"


@pytest.mark.slow
def test_slow_queries_are_stopped_by_the_server_and_leave_it_in_use(opened: Callable[..., Database], url: str) -> None:
    """Slow: two queries run into their time limit of 3 s, with room for a busy machine."""
    source = opened(url, 3)
    source.sql("SELECT 1")
    for _ in range(2):
        with pytest.raises(QueryFailed, match=r"stopped the query after 2\.4 s \(statement_timeout\)"):
            source.sql("SELECT pg_sleep(30)")
    assert source.sql("SELECT 2 AS n").frame["n"].tolist() == [2]


def test_parameters_are_bound(opened: Callable[..., Database], url: str) -> None:
    source = opened(url)
    for text in ("'; DROP TABLE note; --", "%(x)s %s %%", "\\'", "$1", "\u202e"):
        assert source.sql("SELECT %(text)s::text AS t", text=text).frame["t"].tolist() == [text]
    assert value(url, "SELECT count(*) FROM note") == 2


def test_ad_hoc_rows_are_capped_and_said_to_be(opened: Callable[..., Database], url: str) -> None:
    answer = opened(url).sql("SELECT i FROM generate_series(1, 1000000) AS i")
    assert len(answer.frame) == AD_HOC_ROWS_MAX
    assert answer.missing == "the rows after the first 1,000 were not read"
    assert opened(url).sql(f"SELECT i FROM generate_series(1, {AD_HOC_ROWS_MAX}) AS i").missing == ""


def test_a_result_of_any_length_takes_little_memory(opened: Callable[..., Database], url: str) -> None:
    source = opened(url, 60)
    source.sql("SELECT 1")
    tracemalloc.start()
    try:
        source.sql("SELECT repeat('x', 1000) AS t FROM generate_series(1, 300000)")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000


def test_types(opened: Callable[..., Database], url: str) -> None:
    frame = (
        opened(url)
        .sql(
            "SELECT 1.5::numeric AS n, 'NaN'::numeric AS nan, 2::int AS i, NULL::int AS missing,"
            " now() AS at, true AS b, 'LIVE'::mood AS mood, '00000000-0000-0000-0000-000000000001'::uuid AS id,"
            " '{\"a\": [1]}'::jsonb AS j, '\\x00ff'::bytea AS raw, interval '90 s' AS span,"
            " 'x'::text AS t, '2026-01-15'::date AS d"
        )
        .frame
    )
    row = frame.iloc[0]
    assert row["n"] == 1.5
    assert pd.isna(row["nan"])
    assert frame["n"].dtype == "float64"
    assert frame["i"].dtype == "int64"
    assert row["missing"] is None
    assert row["at"].tzinfo is UTC or str(row["at"].tzinfo) == "UTC"
    assert (row["mood"], row["id"], row["raw"]) == ("LIVE", "00000000-0000-0000-0000-000000000001", "(2 bytes)")
    assert row["j"] == {"a": [1]}
    assert (row["b"], row["t"], row["d"]) == (True, "x", "2026-01-15")


def test_a_number_that_is_none_is_missing_and_said_to_be(opened: Callable[..., Database], url: str) -> None:
    source = opened(url)
    answer = source.sql(
        "SELECT * FROM (VALUES ('NaN'::numeric, 'Infinity'::float8, 1.5, NULL::numeric), ('2', '-Infinity', 2, 1),"
        " ('NaN', 'NaN', 3, NULL)) AS v (price, ratio, whole, absent)"
    )
    frame = answer.frame
    assert [frame[name].dtype for name in frame] == ["float64"] * 4
    assert frame["price"].tolist()[1] == 2.0
    assert frame["price"].isna().tolist() == [True, False, True]
    assert frame["ratio"].isna().all()
    none = "are no numbers (NaN or infinite)"
    assert answer.missing == f"2 of 3 values of price {none}, 3 of 3 values of ratio {none}"


@pytest.mark.parametrize("odd", ["infinity", "-infinity", "0044-03-15 BC", "294276-12-31"])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_moment_that_is_none_is_missing_and_said_to_be(
    opened: Callable[..., Database], url: str, kind: str, odd: str
) -> None:
    answer = opened(url).sql(f"SELECT v::{kind} AS at FROM (VALUES ('{odd}'), ('2026-01-15'), (NULL)) AS v (v)")
    assert answer.frame["at"].isna().tolist() == [True, False, True]
    assert str(answer.frame["at"].iloc[1]).startswith("2026-01-15")
    assert answer.missing == "1 of 3 values of at is no moment (infinite)"


def test_null_is_missing_and_nothing_more(opened: Callable[..., Database], url: str) -> None:
    answer = opened(url).sql("SELECT NULL::numeric AS n, NULL::timestamptz AS at, NULL::text AS t, 'NaN'::text AS word")
    assert (answer.missing, answer.frame["word"][0]) == ("", "NaN")


@pytest.fixture
def ascii_url(postgres: embedded.Server) -> Iterator[str]:
    """A database that takes text as bytes, whatever they are."""
    name = f"ascii_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    yield postgres.url(name)
    embedded.drop_database(postgres, name)


def test_text_is_text_whatever_the_server_s_encoding(opened: Callable[..., Database], ascii_url: str) -> None:
    source = opened(ascii_url)
    row = source.sql(
        "SELECT 'trend-agent'::text AS t, 'm\u00fcde'::varchar AS u, '{\"a\": \"\u00fc\"}'::jsonb AS j"
    ).frame.iloc[0]
    assert (row["t"], row["u"], row["j"]) == ("trend-agent", "m\u00fcde", {"a": "\u00fc"})
    broken = source.sql(
        "SELECT E'caf\\351'::text AS t, E'caf\\351'::varchar(9) AS v, E'caf\\351'::name AS n"
    ).frame.iloc[0]
    assert broken.tolist() == ["caf\ufffd"] * 3
    assert source.sql("SELECT E'caf\\351 ' || i AS t FROM generate_series(1, 3) AS i").rows == 3


@pytest.mark.parametrize(
    "expression",
    [
        "'infinity'::timestamptz",
        "'-infinity'::timestamptz",
        "'infinity'::date",
        "'0044-03-15 BC'::timestamptz",
        "'294276-12-31'::timestamptz",
        "'1e400'::numeric",
        "'Infinity'::float8",
        "repeat('x', 1000000)",
        "ARRAY[1, NULL]",
        "'(1,2)'::point",
        "'[1,5)'::int4range",
        "'10.0.0.1/8'::inet",
        "'1 mon'::interval",
        "'24:00:00'::time",
    ],
)
def test_no_value_is_too_odd(opened: Callable[..., Database], url: str, expression: str) -> None:
    """A value that Python has no type for is an answer or a refusal with a reason, never a crash."""
    source = opened(url)
    with suppress(QueryFailed):
        assert source.sql(f"SELECT {expression} AS v").rows == 1
    assert source.sql("SELECT 1 AS n").frame["n"].tolist() == [1]


def test_columns_of_one_name_or_none(opened: Callable[..., Database], url: str) -> None:
    source = opened(url)
    assert source.sql("SELECT 1 AS a, 'x' AS a, 2 AS a").frame.to_dict("records") == [{"a": 1, "a_2": "x", "a_3": 2}]
    assert source.sql("SELECT").rows <= 1
    assert source.sql("SELECT 1 AS n WHERE false").frame.columns.tolist() == ["n"]


def test_a_connection_that_died_while_it_was_idle_is_made_anew(opened: Callable[..., Database], url: str) -> None:
    source = opened(url)
    assert source.sql("SELECT 1").rows == 1
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runbook'"
            " AND datname = current_database()"
        )
    assert source.sql("SELECT 2 AS two").frame["two"].tolist() == [2]


def test_a_connection_killed_amid_a_query(opened: Callable[..., Database], url: str) -> None:
    source = opened(url, 30)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(source.sql, "SELECT pg_sleep(20)")
        with psycopg.connect(url, autocommit=True) as admin:
            killed = False
            while not killed:
                found = admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runbook'"
                    " AND datname = current_database() AND query LIKE '%pg_sleep(20)%'"
                ).fetchone()
                killed = found is not None
        with pytest.raises(SourceUnavailable, match="terminating connection"):
            answer.result()


def test_server_down(opened: Callable[..., Database]) -> None:
    source = opened(f"{worlds.dead_url('postgresql')}/x?user=someone&password=hidden-word")
    with pytest.raises(SourceUnavailable, match="connection refused; is the server running") as caught:
        source.sql("SELECT 1")
    assert "hidden-word" not in str(caught.value)


def test_wrong_password_is_not_shown(
    opened: Callable[..., Database], postgres: embedded.Server, url: str, tmp_path: Path
) -> None:
    database = urlsplit(url).path[1:]
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "DO $$ BEGIN CREATE ROLE guest LOGIN PASSWORD 'right-pass'; EXCEPTION WHEN OTHERS THEN NULL; END $$"
        )
    source = opened(postgres.url(database, user="guest", password="wrong-pass-word"), record=tmp_path)
    with pytest.raises(SourceUnavailable, match="the password in DATABASE_URL is not accepted") as caught:
        source.sql("SELECT 1")
    assert "wrong-pass-word" not in str(caught.value)
    assert "wrong-pass-word" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_no_such_database_or_role(opened: Callable[..., Database], postgres: embedded.Server) -> None:
    with pytest.raises(SourceUnavailable, match="role or database in DATABASE_URL does not exist"):
        opened(postgres.url("nowhere")).sql("SELECT 1")


def test_a_role_without_grants(opened: Callable[..., Database], postgres: embedded.Server, url: str) -> None:
    database = urlsplit(url).path[1:]
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "DO $$ BEGIN CREATE ROLE guest LOGIN PASSWORD 'right-pass'; EXCEPTION WHEN OTHERS THEN NULL; END $$"
        )
    source = opened(postgres.url(database, user="guest", password="right-pass"))
    with pytest.raises(QueryFailed, match="permission denied for table note"):
        source.sql("SELECT * FROM note")
    with pytest.raises(QueryFailed, match="check the database's name in DATABASE_URL and the role's SELECT grants"):
        source.schema  # noqa: B018


@pytest.mark.parametrize("address", ["", None])
def test_no_address(opened: Callable[..., Database], address: str | None) -> None:
    with pytest.raises(NotConfigured, match="set DATABASE_URL"):
        opened(address).sql("SELECT 1")


@pytest.mark.parametrize("address", ["http://db:5432", "not an address", "postgresql://u:hid%zzden-pw@h:port/x"])
def test_an_address_that_is_none(opened: Callable[..., Database], address: str) -> None:
    with pytest.raises((NotConfigured, SourceUnavailable)) as caught:
        opened(address).sql("SELECT 1")
    assert "DATABASE_URL" in str(caught.value)
    assert "den-pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("postgresql://h/x?pool_max_conns=5", "has the parameter pool_max_conns, which only Go's drivers read"),
        ("host=h pool_max_conn_lifetime=1h", "has the parameter pool_max_conn_lifetime, which only Go's drivers read"),
        ("postgresql://h/x?tiemout=5", "has the parameter tiemout and libpq does not know: leave it out"),
        ("service=nosuch", "the service that DATABASE_URL names is in no pg_service.conf"),
        ("postgresql://127.0.0.1:1/x?sslmode=bogus", "DATABASE_URL has a value for sslmode that cannot be used"),
        ("host=127.0.0.1 port=abc", "DATABASE_URL has a value for port that cannot be used"),
        ("postgresql://no-such-host.invalid/x", "the host name in DATABASE_URL is unknown"),
        ("postgresql:///x?host=/nowhere", "no server listens on the socket"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(opened: Callable[..., Database], address: str, says: str) -> None:
    with pytest.raises((NotConfigured, SourceUnavailable)) as caught:
        opened(address).sql("SELECT 1")
    assert says in str(caught.value)


def test_a_server_without_tls_where_it_is_asked_for(opened: Callable[..., Database], url: str) -> None:
    with pytest.raises(SourceUnavailable, match="the server speaks no TLS, which sslmode"):
        opened(f"{url}?sslmode=require").sql("SELECT 1")
    with pytest.raises(SourceUnavailable, match=r"certificate|TLS"):
        opened(f"{url}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem").sql("SELECT 1")


def keywords(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "host": str(parts.hostname),
        "port": str(parts.port),
        "user": str(parts.username),
        "password": str(parts.password),
        "dbname": parts.path[1:],
    }


@pytest.mark.parametrize("form", ["keywords", "service", "passfile", "two hosts", "percent", "options"])
def test_an_address_is_read_as_libpq_reads_it(
    opened: Callable[..., Database], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    given = keywords(url)
    dead = urlsplit(worlds.dead_url()).port
    match form:
        case "keywords":
            address = " ".join(f"{name}='{value}'" for name, value in given.items())
        case "service":
            lines = "".join(f"{name}={value}\n" for name, value in given.items())
            (tmp_path / "services").write_text(f"[trading]\n{lines}")
            monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
            address = "service=trading"
        case "passfile":
            (tmp_path / "pass").write_text(f"*:*:*:*:{given['password']}\n")
            (tmp_path / "pass").chmod(0o600)
            address = f"postgresql://{given['user']}@{given['host']}:{given['port']}/{given['dbname']}"
            address += f"?passfile={tmp_path / 'pass'}"
        case "two hosts":
            hosts = f"{given['host']}:{dead},{given['host']}:{given['port']}"
            address = f"postgresql://{given['user']}:{given['password']}@{hosts}/{given['dbname']}"
        case "percent":
            address = url.replace(given["dbname"], "%" + given["dbname"][0].encode().hex() + given["dbname"][1:])
        case _:
            address = f"{url}?options=-csearch_path%3Dpg_catalog"
    source = opened(address)
    assert source.sql("SELECT current_database() AS name").frame["name"].tolist() == [given["dbname"]]
    assert source.sql("SHOW default_transaction_read_only").frame.iloc[0, 0] == "on"
    path = source.sql("SHOW search_path").frame.iloc[0, 0]
    assert (path == "pg_catalog") == (form == "options")


def test_hosts_share_the_time_to_connect() -> None:
    assert connecting._connect_timeout({"host": "a"}, 5) == 5
    assert connecting._connect_timeout({"host": "a,b"}, 10) == 5
    assert connecting._connect_timeout({"host": "a,b,c"}, 5) == 2
    assert connecting._connect_timeout({"host": "a", "connect_timeout": "3"}, 5) == 3


def test_another_database_than_ours_is_told_apart(
    opened: Callable[..., Database], database: Callable[..., str]
) -> None:
    with pytest.raises(QueryFailed, match="no table trading_sessions"):
        opened(database()).ask("sessions/latest", as_of=datetime.now(UTC), starts_at=datetime.now(UTC))


def trading(schema: str) -> Callable[[str], None]:
    def make(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(schema_of(schema))

    return make


@contextmanager
def listening_in(url: str, said: list[bytes]) -> Iterator[str]:
    """The address of a relay to the database at `url`, which keeps what clients say between login and end."""
    parts = urlsplit(url)

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            ready = threading.Event()
            with suppress(ConnectionError), socket.create_connection((parts.hostname, parts.port)) as server:
                back = threading.Thread(target=self.back, args=(server, ready))
                back.start()
                while data := self.request.recv(65_536):
                    if ready.is_set() and not data.startswith(b"X"):  # X: the end
                        said.append(data)
                    server.sendall(data)
                server.shutdown(socket.SHUT_WR)
                back.join()

        def back(self, server: socket.socket, ready: threading.Event) -> None:
            with suppress(OSError):  # the client may be gone
                while data := server.recv(65_536):
                    if b"Z\x00\x00\x00\x05" in data:
                        ready.set()
                    self.request.sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        block_on_close = False  # where the test fails, its connections are still open

    with Server(("127.0.0.1", 0), Relay) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        login = parts.netloc.rpartition("@")[0]
        try:
            yield urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{relay.server_address[1]}"))
        finally:
            relay.shutdown()
            thread.join()


@pytest.mark.parametrize(("schema", "first"), [("platform", 2), ("documented", 3)])
def test_a_question_is_one_message(
    opened: Callable[..., Database],
    database: Callable[..., str],
    template_database: Callable[..., str],
    schema: str,
    first: int,
) -> None:
    """The schema is looked up beside the first question that the schemas word differently.

    A result without rows costs no more.
    """
    said: list[bytes] = []
    with listening_in(database(template_database(f"trading_{schema}", trading(schema))), said) as url:
        source = opened(url)
        orders = source.ask("orders/open", as_of=datetime.now(UTC))
        assert (len(orders.frame), "protects" in orders.frame, len(said)) == (0, True, 1)
        latest = source.ask("sessions/latest", as_of=datetime.now(UTC), starts_at=datetime.now(UTC))
        assert ("session_id::text" in latest.question) == (schema == "documented")
        assert len(said) == 1 + first
        source.ask("exposure/open", as_of=datetime.now(UTC))
        assert len(said) == 1 + first + 1
        assert [answer.status for answer in source._evidence.answers] == ["ok"] * 4
        source.close()


FOLDER = resources.files("runbook.sources") / "sql"
FEW_ROWS = {
    "disk/archive",
    "disk/growth",
    "disk/old_candles",
    "disk/timescale",
    "disk/wal",
    "disk/wal_files",
    "health/database",
    "health/flow",
    "latency/extension",
    "positions/totals",
    "sessions/activity",
}
"""A row in all, or one for each of the few tables that the statement names."""


@pytest.mark.parametrize(
    "path", sorted(Path(str(FOLDER)).rglob("*.sql")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_question_bounds_its_rows(path: Path) -> None:
    """They are fetched whole: unlike anybody's statement they need no stream that is cut off.

    Either the first so many are what is asked for, which its first line then says; or more would be missed.
    """
    question, text = f"{path.parent.name}/{path.stem}", path.read_text(encoding="utf-8")
    asked = _question(question, path.relative_to(Path(str(FOLDER))).parts[0])
    limit = re.search(r"\bLIMIT (\d+)\s*$", text)
    if "-- at most: " in text:
        assert limit is None
        assert asked.statement.endswith(f"\nLIMIT {asked.rows_max + 1}\n")
        assert asked.rows_max <= ROWS_MAX
    elif limit is not None:
        assert int(limit[1]) == 1 or re.search(rf"\b{limit[1]}\b", text.splitlines()[0]), "the first line says how many"
    else:
        assert question in FEW_ROWS


def test_an_answer_that_reaches_its_bound_says_so(
    opened: Callable[..., Database], database: Callable[..., str], template_database: Callable[..., str]
) -> None:
    url = database(template_database("trading_platform", trading("platform")))
    source, now = opened(url), datetime.now(UTC)
    insert = (
        "INSERT INTO agent_status (agent_name, agent_type, status, created_at)"
        " SELECT 'agent-' || i, 'analysis', 'RUNNING', '2026-01-01' FROM generate_series(%s::int, %s::int) AS i"
    )
    with psycopg.connect(url) as connection:
        connection.execute(insert, (1, 100))
    whole = source.ask("agents/status", as_of=now)
    assert (whole.rows, whole.missing) == (100, "")
    with psycopg.connect(url) as connection:
        connection.execute(insert, (101, 101))
    cut = source.ask("agents/status", as_of=now)
    assert (cut.rows, cut.missing) == (100, "the rows after the first 100 were not read")


def test_many_threads_share_a_few_connections(opened: Callable[..., Database], url: str) -> None:
    source = opened(url)
    with ThreadPoolExecutor(18) as pool:
        found = list(
            pool.map(lambda n: source.sql("SELECT %(n)s::int AS n, pg_sleep(0.05)", n=n).frame["n"][0], range(18))
        )
    assert found == list(range(18))
    assert (
        value(
            url,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'runbook' AND datname = current_database()",
        )
        <= CONNECTIONS_MAX
    )  # type: ignore[operator]


@pytest.mark.parametrize(
    "hostile",
    [
        "x\nSQL\nrm -rf /\n",
        "'\nSQL\n",
        "\r\nSQL\r\n",
        "\\'; --",
        "$(id)`id`",
        "%(as_of)s %%",
        "a\u2028SQL\u2028",
        "\x00",
    ],
)
def test_the_shown_command_cannot_be_left(opened: Callable[..., Database], url: str, hostile: str) -> None:
    source = opened(url)
    try:
        command = source.sql("SELECT %(text)s::text, %(n)s AS n", text=hostile, n=1).command
    except QueryFailed:
        command = source._evidence.answers[-1].command
    lines = command.split("\n")
    assert lines[0].endswith("<<'SQL'")
    assert lines.count("SQL") == 1
    assert lines[-1] == "SQL"


def test_the_shown_command_says_the_same(opened: Callable[..., Database], url: str) -> None:
    """The statement in the heredoc, run as it stands, gives what the bound one gave."""
    answer = opened(url).sql(
        "SELECT %(text)s::text AS t, %(at)s AS at, %(n)s * 2 AS n, '100%%' AS p",
        text='it\'s \\ 50 % "x"',
        at=datetime(2026, 1, 15, 14, 2, tzinfo=UTC),
        n=2.5,
    )
    statement = "\n".join(answer.command.splitlines()[1:-1])
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    assert row[0] == answer.frame["t"][0]
    assert row[1] == answer.frame["at"][0]
    assert float(row[2]) == answer.frame["n"][0]
    assert row[3] == answer.frame["p"][0] == "100%"


@pytest.mark.parametrize("statement", ["SET search_path = x", "", "-- nothing"])
def test_a_statement_without_rows_says_so(opened: Callable[..., Database], url: str, statement: str) -> None:
    with pytest.raises(QueryFailed, match="no rows to show"):
        opened(url).sql(statement)
