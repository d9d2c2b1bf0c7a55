"""Every named question is a file that says what it asks, and PostgreSQL understands it on both schemas."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cryptofunk_demo.database import schema_of
from runbook.sources.database import _statement
from runbook.steps.latency import slow_statements

FOLDER = Path(str(resources.files("runbook.sources") / "sql"))
FILES = sorted(FOLDER.rglob("*.sql"))
QUESTIONS = sorted(
    {str(path.relative_to(FOLDER / path.relative_to(FOLDER).parts[0]).with_suffix("")) for path in FILES}
)
SCHEMAS = ("platform", "documented")
SAMPLES: dict[str, Any] = {
    **dict.fromkeys(("as_of", "before", "since", "start", "starts_at"), datetime(2026, 1, 15, tzinfo=UTC)),
    "session_id": "00000000-0000-0000-0000-000000000001",
    "coarse_seconds": 3600,
    "fine_seconds": 60,
    "seconds": 60,
    "limit_usdt": 100.0,
    "names": ["trades"],
}
"""A value of every parameter that questions take, of the type that steps give."""
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def fill(schema: str) -> Callable[[str], None]:
    def make(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            connection.execute(schema_of(schema))

    return make


@pytest.fixture(scope="module")
def connections(template_database: Callable[..., str], postgres: Any) -> Any:
    made = {
        schema: psycopg.connect(postgres.url(template_database(f"schema_{schema}", fill(schema)))) for schema in SCHEMAS
    }
    yield made
    for connection in made.values():
        connection.close()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_file_holds_one_commented_statement(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert re.fullmatch(r"-- \S.{10,}", first), "the first line says what is asked"
    assert re.fullmatch(r"[a-z_]+/[a-z_]+\.sql", str(path.relative_to(FOLDER / path.relative_to(FOLDER).parts[0])))
    assert ";" not in re.sub(r"--.*", "", text)
    if _PLACEHOLDER.search(text):  # without any, psycopg leaves percent signs alone
        assert not re.search(r"%(?!\(\w+\)s)", text.replace("%%", "")), "a lone % is no placeholder"
    else:
        assert "%%" not in text
    bare = re.sub(r"--.*|'[^']*'", "", text)
    if "pg_stat_activity" in bare:  # what runs now is asked as it is now
        bare = bare.replace("clock_timestamp", "")
    assert not re.search(r"(?i)\b(now|current_timestamp|current_date|clock_timestamp|localtimestamp)\b", bare), (
        "time hangs off as_of"
    )
    assert not re.search(r"(?i)\b(insert|update|delete|truncate|drop|alter|create|grant|copy|call)\b\s+\w", bare)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_postgresql_understands(connections: dict[str, psycopg.Connection[Any]], question: str, schema: str) -> None:
    connection, statement = connections[schema], _statement(question, schema)
    columns_of(connection, statement)


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_have_the_same_columns_on_both_schemas(
    connections: dict[str, psycopg.Connection[Any]], question: str
) -> None:
    columns = {schema: columns_of(connections[schema], _statement(question, schema)) for schema in SCHEMAS}
    assert set(columns["documented"]) == set(columns["platform"])


def columns_of(connection: psycopg.Connection[Any], statement: str) -> list[str]:
    """The columns of the answer; runs it, or explains it where it needs an extension that is not loaded here."""
    if "timescaledb" in statement or "hypertable" in statement:
        pytest.skip("asks TimescaleDB, which is not here")
    given = {name: SAMPLES[name] for name in _PLACEHOLDER.findall(statement)}
    try:
        planned = "EXPLAIN " if "pg_stat_statements" in statement else ""
        cursor = connection.execute(planned + statement, given or None)  # as the source sends it: psycopg's types
        return [column.name for column in cursor.description or ()]
    finally:
        connection.rollback()


def test_a_statement_of_the_slow_log_can_be_explained_as_it_is_suggested(
    connections: dict[str, psycopg.Connection[Any]],
) -> None:
    logged = (
        "SELECT close FROM candlesticks"
        " WHERE exchange = 'a' AND close > 4.5 AND open_time > now() - interval '5 min' LIMIT 3"
    )
    connection = connections["platform"]
    if connection.info.server_version < 160_000:
        pytest.skip("GENERIC_PLAN came with PostgreSQL 16")
    suggested = slow_statements.explainable(slow_statements.shape(logged))
    assert "$4" in suggested
    with connection.transaction(force_rollback=True):
        assert connection.execute(f"EXPLAIN (GENERIC_PLAN, VERBOSE) {suggested}").fetchall()  # type: ignore[arg-type]
