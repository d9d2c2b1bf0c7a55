"""What a session is worth over time, from its fills and the candles: the rows of performance_metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from cryptofunk_demo.market import NAMES, Floats, Market
from cryptofunk_demo.moment import AS_OF, FIRST, minute
from cryptofunk_demo.trading import Session

STEP = timedelta(seconds=30)
EARLIER_STEP = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Account:
    """A session's account at `times`: arrays of equal length, USDT; drawdowns are ratios of the peak so far."""

    times: Sequence[datetime]
    cash: Floats
    position_value: Floats
    unrealized: Floats
    initial_capital: float
    closed: Floats
    won: Floats
    open_positions: Floats
    value_by_symbol: Floats

    @property
    def total_value(self) -> Floats:
        return self.cash + self.position_value

    @property
    def total_pnl(self) -> Floats:
        return self.total_value - self.initial_capital

    @property
    def realized(self) -> Floats:
        return self.total_pnl - self.unrealized

    @property
    def peak(self) -> Floats:
        return np.maximum(np.maximum.accumulate(self.total_value), self.initial_capital)

    @property
    def drawdown(self) -> Floats:
        return 1.0 - self.total_value / self.peak

    @property
    def max_drawdown(self) -> Floats:
        return np.maximum.accumulate(self.drawdown)

    @property
    def win_rate(self) -> Floats:
        return np.divide(self.won, self.closed, out=np.zeros_like(self.won), where=self.closed > 0)

    @property
    def daily_sharpe(self) -> Floats:
        """Mean over standard deviation of the returns so far, scaled to one day; 0 until there are 20."""
        returns = np.diff(np.log(self.total_value), prepend=np.log(self.initial_capital))
        n = np.arange(1, len(returns) + 1)
        mean = np.cumsum(returns) / n
        spread = np.sqrt(np.maximum(np.cumsum(returns**2) / n - mean**2, 0))
        step = (self.times[1] - self.times[0]).total_seconds() if len(self.times) > 1 else 30.0
        ratio = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 1e-12)
        return np.where(n < 20, 0.0, ratio * np.sqrt(86_400 / step))


def account(session: Session, market: Market) -> Account:
    """The session's account every 30 s while open, every 5 minutes for a closed session.

    At time t it holds the fills executed at or before t and is marked to the last candle closed by t.
    """
    step = STEP if session.stopped_at is None else EARLIER_STEP
    end = session.stopped_at or AS_OF
    count = int((end - session.started_at) / step) + 1
    times = [session.started_at + step * i for i in range(count)]
    if session.stopped_at is not None:
        # A closed session's last row follows its last fill: all positions are closed a minute after the end.
        times.append(session.stopped_at + timedelta(minutes=1))
    marks = market.close[[max(minute(t) - 1, 0) for t in times]]
    seconds = np.array([(t - FIRST).total_seconds() for t in times])
    cash = np.full(len(times), session.initial_capital)
    held = np.zeros((len(times), len(NAMES)))
    cost = np.zeros(len(times))
    closed, won, live = (np.zeros(len(times)) for _ in range(3))
    for position in session.positions:
        column = NAMES.index(position.symbol)
        begins, ends = _index(seconds, position.entry_at), None
        for fill in position.fills:
            at = _index(seconds, fill.executed_at)
            cash[at:] += fill.cash - fill.commission
            held[at:, column] += fill.quantity if fill.side == "BUY" else -fill.quantity
            if fill.order == "entry":
                ends = _index(seconds, position.exit_at) if position.exit_at else len(times)
                cost[at:ends] += position.sign * position.entry_price * fill.quantity
        live[begins:ends] += 1
        if position.exit_at:
            closed[ends:] += 1
            won[ends:] += position.realized_pnl > 0
    by_symbol = held * marks
    value = by_symbol.sum(axis=1)
    # A quantity that has been sold again leaves a rounding residue of the size of 1e-17.
    by_symbol[np.abs(by_symbol) < 1e-7] = 0.0
    return Account(times, cash, value, value - cost, session.initial_capital, closed, won, live, by_symbol)


def _index(seconds: Floats, moment: datetime) -> int:
    return int(np.searchsorted(seconds, (moment - FIRST).total_seconds(), side="left"))
