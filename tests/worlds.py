"""Turn a running platform into a harder world: empty, without a session, NaN, hostile, huge; and servers that hang.

Each function changes the platform's own copy of the data, never what is kept for the next start.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from cryptofunk_demo.logs import Line, zerolog_console, zerolog_json
from cryptofunk_demo.moment import AS_OF, MOMENT
from cryptofunk_demo.platform import Platform
from cryptofunk_demo.processes import free_port
from cryptofunk_demo.series import Series
from tests.lifelike import LIFELIKE

TABLES = (
    "candlesticks, trading_sessions, positions, orders, trades, agent_signals, agent_status, llm_decisions, "
    "performance_metrics, orchestrator_state, audit_logs"
)
NASTY = (
    "<script>alert(1)</script>",
    "'; DROP TABLE positions; --",
    '"} or vector(1) or {x="',
    "{{ 7*7 }} {0} %s %(x)s ${HOME} $(id)",
    "line one\nline two\r\n\tline three",
    "\x1b[31mred\x1b[0m\x1b[2J\x1b]0;title\x07",
    "abc\u202egpj.exe\u2066\u200b",
    "](javascript:alert(1)) <img src=x onerror=alert(1)>",
    "</pre></td></table><h1>broken</h1>",
    "=cmd|'/c calc'!A1",
    "long " * 4000,
)
"""Texts that must come out inert: markup, SQL, PromQL, templates, newlines, terminal codes, bidi, very long."""


def empty(platform: Platform) -> None:
    """The schema without rows, Prometheus without series, no log lines, no events."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute(f"TRUNCATE {TABLES} CASCADE")
    platform.replace_metrics(lambda series: iter(()))
    if state := platform.cluster_state:
        with state.lock:
            state.logs.clear()
            state.previous.clear()
            state.objects["events"] = []


def no_session(platform: Platform) -> None:
    """Candles and agents, but nobody has ever traded: no session, nor anything that belongs to one."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute(
            "TRUNCATE trading_sessions, positions, orders, trades, agent_signals, llm_decisions, performance_metrics"
            " CASCADE"
        )


def nan(platform: Platform) -> None:
    """NULL and NaN where numbers are expected: sessions, positions, performance, candles, gauges."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute("UPDATE trading_sessions SET total_pnl = NULL, max_drawdown = 'NaN', sharpe_ratio = 'NaN'")
        connection.execute(
            "UPDATE performance_metrics SET total_value = 'NaN', total_pnl = NULL, max_drawdown = 'NaN'"
            " WHERE right(id::text, 1) < '8'"
        )
        connection.execute(
            "UPDATE positions SET realized_pnl = CASE WHEN right(id::text, 1) < '4' THEN 'NaN'::numeric END,"
            " unrealized_pnl = 'NaN', metadata = NULL, entry_reason = NULL WHERE right(id::text, 1) < '8'"
        )
        connection.execute("UPDATE trades SET commission = NULL WHERE right(id::text, 1) < '4'")
        connection.execute("UPDATE candlesticks SET close = 'NaN' WHERE right(id::text, 1) < '2'")
        connection.execute("UPDATE agent_status SET avg_confidence = NULL, last_heartbeat = NULL")
    platform.replace_metrics(lambda series: map(_with_holes, series))


def no_numbers(platform: Platform) -> None:
    """A fill, performance rows and candles that are NaN, moments that are infinite, samples that are +Inf or NaN."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute(
            "UPDATE trades SET quote_quantity = 'NaN'"
            " WHERE id = (SELECT id FROM trades ORDER BY executed_at DESC LIMIT 1)"
        )
        connection.execute(
            "UPDATE performance_metrics SET total_value = 'NaN', max_drawdown = 'NaN' WHERE right(id::text, 1) < '2'"
        )
        connection.execute("UPDATE candlesticks SET high = 'NaN', quote_volume = 'NaN' WHERE right(id::text, 1) < '2'")
        connection.execute(
            "UPDATE trading_sessions SET stopped_at = 'infinity', total_pnl = 'NaN' WHERE stopped_at IS NULL"
        )
        connection.execute("UPDATE orchestrator_state SET resumed_at = '-infinity', updated_at = 'infinity'")
        connection.execute(
            "UPDATE positions SET exit_time = 'infinity', unrealized_pnl = 'NaN' WHERE exit_time IS NULL"
        )
    platform.replace_metrics(lambda series: map(_without_numbers, series))


def no_prices(platform: Platform) -> None:
    """Candles that end three hours before the report, whatever else goes on."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute("DELETE FROM candlesticks WHERE close_time > %s", (AS_OF - timedelta(hours=3),))


