"""The figures of circuit breakers: what each of their checks knows. Shares are ratios, times are in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from runbook.steps.shared.levels import Level


class Service(StrEnum):
    """What the platform calls through a breaker."""

    EXCHANGE = "exchange"
    LLM = "llm"
    DATABASE = "database"


class State(StrEnum):
    """Where a breaker stands at the report's moment."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    UNDOCUMENTED = "undocumented"
    NO_SAMPLE = "no sample"
    UNKNOWN = "unknown"

    @property
    def is_open(self) -> bool:
        """Whether it holds requests back, all or all but the one that tries."""
        return self in (State.OPEN, State.HALF_OPEN)

    @property
    def is_known(self) -> bool:
        return self not in (State.NO_SAMPLE, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Lane:
    """One breaker around the alert: its state, the metric's last `value`, and when it opened.

    `share_open` is the share of its `samples` (time, value) in which it was open.
    """

    name: str
    state: State
    value: float
    openings: int
    first_open: datetime | None
    last_open: datetime | None
    share_open: float
    samples: pd.DataFrame


@dataclass(frozen=True, slots=True)
class States:
    """Every breaker around the alert, in Prometheus' order."""

    lanes: tuple[Lane, ...]

    @property
    def worst_first(self) -> tuple[Lane, ...]:
        return tuple(sorted(self.lanes, key=lambda lane: (lane.state is State.CLOSED, lane.first_open is None)))

    @property
    def opened(self) -> tuple[Lane, ...]:
        """Those that opened, the first to do so first."""
        opened = [(lane.first_open, lane) for lane in self.worst_first if lane.first_open]
        return tuple(lane for _, lane in sorted(opened, key=lambda pair: pair[0]))


@dataclass(frozen=True, slots=True)
class Affected:
    """The service whose breaker is meant, None where none is; `others` are the breakers that opened beside it.

    `is_named`: the alert says so, else it is the first that opened. `lane` is None where the metric does not tell of
    it. `halt` is the trading halt that the alert means instead, "" where it means none.
    """

    service: Service | None
    is_named: bool = False
    lane: Lane | None = None
    others: tuple[str, ...] = ()
    halt: str = ""

    @property
    def state(self) -> State:
        return self.lane.state if self.lane else State.UNKNOWN

    @property
    def opened_at(self) -> datetime | None:
        return self.lane.first_open if self.lane else None


@dataclass(frozen=True, slots=True)
class FailureRatio:
    """The share of a breaker's requests that fail over time (`ratio`: time, value), and how many it has in 10 s."""

    breaker: str
    level: Level
    requests_in_10s: float
    ratio: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Failures:
    """The failure ratios of all breakers, the one that reached highest, and the ratio at which a breaker trips."""

    breakers: tuple[FailureRatio, ...]
    worst: FailureRatio
    trips_at: float

    @property
    def since(self) -> datetime | None:
        return self.worst.level.rose_at


@dataclass(frozen=True, slots=True)
class Recovery:
    """Whether a breaker waits to let requests through again, and when an open one is `due` to try."""

    waits: bool
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """How much is done a minute of what needs the service behind a breaker."""

    service: Service
    level: Level

    @property
    def is_low(self) -> bool:
        return self.level.usual > 0 and self.level.now < 0.5 * self.level.usual

    @property
    def is_told(self) -> bool:
        """Whether none of it would be seen: some is done, or some is usual."""
        return self.level.now > 0 or self.level.usual > 0


@dataclass(frozen=True, slots=True)
class Effects:
    """What each service lets happen, and the service whose breaker is meant."""

    service: Service | None
    effects: tuple[Effect, ...]

    @property
    def low(self) -> tuple[Effect, ...]:
        return tuple(effect for effect in self.effects if effect.is_low)

    @property
    def untold(self) -> bool:
        """Whether it cannot be told if what is meant goes on: of the breaker that is meant, else of any."""
        judged = self.effects if self.own is None else (self.own,)
        return not all(effect.is_told for effect in judged)

    @property
    def own(self) -> Effect | None:
        """That of the breaker that is meant; None where none is, or it has no sample."""
        return next((effect for effect in self.effects if effect.service == self.service), None)


@dataclass(frozen=True, slots=True)
class Trips:
    """How often a breaker opened in 24 hours and in 7 days; the share of the day it was open, NaN where not known."""

    breaker: str
    in_day: int
    in_week: int
    share_open: float


@dataclass(frozen=True, slots=True)
class Frequency:
    """How often each breaker opened, and the one that did most often."""

    breakers: tuple[Trips, ...]
    most: Trips
