"""What the checks of exposure measured. Shares are ratios of the portfolio, notionals and values USDT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FEE = 0.001
"""What closing costs, a share of the notional."""


class Breach(StrEnum):
    """How a limit is exceeded."""

    NONE = "none"
    OVERSIZED = "oversized"  # when it was opened
    STACKED = "stacked"  # positions in a symbol, each within the limit
    GROWN = "grown"  # within the limit when it was opened
    TOO_MANY = "too many"


class EquityBasis(StrEnum):
    """What says what the portfolio is worth, the best first."""

    PERFORMANCE = "performance row"
    STALE_PERFORMANCE = "old performance row"
    SESSION_TOTAL = "session total"
    INITIAL_CAPITAL = "initial capital"


class Approval(StrEnum):
    """What the risk agent's answers say of the positions in a symbol."""

    NONE = "none"  # nothing is held, so nothing is to be asked
    MISSING = "missing"
    WRONG = "wrong"  # told another size than was opened
    KNOWING = "knowing"  # told a size over the limit
    REFUSED = "refused"  # and opened all the same
    UNCLEAR = "unclear"  # an answer that says neither yes nor no
    UNSIZED = "unsized"  # approved, without a record of the size
    WITHIN = "within"


@dataclass(frozen=True, slots=True)
class Unprotected:
    """A position without a stop loss."""

    symbol: str
    notional: float


@dataclass(frozen=True, slots=True)
class OpenPositions:
    """All that is open, of whatever session, marked to the last closes.

    `unpriced`: the symbol of each position without a usable price; `notional` and `unrealized_pnl` are of the others,
    NaN where there is none.
    """

    count: int = 0
    without_stop: int = 0
    notional: float = 0.0
    unrealized_pnl: float = 0.0
    unprotected: tuple[Unprotected, ...] = ()
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """The risk limits in force, and what the portfolio is worth (`equity`), by its `basis`.

    `max_position_size` and `default_stop_loss` are shares, `max_positions` is a number of positions,
    `min_confidence` is from 0 to 1; `defaulted` names those that the session does not configure. `loose`: looser
    than the platform's defaults. `beside`: those of the other open sessions, each against its own value.
    """

    session_id: str
    mode: str
    equity: float
    basis: EquityBasis
    max_position_size: float
    max_positions: float
    default_stop_loss: float
    min_confidence: float
    limit_usdt: float
    loose: bool
    defaulted: tuple[str, ...] = ()
    symbol: str = ""
    beside: tuple[Limits, ...] = ()

    @property
    def session(self) -> str:
        """The session in words: "LIVE BTCUSDT"."""
        return f"{self.mode} {self.symbol}".strip()


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a session holds against the limit of a position's size.

    Of several open sessions it is the first that exceeds a limit, LIVE before PAPER, else the first that holds
    anything; `bounds` are its limits, and `sessions` says how all of them are. `live` and `paper` are what the sessions
    of each mode hold together, notional by symbol.

    `symbol` is the one that a breach is about, else the largest; `share` is held in it. `effective_count`: as many
    equal symbols would be as concentrated, 1 / Σ part². `positions` has a position a row, with its `notional`,
    `share` and `entry_share`; `shares` is by symbol, the largest first. Positions without a usable price are in none of
    them: `unpriced` has the symbol of each; the counts are of all.
    """

    limit: float
    equity: float
    positions: pd.DataFrame
    shares: pd.Series[Any]
    count: int = 0
    unpriced: tuple[str, ...] = ()
    kind: Breach = Breach.NONE
    symbol: str = ""
    share: float = 0.0
    over_symbols: tuple[str, ...] = ()
    gross: float = 0.0
    leverage: float = 0.0
    effective_count: float = 0.0
    without_stop: int = 0
    unprotected_notional: float = 0.0
    bounds: Limits | None = None
    sessions: tuple[SessionExposure, ...] = ()
    live: Mapping[str, float] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionExposure:
    """How an open session is: the largest `share` of its own value in a symbol, NaN where nothing has a price."""

    session: str
    positions: int
    unpriced: int
    largest: str
    share: float
    limit: float
    kind: Breach


@dataclass(frozen=True, slots=True)
class SymbolValue:
    """What the gauge reads of a symbol; `over_since`: since when its samples are over the limit without a break."""

    symbol: str
    last: float
    over_since: datetime | None
    curve: pd.DataFrame  # time, value


@dataclass(frozen=True, slots=True)
class PositionValues:
    """The gauge's values, the largest symbols first; `apart` are those where the positions say otherwise."""

    limit_usdt: float
    symbols: tuple[SymbolValue, ...]
    since: datetime | None
    apart: tuple[str, ...]

    @property
    def over(self) -> tuple[SymbolValue, ...]:
        return tuple(symbol for symbol in self.symbols if symbol.over_since is not None)


@dataclass(frozen=True, slots=True)
class Reduction:
    """What closing down to the limits takes; `pnl` becomes real by it."""

    notional: float = 0.0
    fees: float = 0.0
    pnl: float = 0.0
    positions: int = 0
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BreachCause:
    """Why a limit is exceeded; `agent` opened the largest position in the symbol, with `entry_share`.

    The agent is "" where nobody is known to have opened it, and only `inferred` where it is not recorded.
    """

    kind: Breach
    symbol: str = ""
    positions: int = 0
    agent: str = ""
    agents: tuple[str, ...] = ()
    entry_share: float = 0.0
    approval: Approval = Approval.NONE
    inferred: bool = False


@dataclass(frozen=True, slots=True)
class Openers:
    """Who opened the `positions` in `symbol`, and why; `everyone` opened one in any symbol.

    `lowest_confidence` is NaN, `first_reason` None where none is recorded. Who opened the `inferred` is not recorded:
    it follows from the last signal for the symbol and side, at most `farthest_seconds` before the entry.
    `openings` has a row for every open position: what the signal, the agent and the risk agent said.
    """

    openings: pd.DataFrame
    symbol: str = ""
    positions: int = 0
    agents: tuple[str, ...] = ()
    everyone: tuple[str, ...] = ()
    without_signal: int = 0
    lowest_confidence: float = float("nan")
    first_reason: str | None = None
    inferred: int = 0
    farthest_seconds: float = float("nan")


@dataclass(frozen=True, slots=True)
class Misstated:
    """The share that the risk agent was told of a position, and the one it was opened with."""

    stated: float
    opened: float


@dataclass(frozen=True, slots=True)
class Approvals:
    """What the risk agent answered about `positions`; `first_answer` is None where it answered none.

    The `inferred` answers are not recorded with the position: they are the last in the symbol, at most
    `farthest_seconds` before the entry.
    """

    kind: Approval
    positions: int = 0
    answered: int = 0
    largest_stated: float = float("nan")
    misstated: Misstated | None = None
    first_answer: str | None = None
    inferred: int = 0
    farthest_seconds: float = float("nan")


@dataclass(frozen=True, slots=True)
class Sizing:
    """Positions that the session opened: how many above the limit, by whom, and without a stop loss."""

    limit_usdt: float
    positions: int = 0
    without_stop: int = 0
    over: int = 0
    agents: tuple[str, ...] = ()
