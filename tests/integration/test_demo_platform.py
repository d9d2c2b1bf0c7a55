"""The simulated platform, running: real PostgreSQL, Prometheus and Alertmanager, and the Kubernetes double."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from cryptofunk_demo import incidents
from cryptofunk_demo.database import SCHEMAS
from cryptofunk_demo.moment import AS_OF, MOMENT
from cryptofunk_demo.platform import Platform
from runbook.errors import DemoError
from tests import worlds

needs_prometheus = pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
needs_alertmanager = pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None, reason="Alertmanager is not installed"
)


@pytest.fixture(params=SCHEMAS)
def database_only(request: pytest.FixtureRequest, run_folder: Path) -> Iterator[Platform]:
    with Platform.start(
        "flash-crash", request.param, run_folder, metrics=False, cluster=False, alertmanager=False
    ) as platform:
        yield platform


@pytest.fixture
def with_metrics(run_folder: Path) -> Iterator[Platform]:
    with Platform.start("bad-metric", folder=run_folder, cluster=False, alertmanager=False) as platform:
        yield platform


def one(address: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(address) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row


def ask(platform: Platform, query: str, moment: datetime = AS_OF) -> list[tuple[dict[str, str], float]]:
    parameters = {"query": query, "time": str(moment.timestamp())}
    answer = httpx.get(f"{platform.environment['PROMETHEUS_URL']}/api/v1/query", params=parameters)
    return [(r["metric"], float(r["value"][1])) for r in answer.raise_for_status().json()["data"]["result"]]


def test_tables_agree_to_a_millionth(database_only: Platform) -> None:
    key = "id" if database_only.schema == "platform" else "session_id"
    address = database_only.environment["DATABASE_URL"]
    with psycopg.connect(address) as connection:
        rows = connection.execute(
            f"SELECT s.total_pnl, s.max_drawdown, s.total_trades, p.realized, p.unrealized, p.closed, f.realized,"
            f" m.total_pnl, m.max_drawdown, m.realized_pnl"
            f" FROM trading_sessions AS s"
            f" JOIN LATERAL (SELECT sum(realized_pnl) AS realized, sum(unrealized_pnl) AS unrealized,"
            f"   count(exit_time) AS closed FROM positions WHERE session_id = s.{key}) AS p ON true"
            f" JOIN LATERAL (SELECT sum(CASE WHEN x.exit_time IS NULL THEN 0 WHEN t.side = 'SELL' THEN t.quote_quantity"
            f"   ELSE -t.quote_quantity END) - sum(t.commission) AS realized FROM trades AS t"
            f"   JOIN orders AS o ON o.id = t.order_id JOIN positions AS x ON x.id = o.position_id"
            f"   WHERE o.session_id = s.{key}) AS f ON true"
            f" JOIN LATERAL (SELECT * FROM performance_metrics WHERE session_id = s.{key}"
            f"   ORDER BY metric_time DESC LIMIT 1) AS m ON true ORDER BY s.created_at"  # type: ignore[arg-type]
        ).fetchall()
    assert len(rows) == 5
    for total, drawdown, trades, realized, unrealized, closed, from_fills, last, last_drawdown, last_realized in rows:
        assert abs(total - (realized + unrealized)) < 1e-6
        assert abs(realized - from_fills) < 1e-6
        assert abs(total - last) < 1e-6
        assert abs(drawdown - last_drawdown) < 1e-6
        assert abs(realized - last_realized) < 1e-6
        assert trades == closed
    assert rows[-1][1] > 0.10


def test_every_filled_order_has_its_fills_and_every_open_stop_a_position(database_only: Platform) -> None:
    address = database_only.environment["DATABASE_URL"]
    off = one(
        address,
        "SELECT count(*) FROM orders AS o LEFT JOIN (SELECT order_id, sum(quantity) AS q FROM trades GROUP BY 1) AS t"
        " ON t.order_id = o.id WHERE coalesce(t.q, 0) <> o.executed_quantity"
        " OR (o.status = 'FILLED' AND o.executed_quantity <> o.quantity)",
    )
    assert off == (0,)
    assert one(address, "SELECT count(*) FROM orders WHERE status = 'NEW' AND position_id IS NULL") == (1,)
    no_stop = "SELECT count(*) FROM positions WHERE exit_time IS NULL AND stop_loss IS NULL"
    assert one(address, no_stop)[0] == 1


def test_the_reader_can_read_and_nothing_else(database_only: Platform) -> None:
    address = database_only.environment["DATABASE_URL"]
    for statement in (
        "DELETE FROM positions",
        "UPDATE trades SET price = 1",
        "INSERT INTO orchestrator_state VALUES (2)",
    ):
        with psycopg.connect(address) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)  # type: ignore[arg-type]
    assert one(address, "SELECT count(*) FROM pg_stat_activity WHERE query IS NOT NULL")[0] != 0


def test_a_second_start_copies_what_is_kept_and_changes_stay_with_one_platform(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"metrics": False, "cluster": False, "alertmanager": False}
    with Platform.start("healthy", folder=run_folder, **options) as first:
        worlds.no_session(first)
        monkeypatch.setattr("cryptofunk_demo.platform.simulate", lambda *_: pytest.fail("it was simulated again"))
        with Platform.start("healthy", folder=run_folder, **options) as second:
            count = "SELECT count(*) FROM trading_sessions"
            assert one(first.environment["DATABASE_URL"], count) == (0,)
            assert one(second.environment["DATABASE_URL"], count) == (5,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(second.environment["DATABASE_URL"])


def test_an_unknown_schema_is_refused(run_folder: Path) -> None:
    with pytest.raises(DemoError, match="platform, documented"):
        Platform.start("healthy", "other", run_folder)


@needs_prometheus
def test_the_gauge_that_fired_disagrees_with_the_performance_rows(with_metrics: Platform) -> None:
    query = "SELECT total_value, total_pnl FROM performance_metrics WHERE metric_time = %s"
    with psycopg.connect(with_metrics.environment["DATABASE_URL"]) as connection:
        row = connection.execute(query, (MOMENT,)).fetchone()
    assert row is not None
    assert ask(with_metrics, "cryptofunk_total_pnl", MOMENT)[0][1] == pytest.approx(float(row[1]), abs=1e-4)
    assert ask(with_metrics, "cryptofunk_current_drawdown", MOMENT)[0][1] > 0.13
    assert ask(with_metrics, "max_over_time(cryptofunk_current_drawdown[20h] offset 20m)")[0][1] < 0.03


@needs_prometheus
def test_prometheus_answers_rates_quantiles_rules_and_earlier_firings(with_metrics: Platform) -> None:
    p95 = "histogram_quantile(0.95, sum by (le) (rate(cryptofunk_agent_processing_duration_ms_bucket[5m])))"
    assert 500 < ask(with_metrics, p95)[0][1] < 5000
    throttled = "max(rate(container_cpu_cfs_throttled_periods_total[5m]) / rate(container_cpu_cfs_periods_total[5m]))"
    assert 0 < ask(with_metrics, throttled)[0][1] < 0.1
    fired = ask(with_metrics, 'count_over_time(ALERTS{alertname="MaxDrawdownExceeded",alertstate="firing"}[14d])')
    assert sorted(value for _, value in fired) == [9.0, 34.0]
    rules = httpx.get(f"{with_metrics.environment['PROMETHEUS_URL']}/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert "MaxDrawdownExceeded" in {rule["name"] for rule in rules}


@needs_prometheus
@pytest.mark.parametrize("name", incidents.INCIDENTS)
def test_every_firing_alert_is_one_that_its_expression_gives(name: str, run_folder: Path) -> None:
    with Platform.start(name, folder=run_folder, cluster=False, alertmanager=False) as platform:
        for spec in (platform.incident.alert, *platform.incident.also_firing):
            assert bool(ask(platform, spec.expression)) is spec.firing, spec.name


@needs_alertmanager
def test_alertmanager_holds_the_alert_with_its_own_start(run_folder: Path) -> None:
    with Platform.start("flash-crash", folder=run_folder, metrics=False, cluster=False) as platform:
        found = httpx.get(f"{platform.environment['ALERTMANAGER_URL']}/api/v2/alerts").json()
        assert platform.alert["startsAt"] == "2026-01-15T14:02:00Z"
    by_name = {alert["labels"]["alertname"]: alert for alert in found}
    assert set(by_name) >= {"MaxDrawdownExceeded", "CircuitBreakerTripped"}
    starts = datetime.fromisoformat(by_name["MaxDrawdownExceeded"]["startsAt"])
    assert starts == datetime(2026, 1, 15, 14, 2, tzinfo=UTC)


@needs_prometheus
@pytest.mark.parametrize("name", ["empty", "nan", "hostile"])
def test_a_world_is_what_it_says(name: str, run_folder: Path) -> None:
    with Platform.start("flash-crash", folder=run_folder, alertmanager=False) as platform:
        worlds.WORLDS[name](platform)
        address = platform.environment["DATABASE_URL"]
        if name == "empty":
            assert one(address, "SELECT count(*) FROM performance_metrics") == (0,)
            assert ask(platform, "up") == []
            state = platform.cluster_state
            assert state is not None
            assert state.logs == {}
        elif name == "nan":
            assert one(address, "SELECT count(*) FROM positions WHERE realized_pnl = 'NaN'")[0] != 0
            gauge = ask(platform, "cryptofunk_current_drawdown")[0][1]
            assert gauge != gauge
        else:
            found = one(address, "SELECT count(*) FROM positions WHERE entry_reason LIKE '<script>%'")
            assert found[0] != 0
            symbols = {labels["symbol"] for labels, _ in ask(platform, "cryptofunk_position_value_by_symbol")}
            assert worlds.NASTY[2] in symbols


def test_a_huge_world_has_the_rows_it_was_asked_for(database_only: Platform) -> None:
    worlds.huge(database_only, performance=2_000, fills=100, candles=50)
    count = one(database_only.environment["DATABASE_URL"], "SELECT count(*) FROM performance_metrics")
    assert count[0] > 7_000  # type: ignore[operator]


def test_a_hanging_server_takes_connections_and_says_nothing() -> None:
    with worlds.hanging() as port, pytest.raises(httpx.ReadTimeout):
        httpx.get(f"http://127.0.0.1:{port}/", timeout=0.3)
    with pytest.raises(httpx.ConnectError):
        httpx.get(worlds.dead_url())


@needs_prometheus
@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_prometheus_ends_with_its_owner_even_when_killed(run_folder: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from cryptofunk_demo.platform import Platform\n"
        "p = Platform.start('healthy', folder=pathlib.Path(sys.argv[1]), cluster=False)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(run_folder)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        children = [c for c in psutil.Process(owner.pid).children() if "prometheus" in c.name()]
        assert len(children) >= 1
        owner.send_signal(signal.SIGKILL)
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    left = list(run_folder.glob(f"run-{owner.pid}-*"))
    assert left
    Platform.start("healthy", folder=run_folder, metrics=False, cluster=False, alertmanager=False).stop()
    assert not any(place.exists() for place in left)
