"""The figures of latency: how slow decisions are, and the parts they are made of. Milliseconds; NaN for no sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from runbook.steps.shared.quotas import Limits

if TYPE_CHECKING:
    import pandas as pd

LIMIT_MS = 5_000.0
"""Where the last bucket of the histograms ends, so that no quantile reads higher; and the usual threshold."""

MOVED_RATIO = 1.5
"""What is slower by half than before the alert has moved."""
THROTTLED = 0.25
"""From this share of its CPU periods on a pod counts as throttled."""
_IN_STEP = 0.5


class Part(StrEnum):
    """What a decision spends its time on."""

    LLM = "LLM"
    MCP_TOOLS = "MCP tools"
    DATABASE = "database"
    CPU = "CPU"


@dataclass(frozen=True, slots=True)
class AgentLatency:
    """How long an agent's decisions take since 5 minutes before the alert, and took before.

    `over_share`: of its decisions that took over 5 s.
    """

    agent: str
    is_slow: bool
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p95_before_ms: float
    mean_ms: float
    mean_before_ms: float
    over_share: float

    @property
    def is_capped(self) -> bool:
        """Whether its p95 is at least what is read: it stands at the end of the last bucket."""
        return self.p95_ms >= LIMIT_MS


@dataclass(frozen=True, slots=True)
class Decisions:
    """The agents, the slow ones first, then by their mean; `series` (time, value) by agent and statistic."""

    agents: tuple[AgentLatency, ...]
    threshold_ms: float
    series: Mapping[str, Mapping[str, pd.DataFrame]]

    @property
    def slow(self) -> tuple[str, ...]:
        return tuple(found.agent for found in self.agents if found.is_slow)

    @property
    def fast(self) -> tuple[str, ...]:
        return tuple(found.agent for found in self.agents if not found.is_slow)

    @property
    def slowest(self) -> AgentLatency:
        return self.agents[0]

    @property
    def is_capped(self) -> bool:
        return any(found.is_capped for found in self.agents)


@dataclass(frozen=True, slots=True)
class OwnLatency:
    """p95 of what the alert itself measures (`what`: API requests, …) before it and now, and what its rule allows.

    `is_capped`: it stands at the end of the last bucket, so that it is at least that.
    """

    what: str
    p95_ms: float
    p95_before_ms: float
    limit_ms: float
    is_slow: bool
    is_capped: bool


@dataclass(frozen=True, slots=True)
class PartLatency:
    """p95 of a part's calls, and the time spent there for each decision made (`share`), before the alert and now."""

    part: Part
    p95_before_ms: float
    p95_ms: float
    ratio: float
    share_before_ms: float
    share_ms: float
    p95: pd.DataFrame | None
    share: pd.DataFrame | None


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that were measured, those of them that are slower by half than before, and those without a metric."""

    parts: tuple[PartLatency, ...]
    moved: tuple[Part, ...]
    missing: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Throttling:
    """The share of CPU periods in which a deployment's most throttled pod wanted more than its limit.

    `throttled`: those held back a quarter of the time or more, the most throttled first; `limits` are theirs, none
    where they could not be read. `highest` is the greatest share of all and `highest_before` what it was before.
    """

    throttled: tuple[str, ...]
    highest: float
    highest_before: float
    now: Mapping[str, float]
    before: Mapping[str, float]
    limits: Mapping[str, Limits]
    series: Mapping[str, pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Candidate:
    """How a part moved: p95 in ms before the alert and now; of the CPU the share of periods throttled.

    `together` is its correlation with the slowest agent, `explains` the share of what was added to a decision: over 1
    where parts overlap, NaN where it is not known.
    """

    part: Part
    before: float = math.nan
    now: float = math.nan
    ratio: float = math.nan
    together: float = math.nan
    explains: float = math.nan
    looks_slow: bool = False

    @property
    def has_slowed(self) -> bool:
        return self.ratio >= MOVED_RATIO

    @property
    def is_in_step(self) -> bool:
        """Whether it moved when the agents did."""
        return self.together >= _IN_STEP

    @property
    def explained(self) -> float:
        """The share it explains: parts are measured apart from the whole, but nothing explains more than all of it."""
        return min(self.explains, 1.0)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The part that became slow with the slow agents; None where no agent is slow, or no part is known to have."""

    part: Part | None
    slow: tuple[str, ...]
    added_ms: float
    candidates: tuple[Candidate, ...] = ()

    @property
    def innocent(self) -> tuple[Candidate, ...]:
        """What looks slow, but is not the cause."""
        return tuple(found for found in self.candidates if found.looks_slow and found.part is not self.part)


@dataclass(frozen=True, slots=True)
class ModelLatency:
    """p95 of the slowest model in llm_decisions before the alert and since; `few`: too few calls to judge by."""

    model: str
    p95_ms: float
    p95_before_ms: float
    ratio: float
    few: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that pg_stat_statements counts."""

    text: str
    mean_ms: float
    calls: float


@dataclass(frozen=True, slots=True)
class SlowQueries:
    """What runs for over a second, and the slow statements that pg_stat_statements counts, where it `is_available`.

    `waiting` are those that wait for a lock. `counted_since` is None where it is not known; `is_late`: after the
    alert began.
    """

    running: int = 0
    longest_seconds: float = 0.0
    waiting: int = 0
    is_available: bool = False
    slow: int = 0
    slowest: Statement | None = None
    counted_since: datetime | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class SlowLog:
    """Slow statements in postgres' log: how many, and the one that most time went to, with how often it was logged."""

    count: int
    statement: str = ""
    times: int = 0
    median_ms: float | None = None
    first_at: datetime | None = None
