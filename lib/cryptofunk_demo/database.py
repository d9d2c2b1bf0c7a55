"""The simulation in PostgreSQL: one template database an incident, schema and seed; one copy of it a platform."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from itertools import count
from typing import Any

import psutil
import psycopg
from psycopg import sql

from cryptofunk_demo import records
from cryptofunk_demo.simulation import Simulation, version
from runbook import embedded
from runbook.embedded import Server
from runbook.errors import DemoError, EmbeddedError

READER = "runbook_reader"
SCHEMAS = ("platform", "documented")
_LOCK = 0x52424B44
_numbers = count(1)


def reader_url(server: Server, database: str) -> str:
    """The address of `database` for the read-only role. It holds a password: never show it."""
    return server.url(database, user=READER, password=_reader_password(server))


def schema_of(name: str) -> bytes:
    """The statements that make the schema `name`; the documented one is the platform's, changed afterwards."""
    folder = resources.files("cryptofunk_demo") / "schema"
    changes = () if name == "platform" else (name,)
    return b"\n".join((folder / f"{part}.sql").read_bytes() for part in ("platform", *changes))


def create(server: Server, schema: str, incident: str, seed: int, simulate: Callable[[], Simulation]) -> str:
    """The name of a new database with the incident's rows; `simulate` is called only where none is kept yet.

    Raises DemoError for an unknown schema, or when the server refuses.
    """
    if schema not in SCHEMAS:
        raise DemoError(f"There is no schema {schema!r}. Choose one of: {', '.join(SCHEMAS)}.")
    key = hashlib.sha256(f"{incident}/{schema}/{seed}/{version()}".encode()).hexdigest()[:10]
    template = f"demo_t_{incident.replace('-', '_')[:24]}_{schema[:4]}_{key}"
    name = f"demo_w_{os.getpid()}_{next(_numbers)}"
    try:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            _drop_orphans(connection)
            if not _exists(connection, template):
                _build(connection, server, template, schema, simulate())
            _copy(connection, name, template)
    except psycopg.Error as error:
        raise DemoError(
            f"The simulated database could not be made from {template}: {_first_line(error)}. "
            f"Remove {server.folder} and start again."
        ) from error
    return name


def drop(server: Server, name: str) -> None:
    """Remove a platform's database; nothing happens where it or its server is gone."""
    with suppress(psycopg.Error, EmbeddedError):
        embedded.drop_database(server, name)


def _build(
    connection: psycopg.Connection[Any], server: Server, template: str, schema: str, simulation: Simulation
) -> None:
    draft = f"{template}_draft"
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(draft)))
    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(draft)))
    _make_reader(connection, server)
    rows = records.tables(
        simulation.incident, simulation.market, simulation.sessions, simulation.accounts, simulation.seed
    )
    if schema == "documented":
        rows = records.documented(rows, simulation.market)
    with psycopg.connect(server.url(draft)) as fresh:
        fresh.execute(schema_of(schema))
        for table in rows:
            _load(fresh, table)
        for statement in simulation.incident.statements:
            fresh.execute(sql.SQL(statement))  # the incident's own text, no input
        fresh.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(READER)))
        fresh.execute("ANALYZE")
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    connection.execute(rename.format(sql.Identifier(draft), sql.Identifier(template)))


def _load(connection: psycopg.Connection[Any], table: records.Rows) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.table), columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in table.rows:
            copy.write_row(row)


def _make_reader(connection: psycopg.Connection[Any], server: Server) -> None:
    role = sql.Identifier(READER)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (READER,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    password = sql.Literal(_reader_password(server))
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))
    connection.execute(sql.SQL("GRANT pg_read_all_stats TO {}").format(role))


def _reader_password(server: Server) -> str:
    return hmac.new(server.password.encode(), READER.encode(), hashlib.sha256).hexdigest()


def _copy(connection: psycopg.Connection[Any], name: str, template: str) -> None:
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def _drop_orphans(connection: psycopg.Connection[Any]) -> None:
    """Drop the copies whose process is gone (it was killed), and templates of earlier versions are left be."""
    rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'demo\\_w\\_%%'").fetchall()
    for (name,) in rows:
        owner = int(name.split("_")[2])
        if not psutil.pid_exists(owner):
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
