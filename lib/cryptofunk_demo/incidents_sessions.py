"""Incidents of trading sessions that ended; in two of three nothing is wrong with the orchestrator itself.

`incidents` lists them.
"""

from __future__ import annotations

from cryptofunk_demo.incident import (
    AlertSpec,
    Audit,
    Event,
    Incident,
    LogLine,
    Override,
    Pause,
    PodState,
    Rollout,
)
from cryptofunk_demo.workloads import BY_NAME, MEBI


def _alert(name: str) -> AlertSpec:
    return AlertSpec(
        name=name,
        labels={"severity": "critical", "component": "orchestrator", "namespace": "cryptofunk"},
        annotations={
            "summary": "No trading session runs",
            "runbook_url": f"https://runbooks.example.com/{name}",
        },
        expression="cryptofunk_active_sessions == 0",
    )


def _stopped(since: int) -> tuple[Override, ...]:
    """No session, no signals and no votes."""
    return tuple(
        Override(metric, value=0.0, start_minute=since)
        for metric in (
            "cryptofunk_active_sessions",
            "cryptofunk_agent_signals_total",
            "cryptofunk_voting_results_total",
        )
    )


SESSION_CRASH = Incident(
    name="session-crash",
    title="The orchestrator panics after a rollout and takes the trading session with it",
    cause="orchestrator",
    alert=_alert("TradingSessionFailure"),
    overrides=_stopped(-6),
    outage=-6.0,
    rollouts=(Rollout("orchestrator", -7, "cryptofunk/orchestrator:1.9.0"),),
    pods=(
        PodState(
            "orchestrator",
            ready=False,
            restarts=5,
            waiting="CrashLoopBackOff",
            terminated="Error",
            exit_code=2,
            minute=-1.4,
            message="back-off 2m40s restarting failed container",
        ),
    ),
    events=(
        Event("orchestrator", -1.2, "BackOff", "Back-off restarting failed container orchestrator", count=14),
        Event("orchestrator", -2, "Unhealthy", "Readiness probe failed: connect: connection refused", count=9),
    ),
    audits=(
        Audit(-7, "CONFIG_UPDATED", "image orchestrator 1.8.3 -> 1.9.0", "deployment/orchestrator", user="deploy-bot"),
    ),
)

_NO_RISK_ANALYZER = (
    '{"level":"error",'
    '"error":"Get \\"http://risk-analyzer-server:9203/health\\": connect: connection refused",'
    '"time":"2026-01-15T14:00:50Z","message":"MCP server not reachable"}\n'
    '{"level":"fatal","error":"mcp: risk-analyzer-server: connection refused",'
    '"time":"2026-01-15T14:00:53Z","message":"Trading session cannot start"}'
)

SESSION_WITHOUT_RISK = Incident(
    name="session-without-risk",
    title="The orchestrator keeps restarting as if it crashed; the risk analyzer behind it is killed for its memory",
    cause="risk-analyzer-server",
    alert=_alert("NoActiveSessions"),
    overrides=(
        *_stopped(-6),
        Override(
            "container_memory_working_set_bytes",
            value=508.0 * MEBI,
            labels={"pod": BY_NAME["risk-analyzer-server"].pod},
            start_minute=-50,
            ramp_minutes=42,
        ),
        Override(
            "cryptofunk_errors_total", value=18.0, labels={"component": "mcp", "type": "timeout"}, start_minute=-7
        ),
    ),
    outage=-6.0,
    pods=(
        PodState(
            "risk-analyzer-server",
            ready=False,
            restarts=4,
            waiting="CrashLoopBackOff",
            terminated="OOMKilled",
            exit_code=137,
            minute=-2.2,
            message="back-off 1m20s restarting failed container",
        ),
        PodState(
            "orchestrator",
            ready=False,
            restarts=4,
            waiting="CrashLoopBackOff",
            terminated="Error",
            exit_code=1,
            minute=-1.1,
            message="back-off 1m20s restarting failed container",
            previous_log=_NO_RISK_ANALYZER,
        ),
    ),
    events=(
        Event("orchestrator", -1, "BackOff", "Back-off restarting failed container orchestrator", count=12),
        Event(
            "risk-analyzer-server",
            -2.2,
            "OOMKilling",
            "Memory cgroup out of memory: Killed process 2210 (risk-analyzer)",
            count=4,
        ),
        Event(
            "risk-analyzer-server",
            -2.1,
            "BackOff",
            "Back-off restarting failed container risk-analyzer-server",
            count=8,
        ),
    ),
    logs=(
        LogLine(
            "orchestrator",
            -0.8,
            "error",
            "MCP server not reachable",
            {"server": "risk-analyzer-server", "error": "connect: connection refused"},
            count=5,
            every_seconds=12,
        ),
    ),
)

FORGOTTEN_PAUSE = Incident(
    name="forgotten-pause",
    title="Nothing crashed: trading was paused by hand for maintenance and nobody resumed it",
    cause="paused",
    alert=_alert("NoActiveSessions"),
    overrides=_stopped(-42),
    outage=-42.0,
    pause=Pause(-42, "ops@cryptofunk", "exchange maintenance 13:20 to 13:45"),
    logs=(
        LogLine(
            "orchestrator",
            -42,
            "info",
            "Trading paused",
            {"by": "ops@cryptofunk", "reason": "exchange maintenance 13:20 to 13:45"},
        ),
    ),
)

INCIDENTS = (SESSION_CRASH, SESSION_WITHOUT_RISK, FORGOTTEN_PAUSE)
