"""What the checks of a drawdown measured. Drawdowns, returns and shares are ratios, amounts USDT."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MARKET_WIDE_SHARE = 0.6
"""A loss is market-wide from this share of it explained by the market, a strategy's own up to OWN_SHARE."""
OWN_SHARE = 0.3


class Measure(StrEnum):
    """By what a drawdown is measured."""

    FILLS = "fills and candles"
    PERFORMANCE = "performance_metrics"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Measured:
    """The drawdown of an equity curve: now and at its deepest, the equity now and at its peak.

    `curve` and `underwater` are time, value: the equity, and the drawdown below its running peak as it is drawn.
    """

    measure: Measure
    threshold: float
    drawdown: float
    deepest: float
    deepest_at: datetime
    equity: float
    peak: float
    peak_at: datetime
    curve: pd.DataFrame
    underwater: pd.DataFrame
    partners: int = field(default=0, kw_only=True)
    """How many other sessions of its mode are open, of which nothing is in these figures."""


@dataclass(frozen=True, slots=True)
class ByFills(Measured):
    """As measured by fills; `closes` are the candles that they are priced with."""

    closes: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Gauge:
    """What the gauge that fired reads: now, at most, and at the alert's moment, None where it had no sample by then.

    `threshold` is NaN where none is exported, and `differing` are all that are, where they differ; samples are
    `interval_seconds` apart; `curve` is time, value.
    """

    drawdown: float
    highest: float
    at_alert: float | None
    threshold: float
    interval_seconds: float
    curve: pd.DataFrame
    differing: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """The measures side by side: `drawdown` is that of the `reference`, `odd` are those that differ from it.

    `missing` are those without a figure, which is then NaN; `partners` as in Measured.
    """

    reference: Measure
    drawdown: float
    performance: float
    gauge: float
    threshold: float
    odd: tuple[Measure, ...]
    over: tuple[Measure, ...]
    missing: tuple[Measure, ...] = ()
    partners: int = 0

    @property
    def only_the_gauge_is_odd(self) -> bool:
        """Whether the other two agree against it: one alone may itself be what is wrong.

        Beside other open sessions it need not be: the gauge is the platform's, the other measures are of one session.
        """
        return self.odd == (Measure.GAUGE,) and not self.missing and not self.partners

    @property
    def gauge_error(self) -> float:
        return self.gauge - self.drawdown

    @property
    def performance_error(self) -> float:
        return self.performance - self.drawdown


@dataclass(frozen=True, slots=True)
class Ongoing:
    """The drawdown that is not recovered: its `depth` so far, what is `lost` now, and the gain `needed` to recover."""

    depth: float
    peak: float
    peak_at: datetime
    trough_at: datetime
    seconds: float
    lost: float
    needed: float


@dataclass(frozen=True, slots=True)
class History:
    """The session's drawdowns: how many before the ongoing one, their greatest depth and median time to recover."""

    episodes: int = 0
    earlier: int = 0
    earlier_depth: float = 0.0
    recovery_seconds: float | None = None
    ongoing: Ongoing | None = None


@dataclass(frozen=True, slots=True)
class LosingPositions:
    """The session's positions; of the closed ones that lost, the worst `shown` lost `shown_pnl` together.

    `gap`: by how much realised and unrealised PnL differ from the session's own total; None where they agree,
    and where it has none.
    """

    closed: float
    losing: float
    open: float
    without_pnl: float
    realized_pnl: float
    unrealized_pnl: float
    fees: float
    gap: float | None
    shown: int
    shown_pnl: float


@dataclass(frozen=True, slots=True)
class AgentPnl:
    """What an agent's positions added since the fall began, and its share of all agents' losses."""

    agent: str
    pnl: float
    positions: float
    share_of_loss: float


@dataclass(frozen=True, slots=True)
class Contributions:
    """What positions added since the fall began, by agent, the greatest loss first; `equity_change` is by the fills.

    `unusable` of the `positions` have no usable price then or now, and are in no sum. Whose the `inferred` are is not
    recorded: it follows from the last signal for symbol and side, at most `farthest_seconds` before the entry.
    """

    since: datetime
    agents: tuple[AgentPnl, ...] = ()
    symbol: str = ""
    side: str = ""
    positions: float = 0.0
    pnl: float = 0.0
    equity_change: float = float("nan")
    unusable: int = 0
    inferred: int = 0
    farthest_seconds: float = float("nan")

    @property
    def worst(self) -> AgentPnl | None:
        """The agent that lost most, or gained least; None where no position was held."""
        return self.agents[0] if self.agents else None


@dataclass(frozen=True, slots=True)
class MarketConditions:
    """The symbols' mean move since the fall began, and their median volatility against the day before."""

    since: datetime
    move: float
    lowest: float
    volatility_ratio: float
    falling: int
    symbols: int
    unusual: bool


class LossCause(StrEnum):
    MARKET_WIDE = "market-wide"
    STRATEGY_SPECIFIC = "strategy-specific"
    MIXED = "mixed"
    NO_LOSS = "no loss"


@dataclass(frozen=True, slots=True)
class MarketCause:
    """How much of the loss since the fall began the market explains; NaN where that cannot be computed.

    `portfolio` and `market` are time, value: what each moved since then.
    """

    kind: LossCause
    since: datetime
    portfolio_return: float
    market_return: float
    beta: float
    correlation: float
    explained_share: float
    portfolio: pd.DataFrame
    market: pd.DataFrame

    @property
    def explained(self) -> float:
        """The share of the loss that the market explains, never less than none of it."""
        return max(self.explained_share, 0.0)
