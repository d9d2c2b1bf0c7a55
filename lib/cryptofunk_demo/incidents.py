"""The incidents, by name. To add one, add one object here."""

from __future__ import annotations

from cryptofunk_demo import incidents_agents, incidents_platform, incidents_resources, incidents_sessions
from cryptofunk_demo.incident import (
    FOREVER,
    AlertSpec,
    Audit,
    Behaviour,
    Incident,
    Limits,
    LogLine,
    Override,
    PodState,
)
from cryptofunk_demo.market import Shock
from runbook.errors import DemoError

DRAWDOWN_EXPRESSION = "cryptofunk_current_drawdown > cryptofunk_max_drawdown_threshold"


def _drawdown_alert(value: str, firing: bool = True) -> AlertSpec:
    return AlertSpec(
        name="MaxDrawdownExceeded",
        labels={"severity": "critical", "component": "risk", "namespace": "cryptofunk", "category": "trading"},
        annotations={
            "summary": "Portfolio drawdown exceeded its maximum",
            "description": f"Current drawdown is {value}; the threshold is 10.00%.",
            "runbook_url": "https://runbooks.example.com/MaxDrawdownExceeded",
        },
        expression=DRAWDOWN_EXPRESSION,
        firing=firing,
    )


def _also(name: str, start_minute: int, severity: str, component: str, expression: str, **labels: str) -> AlertSpec:
    return AlertSpec(
        name=name,
        labels={"severity": severity, "component": component, "namespace": "cryptofunk", **labels},
        annotations={"summary": f"{name} on {component}"},
        expression=expression,
        start_minute=start_minute,
    )


def _critical_drawdown(start_minute: int) -> AlertSpec:
    expression = "cryptofunk_current_drawdown > 0.9 * cryptofunk_max_drawdown_threshold"
    return _also("CriticalDrawdown", start_minute, "critical", "risk", expression)


_TRIPPED = _also(
    "CircuitBreakerTripped",
    0,
    "critical",
    "circuit_breaker",
    "cryptofunk_circuit_breaker_status == 1",
    breaker_type="max_drawdown",
)
_LARGE = _also(
    "LargePositionValue", 2, "warning", "trading", "cryptofunk_position_value_by_symbol > 5000", symbol="ETHUSDT"
)

HEALTHY = Incident(
    name="healthy",
    title="Nothing is wrong: the alert has resolved, the drawdown is small",
    cause="none",
    alert=_drawdown_alert("{drawdown:.2%}", firing=False),
)

FLASH_CRASH = Incident(
    name="flash-crash",
    title="The whole market falls by a fifth in twenty minutes",
    cause="market-wide",
    alert=_drawdown_alert("{drawdown:.2%}"),
    shocks=(
        Shock(-20, -9, -0.075, roughness=4.0),
        Shock(-9, 0, -0.15, roughness=5.0),
        Shock(0, 8, 0.018, roughness=4.0),
    ),
    limits=Limits(max_position_size=0.25, max_positions=5),
    drawdown=0.102,
    behaviours=(
        Behaviour("trend-follower", -150, -21, entries_per_hour=6, hold_minutes=(150, 260), long_share=1, stops=0.7),
        Behaviour("technical-analyst", -150, -21, entries_per_hour=6, hold_minutes=(150, 260), long_share=1, stops=0.8),
        Behaviour("mean-reversion", -20, 0, entries_per_hour=40, hold_minutes=(30, 90), long_share=1),
        Behaviour("technical-analyst", -20, 0, entries_per_hour=30, hold_minutes=(30, 90), long_share=1),
        Behaviour("sentiment-analyst", -20, 0, entries_per_hour=20, hold_minutes=(30, 90), long_share=1),
    ),
    overrides=(
        Override("cryptofunk_exchange_api_latency_ms", scale=3.5, start_minute=-18, end_minute=4, ramp_minutes=3),
        Override("cryptofunk_order_execution_latency_ms", scale=2.5, start_minute=-18, end_minute=4, ramp_minutes=3),
    ),
    logs=(
        LogLine(
            "risk-agent",
            -19,
            "warn",
            "Volatility above normal range",
            {"symbol": "{symbol}", "vol_ratio": 4.8},
            count=18,
            every_seconds=55,
        ),
        LogLine(
            "risk-agent",
            -14,
            "warn",
            "Stop loss hit",
            {"symbol": "{symbol}", "slippage_bps": 38},
            count=9,
            every_seconds=70,
        ),
        LogLine(
            "risk-agent",
            -6,
            "error",
            "Drawdown approaching limit",
            {"drawdown": 0.084, "limit": 0.1},
            count=3,
            every_seconds=40,
        ),
        LogLine(
            "risk-agent",
            -1.4,
            "error",
            "Max drawdown exceeded, halting trading",
            {"error": "drawdown above limit 0.1000", "breaker": "max_drawdown"},
        ),
        LogLine(
            "order-executor-server",
            -17,
            "warn",
            "Order executed with slippage",
            {"symbol": "{symbol}"},
            count=22,
            every_seconds=45,
        ),
        LogLine("orchestrator", -1.3, "error", "Trading paused by circuit breaker", {"reason": "max_drawdown"}),
        LogLine(
            "order-executor-server",
            -16,
            "error",
            "Order rejected",
            {"error": "exchange: price outside percent filter", "symbol": "{symbol}"},
            count=5,
            every_seconds=150,
            console=True,
        ),
    ),
    audits=(
        Audit(
            -1922,
            "CONFIG_UPDATED",
            "risk.max_position_size 0.10 -> 0.25, trading.max_positions 3 -> 5",
            "config/risk",
            metadata={"risk.max_position_size": 0.25, "trading.max_positions": 5},
        ),
    ),
    also_firing=(_critical_drawdown(-2), _TRIPPED),
    stray_order=True,
)

