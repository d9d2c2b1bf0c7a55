"""(d) ten thousand to ten million rows in performance_metrics, fills (trades) and candlesticks: time and memory."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from benchmarks.cases import Case, case
from benchmarks.measure import Section, median, seconds, spread, tell
from runbook.kernels import Warm, status
from runbook.kernels.size import pss_mb

PROCEDURE = "MaxDrawdownExceeded"
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
TABLES = ("performance_metrics", "trades", "candlesticks")

# History before what the demo has: as a platform grows, its past gets longer.
# Minutes apart, of 40 sessions and 40 markets.
_FILL = {
    "sessions": """
        INSERT INTO trading_sessions (id, mode, symbol, exchange, started_at, stopped_at, initial_capital)
        SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
               (SELECT mode FROM trading_sessions LIMIT 1), 'OLD' || n || '/USDT', 'binance',
               timestamptz '2020-01-01Z', timestamptz '2025-12-01Z', 10000
        FROM generate_series(0, 39) AS n ON CONFLICT DO NOTHING""",
    "orders": """
        INSERT INTO orders (id, session_id, symbol, exchange, side, type, status, quantity, placed_at, filled_at)
        SELECT s.id, s.id, s.symbol, s.exchange, o.side, o.type, o.status, 1,
               timestamptz '2020-01-01Z', timestamptz '2020-01-01Z'
        FROM trading_sessions s, (SELECT side, type, status FROM orders WHERE filled_at IS NOT NULL LIMIT 1) o
        WHERE s.symbol LIKE 'OLD%' ON CONFLICT DO NOTHING""",
    "performance_metrics": """
        INSERT INTO performance_metrics (session_id, symbol, metric_time, total_value, cash_balance, position_value,
                                         total_pnl, max_drawdown)
        SELECT ('00000000-0000-4000-8000-' || lpad((n %% 40)::text, 12, '0'))::uuid, 'OLD' || n %% 40 || '/USDT',
               timestamptz '2025-12-01Z' - (n / 40) * interval '1 minute', 10000 + n %% 97, 5000, 5000 + n %% 97,
               n %% 97, 0.01
        FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS n""",
    "trades": """
        INSERT INTO trades (order_id, symbol, exchange, side, price, quantity, quote_quantity, commission, executed_at)
        SELECT ('00000000-0000-4000-8000-' || lpad((n %% 40)::text, 12, '0'))::uuid,
               'OLD' || n %% 40 || '/USDT', 'binance', (SELECT side FROM orders LIMIT 1), 100 + n %% 7, 1, 100, 0.1,
               timestamptz '2025-12-01Z' - (n / 40) * interval '1 minute'
        FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS n""",
    "candlesticks": """
        INSERT INTO candlesticks (symbol, exchange, interval, open_time, close_time,
                                  open, high, low, close, volume, quote_volume)
        SELECT 'OLD' || n %% 40 || '/USDT', 'binance', '1m', timestamptz '2025-12-01Z' - (n / 40) * interval '1 minute',
               timestamptz '2025-12-01Z' - (n / 40 - 1) * interval '1 minute', 100, 101, 99, 100, 1, 100
        FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS n""",
}


def measure(folder: Path, warm: Warm, quick: bool) -> Section:
    """The drawdown's procedure, whose charts read all three tables, as the tables grow."""
    header = ("rows in each table", "table size", "warm run", "against 10⁴", "kernel and executor, most")
    section = Section("d", "Rows in the tables", "", header)
    times: list[list[float]] = []
    peaks: list[float] = []
    with case(PROCEDURE, folder) as (one, platform), psycopg.connect(platform.admin_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")  # filling would checkpoint all the time
        connection.execute("SELECT pg_reload_conf()")
        for size in SIZES[:-1] if quick else SIZES:
            rows = ", ".join(fill(platform.admin_url, size))
            connection.execute("CHECKPOINT")
            runs, peak = _runs(one, warm, rounds=3 if quick else 5)
            times.append(runs)
            peaks.append(peak)
            factor = median(runs) / median(times[0])
            section.rows.append((f"{size:,}", rows, spread(runs), f"**{factor:.2f}×**", f"{peak:.0f} MB"))
            tell(f"{size:,} rows: {spread(runs)}, {peak:.0f} MB")
    factor = median(times[-1]) / median(times[0])
    section.says = (
        f"{PROCEDURE} with longer and longer history. Wanted: under 1.5× from the least to the most, memory flat. "
        f"Found: {factor:.2f}× and {peaks[-1] - peaks[0]:+.0f} MB."
    )
    return section


def fill(url: str, size: int) -> list[str]:
    """Fill the three tables of the demo's database up to `size` rows each -> their sizes on disk, as text."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name in ("sessions", "orders"):
            connection.execute(_FILL[name])
    with ThreadPoolExecutor(len(TABLES)) as pool:
        return list(pool.map(lambda table: _grow(url, table, size), TABLES))


def _grow(url: str, table: str, size: int) -> str:
    """Fill the table up to `size` rows -> its size on disk, as text."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no look-up of a foreign key for each of the rows
        (have,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)  # a name of ours
        begun = int(str(have))
        if begun < size:
            connection.execute(_FILL[table], {"from": begun, "to": size - 1})
        connection.execute(f"VACUUM ANALYZE {table}")
        (pretty,) = connection.execute("SELECT pg_size_pretty(pg_total_relation_size(%s))", [table]).fetchone() or ("",)
    return str(pretty)


def _runs(one: Case, warm: Warm, rounds: int) -> tuple[list[float], float]:
    for _ in range(3):  # after the filling: the disk comes to rest, pages are read once
        time.sleep(1)
        one.warm(warm)
    found, peaks, done = [], [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(0.04):
            pids = [int(pid) for pid, state in status(warm.address)["pids"].items() if state == "used"]
            peaks.append(sum(pss_mb(pid) for pid in pids))

    for _ in range(rounds):
        time.sleep(0.5)
        found.append(seconds(lambda: one.warm(warm)))
    thread = threading.Thread(target=sample)  # of one more run: looking takes time itself
    thread.start()
    one.warm(warm)
    done.set()
    thread.join()
    return found, max(peaks)
