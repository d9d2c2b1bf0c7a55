"""At a million rows in each of the three greatest tables every question goes through an index that the platform has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks import volume
from cryptofunk_demo.platform import Platform
from runbook.sources.database import _statement
from tests.integration.test_explain import QUESTIONS, SAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROWS = 1_000_000
COUNTS_ALL = {"disk/archive", "disk/old_candles"}
"""Questions that are for the whole of a table: how much could be archived. Their time limit bounds them."""
AS_OF = datetime(2026, 1, 15, 14, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection[Any]]:
    folder: Path = tmp_path_factory.mktemp("large")
    with Platform.start(folder=folder) as platform:
        volume.fill(platform.admin_url, ROWS)
        with psycopg.connect(platform.admin_url, autocommit=True) as connection:
            yield connection


@pytest.mark.parametrize("question", [one for one in QUESTIONS if one not in COUNTS_ALL])
def test_no_question_reads_a_great_table_from_end_to_end(large: psycopg.Connection[Any], question: str) -> None:
    statement = _statement(question, "platform")
    if "timescaledb" in statement or "hypertable" in statement or "pg_stat_statements" in statement:
        pytest.skip("asks an extension, not these tables")
    (session,) = large.execute("SELECT id FROM trading_sessions ORDER BY started_at DESC LIMIT 1").fetchone() or ("",)
    moments = {
        "as_of": AS_OF,
        "start": AS_OF - timedelta(hours=6),
        "since": AS_OF - timedelta(hours=6),
        "starts_at": AS_OF - timedelta(minutes=8),
        "before": AS_OF - timedelta(hours=30),
    }
    given = {
        name: value
        for name, value in (SAMPLES | moments | {"session_id": str(session)}).items()
        if f"({name})" in statement
    }
    (plan,) = large.execute("EXPLAIN (FORMAT JSON) " + statement, given or None).fetchone() or ([],)
    assert [
        table for table in scanned(plan if isinstance(plan, list) else json.loads(plan)) if table in volume.TABLES
    ] == []


def scanned(node: Any) -> list[str]:
    """The tables that the plan reads from end to end."""
    if isinstance(node, list):
        return [table for one in node for table in scanned(one)]
    if not isinstance(node, dict):
        return []
    own = [node["Relation Name"]] if node.get("Node Type") == "Seq Scan" else []
    return own + [table for part in node.values() for table in scanned(part)]
