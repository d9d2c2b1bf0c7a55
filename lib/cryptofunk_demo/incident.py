"""What an incident is made of: data only. `incidents` holds the incidents themselves.

All minutes are relative to the alert's moment: -20 is twenty minutes before it, 0 the moment itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptofunk_demo.market import Shock

FOREVER = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The session's risk limits; sizes are shares of the portfolio."""

    max_position_size: float = 0.1
    max_positions: int = 3
    max_drawdown: float = 0.1
    max_daily_loss: float = 0.02


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one agent trades between two minutes.

    `entries_per_hour`: positions opened; `hold_minutes`: shortest and longest holding time;
    `long_share`: share of longs; `size`: share of the portfolio (None = the limit); `wrong_way`: the
    share of entries against the coming move (None: sides are drawn by `long_share` alone); `stops`: the
    share of positions with a stop loss; `ignores_limits`: neither the number nor the size of positions is checked.
    """

    agent: str
    start_minute: int = -FOREVER
    end_minute: int = FOREVER
    entries_per_hour: float = 0.5
    hold_minutes: tuple[int, int] = (25, 200)
    long_share: float = 0.65
    size: float | None = None
    wrong_way: float | None = None
    stops: float = 1.0
    ignores_limits: bool = False
    reasons: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    """The only symbols it trades; empty: all of them."""


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """The alert as Prometheus and Alertmanager tell of it; `value` is what its expression gave."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    expression: str
    firing: bool = True
    start_minute: int = 0

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "warning")


@dataclass(frozen=True, slots=True)
class Override:
    """A metric that differs from what the simulation gives it.

    From `start_minute` it goes to `value` over `ramp_minutes`, until `end_minute`. `fact` names one of
    the simulation's facts to use as the value. `scale` multiplies: a counter's rate, a histogram's typical
    duration. `noise` is a gauge's relative scatter while it is in force. A metric may be named without
    labels; then all its series are meant.
    """

    metric: str
    value: float | None = None
    fact: str = ""
    scale: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    start_minute: float = -FOREVER
    end_minute: float = FOREVER
    ramp_minutes: int = 0
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """A message that a workload logs `count` times, from `minute` on, every `every_seconds`.

    `message` and `fields` may name {symbol}, {n} (the line's number) and {ms} (a latency).
    """

    workload: str
    minute: float
    level: str
    message: str
    fields: Mapping[str, object] = field(default_factory=dict)
    count: int = 1
    every_seconds: float = 60.0
    console: bool = False


@dataclass(frozen=True, slots=True)
class PodState:
    """How a workload's pod differs from a healthy one, and since which minute."""

    workload: str
    ready: bool = True
    restarts: int = 0
    waiting: str = ""
    terminated: str = ""
    exit_code: int = 0
    minute: float = 0.0
    message: str = ""
    previous_log: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Trading paused by hand since a minute."""

    minute: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """A deployment rolled out at a minute: its next revision, with another image where one is named."""

    workload: str
    minute: float
    image: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event about a workload's pod or deployment."""

    workload: str
    minute: float
    reason: str
    message: str
    kind: str = "Pod"
    type: str = "Warning"
    count: int = 1


@dataclass(frozen=True, slots=True)
class Audit:
    """A row of audit_logs."""

    minute: float
    event_type: str
    action: str
    resource: str
    severity: str = "INFO"
    user: str = "ops@cryptofunk"
    success: bool = True
    error: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentState:
    """How an agent's row in agent_status differs: heartbeat `silent_minutes` before the report."""

    agent: str
    status: str = "RUNNING"
    silent_minutes: float = 0.0
    errors: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Live memory that one call site of a Go program holds: bytes, objects, and the frames, innermost first.

    A frame is (function, file:line).
    """

    workload: str
    size_bytes: int
    objects: int
    frames: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident: what happens, and `cause`, the answer a right report gives."""

    name: str
    title: str
    cause: str
    alert: AlertSpec
    shocks: tuple[Shock, ...] = ()
    calm: float = 1.0
    behaviours: tuple[Behaviour, ...] = ()
    limits: Limits = Limits()
    drawdown: float | None = None
    """Largest drawdown up to three minutes before the moment; sizes of `behaviours` are scaled until it comes out."""
    overrides: tuple[Override, ...] = ()
    logs: tuple[LogLine, ...] = ()
    pods: tuple[PodState, ...] = ()
    events: tuple[Event, ...] = ()
    audits: tuple[Audit, ...] = ()
    agents: tuple[AgentState, ...] = ()
    also_firing: tuple[AlertSpec, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    """What the heap profiles show beside the usual."""
    volume: str = "50Gi"
    """The size of the database's volume."""
    statements: tuple[str, ...] = ()
    """SQL that the database runs after the rows are loaded: bulk that it makes itself."""
    rollouts: tuple[Rollout, ...] = ()
    pause: Pause | None = None
    outage: float | None = None
    """Since which minute the orchestrator is down: no entries, exits, signals or performance rows after it."""
    stray_order: bool = False
    """An order left open beside the stop losses: a restart would find it."""
