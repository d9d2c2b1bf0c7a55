"""The decision point of MaxDrawdownExceeded: continue, pause or modify the strategy, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.shared.fleet import DEPLOYMENTS
from runbook.steps.shared.values import number
from runbook.steps.shared.verdicts import figures_of, kubectl, psql, silence, title_of, unknown_reasons
from runbook.words import amount, duration, moment, points

DEFAULT_LIMIT = 0.10


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision point of MaxDrawdownExceeded: continue, pause or modify the strategy, and why."""
    agree, why = figures_of(findings, "drawdown.agreement"), figures_of(findings, "drawdown.market_cause")
    who, halt = figures_of(findings, "drawdown.contributions"), figures_of(findings, "sessions.paused")
    restart, past = figures_of(findings, "sessions.restart_safety"), figures_of(findings, "drawdown.history")
    fills, rows = figures_of(findings, "drawdown.from_fills"), figures_of(findings, "drawdown.from_performance")
    drawdown = agree.get("drawdown", fills.get("drawdown", rows.get("drawdown")))
    limit = limit_of(0.0, agree.get("threshold"))
    status, decision, summary = _choice(drawdown, limit, agree, why, who, fills)
    halted = (
        ""
        if not halt
        else " Trading is paused."
        if halt["paused"]
        else ""
        if status is Status.OK
        else " Trading is NOT paused."
    )
    return Verdict(
        decision,
        summary + halted,
        status,
        tuple(_reasons(drawdown, limit, agree, why, who, halt, restart)) + unknown_reasons(findings),
        tuple(_actions(decision, who, halt, restart, alert, namespace)),
        _checklist(findings, drawdown, limit, past),
    )


def limit_of(threshold: float, exported: Any) -> float:
    """The threshold to judge by, a ratio: the one given, else the exported one, else risk.max_drawdown's default 0.10."""
    if threshold > 0:
        return threshold
    value = number(exported)
    return value if value > 0 else DEFAULT_LIMIT


def _choice(
    drawdown: float | None,
    limit: float,
    agree: Mapping[str, Any],
    why: Mapping[str, Any],
    who: Mapping[str, Any],
    fills: Mapping[str, Any],
) -> tuple[Status, str, str]:
    """(status, decision, summary): the procedure's rule, from what is known."""
    if drawdown is None:
        return (Status.UNKNOWN, "keep trading paused until the drawdown is known",
                "The drawdown cannot be measured: neither fills nor performance rows gave an answer.")  # fmt: skip
    shown = f"drawdown {amount(drawdown, '%')} against a threshold of {amount(limit, '%')}"
    if drawdown <= limit and agree.get("odd") == "gauge" and agree["gauge_error"] > 0:
        return (Status.WARNING, "continue trading, repair the gauge",
                f"The gauge is wrong, not the portfolio: it reads {amount(agree['gauge'], '%')}, but fills say {shown}.")  # fmt: skip
    if drawdown <= limit:
        deepest = fills.get("deepest", drawdown)
        if deepest > limit:
            return (Status.WARNING, "continue trading, watch closely",
                    f"The drawdown was {amount(deepest, '%')} at its deepest and is back under the threshold: {shown}.")  # fmt: skip
        return Status.OK, "continue trading", f"Healthy: {shown}."
    kind = why.get("kind")
    if kind == "market-wide":
        return (Status.CRITICAL, "pause trading",
                f"Market-wide fall: {shown}; the market moved {amount(why['market_return'], '%')} and explains {amount(min(why['explained_share'], 1.0), '%')} of the loss.")  # fmt: skip
    if kind == "strategy-specific" and who.get("agent_share", 0) >= 0.5:
        return (Status.CRITICAL, f"modify strategy: stop {who['agent']}",
                f"Strategy-specific loss: {shown}; {who['agent']} made {amount(who['agent_share'], '%')} of the losses while the market moved only {amount(why['market_return'], '%')}.")  # fmt: skip
    if kind in ("strategy-specific", "mixed"):
        return (Status.CRITICAL, "pause trading",
                f"{'Loss of several strategies' if kind == 'strategy-specific' else 'Mixed cause'}: {shown}; the market explains {amount(max(number(why['explained_share']), 0.0), '%')} of the loss.")  # fmt: skip
    return Status.CRITICAL, "pause trading", f"The threshold is exceeded, the cause is not known: {shown}."