def hourly(platform: Platform) -> None:
    """Candles of an hour alone, and under the other spelling of their symbols."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute("DELETE FROM candlesticks WHERE interval <> '1h'")
        connection.execute("UPDATE candlesticks SET symbol = replace(symbol, 'USDT', '/USDT')")


def future(platform: Platform) -> None:
    """Heartbeats from a clock that is an hour ahead."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute("UPDATE agent_status SET last_heartbeat = %s", (AS_OF + timedelta(hours=1),))


def young(platform: Platform) -> None:
    """A platform of ten minutes that has not traded yet: nothing in its tables or its metrics is older."""
    since = AS_OF - timedelta(minutes=10)
    written = {
        "agent_signals": "created_at",
        "llm_decisions": "created_at",
        "candlesticks": "open_time",
        "audit_logs": "timestamp",
        "performance_metrics": "metric_time",
    }
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute("TRUNCATE trades, orders, positions")
        connection.execute("UPDATE trading_sessions SET started_at = %s WHERE stopped_at IS NULL", (since,))
        for table, column in written.items():
            names = map(sql.Identifier, (table, column))
            connection.execute(sql.SQL("DELETE FROM {} WHERE {} < %s").format(*names), (since,))
    platform.replace_metrics(lambda series: (_since(line, since) for line in series))


def hostile(platform: Platform) -> None:
    """Hostile text in every column, label and log line that takes free text."""
    with psycopg.connect(platform.admin_url) as connection:
        for number, text in enumerate(NASTY):
            digit = f"{number:x}"
            connection.execute(
                "UPDATE positions SET entry_reason = %(text)s, exit_reason = left(%(text)s, 400),"
                " symbol = left(%(text)s, 20),"
                " metadata = jsonb_build_object('agent_name', %(text)s::text) WHERE right(id::text, 1) = %(digit)s",
                {"text": text, "digit": digit},
            )
            connection.execute(
                "UPDATE orders SET error_message = %s, symbol = left(%s, 20) WHERE right(id::text, 1) = %s",
                (text, text, digit),
            )
            connection.execute("UPDATE trades SET symbol = left(%s, 20) WHERE right(id::text, 1) = %s", (text, digit))
            for table in ("agent_signals", "llm_decisions"):
                column = "reasoning" if table == "agent_signals" else "response"
                statement = sql.SQL("UPDATE {} SET {} = %s, agent_name = left(%s, 100) WHERE right(id::text, 1) = %s")
                connection.execute(statement.format(sql.Identifier(table), sql.Identifier(column)), (text, text, digit))
            connection.execute(
                "UPDATE audit_logs SET action = %s, error_message = %s, user_id = left(%s, 255)"
                " WHERE right(id::text, 1) = %s",
                (text, text, text, digit),
            )
        connection.execute("UPDATE orchestrator_state SET pause_reason = %s, paused_by = %s", (NASTY[0], NASTY[1]))
        column = "last_error" if platform.schema == "platform" else "error_message"
        connection.execute(sql.SQL("UPDATE agent_status SET {} = %s").format(sql.Identifier(column)), (NASTY[7],))
    platform.replace_metrics(_with_nasty_labels)
    if state := platform.cluster_state:
        with state.lock:
            for lines in state.logs.values():
                lines.extend(_nasty_lines())
                lines.sort(key=lambda line: line.time)
            for pod in state.objects["pods"]:
                for status in pod["status"]["containerStatuses"]:
                    status["lastState"] = {
                        "terminated": {
                            "exitCode": 1,
                            "reason": "Error",
                            "message": NASTY[0] + NASTY[5],
                            "startedAt": "2026-01-14T05:00:00Z",
                            "finishedAt": "2026-01-15T13:55:00Z",
                        }
                    }


def hostile_alert(platform: Platform) -> dict[str, Any]:
    """The incident's alert with hostile labels and annotations beside its own."""
    alert = platform.alert
    nasty = {f"nasty_{number}": text for number, text in enumerate(NASTY)}
    return {
        **alert,
        "labels": {**alert["labels"], **nasty, "symbol": NASTY[2], "pod": NASTY[3], "breaker_type": NASTY[1]},
        "annotations": {**alert["annotations"], **nasty, "description": NASTY[0]},
        "generatorURL": "javascript:alert(1)",
    }


