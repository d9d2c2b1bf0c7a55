"""Why the agents did what they did, and what the platform noted: signals, LLM decisions, states, audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from cryptofunk_demo.agents import AGENTS, BY_NAME, Agent
from cryptofunk_demo.incident import AgentState, Incident
from cryptofunk_demo.market import NAMES, Market
from cryptofunk_demo.moment import AS_OF, MOMENT, identity, minute
from cryptofunk_demo.trading import Position, Session

Row = tuple[object, ...]

SIGNALS = (
    "id session_id agent_name agent_type symbol signal confidence reasoning context indicators llm_prompt "
    "llm_response llm_model llm_tokens_used processing_time_ms created_at"
)
DECISIONS = (
    "id session_id decision_type symbol prompt response model tokens_used latency_ms cost_usd cached outcome "
    "outcome_pnl agent_name confidence context metadata created_at"
)
STATUS = (
    "id agent_name agent_type status pid started_at last_heartbeat total_signals avg_confidence error_count "
    "last_error config metadata created_at updated_at"
)
STATE = "id paused paused_at resumed_at paused_by pause_reason updated_at created_at"
AUDIT = (
    "id timestamp event_type severity user_id ip_address resource action success error_message metadata "
    "request_id duration_ms"
)
_MODEL = "claude-sonnet-4"
_HOLD_MINUTES = 10


def signal_id(position: Position) -> str:
    return str(identity("signal", position.session, position.number))


def signals(sessions: list[Session], market: Market, incident: Incident, seed: int) -> Iterator[Row]:
    """A signal for every position, and for the open session each agent's regular look at the market."""
    for session in sessions:
        for position in session.positions:
            yield _signal_of(position, session, market)
    yield from _looks(sessions[-1], market, incident, np.random.default_rng([seed, 3]))


def _signal_of(position: Position, session: Session, market: Market) -> Row:
    at = position.entry_at - timedelta(seconds=2)
    tokens = 900 + position.number * 37 % 700
    side = "BUY" if position.sign > 0 else "SELL"
    return (
        signal_id(position),
        session.id,
        position.agent,
        BY_NAME[position.agent].agent_type,
        position.symbol,
        side,
        position.confidence,
        position.reason,
        json.dumps({"mode": session.mode}),
        json.dumps(_indicators(market, position.symbol, at)),
        f"{position.symbol}: decide BUY, SELL or HOLD.",
        f'{{"action": "{side}", "reason": "{position.reason}"}}',
        _MODEL,
        tokens,
        700 + position.number * 131 % 1900,
        at,
    )


def _looks(session: Session, market: Market, incident: Incident, rng: np.random.Generator) -> Iterator[Row]:
    silent = {state.agent: state.silent_minutes for state in incident.agents}
    for number, agent in enumerate(AGENTS[:-1]):
        end = AS_OF - timedelta(minutes=silent.get(agent.name, 0.0))
        end = min(end, session.outage_at or end)
        at = session.started_at + timedelta(seconds=17 + 41 * number)
        count = 0
        while at < end:
            symbol = NAMES[count % len(NAMES)]
            confidence = round(0.35 + 0.33 * float(rng.random()), 4)
            yield (
                str(identity("look", agent.name, count)),
                session.id,
                agent.name,
                agent.agent_type,
                symbol,
                "HOLD",
                confidence,
                "No edge above the minimum confidence",
                "{}",
                json.dumps(_indicators(market, symbol, at)),
                None,
                None,
                None,
                None,
                int(300 + 900 * rng.random()),
                at,
            )
            count += 1
            at += timedelta(minutes=_HOLD_MINUTES)


def _indicators(market: Market, symbol: str, at: datetime) -> dict[str, float]:
    last = max(minute(at), 61)
    closes = market.close[last - 60 : last, NAMES.index(symbol)]
    returns = np.diff(np.log(closes))
    gains, losses = returns[returns > 0].sum(), -returns[returns < 0].sum()
    return {
        "rsi_60": round(100 * float(gains / max(gains + losses, 1e-12)), 2),
        "return_60m": round(float(closes[-1] / closes[0] - 1), 6),
        "volatility_60m": round(float(returns.std()), 6),
    }


def llm_decisions(sessions: list[Session], market: Market, seed: int) -> Iterator[Row]:
    """For each position of the last sessions the agent's decision and the risk agent's approval."""
    rng = np.random.default_rng([seed, 4])
    for session in sessions[-2:]:
        for position in session.positions:
            outcome, pnl = _outcome(position)
            share = position.entry_price * position.quantity / session.initial_capital
            decision = f"{position.side} {position.symbol}: {position.reason}"
            approval = f"Approved: size {share:.0%} of the portfolio, within limits"
            if share > session.limits.max_position_size * 1.1:
                approval = f"Approved: size {share:.0%} of the portfolio is above the limit, strategy override is set"
            answers = (
                ("signal", position.agent, decision, 3.0),
                ("risk_approval", "risk-manager", approval, 1.0),
            )
            for kind, agent, answer, seconds in answers:
                tokens = int(700 + 900 * rng.random())
                yield (
                    str(identity("decision", session.number, position.number, kind)),
                    session.id,
                    kind,
                    position.symbol,
                    f"{kind} for {position.symbol} {position.side}",
                    answer,
                    _MODEL,
                    tokens,
                    int(rng.lognormal(7.1, 0.35)),
                    round(tokens * 9e-6, 6),
                    False,
                    outcome,
                    pnl,
                    agent,
                    position.confidence,
                    json.dumps({"position_share": round(share, 4)}),
                    json.dumps({"signal_id": signal_id(position)}),
                    position.entry_at - timedelta(seconds=seconds),
                )