ROGUE_STRATEGY = Incident(
    name="rogue-strategy",
    title="One agent over-trades large positions the wrong way while the market is calm",
    cause="trend-follower",
    alert=_drawdown_alert("{drawdown:.2%}"),
    calm=0.9,
    drawdown=0.101,
    behaviours=(
        Behaviour(
            "trend-follower",
            -214,
            FOREVER,
            entries_per_hour=60,
            hold_minutes=(3, 4),
            long_share=0.5,
            size=0.55,
            wrong_way=0.86,
            stops=0.7,
            ignores_limits=True,
            reasons=("EMA(3) crossed EMA(5) on 1m", "1m breakout above 3-bar high", "Momentum flip on 1m bars"),
        ),
        Behaviour("mean-reversion", -214, FOREVER, entries_per_hour=0.3),
    ),
    overrides=(Override("cryptofunk_agent_signals_total", scale=9, labels={"agent_type": "trend"}, start_minute=-214),),
    logs=(
        LogLine(
            "risk-agent",
            -230,
            "warn",
            "Position size above limit, approved by strategy override",
            {"agent": "trend-follower", "size": 0.55, "limit": 0.1, "symbol": "{symbol}"},
            count=58,
            every_seconds=236,
        ),
        LogLine("trend-agent", -214, "info", "Configuration reloaded", {"lookback_bars": 3, "was": 60}),
        LogLine(
            "trend-agent",
            -230,
            "info",
            "Signal generated",
            {"symbol": "{symbol}", "confidence": 0.71},
            count=58,
            every_seconds=236,
        ),
        LogLine(
            "risk-agent",
            -9,
            "error",
            "Drawdown approaching limit",
            {"drawdown": 0.091, "limit": 0.1},
            count=3,
            every_seconds=150,
        ),
        LogLine(
            "risk-agent",
            -1.4,
            "error",
            "Max drawdown exceeded, halting trading",
            {"error": "drawdown above limit 0.1000", "breaker": "max_drawdown"},
        ),
        LogLine("orchestrator", -1.3, "error", "Trading paused by circuit breaker", {"reason": "max_drawdown"}),
    ),
    audits=(
        Audit(
            -214,
            "CONFIG_UPDATED",
            "strategies.trend.lookback_bars 60 -> 3; risk_override = true",
            "config/strategies/trend",
            user="deploy-bot",
            metadata={"strategies.trend.lookback_bars": 3, "strategies.trend.risk_override": True},
        ),
    ),
    also_firing=(_critical_drawdown(-19), _TRIPPED, _LARGE),
)

BAD_METRIC = Incident(
    name="bad-metric",
    title="The gauge that fired keeps the peak of an earlier paper session; the fills know of no such loss",
    cause="gauge",
    alert=_drawdown_alert("{stale_drawdown:.2%}"),
    shocks=(Shock(-300, -190, -0.062, roughness=1.3),),
    drawdown=0.021,
    behaviours=(
        Behaviour("mean-reversion", -340, -190, entries_per_hour=12, hold_minutes=(40, 150), long_share=1),
        Behaviour("technical-analyst", -340, -190, entries_per_hour=9, hold_minutes=(60, 150), long_share=1),
    ),
    overrides=(Override("cryptofunk_current_drawdown", fact="stale_drawdown", start_minute=-4),),
    pods=(PodState("risk-agent", restarts=1, terminated="Completed", exit_code=0, minute=-4.5),),
    logs=(
        LogLine(
            "risk-agent",
            -4.2,
            "info",
            "Peak equity restored from checkpoint",
            {"peak_equity": "{paper_peak:.2f}", "session_mode": "PAPER", "checkpoint": "2026-01-12T05:59:30Z"},
        ),
        LogLine("risk-agent", -4.1, "warn", "Checkpoint is older than the current session", {"age_hours": 80}),
        LogLine(
            "risk-agent",
            -1.4,
            "error",
            "Max drawdown exceeded, halting trading",
            {"error": "drawdown above limit 0.1000", "drawdown": "{stale_drawdown:.4f}"},
        ),
        LogLine("orchestrator", -1.3, "error", "Trading paused by circuit breaker", {"reason": "max_drawdown"}),
    ),
    audits=(
        Audit(
            -6,
            "CONFIG_UPDATED",
            "rollout restart deployment/risk-agent",
            "deployment/risk-agent",
            metadata={"image": "cryptofunk/risk-agent:1.8.3"},
        ),
    ),
    also_firing=(_critical_drawdown(-3), _TRIPPED),
)

INCIDENTS: dict[str, Incident] = {
    i.name: i
    for i in (
        HEALTHY,
        FLASH_CRASH,
        ROGUE_STRATEGY,
        BAD_METRIC,
        *incidents_platform.INCIDENTS,
        *incidents_resources.INCIDENTS,
        *incidents_agents.INCIDENTS,
        *incidents_sessions.INCIDENTS,
    )
}
DEFAULT = FLASH_CRASH.name


def named(name: str) -> Incident:
    """The incident called `name`. Raises DemoError listing the names there are."""
    try:
        return INCIDENTS[name]
    except KeyError:
        raise DemoError(f"There is no incident {name!r}. Choose one of: {', '.join(INCIDENTS)}.") from None
