"""PositionLimitExceeded: the decision, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook.alert import Alert
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.shared.fleet import DEPLOYMENTS
from runbook.steps.shared.verdicts import checklist, figures_of, known, kubectl, psql, silence, unknown_reasons
from runbook.words import amount, counted


def decide(findings: Mapping[str, Finding], alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision of PositionLimitExceeded: reduce, whom to stop, which check to repair, or nothing; and why."""
    now, why = figures_of(findings, "exposure.current"), figures_of(findings, "exposure.cause")
    cut, changes = figures_of(findings, "exposure.reduction"), figures_of(findings, "platform.config_changes")
    status, decision, summary = _choice(findings, now, why, cut, changes, alert)
    return Verdict(
        decision,
        summary,
        status,
        tuple(_reasons(findings)) + unknown_reasons(findings),
        tuple(_actions(now, why, cut, alert, namespace)),
        checklist(findings, _CHECKLIST),
    )


_CHECKLIST = (
    ("How large is the exposure?", "exposure.current"),
    ("Since when is it over?", "exposure.over_time"),
    ("Which limits are in force?", "exposure.limits"),
    ("Why is the limit exceeded?", "exposure.cause"),
    ("Who opened it, and why?", "exposure.openers"),
    ("Why did risk allow it?", "exposure.approvals"),
    ("What was changed before?", "platform.config_changes"),
    ("Which sizing needs an update?", "exposure.sizing"),
)


def _choice(
    findings: Mapping[str, Finding], now: Mapping[str, Any], why: Mapping[str, Any], cut: Mapping[str, Any], changes: Mapping[str, Any],
    alert: Alert,
) -> tuple[Status, str, str]:  # fmt: skip
    """(status, decision, summary) from what is known."""
    if not now:
        return (
            Status.UNKNOWN,
            "look at the positions by hand",
            "The exposure is not known: the database gave no answer, or has no session.",
        )
    if now["kind"] == "none":
        wanted = alert.labels.get("symbol", "")
        held = findings["exposure.current"].series.get("shares", {})
        aside = f" {wanted}, which the alert names, has no open position." if wanted and wanted not in held else ""
        if now.get("without_stop"):
            return (
                Status.WARNING,
                "set the missing stops",
                f"No limit is exceeded, but {counted(now['without_stop'], 'open position')} without a stop loss.{aside}",
            )
        return Status.OK, "nothing to do", f"No limit is exceeded now.{aside}"
    status = findings["exposure.current"].status
    symbol, takes = (
        now["symbol"],
        f" Reducing to the limit takes closing {amount(cut['notional'], 'USDT')} for {amount(cut['fees'], 'USDT')} of fees."
        if cut
        else "",
    )
    if not why:
        return status, f"reduce {symbol}", f"{findings['exposure.current'].title}; why is not known.{takes}"
    title = findings["exposure.cause"].title
    if why["kind"] == "oversized":
        last = f", after the change “{changes['last'][:100]}”" if changes.get("last") else ""
        return status, f"reduce {symbol}, stop {why['agent']} until its size check works", f"{title}{last}.{takes}"
    decision = {
        "stacked": f"reduce {symbol}, check exposure by symbol before each trade",
        "grown": f"reduce {symbol}, or tighten its stop",
        "too many": "close the smallest positions, or raise the limit on purpose",
    }[why["kind"]]
    aside = (
        " The check of each position passed; none of the agents is to blame alone." if why["kind"] == "stacked" else ""
    )
    return status, decision, f"{title}.{aside}{takes}"


def _reasons(findings: Mapping[str, Finding]) -> Iterator[str]:
    names = ("exposure.current", "exposure.over_time", "exposure.limits", "exposure.cause", "exposure.openers", "exposure.approvals",
             "exposure.reduction", "platform.config_changes")  # fmt: skip
    yield from (f"{found.title}." for found in known(findings, names))


def _actions(
    now: Mapping[str, Any], why: Mapping[str, Any], cut: Mapping[str, Any], alert: Alert, namespace: str
) -> Iterator[Action]:
    deployment = DEPLOYMENTS.get(str(why.get("agent")))
    if why.get("kind") == "oversized" and deployment:
        yield Action(f"Stop {why['agent']}", kubectl(namespace, "scale", f"deployment/{deployment}", "--replicas=0"),
                     "It opens no more positions; those that are open keep what stops they have.", changes=True)  # fmt: skip
    if why.get("kind") in ("stacked", "too many"):
        yield Action("Stop new entries while you reduce", kubectl(namespace, "scale", "deployment/orchestrator", "--replicas=0"),
                     "No session runs without the orchestrator; open positions keep their stops at the exchange.", changes=True)  # fmt: skip
    if cut.get("positions"):
        yield Action("List the positions to reduce",
                     psql(namespace, "SELECT symbol, side, quantity, entry_price, stop_loss, entry_time FROM positions WHERE exit_time IS NULL ORDER BY entry_time DESC;"),
                     f"The sizes are under “What would be closed” on this page: {amount(cut['notional'], 'USDT')} in {cut['symbols']}. Close them at the exchange.")  # fmt: skip
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
    if now and now.get("without_stop"):
        yield Action(
            "Follow the risk agent",
            kubectl(namespace, "logs", "-f", "deployment/risk-agent"),
            f"{counted(now['without_stop'], 'position')} without a stop: nobody closes them but you.",
        )
    yield silence(alert)
