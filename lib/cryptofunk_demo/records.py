"""The simulation as rows of the platform's tables. The written runbook's schema is derived from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cryptofunk_demo import decisions, orders
from cryptofunk_demo.accounts import Account
from cryptofunk_demo.incident import Incident
from cryptofunk_demo.market import EXCHANGE, NAMES, Market, candlesticks
from cryptofunk_demo.moment import AS_OF, identity
from cryptofunk_demo.trading import Position, Session

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows for one table, in the order of `columns`."""

    table: str
    columns: tuple[str, ...]
    rows: list[Row]


CANDLES = (
    "symbol exchange interval open_time close_time open high low close volume quote_volume trades_count "
    "taker_buy_base_volume taker_buy_quote_volume created_at"
)
SESSIONS = (
    "id mode symbol exchange started_at stopped_at initial_capital final_capital total_trades winning_trades "
    "losing_trades total_pnl max_drawdown sharpe_ratio config metadata created_at updated_at"
)
POSITIONS = (
    "id session_id symbol exchange side entry_price exit_price quantity entry_time exit_time stop_loss take_profit "
    "realized_pnl unrealized_pnl fees entry_reason exit_reason metadata created_at updated_at"
)
_SYMBOL = "BTCUSDT"
"""The symbol of every session, and so of its rows in performance_metrics."""
PERFORMANCE = (
    "id session_id metric_time symbol total_value cash_balance position_value unrealized_pnl realized_pnl total_pnl "
    "win_rate sharpe_ratio max_drawdown metadata created_at"
)


def tables(
    incident: Incident, market: Market, sessions: list[Session], accounts: list[Account], seed: int
) -> list[Rows]:
    """Every table's rows, in an order that foreign keys allow."""
    current = sessions[-1]
    return [
        _rows("candlesticks", CANDLES, candlesticks(market)),
        _rows("trading_sessions", SESSIONS, map(_session, sessions, accounts)),
        _rows("positions", POSITIONS, (_position(p, market) for s in sessions for p in s.positions)),
        _rows("orders", orders.ORDERS, orders.orders(sessions, incident)),
        _rows("trades", orders.TRADES, orders.trades(sessions)),
        _rows("performance_metrics", PERFORMANCE, _performance(sessions, accounts)),
        _rows("agent_signals", decisions.SIGNALS, decisions.signals(sessions, market, incident, seed)),
        _rows("llm_decisions", decisions.DECISIONS, decisions.llm_decisions(sessions, market, seed)),
        _rows("agent_status", decisions.STATUS, decisions.agent_status(current, incident, seed)),
        _rows("orchestrator_state", decisions.STATE, decisions.orchestrator_state(current, incident)),
        _rows("audit_logs", decisions.AUDIT, decisions.audit_logs(sessions, incident)),
    ]


def documented(tables: Iterable[Rows], market: Market) -> list[Rows]:
    """The same rows in the schema as the written runbook has it."""
    return [_documented(rows, market) for rows in tables]


def _documented(rows: Rows, market: Market) -> Rows:
    names, data = list(rows.columns), rows.rows
    if rows.table == "trading_sessions":
        names[names.index("id")] = "session_id"
        pnl, capital = names.index("total_pnl"), names.index("initial_capital")
        return Rows(
            rows.table,
            (*names, "roi_percentage"),
            [(*row, round(100 * _number(row[pnl]) / _number(row[capital]), 8)) for row in data],
        )
    if rows.table == "positions":
        ends, symbol, exit_price = names.index("exit_time"), names.index("symbol"), names.index("exit_price")
        last = dict(zip(NAMES, market.close[-1].tolist(), strict=True))
        return Rows(
            rows.table,
            (*names, "status", "current_price"),
            [
                (
                    *row,
                    "OPEN" if row[ends] is None else "CLOSED",
                    last[str(row[symbol])] if row[ends] is None else row[exit_price],
                )
                for row in data
            ],
        )
    if rows.table == "agent_status":
        names[names.index("last_error")] = "error_message"
        status = names.index("status")
        words = {"RUNNING": "ACTIVE", "STOPPED": "INACTIVE", "ERROR": "ERROR", "STARTING": "STARTING"}
        changed = [(*row[:status], words[str(row[status])], *row[status + 1 :]) for row in data]
        return Rows(rows.table, tuple(names), changed)
    return rows


def _rows(table: str, columns: str, rows: Iterable[Row]) -> Rows:
    return Rows(table, tuple(columns.split()), list(rows))


def _session(session: Session, account: Account) -> Row:
    closed = [p for p in session.positions if p.exit_at]
    won = sum(p.realized_pnl > 0 for p in closed)
    final = float(account.total_value[-1]) if session.stopped_at else None
    limits = session.limits
    config = {
        "symbols": list(NAMES),
        "risk": {
            "max_position_size": limits.max_position_size,
            "max_daily_loss": limits.max_daily_loss,
            "max_drawdown": limits.max_drawdown,
            "default_stop_loss": 0.02,
            "default_take_profit": 0.05,
            "min_confidence": 0.7,
        },
        "trading": {"max_positions": limits.max_positions, "initial_capital": session.initial_capital},
    }
    return (
        session.id,
        session.mode,
        _SYMBOL,
        EXCHANGE,
        session.started_at,
        session.stopped_at,
        session.initial_capital,
        _money(final),
        len(closed),
        won,
        len(closed) - won,
        _money(account.total_pnl[-1]),
        _money(account.max_drawdown[-1]),
        _money(account.daily_sharpe[-1]),
        json.dumps(config),
        json.dumps({"strategy": "consensus", "version": "1.8.2"}),
        session.started_at,
        session.stopped_at or AS_OF,
    )


def _position(position: Position, market: Market) -> Row:
    mark = float(market.close[-1, NAMES.index(position.symbol)])
    unrealized = position.unrealized_pnl(mark)
    metadata = {
        "agent_name": position.agent,
        "signal_id": decisions.signal_id(position),
        "confidence": position.confidence,
    }
    return (
        position.id,
        str(identity("session", position.session)),
        position.symbol,
        EXCHANGE,
        position.side,
        position.entry_price,
        position.exit_price,
        position.quantity,
        position.entry_at,
        position.exit_at,
        position.stop_loss,
        position.take_profit,
        position.realized_pnl,
        unrealized,
        position.fees,
        f"{position.agent}: {position.reason}",
        position.exit_reason or None,
        json.dumps(metadata),
        position.entry_at,
        position.exit_at or AS_OF,
    )


def _performance(sessions: list[Session], accounts: list[Account]) -> Iterator[Row]:
    for session, a in zip(sessions, accounts, strict=True):
        columns = [
            a.total_value,
            a.cash,
            a.position_value,
            a.unrealized,
            a.realized,
            a.total_pnl,
            a.win_rate,
            a.daily_sharpe,
            a.max_drawdown,
        ]
        values = np.round(np.column_stack(columns), 8).tolist()
        for number, (time, row) in enumerate(zip(a.times, values, strict=True)):
            if session.outage_at is not None and time > session.outage_at:
                break
            yield (
                f"00000000-0000-4000-9{session.number:03x}-{number:012x}",
                session.id,
                time,
                _SYMBOL,
                *row,
                None,
                time,
            )


def _money(value: float | None) -> float | None:
    return None if value is None else round(float(value), 8)


def _number(value: object) -> float:
    return float(str(value))
