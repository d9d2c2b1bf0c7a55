"""Slow statements: as pg_stat_statements counts them, and as postgres logs them."""

from __future__ import annotations

import re

import pandas as pd

from runbook.errors import QueryFailed
from runbook.sources.database import Database
from runbook.steps.durations import STATEMENT_LENGTH

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
