"""What the checks of memory and CPU find, as figures. Memory is in bytes, CPU in cores; `resource` is either's name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 0.8
"""The share of its limit above which a container is too full."""
RATE_MINUTES = 5
"""Over how long CPU time is counted for a rate."""


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What pods use against their limits, and those above one.

    `rows`, the fullest first: pod, deployment, container, memory, memory_limit, "of memory limit", the same of CPU.
    """

    rows: pd.DataFrame
    over: tuple[str, ...] = ()


class Chosen(Enum):
    """Why this pod is the affected one. Sibling, stranger: the alert's is gone, this is of its deployment, or not."""

    NAMED = "named"
    FULLEST = "fullest"
    SIBLING = "sibling"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Affected:
    """The affected pod and how full it is. `limit` and `ratio` are NaN without a limit; `named`: the alert's pod."""

    pod: str
    container: str
    deployment: str
    resource: str
    used: float
    limit: float
    ratio: float
    named: str = ""
    chosen: Chosen = Chosen.FULLEST

    @property
    def is_over(self) -> bool:
        return self.ratio > THRESHOLD

    @property
    def is_other(self) -> bool:
        """Whether the pod that the alert names is gone and this is another."""
        return self.chosen in (Chosen.SIBLING, Chosen.STRANGER)


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What the affected container may use; NaN for what is not set."""

    container: str
    memory_request: float
    memory_limit: float
    cpu_request: float
    cpu_limit: float

    @property
    def missing(self) -> tuple[str, ...]:
        """The resources that have no limit."""
        limits = {"memory": self.memory_limit, "cpu": self.cpu_limit}
        return tuple(resource for resource, limit in limits.items() if math.isnan(limit))


@dataclass(frozen=True, slots=True)
class UsageHistory:
    """The affected container's use in the window. `curve`: time, value; `limit` is NaN for none."""

    pod: str
    resource: str
    limit: float
    lowest: float
    highest: float
    highest_at: datetime
    curve: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Throttling:
    """The share of its CPU periods in which the container had to wait. `curve`: time, value."""

    now: float
    median: float
    curve: pd.DataFrame

    @property
    def is_slow(self) -> bool:
        """Whether latency suffers."""
        return self.now > 0.25


@dataclass(frozen=True, slots=True)
class OomHistory:
    """Whether the pod was killed for memory, lately or ever, and its restarts in a day; NaN where not known."""

    app: str
    is_killed: bool
    is_recent: bool
    killed_at: datetime | None = None
    restarts: float = math.nan


class Shape(StrEnum):
    """How usage moves. Climbing: too short to tell a leak from a burst; a burst of memory is a step of CPU."""

    LEAK = "leak"
    CLIMBING = "climbing"
    BURST = "burst"
    STEP = "step"
    STEADY = "steady"

    @property
    def grows(self) -> bool:
        return self in (Shape.LEAK, Shape.CLIMBING)


@dataclass(frozen=True, slots=True)
class UsageTrend:
    """How usage moves, an hour, with its 95 % interval, over its last stretch; from `base` at first to `level` now.

    Seconds until the limit are infinite for never and NaN without a limit. `onset`: when the rise began, None where
    that is not known. `restarted_at`: since when it is counted, where the container restarted in the window.
    """

    shape: Shape
    resource: str
    per_hour: float
    per_hour_low: float
    per_hour_high: float
    level: float
    base: float
    stretch_seconds: float
    seconds_to_limit: float = math.inf
    earliest_seconds: float = math.inf
    latest_seconds: float = math.inf
    onset: datetime | None = None
    restarted_at: datetime | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether the limit is likely to be reached within two hours."""
        return self.seconds_to_limit < 2 * 3600


@dataclass(frozen=True, slots=True)
class HeapProfile:
    """Who holds the live heap: the function with most of it, and bytes by function. None for what is no Go program."""

    function: str = ""
    place: str = ""
    size_bytes: float = 0.0
    share: float = 0.0
    objects: float = 0.0
    heap_in_use: float = math.nan
    by_function: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_read(self) -> bool:
        return bool(self.by_function)

    @property
    def is_concentrated(self) -> bool:
        """Whether one function holds much of it."""
        return self.share > 0.4


@dataclass(frozen=True, slots=True)
class Rise:
    """The pattern that first appeared in the log with the rise; empty for none."""

    pattern: str = ""
    lines: int = 0
    first_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The limit that holds the peak, also as Kubernetes writes it; how long it would last, infinite without growth."""

    is_needed: bool
    limit: float
    quantity: str
    lasts_seconds: float = math.inf
