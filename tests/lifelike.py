"""Worlds as the platform is in life, where it is less tidy than the demo: sessions, prices, deployments, proxies.

Each function changes a running platform's own copy of the data, as those of tests.worlds do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg

from cryptofunk_demo.agents import AGENTS
from cryptofunk_demo.moment import AS_OF, SESSION_START
from cryptofunk_demo.platform import Platform
from cryptofunk_demo.series import Series
from cryptofunk_demo.state import Answer, Proxy
from cryptofunk_demo.workloads import WORKLOADS

ETHER = "00000000-0000-4000-b000-000000000001"
PAPER = "00000000-0000-4000-b000-000000000002"
YOUNGEST = "00000000-0000-4000-b000-000000000003"
"""The LIVE session that opened last and holds nothing."""
_HELD = ((ETHER, "ETHUSDT", 0.6, 3_300.0), (PAPER, "SOLUSDT", 30.0, 144.0))
"""What sessions hold beside those that were there: about 20 % of the LIVE one's value, 43 % of the PAPER one's."""
_SIGNALS = (("trend-follower", "BUY", 7), ("mean-reversion", "SELL", 3), ("sentiment-analyst", "HOLD", 1))
DEPLOYED = ("technical-analyst", "orderbook-analyst")
"""The agents that the platform's base deploys; agent_status has a row of each of the others all the same."""


def several_sessions(platform: Platform) -> None:
    """Three LIVE sessions and a PAPER one open at once, none configured, the youngest empty; nobody signs positions."""
    with psycopg.connect(platform.admin_url) as connection:
        for session, mode, symbol, began in (
            (ETHER, "LIVE", "ETHUSDT", SESSION_START),
            (PAPER, "PAPER", "SOLUSDT", SESSION_START),
            (YOUNGEST, "LIVE", "BNBUSDT", AS_OF - timedelta(minutes=25)),
        ):
            connection.execute(
                "INSERT INTO trading_sessions (id, mode, symbol, started_at, initial_capital, created_at, updated_at)"
                " VALUES (%(id)s, %(mode)s, %(symbol)s, %(began)s, 10000, %(began)s, %(began)s)",
                {"id": session, "mode": mode, "symbol": symbol, "began": began},
            )
            if session == YOUNGEST:
                continue
            for table in ("positions", "orders", "agent_signals", "llm_decisions"):
                connection.execute(
                    f"UPDATE {table} SET session_id = %s WHERE symbol = %s AND session_id ="
                    " (SELECT id FROM trading_sessions WHERE stopped_at IS NULL ORDER BY config NULLS LAST LIMIT 1)",
                    (session, symbol),
                )
        for number, (session, symbol, quantity, price) in enumerate(_HELD):
            connection.execute(
                "INSERT INTO positions (id, session_id, symbol, side, entry_price, quantity, entry_time, stop_loss)"
                " VALUES (%s, %s, %s, 'LONG', %s, %s, %s, %s)",
                (
                    f"00000000-0000-4000-b001-{number:012x}",
                    session,
                    symbol,
                    price,
                    quantity,
                    AS_OF - timedelta(hours=2),
                    0.9 * price,
                ),
            )
        # Of three signals before the entry of what the LIVE session holds one alone can have opened it.
        for agent, signal, minutes in _SIGNALS:
            connection.execute(
                "INSERT INTO agent_signals (session_id, agent_name, agent_type, symbol, signal, confidence, created_at)"
                " VALUES (%s, %s, 'strategy', 'ETHUSDT', %s, 0.8, %s)",
                (ETHER, agent, signal, AS_OF - timedelta(hours=2, minutes=minutes)),
            )
        connection.execute("UPDATE trading_sessions SET config = NULL")
        connection.execute("UPDATE positions SET metadata = NULL, entry_reason = 'consensus'")


