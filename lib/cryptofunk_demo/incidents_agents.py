"""Incidents of agents: down, slow; in half of them the obvious cause is not the cause. `incidents` lists them."""

from __future__ import annotations

from cryptofunk_demo.agents import AGENTS
from cryptofunk_demo.incident import (
    AgentState,
    AlertSpec,
    Audit,
    Event,
    Incident,
    LogLine,
    Override,
    PodState,
    Rollout,
)
from cryptofunk_demo.workloads import BY_NAME, MEBI


def _alert(name: str, expression: str, summary: str, **labels: str) -> AlertSpec:
    return AlertSpec(
        name=name,
        labels={"severity": "warning", "component": "agents", "namespace": "cryptofunk", **labels},
        annotations={"summary": summary, "runbook_url": f"https://runbooks.example.com/{name}"},
        expression=expression,
    )


def _silent(*kinds: str, since: int) -> tuple[Override, ...]:
    """Agents that are off by their own metric and make no signals, and the count of those that are on."""
    off = [
        Override("cryptofunk_agent_status", value=0.0, labels={"agent_type": kind}, start_minute=since)
        for kind in kinds
    ]
    mute = [
        Override("cryptofunk_agent_signals_total", value=0.0, labels={"agent_type": kind}, start_minute=since)
        for kind in kinds
    ]
    count = Override("cryptofunk_active_agents", value=float(len(AGENTS) - len(kinds)), start_minute=since)
    return (*off, *mute, count)


_DOWN = "cryptofunk_agent_status == 0"
# The platform's rule says "> 5000", which never holds: the histogram's last finite bucket ends at 5000, and
# histogram_quantile gives that for whatever lies above it.
_SLOW = (
    "histogram_quantile(0.95, sum by (le, agent_type) "
    "(rate(cryptofunk_agent_processing_duration_ms_bucket[5m]))) >= 5000"
)

AGENT_OOM = Incident(
    name="agent-oom",
    title="The sentiment agent grows until its memory limit kills it, again and again",
    cause="memory limit of sentiment-agent",
    alert=_alert("AgentDown", _DOWN, "Agent sentiment is down", agent_type="sentiment"),
    overrides=(
        *_silent("sentiment", since=-3),
        Override(
            "container_memory_working_set_bytes",
            value=505.0 * MEBI,
            labels={"pod": BY_NAME["sentiment-agent"].pod},
            start_minute=-170,
            ramp_minutes=165,
        ),
    ),
    pods=(
        PodState(
            "sentiment-agent",
            ready=False,
            restarts=6,
            waiting="CrashLoopBackOff",
            terminated="OOMKilled",
            exit_code=137,
            minute=-3.2,
            message="back-off 5m0s restarting failed container",
        ),
    ),
    events=(
        Event("sentiment-agent", -3.1, "BackOff", "Back-off restarting failed container sentiment-agent", count=11),
        Event(
            "sentiment-agent",
            -3.2,
            "OOMKilling",
            "Memory cgroup out of memory: Killed process 4117 (sentiment-agent)",
            count=6,
        ),
    ),
    logs=(
        LogLine(
            "sentiment-agent", -160, "warn", "Headline cache grows", {"entries": 48000}, count=30, every_seconds=300
        ),
        LogLine(
            "orchestrator",
            -3,
            "warn",
            "Agent missed its heartbeat",
            {"agent": "sentiment-analyst"},
            count=10,
            every_seconds=60,
        ),
    ),
    agents=(
        AgentState(
            "sentiment-analyst", "ERROR", silent_minutes=11.3, errors=6, last_error="process killed (exit code 137)"
        ),
    ),
)

_NO_TOOLS = (
    '{"level":"error","error":"dial tcp 10.43.0.27:9202: connect: connection refused",'
    '"server":"technical-indicators-server","time":"2026-01-15T13:56:01Z",'
    '"message":"MCP client cannot connect"}\n'
    '{"level":"fatal","error":"mcp: initialize technical-indicators-server: connection refused",'
    '"time":"2026-01-15T13:56:02Z","message":"Agent cannot start"}'
)

