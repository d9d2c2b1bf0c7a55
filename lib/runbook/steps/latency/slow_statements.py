"""Slow statements: as pg_stat_statements counts them, and as postgres logs them."""

from __future__ import annotations

import re
from itertools import count

import pandas as pd

from runbook.errors import QueryFailed
from runbook.sources.database import Database

STATEMENT_LENGTH = 400
"""Characters of a statement that are kept: one of that length was cut off."""
LOGGED = re.compile(r"duration: (?P<ms>[0-9.]+) ms\s+(?:statement|execute [^:]*|parse [^:]*|bind [^:]*): (?P<statement>.+)", re.DOTALL)  # fmt: skip


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
    """`statement` with $n for values if it is one plain SELECT that may stand behind EXPLAIN in a command to copy; else empty.

    It comes from a log, so whatever could end the statement or reach psql's own commands rules it out. One that was cut
    off, or in which ? is an operator, would be a syntax error.
    """
    line = statement
    if (
        not line.isprintable()
        or re.search(r";|--|/\*|\\|\$(?!\d)|\?\s*[?|&]", line)
        or len(line) >= STATEMENT_LENGTH
        or not re.match(r"select\s", line, re.IGNORECASE)
    ):
        return ""
    used = count(max(map(int, re.findall(r"\$(\d+)", line)), default=0) + 1)
    # A typed literal (interval '5 min') is no place for a parameter; a cast of one is.
    typed = re.compile(r"(?:\b(interval|date|timestamptz|timestamp|time)\s+)?\?", re.IGNORECASE)
    return typed.sub(lambda found: f"${next(used)}" + (f"::{found[1]}" if found[1] else ""), line)