def _reasons(
    drawdown: float | None,
    limit: float,
    agree: Mapping[str, Any],
    why: Mapping[str, Any],
    who: Mapping[str, Any],
    halt: Mapping[str, Any],
    restart: Mapping[str, Any],
) -> Iterator[str]:
    if drawdown is not None:
        yield f"By the fills (or, without them, the performance rows) the drawdown is {amount(drawdown, '%')}; the threshold is {amount(limit, '%')}."
    if agree:
        yield (f"The gauge reads {amount(agree['gauge'], '%')}, which differs by {points(abs(agree['gauge_error']))}." if "gauge" in agree["odd"]
               else f"The gauge agrees ({amount(agree['gauge'], '%')}).")  # fmt: skip
    if why:
        yield f"Since the fall began the portfolio moved {amount(why['portfolio_return'], '%')}, the market {amount(why['market_return'], '%')} (beta {amount(why['beta'], 'ratio')}): {why['kind']}."
    if who.get("agent_pnl", 0) < 0:
        yield f"{who['agent']} lost most: {amount(who['agent_pnl'], 'USDT')} in {amount(who['agent_positions'])} positions, {amount(who['agent_share'], '%')} of all losses."
    if halt:
        further = ": further losses are possible" if drawdown is not None and drawdown > limit else ""
        yield f"Trading is paused: {halt['reason']}." if halt["paused"] else f"Trading is not paused{further}."
    if restart:
        yield "A restart is safe now." if restart["safe"] else f"A restart is not safe yet: {restart['reasons']}."


def _actions(
    decision: str,
    who: Mapping[str, Any],
    halt: Mapping[str, Any],
    restart: Mapping[str, Any],
    alert: Alert,
    namespace: str,
) -> Iterator[Action]:
    stopping = decision.startswith(("pause", "modify", "keep"))
    if stopping and not halt.get("paused"):
        yield Action("Pause trading", kubectl(namespace, "scale", "deployment/orchestrator", "--replicas=0"),
                     "No session runs without the orchestrator; open positions keep their stops at the exchange.", changes=True)  # fmt: skip
    deployment = DEPLOYMENTS.get(str(who.get("agent")))
    if decision.startswith("modify") and deployment:
        yield Action(f"Stop the losing agent ({who['agent']})", kubectl(namespace, "scale", f"deployment/{deployment}", "--replicas=0"),
                     "Keeps it out when the others resume.", changes=True)  # fmt: skip
        yield Action(
            "Read its decisions",
            kubectl(namespace, "logs", f"deployment/{deployment}", "--since=6h", "--tail=500"),
            "What it saw, and which configuration it runs.",
        )
    if decision.endswith("gauge"):
        yield Action("Restart the exporter of the gauge", kubectl(namespace, "rollout", "restart", "deployment/risk-agent"),
                     "The gauge is computed there; it keeps a wrong peak until it restarts from the right state.", changes=True)  # fmt: skip
    if restart and restart["stray_orders"]:
        yield Action("List the orders that a restart would meet",
                     psql(namespace, "SELECT symbol, side, type, status, quantity, price, placed_at FROM orders WHERE status IN ('NEW', 'PARTIALLY_FILLED') ORDER BY placed_at;"),
                     "Cancel at the exchange what no position needs before trading resumes.")  # fmt: skip
    why = (
        "Only when the decision is to resume"
        + ("" if not restart or restart["safe"] else f", and not before this is settled: {restart['reasons']}")
        + "."
    )
    if halt.get("paused", True):
        yield Action(
            "Resume trading", kubectl(namespace, "rollout", "restart", "deployment/orchestrator"), why, changes=True
        )
    yield Action(
        "Watch for continued losses",
        kubectl(namespace, "logs", "-f", "deployment/risk-agent"),
        "Stop again at the first sign of the same pattern.",
    )
    yield silence(alert)


def _checklist(
    findings: Mapping[str, Finding], drawdown: float | None, limit: float, past: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    title = partial(title_of, findings)
    depth = (
        f"{amount(past['depth'], '%')}, {amount(past['lost'], 'USDT')}, {duration(past['seconds'])} since {moment(past['peak_at'])}"
        if "depth" in past
        else title("drawdown.history")
    )
    return (
        ("How deep, how long, how much?", depth),
        ("Was the alert right?", title("drawdown.agreement")),
        ("Market or strategy?", title("drawdown.market_cause")),
        ("Who lost?", title("drawdown.contributions")),
        ("What changed before?", title("platform.config_changes")),
        ("Did the breaker act?", f"{title('sessions.paused')}; {title('sessions.breakers').lower()}"),
        ("Was a stop missing?", title("exposure.open_positions")),
        (
            "Which risk parameter needs an update?",
            f"Threshold {amount(limit, '%')}, reached {amount(drawdown, '%')}; decide with the figures above",
        ),
    )
