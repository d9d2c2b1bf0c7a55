"""What the agents ordered and what the exchange made of it: rows of orders and trades."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptofunk_demo.incident import Incident
from cryptofunk_demo.market import EXCHANGE
from cryptofunk_demo.moment import MOMENT, identity
from cryptofunk_demo.trading import Fill, Position, Session

Row = tuple[object, ...]

ORDERS = (
    "id session_id position_id exchange_order_id symbol exchange side type status price stop_price quantity "
    "executed_quantity executed_quote_quantity time_in_force placed_at filled_at canceled_at error_message "
    "metadata created_at updated_at"
)
TRADES = (
    "id order_id exchange_trade_id symbol exchange side price quantity quote_quantity commission commission_asset "
    "executed_at is_maker metadata created_at"
)


@dataclass(frozen=True, slots=True)
class _Order:
    """An order: what was asked of the exchange, and what became of it."""

    id: str
    session: str
    symbol: str
    side: str
    kind: str
    status: str
    quantity: float
    placed_at: datetime
    metadata: dict[str, str]
    position: str | None = None
    price: float | None = None
    stop_price: float | None = None
    fills: Sequence[Fill] = ()
    filled_at: datetime | None = None
    canceled_at: datetime | None = None

    @property
    def row(self) -> Row:
        """In the order of ORDERS."""
        executed_quantity = round(sum(fill.quantity for fill in self.fills), 8)
        executed_quote_quantity = round(sum(fill.quote for fill in self.fills), 8)
        return (
            self.id,
            self.session,
            self.position,
            str(int(self.id[:8], 16) + 28_000_000_000),
            self.symbol,
            EXCHANGE,
            self.side,
            self.kind,
            self.status,
            self.price,
            self.stop_price,
            self.quantity,
            executed_quantity,
            executed_quote_quantity,
            "GTC",
            self.placed_at,
            self.filled_at,
            self.canceled_at,
            None,
            json.dumps(self.metadata),
            self.placed_at,
            self.filled_at or self.canceled_at or self.placed_at,
        )


def orders(sessions: Sequence[Session], incident: Incident) -> Iterator[Row]:
    """Each position's entry, stop loss and exit, and the incident's stray order."""
    for session in sessions:
        for position in session.positions:
            yield _entry(position, session).row
            if position.stop_loss is not None:
                yield _stop_loss(position, session).row
            if position.exit_at and not _was_stopped(position):
                yield _exit(position, session, position.exit_at).row
    if incident.stray_order:
        yield _stray(sessions[-1]).row


def _entry(position: Position, session: Session) -> _Order:
    return _Order(
        id=_order_id(position, "entry"),
        session=session.id,
        position=position.id,
        symbol=position.symbol,
        side="BUY" if position.sign > 0 else "SELL",
        kind="MARKET",
        status="FILLED",
        quantity=position.quantity,
        fills=_fills(position, "entry"),
        placed_at=position.entry_at - timedelta(milliseconds=180),
        filled_at=_entered_at(position),
        metadata={"agent_name": position.agent},
    )


def _stop_loss(position: Position, session: Session) -> _Order:
    """The order that lies at the exchange while the position is open; it filled, was cancelled, or still lies there."""
    order = _Order(
        id=_order_id(position, "stop"),
        session=session.id,
        position=position.id,
        symbol=position.symbol,
        side=_leaving_side(position),
        kind="STOP_LOSS",
        status="NEW",
        quantity=position.quantity,
        stop_price=position.stop_loss,
        placed_at=_entered_at(position) + timedelta(milliseconds=250),
        metadata={"agent_name": position.agent},
    )
    if _was_stopped(position):
        return replace(
            order,
            id=_order_id(position, "exit"),
            status="FILLED",
            fills=_fills(position, "exit"),
            filled_at=position.exit_at,
        )
    if position.exit_at:
        return replace(order, status="CANCELED", canceled_at=position.exit_at)
    return order


def _exit(position: Position, session: Session, left_at: datetime) -> _Order:
    takes_profit = position.exit_reason == "take_profit"
    return _Order(
        id=_order_id(position, "exit"),
        session=session.id,
        position=position.id,
        symbol=position.symbol,
        side=_leaving_side(position),
        kind="LIMIT" if takes_profit else "MARKET",
        status="FILLED",
        quantity=position.quantity,
        price=position.take_profit if takes_profit else None,
        fills=_fills(position, "exit"),
        placed_at=left_at - timedelta(milliseconds=160),
        filled_at=left_at,
        metadata={"agent_name": position.agent},
    )


def _stray(session: Session) -> _Order:
    return _Order(
        id=str(identity("order", "stray")),
        session=session.id,
        symbol="ETHUSDT",
        side="BUY",
        kind="LIMIT",
        status="NEW",
        quantity=0.3,
        price=2_640.0,
        placed_at=MOMENT - timedelta(minutes=3, seconds=12),
        metadata={"agent_name": "mean-reversion", "client": "bracket"},
    )


def trades(sessions: Sequence[Session]) -> Iterator[Row]:
    """One row a fill."""
    for session in sessions:
        for position in session.positions:
            for number, fill in enumerate(position.fills):
                yield _trade(position, number, fill)


def _trade(position: Position, number: int, fill: Fill) -> Row:
    identifier = identity("trade", position.session, position.number, number)
    return (
        str(identifier),
        _order_id(position, fill.order),
        str(identifier.int % 10**10),
        fill.symbol,
        EXCHANGE,
        fill.side,
        fill.price,
        fill.quantity,
        fill.quote,
        fill.commission,
        "USDT",
        fill.executed_at,
        False,
        None,
        fill.executed_at,
    )


def _order_id(position: Position, kind: str) -> str:
    return str(identity("order", position.session, position.number, kind))


def _fills(position: Position, order: str) -> list[Fill]:
    return [fill for fill in position.fills if fill.order == order]


def _entered_at(position: Position) -> datetime:
    return max(fill.executed_at for fill in _fills(position, "entry"))


def _was_stopped(position: Position) -> bool:
    return position.exit_reason == "stop_loss"


def _leaving_side(position: Position) -> str:
    return "SELL" if position.sign > 0 else "BUY"
