"""DatabasePressure: what holds the database's connections and slows its statements, and the decision."""

from __future__ import annotations

from runbook.steps.pressure.figures import LockWaits
from runbook.steps.pressure.locks import lock_waits
from runbook.steps.pressure.verdict import decide

__all__ = ["LockWaits", "decide", "lock_waits"]