def huge(platform: Platform, performance: int = 1_000_000, fills: int = 0, candles: int = 0) -> None:
    """Rows added by the server itself: performance metrics of the open session, fills, and older candles.

    The session is made to begin long enough ago: one performance row every 30 s before its start.
    """
    key = sql.Identifier("id" if platform.schema == "platform" else "session_id")
    with psycopg.connect(platform.admin_url) as connection:
        session = connection.execute(
            sql.SQL("SELECT {}, started_at FROM trading_sessions ORDER BY created_at DESC LIMIT 1").format(key)
        ).fetchone()
        if session is None:
            return
        # Without the foreign key's trigger and with the indexes made afterwards it takes a third of the time.
        connection.execute("SET LOCAL session_replication_role = replica")
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'performance_metrics' AND indexname !~ 'pkey'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        connection.execute(
            "INSERT INTO performance_metrics (id, session_id, symbol, metric_time, total_value, cash_balance,"
            " position_value, unrealized_pnl, realized_pnl, total_pnl, win_rate, sharpe_ratio, max_drawdown)"
            " SELECT ('00000000-0000-4000-a000-' || lpad(to_hex(i), 12, '0'))::uuid, %s, 'BTCUSDT',"
            " %s - i * interval '30 seconds', 10000 + v, 9000, 1000 + v, 0, v, v, 0.5, 0.1, 0.005"
            " FROM generate_series(1, %s) AS i, LATERAL (SELECT round((20 * sin(i / 900.0))::numeric, 8) AS v) AS w",
            (session[0], session[1], performance),
        )
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute(
            sql.SQL(
                "UPDATE trading_sessions SET started_at = started_at - %s * interval '30 seconds' WHERE {} = %s"
            ).format(key),
            (performance, session[0]),
        )
        connection.execute(
            "INSERT INTO trades (order_id, exchange_trade_id, symbol, exchange, side, price, quantity, quote_quantity,"
            " commission, commission_asset, executed_at)"
            " SELECT (SELECT id FROM orders ORDER BY placed_at LIMIT 1), i::text, 'BTCUSDT', 'binance',"
            " CASE WHEN i %% 2 = 0 THEN 'SELL' ELSE 'BUY' END::order_side, 96000, 0.0001, 9.6, 0.0096, 'USDT',"
            " %s - (i / 2) * interval '10 seconds' FROM generate_series(1, %s) AS i",
            (session[1], fills),
        )
        connection.execute(
            "INSERT INTO candlesticks (symbol, exchange, interval, open_time, close_time, open, high, low, close,"
            " volume, quote_volume) SELECT 'BTCUSDT', 'binance', '1m', t, t + interval '59.999 seconds', 96000, 96010,"
            " 95990, 96000 + 5 * sin(i / 60.0), 12, 1152000 FROM (SELECT i, %s - i * interval '1 minute' AS t"
            " FROM generate_series(1, %s) AS i) AS s",
            (AS_OF - timedelta(hours=48), candles),
        )
    with psycopg.connect(platform.admin_url, autocommit=True) as connection:
        connection.execute("ANALYZE performance_metrics, trades, candlesticks")


def dead_url(scheme: str = "http") -> str:
    """An address of loopback where nothing listens."""
    return f"{scheme}://127.0.0.1:{free_port()}"


@contextmanager
def hanging() -> Iterator[int]:
    """The port of a server that accepts every connection and never says a word."""
    stop, kept = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.settimeout(0.1)

        def accept() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    kept.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stop.set()
            thread.join()
            for connection in kept:
                connection.close()


WORLDS: dict[str, Callable[[Platform], None]] = {
    "empty": empty,
    "no-session": no_session,
    "nan": nan,
    "no-numbers": no_numbers,
    "no-prices": no_prices,
    "hourly": hourly,
    "future": future,
    "young": young,
    "hostile": hostile,
    "huge": huge,
    **LIFELIKE,
}


def _with_holes(series: Series) -> Series:
    if series.name == "ALERTS":
        return series
    values = series.values.copy()
    values[::3] = np.nan
    values[-1] = np.nan
    return replace(series, values=values)


def _without_numbers(series: Series) -> Series:
    """Every fifth sample NaN, and +Inf at the end; of counters too, which should never be."""
    if series.name == "ALERTS":
        return series
    values = series.values.astype("float64")
    values[::5] = np.nan
    values[-3:] = np.inf
    return replace(series, values=values)


def _since(series: Series, moment: datetime) -> Series:
    is_young = series.times >= moment.timestamp()
    return replace(series, times=series.times[is_young], values=series.values[is_young])


def _with_nasty_labels(series: Iterator[Series]) -> Iterator[Series]:
    seen: set[str] = set()
    for line in series:
        yield line
        free = {"symbol", "breaker_type", "type", "path"} & line.labels.keys()
        if free and line.name not in seen and not line.name.endswith(("_bucket", "_sum", "_count")):
            seen.add(line.name)
            for text in NASTY[:10]:
                yield replace(line, labels={**line.labels, min(free): text})


def _nasty_lines() -> list[Line]:
    lines = []
    for number, text in enumerate(NASTY):
        time = MOMENT - timedelta(minutes=number, seconds=3)
        fields = {"error": text, "symbol": text, "agent": text}
        lines += [
            Line(time, zerolog_json(time, "error", text, fields)),
            Line(time, zerolog_console(time, "error", text, fields)),
            Line(time, text),
            Line(time, json.dumps({"level": "error", "time": "yesterday", "message": {"nested": [text]}})),
            Line(time, json.dumps({"level": 7, "time": 1e40, "message": None}) + text[:100]),
        ]
    return [Line(line.time, piece) for line in lines for piece in line.text.split("\n")]
