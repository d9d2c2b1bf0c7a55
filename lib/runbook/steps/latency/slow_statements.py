"""Slow statements: as pg_stat_statements counts them, and as postgres logs them."""

from __future__ import annotations

import re
from itertools import count

import pandas as pd

from runbook.errors import QueryFailed
from runbook.sources.database import Database

STATEMENT_LENGTH = 400
"""Characters of a statement that are kept: one of that length was cut off."""
LOGGED = re.compile(
    r"duration: (?P<ms>[0-9.]+) ms\s+"
    r"(?:statement|execute [^:]*|parse [^:]*|bind [^:]*): "
    r"(?P<statement>.+)",
    re.DOTALL,
)
"""What postgres logs of a statement that took longer than log_min_duration_statement."""
_UNSAFE = re.compile(r";|--|/\*|\\|\$(?!\d)|\?\s*[?|&]")
"""What ends a statement, begins a comment, reaches psql or quotes; and ? as an operator."""
_TYPED_VALUE = re.compile(r"(?:\b(interval|date|timestamptz|timestamp|time)\s+)?\?", re.IGNORECASE)
"""A value, with the type in front of a typed literal: that is no place for a parameter; a cast of one is."""


def counted(database: Database) -> pd.DataFrame:
    """The slowest statements; a frame without columns where the extension is not there or not preloaded."""
    installed = database.ask("latency/extension").frame
    if installed.empty or not bool(installed["installed"].iloc[0]):
        return pd.DataFrame()
    try:
        return database.ask("latency/statements").frame
    except QueryFailed as error:
        if "shared_preload_libraries" in str(error):
            return pd.DataFrame()
        raise


def shape(statement: str) -> str:
    """`statement` on one line with its literals as ?, so that repetitions group."""
    return re.sub(r"'(?:[^']|'')*'|(?<!\$)\b\d+(?:\.\d+)?\b", "?", " ".join(statement.split()))[:STATEMENT_LENGTH]


def explainable(statement: str) -> str:
    """`statement` with $n for values if it is one plain SELECT that may stand behind EXPLAIN in a command; else empty.

    It comes from a log, so whatever could end the statement or reach psql's own commands rules it out. One that was cut
    off, or in which ? is an operator, would be a syntax error.
    """
    is_whole = len(statement) < STATEMENT_LENGTH and statement.isprintable()
    is_select = re.match(r"select\s", statement, re.IGNORECASE)
    if not is_whole or not is_select or _UNSAFE.search(statement):
        return ""
    used = max(map(int, re.findall(r"\$(\d+)", statement)), default=0)
    free = count(used + 1)

    def parameter(value: re.Match[str]) -> str:
        cast = f"::{value[1]}" if value[1] else ""
        return f"${next(free)}{cast}"

    return _TYPED_VALUE.sub(parameter, statement)
