"""The figures of error rates: what each of their checks knows. Shares are ratios, counts a minute, times in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from runbook.steps.shared.levels import Level

_TOGETHER = timedelta(minutes=4)
"""Closer together than a few samples, the order of two rises says nothing."""


@dataclass(frozen=True, slots=True)
class Api:
    """The share of the API's requests answered 5xx and 4xx (curves: time, value), and its requests a minute."""

    threshold: float
    server: Level
    client: Level
    requests: Level
    server_curve: pd.DataFrame
    client_curve: pd.DataFrame

    @property
    def is_over(self) -> bool:
        """Whether more than `threshold` of the requests fail now."""
        return self.server.now > self.threshold

    @property
    def was_over(self) -> bool:
        return self.server.peak > self.threshold

    @property
    def since(self) -> datetime | None:
        """When the failures rose; None where they stayed under the threshold."""
        return self.server.rose_at if self.was_over else None

    @property
    def has_few_requests(self) -> bool:
        return self.requests.usual > 0 and self.requests.now < 0.3 * self.requests.usual


@dataclass(frozen=True, slots=True)
class Paths:
    """How many paths are asked for, and which of them fail with 5xx, the one that fails most first."""

    total: int
    failing: tuple[str, ...]

    @property
    def is_everywhere(self) -> bool:
        """Whether so many fail that they must share what is broken."""
        return len(self.failing) >= 3 and len(self.failing) >= 0.6 * self.total


@dataclass(frozen=True, slots=True)
class Component:
    """The errors of one component a minute (`errors`: time, value)."""

    name: str
    level: Level
    errors: pd.DataFrame

    @property
    def has_risen(self) -> bool:
        return self.level.now > max(3 * self.level.usual, self.level.usual + 0.5)


@dataclass(frozen=True, slots=True)
class Components:
    """The components that report errors, the one with most now first."""

    components: tuple[Component, ...]

    @property
    def risen(self) -> tuple[Component, ...]:
        return tuple(component for component in self.components if component.has_risen)

    @property
    def rises(self) -> dict[str, datetime]:
        """When those that rose did so, where it is known."""
        return {component.name: component.level.rose_at for component in self.risen if component.level.rose_at}

    @property
    def since(self) -> datetime | None:
        """When the first of them rose."""
        return min(self.rises.values(), default=None)

    @property
    def together(self) -> tuple[str, ...]:
        """Those that rose first, or too shortly after it to tell."""
        rises, since = self.rises, self.since
        return tuple(name for name, rose_at in rises.items() if since and rose_at - since <= _TOGETHER)

    @property
    def first(self) -> str:
        """The one that rose first, of several together the loudest; "" where it is not known when any rose."""
        return next(iter(self.together), "")

    def of(self, name: str) -> Component | None:
        return next((component for component in self.components if component.name == name), None)


@dataclass(frozen=True, slots=True)
class RisenPattern:
    """What a deployment logs more often since the trouble began: so many lines, the first of them, and a minute."""

    level: str
    pattern: str
    lines: int
    first: datetime
    usual: float
    now: float

    @property
    def is_warning(self) -> bool:
        return self.level == "warning"

    @property
    def is_fatal(self) -> bool:
        return self.level in ("panic", "fatal")


@dataclass(frozen=True, slots=True)
class Logs:
    """What rose in the log of `app`, worst first, and how many lines since then tell of trading that failed.

    `unlevelled` patterns rose too and tell no level that is known: they may be complaints or not.
    """

    app: str
    risen: tuple[RisenPattern, ...]
    stores_failed: int
    orders_failed: int
    publishes_failed: int
    unlevelled: tuple[RisenPattern, ...] = ()

    @property
    def errors(self) -> tuple[RisenPattern, ...]:
        return tuple(pattern for pattern in self.risen if not pattern.is_warning)

    @property
    def worst(self) -> RisenPattern | None:
        return next(iter(self.errors or self.risen), None)


@dataclass(frozen=True, slots=True)
class Refused:
    """How many orders were rejected or failed around the alert."""

    orders: int
