"""Agents trade on the market, minute by minute: signals, orders, fills and positions of every session.

Conventions, which every table keeps: a fill's commission is 0.1 % of its quote quantity, in USDT.
A position's realized_pnl is net of all commissions paid on it so far, so that an open position's is
minus its entry commission; its unrealized_pnl is gross, marked to the close of the last closed
one-minute candle. Hence, at any time and for any set of sessions,
cash = initial capital + sum of fills' signed quote quantities - commissions, and
total_value = cash + position_value = initial_capital + realized_pnl + unrealized_pnl.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from cryptofunk_demo.agents import USUAL
from cryptofunk_demo.incident import FOREVER, Behaviour, Incident, Limits
from cryptofunk_demo.market import NAMES, SYMBOLS, Market
from cryptofunk_demo.moment import AS_OF, FIRST, MOMENT, SESSION_START, identity, minute, opened
from runbook.errors import DemoError

COMMISSION = 0.001
TAKE_PROFIT = 0.05
STOP_LOSS = 0.02
CONFIRMATIONS = 3
"""Minutes in a row with the drawdown above its limit, after which the breaker trips."""

_SLIPPAGE = 0.0002


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution; `cash` is its effect on the cash balance before commission, USDT."""

    order: str
    symbol: str
    side: str
    price: float
    quantity: float
    executed_at: datetime

    @property
    def quote(self) -> float:
        return round(self.price * self.quantity, 8)

    @property
    def commission(self) -> float:
        return round(self.quote * COMMISSION, 8)

    @property
    def cash(self) -> float:
        return self.quote if self.side == "SELL" else -self.quote


@dataclass(slots=True)
class Position:
    """A position and its fills; open while `exit_at` is None. Simulation state, hence mutable."""

    number: int
    session: int
    agent: str
    symbol: str
    side: str
    quantity: float
    entry_price: float
    entry_at: datetime
    closes_at_minute: int
    stop_loss: float | None
    take_profit: float | None
    reason: str
    confidence: float
    fills: list[Fill] = field(default_factory=list)
    exit_price: float | None = None
    exit_at: datetime | None = None
    exit_reason: str = ""

    @property
    def id(self) -> str:
        return str(identity("position", self.session, self.number))

    @property
    def sign(self) -> int:
        return 1 if self.side == "LONG" else -1

    @property
    def fees(self) -> float:
        return round(sum(fill.commission for fill in self.fills), 8)

    @property
    def realized_pnl(self) -> float:
        """Net of the commissions paid so far; for an open position minus its entry commission."""
        gross = sum(fill.cash for fill in self.fills) if self.exit_at else 0.0
        return round(gross - self.fees, 8)

    def unrealized_pnl(self, mark: float) -> float:
        return 0.0 if self.exit_at else round(self.sign * (mark - self.entry_price) * self.quantity, 8)


@dataclass(slots=True)
class Session:
    """A trading session: its account and positions; `halted_at` is when the drawdown breaker tripped."""

    number: int
    mode: str
    initial_capital: float
    started_at: datetime
    stopped_at: datetime | None
    limits: Limits
    positions: list[Position] = field(default_factory=list)
    halted_at: datetime | None = None
    outage_at: datetime | None = None

    @property
    def id(self) -> str:
        return str(identity("session", self.number))

    @property
    def fills(self) -> list[Fill]:
        found = [fill for position in self.positions for fill in position.fills]
        return sorted(found, key=lambda fill: fill.executed_at)


def simulate(incident: Incident, market: Market, seed: int) -> list[Session]:
    """Every session, oldest first: two live ones, a paper one among them, and the one still open."""
    plan = (
        ("LIVE", 10_000.0, 0),
        ("PAPER", 11_450.0, 1),
        ("LIVE", 10_000.0, 2),
        ("LIVE", 10_000.0, 3),
    )
    sessions = []
    for mode, capital, day in plan:
        start = FIRST + timedelta(days=day)
        sessions.append(Session(day + 1, mode, capital, start, start + timedelta(hours=23, minutes=59), Limits()))
    for session in sessions:
        Trader(session, market, _generator(seed, session), ()).run()
    return [*sessions, _calibrated(incident, market, seed)]


