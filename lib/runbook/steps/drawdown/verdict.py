"""The decision point of MaxDrawdownExceeded: continue, pause or modify the strategy, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from runbook.alert import Alert
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import exposure, platform, sessions
from runbook.steps.drawdown.episodes import history
from runbook.steps.drawdown.figures import (
    Agreement,
    ByFills,
    Contributions,
    Gauge,
    History,
    LossCause,
    MarketCause,
    Measure,
    Measured,
)
from runbook.steps.drawdown.losses import contributions
from runbook.steps.drawdown.market import market_cause
from runbook.steps.drawdown.measures import DEFAULT_LIMIT, agreement
from runbook.steps.shared.fleet import DEPLOYMENTS
from runbook.steps.shared.verdicts import contradiction, kubectl, psql, silence, unknown_reasons
from runbook.words import amount, duration, moment, points

_BLAMED_FROM = 0.5
"""The share of all agents' losses from which an agent is stopped."""


class Choice(StrEnum):
    """What the procedure's decision point comes to."""

    CONTINUE = "continue trading"
    WATCH = "continue trading, watch closely"
    REPAIR_GAUGE = "continue trading, repair the gauge"
    PAUSE = "pause trading"
    STOP_AGENT = "modify strategy: stop"
    KEEP_PAUSED = "keep trading paused until the drawdown is known"


_STOPPING = (Choice.PAUSE, Choice.STOP_AGENT, Choice.KEEP_PAUSED)


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice, the agent that it stops, if any, and the sentence that says why."""

    status: Status
    choice: Choice
    summary: str
    agent: str = ""

    def __str__(self) -> str:
        return f"{self.choice} {self.agent}" if self.agent else self.choice


def decide(findings: Findings, alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision point of MaxDrawdownExceeded: continue, pause or modify the strategy, and why."""
    agree = findings.get(Agreement)
    measured = agree if agree is not None else findings.get(Measured)  # by fills, else by performance rows
    drawdown = None if measured is None else measured.drawdown
    limit = DEFAULT_LIMIT if agree is None else agree.threshold
    decision = _decision(findings, drawdown, limit)
    halt, halted = findings.get(sessions.Halt), ""
    if halt is not None and halt.paused:
        halted = " Trading is paused."
    elif halt is not None and decision.status is not Status.OK:
        halted = " Trading is NOT paused."
    return Verdict(
        str(decision),
        decision.summary + halted,
        decision.status,
        (*_reasons(findings, drawdown, limit), *unknown_reasons(findings)),
        tuple(_actions(findings, decision, alert, namespace)),
        _checklist(findings, drawdown, limit),
    )


def _decision(findings: Findings, drawdown: float | None, limit: float) -> Decision:
    """The procedure's rule, from what is known."""
    if drawdown is None:
        unknown = "The drawdown cannot be measured: neither fills nor performance rows gave an answer."
        return Decision(Status.UNKNOWN, Choice.KEEP_PAUSED, unknown)
    shown = f"drawdown {amount(drawdown, '%')} against a threshold of {amount(limit, '%')}"
    if not drawdown <= limit:
        return _over_the_limit(findings, shown)
    agree, fills = findings.get(Agreement), findings.get(ByFills)
    if agree is not None and agree.only_the_gauge_is_odd and agree.gauge_error > 0:
        reads = amount(agree.gauge, "%")
        wrong = f"The gauge is wrong, not the portfolio: it reads {reads}, but fills say {shown}."
        return Decision(Status.WARNING, Choice.REPAIR_GAUGE, wrong)
    if fills is not None and fills.deepest > limit:
        deepest = amount(fills.deepest, "%")
        back = f"The drawdown was {deepest} at its deepest and is back under the threshold: {shown}."
        return Decision(Status.WARNING, Choice.WATCH, back)
    return Decision(Status.OK, Choice.CONTINUE, f"Healthy: {shown}.")


def _over_the_limit(findings: Findings, shown: str) -> Decision:
    cause, who = findings.get(MarketCause), findings.get(Contributions)
    if cause is None or cause.kind is LossCause.NO_LOSS:
        unknown = f"The threshold is exceeded, the cause is not known: {shown}."
        return Decision(Status.CRITICAL, Choice.PAUSE, unknown)
    moved, explained = amount(cause.market_return, "%"), amount(cause.explained, "%")
    if cause.kind is LossCause.MARKET_WIDE:
        most = amount(min(cause.explained, 1.0), "%")
        market = f"Market-wide fall: {shown}; the market moved {moved} and explains {most} of the loss."
        return Decision(Status.CRITICAL, Choice.PAUSE, market)
    worst = who.worst if who is not None else None
    if cause.kind is LossCause.STRATEGY_SPECIFIC and worst is not None and worst.share_of_loss >= _BLAMED_FROM:
        blamed = f"{worst.agent} made {amount(worst.share_of_loss, '%')} of the losses"
        own = f"Strategy-specific loss: {shown}; {blamed} while the market moved only {moved}."
        return Decision(Status.CRITICAL, Choice.STOP_AGENT, own, worst.agent)
    several = cause.kind is LossCause.STRATEGY_SPECIFIC
    kind = "Loss of several strategies" if several else "Mixed cause"
    return Decision(Status.CRITICAL, Choice.PAUSE, f"{kind}: {shown}; the market explains {explained} of the loss.")