AGENTS_WITHOUT_TOOLS = Incident(
    name="agents-without-tools",
    title="Three agents restart as if they crashed; the indicators' MCP server is down after a rollout",
    cause="technical-indicators-server",
    alert=_alert("AgentUnhealthy", _DOWN, "Agents keep restarting", agent_type="technical"),
    overrides=(
        *_silent("technical", "trend", "reversion", since=-6),
        Override(
            "cryptofunk_errors_total", value=42.0, labels={"component": "mcp", "type": "tool_error"}, start_minute=-8
        ),
        Override(
            "cryptofunk_mcp_tool_call_duration_ms_count",
            value=0.0,
            labels={"server": "technical-indicators"},
            start_minute=-8,
        ),
        # LLM requests fall away with the agents that made them; a few time out, which is not the reason.
        Override("cryptofunk_llm_request_duration_ms_count", scale=0.5, start_minute=-7),
    ),
    pods=(
        PodState(
            "technical-indicators-server",
            ready=False,
            waiting="ImagePullBackOff",
            minute=-8.5,
            message='Back-off pulling image "cryptofunk/technical-indicators-server:1.9.0-rc1"',
        ),
        *(
            PodState(
                f"{kind}-agent",
                ready=False,
                restarts=5,
                waiting="CrashLoopBackOff",
                terminated="Error",
                exit_code=1,
                minute=minute,
                message="back-off 2m40s restarting failed container",
                previous_log=_NO_TOOLS,
            )
            for kind, minute in (("technical", -1.5), ("trend", -1.2), ("reversion", -0.8))
        ),
    ),
    rollouts=(Rollout("technical-indicators-server", -9, "cryptofunk/technical-indicators-server:1.9.0-rc1"),),
    events=(
        Event(
            "technical-indicators-server",
            -8.4,
            "Failed",
            'Failed to pull image "cryptofunk/technical-indicators-server:1.9.0-rc1": not found',
            count=5,
        ),
        *(
            Event(f"{kind}-agent", -1, "BackOff", f"Back-off restarting failed container {kind}-agent", count=7)
            for kind in ("technical", "trend", "reversion")
        ),
    ),
    logs=(
        *(
            LogLine(
                f"{kind}-agent",
                0.2,
                "error",
                "MCP client cannot connect",
                {
                    "server": "technical-indicators-server",
                    "error": "dial tcp 10.43.0.27:9202: connect: connection refused",
                },
                count=4,
                every_seconds=20,
            )
            for kind in ("technical", "trend", "reversion")
        ),
        LogLine(
            "bifrost",
            -5,
            "warn",
            "Upstream slow",
            {"latency_ms": 4100, "model": "claude-sonnet-4"},
            count=3,
            every_seconds=90,
        ),
        LogLine(
            "orchestrator",
            -5.5,
            "warn",
            "Agent missed its heartbeat",
            {"agent": "technical-analyst"},
            count=12,
            every_seconds=60,
        ),
    ),
    agents=tuple(
        AgentState(agent, "ERROR", silent_minutes=14.1, errors=5, last_error="mcp: connection refused")
        for agent in ("technical-analyst", "trend-follower", "mean-reversion")
    ),
    audits=(
        Audit(
            -9,
            "CONFIG_UPDATED",
            "image technical-indicators-server 1.8.3 -> 1.9.0-rc1",
            "deployment/technical-indicators-server",
            user="deploy-bot",
        ),
    ),
)