def _outcome(position: Position) -> tuple[str | None, float | None]:
    """(SUCCESS or FAILURE, PnL in USDT); None for both while the position is open."""
    if position.exit_at is None:
        return None, None
    return "SUCCESS" if position.realized_pnl > 0 else "FAILURE", position.realized_pnl


def agent_status(session: Session, incident: Incident, seed: int) -> Iterator[Row]:
    states = {state.agent: state for state in incident.agents}
    for number, agent in enumerate(AGENTS):
        yield _agent(agent, number, states.get(agent.name, AgentState(agent.name)), session)


def _agent(agent: Agent, number: int, state: AgentState, session: Session) -> Row:
    beat = AS_OF - timedelta(seconds=4 + 3 * number) - timedelta(minutes=state.silent_minutes)
    mine = [p.confidence for p in session.positions if p.agent == agent.name]
    started = session.started_at - timedelta(minutes=3)
    return (
        str(identity("agent", agent.name)),
        agent.name,
        agent.agent_type,
        state.status,
        1,
        started,
        beat,
        len(mine) + int((beat - session.started_at) / timedelta(minutes=_HOLD_MINUTES)),
        round(float(np.mean([*mine, 0.55])), 4),
        state.errors,
        state.last_error or None,
        json.dumps({"interval_seconds": agent.decides_every_seconds}),
        json.dumps({"deployment": agent.workload}),
        started,
        beat,
    )


def halted_at(session: Session, incident: Incident) -> tuple[datetime | None, str]:
    """When and why trading was paused: by hand, by the drawdown breaker, or by an alert on a metric that says so."""
    if incident.pause:
        return MOMENT + timedelta(minutes=incident.pause.minute), incident.pause.reason
    if session.halted_at:
        return session.halted_at + timedelta(seconds=1), "max_drawdown"
    if incident.alert.firing and incident.alert.name == "MaxDrawdownExceeded":
        return MOMENT - timedelta(seconds=78), "max_drawdown"
    return None, ""


def orchestrator_state(session: Session, incident: Incident) -> Iterator[Row]:
    at, reason = halted_at(session, incident)
    who, why = ("circuit-breaker", f"{reason}: drawdown above limit") if at else (None, None)
    if incident.pause:
        who, why = incident.pause.by, reason
    yield (1, at is not None, at, None, who, why, at or session.started_at, session.started_at)


def audit_logs(sessions: list[Session], incident: Incident) -> Iterator[Row]:
    """Every session's start and stop, the open one's orders, the pause, and the incident's own rows, by time."""
    rows = [_note(s.started_at, "TRADING_START", f"session/{s.id}", "session started", mode=s.mode) for s in sessions]
    rows += [
        _note(s.stopped_at, "TRADING_STOP", f"session/{s.id}", "session stopped", mode=s.mode)
        for s in sessions
        if s.stopped_at
    ]
    rows += [
        _note(
            p.entry_at,
            "ORDER_PLACED",
            f"position/{p.id}",
            f"{p.side} {p.symbol}",
            p.agent,
            quantity=p.quantity,
        )
        for p in sessions[-1].positions
    ]
    paused, reason = halted_at(sessions[-1], incident)
    if paused:
        who = (incident.pause.by, "INFO") if incident.pause else ("circuit-breaker", "CRITICAL")
        rows.append(_note(paused, "TRADING_PAUSE", "orchestrator", "trading paused", *who, reason=reason))
    rows += [
        (
            MOMENT + timedelta(minutes=a.minute),
            a.event_type,
            a.severity,
            a.user,
            "10.42.0.17",
            a.resource,
            a.action,
            a.success,
            a.error or None,
            json.dumps(dict(a.metadata)),
        )
        for a in incident.audits
    ]
    for number, row in enumerate(sorted(rows, key=_first)):
        yield (str(identity("audit", number)), *row, str(identity("request", number)), 3 + number % 40)


def _note(
    at: datetime, kind: str, resource: str, action: str, user: str = "scheduler", severity: str = "INFO", **more: object
) -> Row:
    return (at, kind, severity, user, "10.42.0.17", resource, action, True, None, json.dumps(more))


def _first(row: Row) -> str:
    return str(row[0])
