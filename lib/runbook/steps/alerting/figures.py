"""The figures of alerting: what each of its steps knows about the alert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Standing(StrEnum):
    """How the alert itself stands in Alertmanager."""

    FIRING = "firing"
    SILENCED = "silenced"
    NOT_FIRING = "not firing"


@dataclass(frozen=True, slots=True)
class Firing:
    """What else fires: how many other alerts, how many of them critical, and `names`, at most 20, sorted, each once."""

    others: int
    critical: int
    names: tuple[str, ...]
    this: Standing


@dataclass(frozen=True, slots=True)
class History:
    """How often the alert fired before, when last and for how long; None where it never did."""

    times: int
    last: datetime | None = None
    median_seconds: float | None = None
