"""What the checks of a database under pressure find, as figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LockWaits:
    """Waits for locks that postgres logged in the window: how many, the longest, and what most waited on.

    `lock` is its mode and object ("RowExclusiveLock on relation 16587 of database 16384"), `holders` the processes
    that held one, those named most first; `deadlocks` were broken up.
    """

    waits: int = 0
    longest_ms: float = 0.0
    lock: str = ""
    holders: tuple[int, ...] = ()
    first_at: datetime | None = None
    deadlocks: int = 0
