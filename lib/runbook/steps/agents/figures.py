"""What checks of the trading agents find. Agents go by their names in agent_status, else by deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from runbook.steps.shared.histograms import is_capped

if TYPE_CHECKING:
    import pandas as pd

EVERY_AGENT = "all"
"""Stands for all agents where they are not told apart: no signal at all, a metric without the label agent_type."""
HEARTBEAT_STALE_SECONDS = 120
"""An agent whose last heartbeat is older is silent."""
POOL_CONNECTIONS = 10
"""The size of the database's connection pool."""


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """Agents that agent_status calls stopped or that are silent (no fresh heartbeat); `bad` are those of either.

    `ahead`: their heartbeats are later than the report's moment, so how old they are is not known.
    `never`: stopped and without a start or heartbeat since ever, as the rows that the first migration leaves for agents
    that nobody deployed; they are not in `total` nor in the others.
    `rows` holds the table: agent_name, status, age of the heartbeat in seconds, error_count, last_error, ahead, never.
    """

    total: int
    bad: tuple[str, ...]
    silent: tuple[str, ...]
    stopped: tuple[str, ...]
    oldest_heartbeat_seconds: float
    rows: pd.DataFrame
    ahead: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """The deployments of agents, by agent_status and pods together.

    `affected` are in trouble, those the alert names first. `first`: the one to look into, "" for none.
    `restarted` and `oom_killed` happened in the window; `repeatedly` are three restarts or more. Of
    the `untold` the heartbeat is from the future. The `absent` have no pod and never ran: they are not deployed,
    and not in `total`.
    """

    total: int
    affected: tuple[str, ...]
    first: str
    named: tuple[str, ...]
    restarted: tuple[str, ...]
    oom_killed: tuple[str, ...]
    repeatedly: tuple[str, ...]
    status_known: bool
    pods_known: bool
    untold: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether both sources gave an answer; never neither."""
        return self.status_known and self.pods_known


@dataclass(frozen=True, slots=True)
class Online:
    """Which types of agent are offline by their own metric; `lanes` are its series (time, value) by type.

    The `never` were online at no moment of the window, and no agent of theirs may be deployed: not in `total`.
    """

    total: int
    offline: tuple[str, ...]
    first_offline_at: datetime | None
    lanes: Mapping[str, pd.DataFrame]
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals made in the window, and the agents that fell silent or quiet against their own habit.

    The `untold` made too few before to have one, and are held against a quarter of an hour.

    `grid`: signals by agent (rows) and time (columns); None where nobody made one, then EVERY_AGENT is silent.
    """

    count: int
    silent: tuple[str, ...] = ()
    quiet: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    last_at: datetime | None = None
    grid: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class AgentLog:
    """The log of the agent to look into, "" where there is none: its errors and the pattern that is most severe."""

    app: str = ""
    errors: int = 0
    worst: str = ""


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a container complained of last before it was restarted; no app where nothing restarted."""

    app: str = ""
    words: str = ""
    panics: int = 0


@dataclass(frozen=True, slots=True)
class McpServers:
    """The MCP servers that do not answer at /health, and those of which it is not known."""

    down: tuple[str, ...]
    unknown: tuple[str, ...]


class Needed(StrEnum):
    """What agents need, by the name its component has in metrics."""

    LLM = "llm"
    TOOLS = "mcp"
    DATABASE = "database"


class Trouble(StrEnum):
    """What can be the matter with something that agents need."""

    ERRORS = "errors"
    SLOW = "slow"
    BREAKER = "breaker"
    POOL = "pool"


HISTOGRAMS = {
    Needed.LLM: "cryptofunk_llm_request_duration_ms",
    Needed.TOOLS: "cryptofunk_mcp_tool_call_duration_ms",
    Needed.DATABASE: "cryptofunk_database_query_duration_ms",
}
"""The histogram of what each answers in."""


@dataclass(frozen=True, slots=True)
class Need:
    """How something that agents need serves, now and before the alert; NaN where there is no sample.

    `breaker` is 0 when closed, 1 when open, 2 when half-open; so many `connections` of the database's pool are in use.
    """

    needed: Needed
    troubles: tuple[Trouble, ...]
    errors_per_minute: float
    errors_before: float
    p95_ms: float
    p95_before_ms: float
    breaker: float
    connections: float

    @property
    def is_capped(self) -> bool:
        """Whether its p95 is at least what is read: it stands at the end of the histogram."""
        return is_capped(self.p95_ms, HISTOGRAMS[self.needed])

    @property
    def was_capped(self) -> bool:
        return is_capped(self.p95_before_ms, HISTOGRAMS[self.needed])


@dataclass(frozen=True, slots=True)
class Resources:
    """Agents short of memory or CPU, and the highest memory as a share of its limit."""

    oom_killed: tuple[str, ...]
    memory_high: tuple[str, ...]
    throttled: tuple[str, ...]
    memory_share: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """Whether agents are all as usual again, and the deployments with three restarts or more."""

    recovered: bool
    repeatedly: tuple[str, ...]
