"""What the checks of the dependencies find, as figures. Rates are a minute; NaN where there is no sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Database:
    """The server's state at the time of asking. `share` of its connections that are taken; `full`: nearly all."""

    connections: float
    max_connections: float
    share: float
    full: bool
    active: float
    idle_in_transaction: float
    waiting_for_locks: float
    oldest_transaction_seconds: float
    in_recovery: bool
    size_bytes: float


@dataclass(frozen=True, slots=True)
class Pool:
    """The services' connections in use (`active`) and idle, of `size`; `exhausted` since when, where none is idle.

    `disk_share`: how full the fullest volume is. The curves are (time, value).
    """

    active: float
    idle: float
    size: float
    exhausted: bool
    since: datetime | None
    usual: float
    p95_ms: float
    usual_p95_ms: float
    disk_share: float
    active_curve: pd.DataFrame
    idle_curve: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Redis:
    """The cache's hit rate; `fell`: far below the usual one, NaN where the history is too short."""

    hit_rate: float
    usual: float
    fell: bool


@dataclass(frozen=True, slots=True)
class Nats:
    """Messages a minute. `silent`: almost none is published; `lost`: fewer are received than published."""

    published: float
    received: float
    usual: float
    usual_received: float
    silent: bool
    lost: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the exchange refuses and how fast it answers, against the usual.

    `trouble`: it refuses more than usual, most of it of `kind`, since when. `endpoint` is asked at least twice as
    often as usual, `slow_endpoint` takes at least twice as long; each is empty where none is or does, and its figures
    are then those of the endpoint nearest to it. The curves are (time, value) by error type and by endpoint.
    `untold`: none of this can be judged, for there is too little history, or nothing is `asked` of it now.
    """

    errors_per_minute: float
    usual_errors_per_minute: float
    trouble: bool
    kind: str
    kind_share: float
    since: datetime | None
    endpoint: str
    request_growth: float
    requests_now: float
    requests_usual: float
    requests_since: datetime | None
    slow_endpoint: str
    slowdown: float
    slow_ms: float
    usual_slow_ms: float
    errors: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    requests: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    asked: bool = True
    untold: bool = False


@dataclass(frozen=True, slots=True)
class Llm:
    """The gateway's requests a minute: `failing`, `slow`, or `silent` (hardly asked); since when, of the first two.

    `untold`: nothing is asked of it now, or for too short a time to say what is usual.
    """

    p95_ms: float
    usual_p95_ms: float
    failures_per_minute: float
    usual_failures_per_minute: float
    requests_per_minute: float
    usual_requests_per_minute: float
    decisions_per_minute: float
    usual_decisions_per_minute: float
    growth: float
    failing: bool
    slow: bool
    silent: bool
    since: datetime | None
    untold: bool = False


@dataclass(frozen=True, slots=True)
class LlmCost:
    """What the LLM cost in the window, and in the span before it."""

    cost_usd: float = 0.0
    cost_usd_before: float = 0.0
    decisions: int = 0


@dataclass(frozen=True, slots=True)
class CoinGecko:
    """Warnings and errors about CoinGecko in the log of market-data-server."""

    complaints: int


@dataclass(frozen=True, slots=True)
class HealthChecks:
    """The components whose own health check failed or is degraded, of so many."""

    count: int
    failed: tuple[str, ...]
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The services without a healthy answer, and those whose answer is not known, of so many."""

    count: int
    down: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """What was written since `since`: which kinds far less than usual (`stopped`), orders, and orders refused.

    `refusing`: far more orders are refused than usual. `told` are the kinds of which so many are usual in that time
    that fewer would be seen.
    """

    since: datetime
    span_seconds: float
    stopped: tuple[str, ...]
    refused: int
    refusing: bool
    orders: int
    orders_expected: float
    told: tuple[str, ...] = ()
