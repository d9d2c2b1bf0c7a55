"""What checks of trading sessions and of what halts them find. Money in USDT, shares as ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FILL_STALE_SECONDS = 15 * 60
CANDLE_STALE_SECONDS = 3 * 60
DEFAULT_MAX_DRAWDOWN = 0.10
"""risk.max_drawdown's own default, which counts where a session configures none, as those opened through the API."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Another session that is open at the same time; NaN for what its row does not hold."""

    session_id: str
    mode: str
    symbol: str
    started_at: datetime
    initial_capital: float
    total_pnl: float
    max_drawdown: float
    max_drawdown_limit: float
    open_positions: int


_CANDLE_SECONDS = {"5m": 300, "15m": 900, "1h": 3600}


def candle_stale_seconds(interval: str) -> int:
    """How long ago the last candle may have begun: 3 minutes, where there are longer ones alone two of theirs more."""
    return CANDLE_STALE_SECONDS + 2 * _CANDLE_SECONDS.get(interval, 0)


@dataclass(frozen=True, slots=True)
class Session:
    """The trading session in question, and those that are open beside it; NaN for what its row does not hold.

    A session trades one symbol, and several run at once, each with its own capital and limits. In question is a LIVE
    one before a PAPER one, and of those the one with the deepest drawdown by its own row: what others lost or did not
    is in none of its figures.
    """

    session_id: str
    mode: str
    started_at: datetime
    is_open: bool
    initial_capital: float
    total_pnl: float
    roi: float
    max_drawdown: float
    max_drawdown_limit: float
    symbol: str = ""
    beside: tuple[Beside, ...] = ()

    @property
    def partners(self) -> tuple[Beside, ...]:
        """The others of its mode, which metrics of the whole platform do not tell from it."""
        return tuple(other for other in self.beside if other.mode == self.mode)

    @property
    def over(self) -> tuple[Beside, ...]:
        """Those beside it whose own drawdown is over their own limit."""
        return tuple(other for other in self.beside if other.max_drawdown > limit_in_force(other))

    @property
    def untold(self) -> tuple[Beside, ...]:
        """Those beside it whose row holds no usable drawdown."""
        return tuple(other for other in self.beside if not math.isfinite(other.max_drawdown))


def limit_in_force(session: Session | Beside) -> float:
    """The session's limit of drawdown, the platform's default where it has none, a ratio."""
    configured = session.max_drawdown_limit
    return configured if math.isfinite(configured) else DEFAULT_MAX_DRAWDOWN


@dataclass(frozen=True, slots=True)
class Halt:
    """Whether the orchestrator is paused, and since when, by whom and why."""

    paused: bool
    paused_at: datetime | None = None
    paused_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TradingBreakers:
    """The types of trading breaker that are tripped."""

    tripped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Freshness:
    """Ages of the newest rows in seconds, NaN where there is none; `stale` are the kinds that are too old."""

    fill_age_seconds: float
    order_age_seconds: float
    signal_age_seconds: float
    candle_age_seconds: float
    performance_age_seconds: float
    stale: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrchestratorHealth:
    """The paths of the orchestrator that do not answer healthy."""

    failing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """Whether trading flows, and what came since the alert.

    `stopped_at`: the last signal, order or fill, None where trading flows or there was none.
    `rows` are the counts (time, value) in buckets of `bucket_minutes` by kind.
    """

    flows: bool
    stopped_at: datetime | None
    signals: int
    orders: int
    fills: int
    sessions: int
    bucket_minutes: int
    rows: Mapping[str, pd.DataFrame]


@dataclass(frozen=True, slots=True)
class RestartSafety:
    """What a restart would meet: open orders, `stray` ones that protect no position, and the `reasons` against it."""

    open_orders: int
    stray_orders: int
    reasons: tuple[str, ...]

    @property
    def is_safe(self) -> bool:
        return not self.reasons