def _reasons(findings: Findings, drawdown: float | None, limit: float) -> Iterator[str]:
    measure = findings.get(Gauge)
    if measure is not None and findings.get(Agreement) is not None:
        yield from contradiction("threshold", limit, measure.threshold, drawdown)
    if drawdown is not None:
        measured = f"By the fills (or, without them, the performance rows) the drawdown is {amount(drawdown, '%')}"
        yield f"{measured}; the threshold is {amount(limit, '%')}."
    agree, cause, who = findings.get(Agreement), findings.get(MarketCause), findings.get(Contributions)
    if agree is not None and Measure.GAUGE in agree.odd:
        yield f"The gauge reads {amount(agree.gauge, '%')}, which differs by {points(abs(agree.gauge_error))}."
    elif agree is not None:
        yield f"The gauge agrees ({amount(agree.gauge, '%')})."
    if cause is not None:
        portfolio, market = amount(cause.portfolio_return, "%"), amount(cause.market_return, "%")
        beta = amount(cause.beta, "ratio")
        yield f"Since the fall began the portfolio moved {portfolio}, the market {market} (beta {beta}): {cause.kind}."
    worst = who.worst if who is not None else None
    if worst is not None and worst.pnl < 0:
        pnl, share = amount(worst.pnl, "USDT"), amount(worst.share_of_loss, "%")
        yield f"{worst.agent} lost most: {pnl} in {amount(worst.positions)} positions, {share} of all losses."
    halt, restart = findings.get(sessions.Halt), findings.get(sessions.RestartSafety)
    if halt is not None and halt.paused:
        yield f"Trading is paused: {halt.reason}."
    elif halt is not None:
        is_over = drawdown is not None and drawdown > limit
        further = ": further losses are possible" if is_over else ""
        yield f"Trading is not paused{further}."
    if restart is not None and restart.is_safe:
        yield "A restart is safe now."
    elif restart is not None:
        yield f"A restart is not safe yet: {'; '.join(restart.reasons)}."


def _actions(findings: Findings, decision: Decision, alert: Alert, namespace: str) -> Iterator[Action]:
    halt, restart = findings.get(sessions.Halt), findings.get(sessions.RestartSafety)
    if decision.choice in _STOPPING and (halt is None or not halt.paused):
        yield Action(
            "Pause trading",
            kubectl(namespace, "scale", "deployment/orchestrator", "--replicas=0"),
            "No session runs without the orchestrator; open positions keep their stops at the exchange.",
            changes=True,
        )
    yield from _repairs(decision, namespace)
    if restart is not None and restart.stray_orders:
        yield Action(
            "List the orders that a restart would meet",
            psql(
                namespace,
                "SELECT symbol, side, type, status, quantity, price, placed_at FROM orders "
                "WHERE status IN ('NEW', 'PARTIALLY_FILLED') ORDER BY placed_at;",
            ),
            "Cancel at the exchange what no position needs before trading resumes.",
        )
    if halt is None or halt.paused:
        unsafe = ""
        if restart is not None and not restart.is_safe:
            unsafe = f", and not before this is settled: {'; '.join(restart.reasons)}"
        yield Action(
            "Resume trading",
            kubectl(namespace, "rollout", "restart", "deployment/orchestrator"),
            f"Only when the decision is to resume{unsafe}.",
            changes=True,
        )
    yield Action(
        "Watch for continued losses",
        kubectl(namespace, "logs", "-f", "deployment/risk-agent"),
        "Stop again at the first sign of the same pattern.",
    )
    yield silence(alert)


def _repairs(decision: Decision, namespace: str) -> Iterator[Action]:
    """What the choice calls for beside pausing: to stop the agent, to restart the gauge's exporter."""
    deployment = DEPLOYMENTS.get(decision.agent)
    if deployment:
        yield Action(
            f"Stop the losing agent ({decision.agent})",
            kubectl(namespace, "scale", f"deployment/{deployment}", "--replicas=0"),
            "Keeps it out when the others resume.",
            changes=True,
        )
        yield Action(
            "Read its decisions",
            kubectl(namespace, "logs", f"deployment/{deployment}", "--since=6h", "--tail=500"),
            "What it saw, and which configuration it runs.",
        )
    if decision.choice is Choice.REPAIR_GAUGE:
        yield Action(
            "Restart the exporter of the gauge",
            kubectl(namespace, "rollout", "restart", "deployment/risk-agent"),
            "The gauge is computed there; it keeps a wrong peak until it restarts from the right state.",
            changes=True,
        )


def _checklist(findings: Findings, drawdown: float | None, limit: float) -> tuple[tuple[str, str], ...]:
    past, title = findings.get(History), findings.title
    depth = title(history)
    if past is not None and past.ongoing is not None:
        deep, lost = amount(past.ongoing.depth, "%"), amount(past.ongoing.lost, "USDT")
        depth = f"{deep}, {lost}, {duration(past.ongoing.seconds)} since {moment(past.ongoing.peak_at)}"
    reached = f"Threshold {amount(limit, '%')}, reached {amount(drawdown, '%')}"
    return (
        ("How deep, how long, how much?", depth),
        ("Was the alert right?", title(agreement)),
        ("Market or strategy?", title(market_cause)),
        ("Who lost?", title(contributions)),
        ("What changed before?", title(platform.config_changes)),
        ("Did the breaker act?", f"{title(sessions.paused)}; {title(sessions.breakers).lower()}"),
        ("Was a stop missing?", title(exposure.open_positions)),
        ("Which risk parameter needs an update?", f"{reached}; decide with the figures above"),
    )
