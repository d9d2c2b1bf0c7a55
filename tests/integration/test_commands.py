"""The SQL in the catalog's first commands, as PostgreSQL understands it on the platform's schema."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbook import catalog
from tests.integration.test_explain import connections  # noqa: F401 - a fixture

CATALOG = Path(__file__).parents[2] / "parameters" / "catalog.yaml"


def statements() -> list[str]:
    procedures = catalog.load(CATALOG).procedures.values()
    words = [shlex.split(command) for procedure in procedures for command in procedure.commands]
    return sorted({written[-1] for written in words if "psql" in written})


@pytest.mark.parametrize("statement", statements())
def test_postgresql_understands_a_first_command(
    connections: dict[str, psycopg.Connection[Any]],  # noqa: F811
    statement: str,
) -> None:
    connections["platform"].execute(statement.encode())
