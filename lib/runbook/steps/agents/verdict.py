"""The decision of AgentDown: restart the agent, or repair what it needs first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.alert import Alert, Window
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import platform
from runbook.steps.agents.agent_logs import last_words, logs
from runbook.steps.agents.causes import NEEDS, Blamed, Cause, cause_of, repair, rolled_out
from runbook.steps.agents.figures import EVERY_AGENT, AgentStatus, Fleet, Online, Signals
from runbook.steps.agents.needs import llm, mcp_servers, store, tools
from runbook.steps.agents.presence import online, recovery, signals
from runbook.steps.agents.state import side_by_side
from runbook.steps.agents.usage import resources
from runbook.steps.shared.fleet import deployment_of
from runbook.steps.shared.verdicts import kubectl, psql, silence, unknown_reasons
from runbook.words import names, plural

_ARGUED = (
    side_by_side,
    mcp_servers,
    last_words,
    logs,
    resources,
    llm,
    tools,
    store,
    signals,
    platform.rollouts,
    platform.config_changes,
)


def decide(findings: Findings, alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of AgentDown: restart the agent, or repair what it needs first, and why."""
    affected, cause = _affected(findings), cause_of(findings)
    decision, summary, severity = _choice(affected, cause, findings)
    return Verdict(
        decision,
        summary,
        severity,
        (*_reasons(findings), *unknown_reasons(findings)),
        tuple(_actions(affected, cause, findings, alert, namespace)),
        _checklist(findings),
    )


def _affected(findings: Findings) -> tuple[str, ...]:
    """The deployments in trouble; where agents and pods say nothing together, those that any source calls silent."""
    for fleet in findings.every(Fleet):
        if fleet.affected:
            return fleet.affected
    stopped = {
        *(agent for status in findings.every(AgentStatus) for agent in status.bad),
        *(agent for signals in findings.every(Signals) for agent in signals.silent),
        *(agent for online in findings.every(Online) for agent in online.offline),
    }
    return tuple(sorted({deployment_of(agent) for agent in stopped - {EVERY_AGENT}}))


def _choice(affected: Sequence[str], cause: Cause, findings: Findings) -> tuple[str, str, Status]:
    if not affected:
        return _nothing_affected(findings)
    are = plural(len(affected), "is", "are")
    who, first = f"{names(affected)} {are} affected", affected[0]
    match cause.blamed:
        case Blamed.MCP if not cause.deployments:
            summary = f"{who} because tool calls fail: a restart of the agents does not help."
            return "find the failing MCP server first", summary, Status.CRITICAL
        case Blamed.MCP:
            summary = f"{who} because {cause.culprit} does not answer: a restart of the agents does not help."
            return f"repair {cause.culprit} first", summary, Status.CRITICAL
        case Blamed.DATABASE:
            return "repair the database first", f"{who} because the database does not serve them.", Status.CRITICAL
        case Blamed.LLM:
            return "repair the LLM gateway first", f"{who} because LLM requests fail.", Status.CRITICAL
        case Blamed.MEMORY:
            summary = f"{who}: {cause.culprit} was killed for exceeding its memory limit."
            return f"raise the memory limit of {cause.culprit}", summary, Status.CRITICAL
        case Blamed.CPU:
            summary = f"{who}: {cause.culprit} is held back by its CPU limit."
            return f"raise the CPU limit of {cause.culprit}", summary, Status.CRITICAL
        case Blamed.CRASH:
            crashed = cause.culprit or first
            summary = f"{who}: {crashed} ended by itself; what it depends on is well."
            return f"restart {first}", summary, Status.CRITICAL
        case Blamed.NOTHING_KNOWN:
            summary = f"{who}; none of the four common causes is known to be the reason."
            return f"restart {first}", summary, Status.WARNING


def _nothing_affected(findings: Findings) -> tuple[str, str, Status]:
    pods = findings.of(platform.pods, "trading-agent")
    pods_known = pods is not None and pods.is_known
    if not pods_known and not findings.get(AgentStatus) and not findings.get(Online):
        unknown = "It is not known which agents run: neither database, cluster nor Prometheus gave an answer."
        return "find out which agents run", unknown, Status.UNKNOWN
    fleet = findings.get(Fleet)
    named = fleet.named if fleet else ()
    healthy = "Healthy: no agent is down or silent"
    absent = [name for name in named if fleet is not None and name in fleet.absent]
    if absent:
        missing = f"{', '.join(absent)}, which the alert names, {plural(len(absent), 'is', 'are')} not deployed."
        return "deploy it, or take it out of the alert's rule", f"No agent that runs is down; {missing}", Status.WARNING
    if named:
        return "nothing to restart", f"{healthy}; {', '.join(named)}, which the alert names, is well.", Status.OK
    return "nothing to restart", f"{healthy}.", Status.OK


def _reasons(findings: Findings) -> Iterator[str]:
    together = findings.of(side_by_side)
    for found in findings.known(_ARGUED):
        if found.status is not Status.OK or found is together:
            yield f"{found.title}."


def _actions(
    affected: Sequence[str], cause: Cause, findings: Findings, alert: Alert, namespace: str
) -> Iterator[Action]:
    rolled = rolled_out(findings)
    if affected:
        yield from repair(cause, rolled, namespace, platform.known_limits(findings))
    for deployment in affected[:3]:
        yield from _restart(deployment, cause, rolled, namespace)
    if affected:
        yield Action(
            "Follow its log",
            kubectl(namespace, "logs", "-f", f"deployment/{affected[0]}"),
            "Heartbeats and signals should return within minutes.",
        )
    statement = "SELECT agent_name, status, last_heartbeat FROM agent_status ORDER BY last_heartbeat DESC;"
    yield Action("See agent_status again", psql(namespace, statement))
    yield silence(alert)


def _restart(deployment: str, cause: Cause, rolled: Sequence[str], namespace: str) -> Iterator[Action]:
    if deployment in rolled and cause.blamed in (Blamed.CRASH, Blamed.MEMORY, Blamed.CPU):
        yield Action(
            f"Take the last rollout of {deployment} back",
            kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
            "It was rolled out in the window.",
            changes=True,
        )
    later = " Only after the cause is repaired." if cause.blamed in NEEDS else ""
    yield Action(
        f"Restart {deployment}",
        kubectl(namespace, "rollout", "restart", f"deployment/{deployment}"),
        f"A fresh pod reconnects to everything it needs.{later}",
        changes=True,
    )


def _checklist(findings: Findings) -> tuple[tuple[str, str], ...]:
    title = findings.title
    return (
        ("Which agents, since when?", f"{title(side_by_side)}; {title(online)}"),
        ("What did they say last?", f"{title(last_words)}; {title(logs)}"),
        ("LLM?", title(llm)),
        ("MCP servers?", f"{title(mcp_servers)}; {title(tools)}"),
        ("Database?", title(store)),
        ("Resources?", title(resources)),
        ("What changed before?", f"{title(platform.rollouts)}; {title(platform.config_changes)}"),
        ("Has it recovered?", title(recovery)),
    )