def hourly_candles(platform: Platform) -> None:
    """Candles at one hour alone, under BTCUSDT, while all that trades spells it BTC/USDT."""
    with psycopg.connect(platform.admin_url) as connection:
        connection.execute("DELETE FROM candlesticks WHERE interval <> '1h'")
        for table in (
            "trading_sessions",
            "positions",
            "orders",
            "trades",
            "agent_signals",
            "llm_decisions",
            "performance_metrics",
        ):
            connection.execute(f"UPDATE {table} SET symbol = regexp_replace(symbol, 'USDT$', '/USDT')")


def few_deployed(platform: Platform) -> None:
    """Two of six agents deployed, MCP servers over stdio without a Service, no cAdvisor, and the rules' own labels."""
    absent = [agent for agent in AGENTS if agent.name not in DEPLOYED]
    with psycopg.connect(platform.admin_url) as connection:
        names = [agent.name for agent in absent]
        connection.execute("DELETE FROM agent_signals WHERE agent_name = ANY(%s)", (names,))
        connection.execute(
            "UPDATE agent_status SET status = 'STOPPED', started_at = NULL, last_heartbeat = NULL, pid = NULL,"
            " total_signals = 0, avg_confidence = NULL, error_count = 0, last_error = NULL"
            " WHERE agent_name = ANY(%s)",
            (names,),
        )
    platform.replace_metrics(_of_the_base)
    gone = {agent.workload for agent in absent} | {"arbitrage-agent"}
    servers = {workload.name for workload in WORKLOADS if workload.component == "mcp-server"}
    if state := platform.cluster_state:
        with state.lock:
            for kind, items in state.objects.items():
                without = gone | servers if kind == "services" else gone
                state.objects[kind] = [item for item in items if not _is_of(item["metadata"], without)]
            for workload in gone:
                state.logs.pop(workload, None)
                state.previous.pop(workload, None)


def kept_out(platform: Platform) -> None:
    """NetworkPolicies keep the API server's proxy out: 502, 503 and 504 by turns, whatever the service's state."""
    if state := platform.cluster_state:
        with state.lock:
            for number, key in enumerate(state.proxies):
                state.proxies[key] = _refused(502 + number % 3)


LIFELIKE = {
    "several-sessions": several_sessions,
    "hourly-candles": hourly_candles,
    "few-deployed": few_deployed,
    "kept-out": kept_out,
}


def _of_the_base(series: Iterator[Series]) -> Iterator[Series]:
    """What the platform's base is scraped for: no kubelet, no kube-state-metrics, agents by both spellings of type."""
    deployed = {agent.metric_type for agent in AGENTS if agent.name in DEPLOYED}
    for line in series:
        if line.name.startswith(("container_", "kube_", "kubelet_")):
            continue
        if line.labels.get("agent_type", "") not in {"", *deployed}:
            continue
        if line.name == "up" and line.labels.get("job", "") not in ("orchestrator", "api", "nats"):
            continue
        if line.name == "cryptofunk_active_agents":
            yield replace(line, values=line.values * 0 + len(deployed))
            continue
        if line.name == "cryptofunk_errors_total":
            yield replace(line, labels={**line.labels, "component": "system", "type": _key(line)})
            continue
        yield line
        if line.name == "cryptofunk_agent_status" and line.labels["agent_type"] == min(deployed):
            for kind, value in (("analysis", 1.0), ("strategy", 0.0), ("risk", 0.0)):
                yield replace(line, labels={"agent_type": kind}, values=line.values * 0 + value)


def _key(line: Series) -> str:
    """Errors keep their type; those of the same type of two components stay apart."""
    return f"{line.labels['component']}_{line.labels['type']}"


def _is_of(metadata: dict[str, object], workloads: set[str]) -> bool:
    labels = metadata.get("labels") or {}
    assert isinstance(labels, dict)
    return labels.get("app.kubernetes.io/name", metadata["name"]) in workloads


def _refused(code: int) -> Proxy:
    def answer(path: str, query: dict[str, str]) -> Answer:
        reason = b"error trying to reach service: dial tcp 10.42.0.9: i/o timeout"
        return code, "text/plain; charset=utf-8", reason

    return answer
