"""The demo's fixed times, UTC. Everything simulated is placed relative to the alert's moment."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
"""When the alert fires."""

AS_OF = datetime(2026, 1, 15, 14, 10, tzinfo=UTC)
"""When the report is made: the simulated platform's "now"."""

FIRST = datetime(2026, 1, 10, 6, 0, tzinfo=UTC)
"""Start of the first simulated trading session, and of the simulated market."""

SESSION_START = datetime(2026, 1, 14, 6, 0, tzinfo=UTC)
"""Start of the trading session that is open at the moment of the alert."""

SEED = 20260115

MINUTES = int((AS_OF - FIRST).total_seconds()) // 60
"""Length of the simulated market in minutes."""

_NAMES = uuid.UUID("5b1f7b0e-6f0c-4c1e-9b57-0c6f5d0a2f11")


def minute(moment: datetime) -> int:
    """The index of the candlestick that opens at `moment`."""
    return int((moment - FIRST).total_seconds()) // 60


def opened(index: int) -> datetime:
    """When candlestick `index` opens."""
    return FIRST + timedelta(minutes=index)


def identity(*parts: object) -> uuid.UUID:
    """A UUID that is the same on every run with the same parts."""
    return uuid.uuid5(_NAMES, "/".join(map(str, parts)))
