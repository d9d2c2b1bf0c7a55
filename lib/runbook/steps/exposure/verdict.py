"""PositionLimitExceeded: the decision, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.alert import Alert
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import platform
from runbook.steps.exposure.breach import cause, reduction
from runbook.steps.exposure.figures import Breach, BreachCause, Exposure, Reduction
from runbook.steps.exposure.observations import current, over_time
from runbook.steps.exposure.openings import approvals, openers, sizing
from runbook.steps.exposure.risk_limits import limits
from runbook.steps.shared.fleet import DEPLOYMENTS
from runbook.steps.shared.verdicts import checklist, kubectl, psql, silence, unknown_reasons
from runbook.words import amount, counted

_CHECKLIST = (
    ("How large is the exposure?", current),
    ("Since when is it over?", over_time),
    ("Which limits are in force?", limits),
    ("Why is the limit exceeded?", cause),
    ("Who opened it, and why?", openers),
    ("Why did risk allow it?", approvals),
    ("What was changed before?", platform.config_changes),
    ("Which sizing needs an update?", sizing),
)
_REASONS = (current, over_time, limits, cause, openers, approvals, reduction, platform.config_changes)


def decide(findings: Findings, alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision of PositionLimitExceeded: reduce, whom to stop, which check to repair, or nothing; and why."""
    status, decision, summary = _choice(findings, alert)
    return Verdict(
        decision,
        summary,
        status,
        (*(f"{found.title}." for found in findings.known(_REASONS)), *unknown_reasons(findings)),
        tuple(_actions(findings, alert, namespace)),
        checklist(findings, _CHECKLIST),
    )


def _choice(findings: Findings, alert: Alert) -> tuple[Status, str, str]:
    """(status, decision, summary) from what is known."""
    held, found = findings.get(Exposure), findings.of(current)
    if held is None or found is None:
        return (
            Status.UNKNOWN,
            "look at the positions by hand",
            "The exposure is not known: the database gave no answer, or has no session.",
        )
    if held.kind is Breach.NONE:
        return _within_the_limits(held, alert.labels.get("symbol", ""))
    why, closing = findings.get(BreachCause), findings.get(Reduction)
    takes = ""
    if closing is not None:
        closed, fees = amount(closing.notional, "USDT"), amount(closing.fees, "USDT")
        takes = f" Reducing to the limit takes closing {closed} for {fees} of fees."
    if why is None:
        return found.status, f"reduce {held.symbol}", f"{found.title}; why is not known.{takes}"
    others = [one.session for one in held.sessions if one.kind is not Breach.NONE and one.session != _session(held)]
    also = f" Also over a limit: {', '.join(others[:6])}." if others else ""
    return found.status, _decision(why), f"{findings.title(cause)}{_aside(findings, why)}{takes}{also}"


def _session(held: Exposure) -> str:
    """The session that the exposure is about, in words."""
    return "" if held.bounds is None else held.bounds.session


def _within_the_limits(held: Exposure, wanted: str) -> tuple[Status, str, str]:
    """`wanted`: the symbol that the alert names, if any."""
    missing = bool(wanted) and wanted not in held.shares.index
    aside = f" {wanted}, which the alert names, has no open position." if missing else ""
    if held.without_stop:
        bare = counted(held.without_stop, "open position")
        summary = f"No limit is exceeded, but {bare} without a stop loss.{aside}"
        return Status.WARNING, "set the missing stops", summary
    return Status.OK, "nothing to do", f"No limit is exceeded now.{aside}"


def _decision(why: BreachCause) -> str:
    match why.kind:
        case Breach.OVERSIZED if not why.agent:
            return f"reduce {why.symbol}, find out who opened it"
        case Breach.OVERSIZED if why.inferred:
            return f"reduce {why.symbol}, find out whether {why.agent} opened it"
        case Breach.OVERSIZED:
            return f"reduce {why.symbol}, stop {why.agent} until its size check works"
        case Breach.STACKED:
            return f"reduce {why.symbol}, check exposure by symbol before each trade"
        case Breach.GROWN:
            return f"reduce {why.symbol}, or tighten its stop"
    return "close the smallest positions, or raise the limit on purpose"


def _aside(findings: Findings, why: BreachCause) -> str:
    """The end of the sentence that says why, and what is to be known beside it."""
    changes = findings.get(platform.ConfigChanges)
    if why.kind is Breach.OVERSIZED and changes is not None and changes.last is not None:
        last = changes.last.action or "unknown"
        return f", after the change “{last[:100]}”."
    if why.kind is Breach.STACKED:
        return ". The check of each position passed; none of the agents is to blame alone."
    return "."


def _actions(findings: Findings, alert: Alert, namespace: str) -> Iterator[Action]:
    held, why, closing = findings.get(Exposure), findings.get(BreachCause), findings.get(Reduction)
    if why is not None:
        yield from _stops(why, namespace)
    if closing is not None and closing.positions:
        closed, symbols = amount(closing.notional, "USDT"), ", ".join(closing.symbols)
        yield Action(
            "List the positions to reduce",
            psql(
                namespace,
                "SELECT symbol, side, quantity, entry_price, stop_loss, entry_time FROM positions "
                "WHERE exit_time IS NULL ORDER BY entry_time DESC;",
            ),
            f"The sizes are under “What would be closed” on this page: {closed} in {symbols}. "
            "Close them at the exchange.",
        )
    yield Action(
        "Read the limits in force",
        kubectl(namespace, "get", "configmap", "cryptofunk-config", "-o", "yaml"),
        "risk.max_position_size, trading.max_positions, and overrides of a strategy.",
    )
    yield Action(
        "Read what the risk checks said",
        kubectl(namespace, "logs", "deployment/risk-analyzer-server", "--since=6h", "--tail=500"),
        "Which check passed, for which scope.",
    )
    if held is not None and held.without_stop:
        yield Action(
            "Follow the risk agent",
            kubectl(namespace, "logs", "-f", "deployment/risk-agent"),
            f"{counted(held.without_stop, 'position')} without a stop: nobody closes them but you.",
        )
    yield silence(alert)


def _stops(why: BreachCause, namespace: str) -> Iterator[Action]:
    """Whom to stop, so that no more is opened."""
    deployment = DEPLOYMENTS.get(why.agent)
    if why.kind is Breach.OVERSIZED and deployment:
        yield Action(
            f"Stop {why.agent}, if it was the one" if why.inferred else f"Stop {why.agent}",
            kubectl(namespace, "scale", f"deployment/{deployment}", "--replicas=0"),
            "It opens no more positions; those that are open keep what stops they have.",
            changes=True,
        )
    if why.kind in (Breach.STACKED, Breach.TOO_MANY):
        yield Action(
            "Stop new entries while you reduce",
            kubectl(namespace, "scale", "deployment/orchestrator", "--replicas=0"),
            "No session runs without the orchestrator; open positions keep their stops at the exchange.",
            changes=True,
        )