CPU_THROTTLED = Incident(
    name="cpu-throttled",
    title="Two agents are throttled after a rollout; the LLM has looked slow since the morning and is not the cause",
    cause="CPU",
    alert=_alert("AgentHighProcessingTime", _SLOW, "Agent trend takes too long", agent_type="trend"),
    overrides=(
        *(
            Override(
                "cryptofunk_agent_processing_duration_ms",
                value=value,
                labels={"agent_type": kind},
                start_minute=-34,
                ramp_minutes=8,
            )
            for kind, value in (("trend", 6900.0), ("reversion", 5600.0))
        ),
        *(
            Override(
                "container_cpu_cfs_throttled_periods_total",
                value=value,
                labels={"pod": BY_NAME[f"{kind}-agent"].pod},
                start_minute=-36,
                ramp_minutes=8,
            )
            for kind, value in (("trend", 452.0), ("reversion", 371.0))
        ),
        *(
            Override(
                "container_cpu_usage_seconds_total",
                value=29.4,
                labels={"pod": BY_NAME[f"{kind}-agent"].pod},
                start_minute=-36,
                ramp_minutes=4,
            )
            for kind in ("trend", "reversion")
        ),
        Override("cryptofunk_llm_request_duration_ms", value=2900.0, start_minute=-310, ramp_minutes=20),
    ),
    rollouts=(
        Rollout("trend-agent", -37, "cryptofunk/trend-agent:1.9.0"),
        Rollout("reversion-agent", -37, "cryptofunk/reversion-agent:1.9.0"),
    ),
    logs=(
        LogLine(
            "bifrost",
            -300,
            "warn",
            "High upstream latency",
            {"latency_ms": 5200, "model": "claude-sonnet-4"},
            count=52,
            every_seconds=350,
        ),
        LogLine(
            "trend-agent",
            -33,
            "warn",
            "Decision exceeded its budget",
            {"duration_ms": 7100, "budget_ms": 5000, "phase": "indicators"},
            count=40,
            every_seconds=62,
        ),
        LogLine("trend-agent", -37, "info", "Backtest on every decision enabled", {"bars": 20000}),
        LogLine(
            "reversion-agent",
            -33,
            "warn",
            "Decision exceeded its budget",
            {"duration_ms": 5800, "budget_ms": 5000, "phase": "indicators"},
            count=33,
            every_seconds=70,
        ),
    ),
    audits=(
        Audit(
            -37,
            "CONFIG_UPDATED",
            "image trend-agent, reversion-agent 1.8.3 -> 1.9.0",
            "deployment/trend-agent",
            user="deploy-bot",
        ),
    ),
)

_QUERY = (
    "SELECT open_time, close, volume FROM candlesticks WHERE exchange = 'binance' AND close > 0 "
    "ORDER BY open_time DESC LIMIT 20000"
)
_HEARTBEAT = "UPDATE agent_status SET last_heartbeat = now() WHERE agent_name = 'trend-follower'"

SLOW_QUERY = Incident(
    name="slow-query",
    title="Every agent waits for one slow query; Bifrost complains of latency, but answers as it always did",
    cause="database",
    alert=_alert("AgentHighLatency", _SLOW, "Agents take over 5 seconds"),
    overrides=(
        *(
            Override(
                "cryptofunk_agent_processing_duration_ms",
                value=5200.0 + 260 * number,
                labels={"agent_type": agent.metric_type},
                start_minute=-26,
                ramp_minutes=6,
            )
            for number, agent in enumerate(AGENTS)
        ),
        Override(
            "cryptofunk_database_query_duration_ms",
            value=410.0,
            labels={"query_type": "select"},
            start_minute=-27,
            ramp_minutes=6,
        ),
        Override("cryptofunk_database_connections_active", value=9.1, start_minute=-25, ramp_minutes=6),
        Override("cryptofunk_database_connections_idle", value=0.9, start_minute=-25, ramp_minutes=6),
        Override("cryptofunk_llm_request_duration_ms", scale=1.3, start_minute=-26, ramp_minutes=6),
        Override("cryptofunk_orchestrator_latency_ms", scale=4.0, start_minute=-26, ramp_minutes=6),
    ),
    logs=(
        LogLine("postgres", -27, "info", f"duration: 4213.208 ms  statement: {_QUERY}", count=44, every_seconds=42),
        LogLine(
            "postgres",
            -25,
            "info",
            f"duration: 1120.401 ms  statement: {_HEARTBEAT}",
            count=6,
            every_seconds=200,
        ),
        LogLine(
            "bifrost",
            -24,
            "warn",
            "Client waited long before sending the next turn",
            {"latency_ms": 6400, "upstream_ms": 1310},
            count=30,
            every_seconds=65,
        ),
        LogLine(
            "trend-agent",
            -24,
            "warn",
            "Loading candles is slow",
            {"duration_ms": 4300, "rows": 20000},
            count=20,
            every_seconds=90,
        ),
        LogLine(
            "technical-agent",
            -24,
            "warn",
            "Loading candles is slow",
            {"duration_ms": 4400, "rows": 20000},
            count=20,
            every_seconds=90,
        ),
    ),
    audits=(
        Audit(
            -31, "CONFIG_UPDATED", "strategies.*.lookback_bars 500 -> 20000", "config/strategies", user="ops@cryptofunk"
        ),
    ),
    statements=("CREATE EXTENSION IF NOT EXISTS pg_stat_statements",),
)

INCIDENTS = (AGENT_OOM, AGENTS_WITHOUT_TOOLS, CPU_THROTTLED, SLOW_QUERY)