def _calibrated(incident: Incident, market: Market, seed: int) -> Session:
    """The open session, with the incident's own entries sized so that its drawdown comes out as told."""

    def attempt(scale: float, breaker: bool) -> tuple[Session, float]:
        session = Session(5, "LIVE", 10_000.0, SESSION_START, None, incident.limits)
        if incident.outage is not None:
            session.outage_at = MOMENT + timedelta(minutes=incident.outage)
        trader = Trader(session, market, _generator(seed, session), incident.behaviours, scale, breaker)
        trader.run()
        return session, trader.drawdown_before

    scale = 1.0
    if incident.drawdown is not None:
        for _ in range(4):
            _, reached = attempt(scale, breaker=False)
            scale = min(max(scale * incident.drawdown / max(reached, 1e-4), 0.2), 3.0)
    return attempt(scale, breaker=True)[0]


def _generator(seed: int, session: Session) -> np.random.Generator:
    return np.random.default_rng([seed, 2, session.number])


class Trader:
    """Runs one session over the market's minutes."""

    def __init__(
        self,
        session: Session,
        market: Market,
        rng: np.random.Generator,
        behaviours: Sequence[Behaviour],
        scale: float = 1.0,
        breaker: bool = True,
    ) -> None:
        self.session = session
        self.market = market
        self.rng = rng
        self.behaviours = _schedule(behaviours)
        self.scale = scale
        self.breaker = breaker
        self.drawdown_before = 0.0
        self.cash = session.initial_capital
        self.peak = session.initial_capital
        self.breaches = 0
        self.open: list[Position] = []

    def run(self) -> None:
        last = minute(self.session.stopped_at or AS_OF)
        for index in range(minute(self.session.started_at), last):
            self._stops(index)
            equity = self.cash + sum(p.sign * p.quantity * self._close(p.symbol, index) for p in self.open)
            self.peak = max(self.peak, equity)
            final = self.session.stopped_at is not None and index == last - 1
            if index <= minute(MOMENT) - 4:
                self.drawdown_before = max(self.drawdown_before, 1 - equity / self.peak)
            self.breaches = self.breaches + 1 if 1 - equity / self.peak > self.session.limits.max_drawdown else 0
            if self.breaker and self.session.halted_at is None and self.breaches == CONFIRMATIONS:
                self.session.halted_at = opened(index + 1) + timedelta(seconds=2)
            if self.session.outage_at is not None and opened(index) >= self.session.outage_at:
                continue
            self._leave(index, everything=final)
            if self.session.halted_at is None and index < last - 1:
                for behaviour in self._acting(index):
                    self._enter(behaviour, index, equity)

    def _acting(self, index: int) -> list[Behaviour]:
        now = index - minute(MOMENT)
        chosen = []
        for options in self.behaviours.values():
            behaviour = next(b for b in options if b.start_minute <= now < b.end_minute)
            if self.rng.random() < behaviour.entries_per_hour / 60:
                chosen.append(behaviour)
        return chosen

    def _enter(self, behaviour: Behaviour, index: int, equity: float) -> None:
        limits = self.session.limits
        mine = {p.symbol for p in self.open}
        crowded = len(self.open) >= limits.max_positions
        if behaviour.ignores_limits:
            since = opened(max(minute(MOMENT) + behaviour.start_minute, 0))
            mine = {p.symbol for p in self.open if p.agent == behaviour.agent and p.entry_at >= since}
            crowded = bool(mine)
        free = [s for s in SYMBOLS if s.name not in mine and s.name in (behaviour.symbols or NAMES)]
        hold = int(self.rng.integers(behaviour.hold_minutes[0], behaviour.hold_minutes[1] + 1))
        draws = self.rng.random(6)
        if crowded or not free:
            return
        symbol = free[int(draws[0] * len(free))]
        price = self._close(symbol.name, index)
        side = "LONG" if draws[1] < behaviour.long_share else "SHORT"
        if behaviour.wrong_way is not None:
            later = self._close(symbol.name, min(index + hold, len(self.market.close) - 1))
            falls = later < price
            side = "LONG" if falls == (draws[1] < behaviour.wrong_way) else "SHORT"
        sign = 1 if side == "LONG" else -1
        paid = round(price * (1 + sign * _SLIPPAGE * (0.5 + draws[2])), symbol.price_decimals)
        share = (behaviour.size or limits.max_position_size * (0.72 + 0.27 * draws[3])) * self._scale(behaviour)
        if not behaviour.ignores_limits:
            share = min(share, limits.max_position_size)
        quantity = round(share * equity / paid, symbol.quantity_decimals)
        if quantity <= 0:
            return
        stop = round(paid * (1 - sign * STOP_LOSS), symbol.price_decimals) if draws[4] < behaviour.stops else None
        number = len(self.session.positions) + 1
        position = Position(
            number,
            self.session.number,
            behaviour.agent,
            symbol.name,
            side,
            quantity,
            paid,
            opened(index + 1) + timedelta(seconds=3 + int(draws[2] * 20), milliseconds=number % 997),
            index + hold,
            stop,
            round(paid * (1 + sign * TAKE_PROFIT), symbol.price_decimals),
            behaviour.reasons[number % len(behaviour.reasons)],
            round(0.7 + 0.25 * draws[5], 4),
        )
        self._fill(position, "entry", paid, position.entry_at, "BUY" if sign > 0 else "SELL")
        self.session.positions.append(position)
        self.open.append(position)

    def _scale(self, behaviour: Behaviour) -> float:
        return self.scale if behaviour.start_minute > -FOREVER else 1.0

    def _stops(self, index: int) -> None:
        for position in list(self.open):
            column = NAMES.index(position.symbol)
            low, high = self.market.low[index, column], self.market.high[index, column]
            worst, best = (low, high) if position.sign > 0 else (high, low)
            at = opened(index) + timedelta(seconds=34 + position.number % 22, milliseconds=position.number % 997)
            start = float(self.market.open[index, column])
            if position.stop_loss and position.sign * (worst - position.stop_loss) <= 0:
                edge = min(position.stop_loss * position.sign, start * position.sign) * position.sign
                price = edge + (float(worst) - edge) * 0.6
                self._exit(position, price, at, "stop_loss")
            elif position.take_profit and position.sign * (best - position.take_profit) >= 0:
                self._exit(position, position.take_profit, at, "take_profit")

    def _leave(self, index: int, everything: bool) -> None:
        halted = self.session.halted_at is not None
        for position in list(self.open):
            if everything or (index >= position.closes_at_minute and not halted):
                price = self._close(position.symbol, index) * (1 - position.sign * _SLIPPAGE)
                reason = "session_end" if everything else "signal"
                at = opened(index + 1) + timedelta(seconds=24 + position.number % 8)
                self._exit(position, price, at, reason)

    def _exit(self, position: Position, price: float, at: datetime, reason: str) -> None:
        decimals = SYMBOLS[NAMES.index(position.symbol)].price_decimals
        position.exit_price, position.exit_at, position.exit_reason = round(price, decimals), at, reason
        self._fill(position, "exit", position.exit_price, at, "SELL" if position.sign > 0 else "BUY")
        self.open.remove(position)

    def _fill(self, position: Position, order: str, price: float, at: datetime, side: str) -> None:
        """One order's fills: large ones in two or three parts, 400 ms apart, at one price."""
        decimals = SYMBOLS[NAMES.index(position.symbol)].quantity_decimals
        parts = 1 + position.number % 3 if order == "entry" else 1
        left = position.quantity
        for part in range(parts):
            quantity = left if part == parts - 1 else round(position.quantity / parts, decimals)
            fill = Fill(
                order, position.symbol, side, price, round(quantity, decimals), at + timedelta(seconds=0.4 * part)
            )
            left = round(left - quantity, decimals)
            if fill.quantity > 0:
                position.fills.append(fill)
                self.cash += fill.cash - fill.commission

    def _close(self, symbol: str, index: int) -> float:
        return float(self.market.close[index, NAMES.index(symbol)])


def _schedule(own: Sequence[Behaviour]) -> dict[str, list[Behaviour]]:
    """For each trading agent the incident's behaviours, then its usual one."""
    schedule = {usual.agent: [b for b in own if b.agent == usual.agent] + [usual] for usual in USUAL}
    reasons = {usual.agent: usual.reasons for usual in USUAL}
    if unknown := {b.agent for b in own} - schedule.keys():
        raise DemoError(f"An incident has behaviours of agents that do not trade: {', '.join(sorted(unknown))}.")
    return {
        agent: [b if b.reasons else replace(b, reasons=reasons[agent]) for b in options]
        for agent, options in schedule.items()
    }
