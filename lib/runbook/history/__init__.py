"""Runs, incidents, findings, messages and artifacts: what happened, kept in PostgreSQL.

Functions here take a connection inside a transaction (`Database.transaction`), so that a caller can
make several of them, and the queue's own work, one commit.
"""

from __future__ import annotations

from runbook.history.database import (
    Connection,
    Database,
    DatabaseAwayError,
    Migration,
    migrate,
    open_database,
)

__all__ = ["Connection", "Database", "DatabaseAwayError", "Migration", "migrate", "open_database"]
