"""The decision of AgentDown: restart the agent, or repair what it needs first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.agents.causes import UNNAMED, cause_of, repair
from runbook.steps.platform import known_limits
from runbook.steps.shared.fleet import deployment_of
from runbook.steps.shared.verdicts import figures_of, known, kubectl, psql, silence, title_of, unknown_reasons
from runbook.words import names


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of AgentDown: restart the agent, or repair what it needs first, and why."""
    side, cause = figures_of(findings, "agents.side_by_side"), cause_of(findings)
    affected = [one for one in str(side.get("affected", "")).split(", ") if one]
    if not affected:
        stopped = {*figures_of(findings, "agents.status").get("bad", "").split(", "), *figures_of(findings, "agents.signals").get("silent", "").split(", "),
                   *figures_of(findings, "agents.online").get("offline", "").split(", ")} - {"", "all"}  # fmt: skip
        affected = sorted({deployment_of(one) for one in stopped})
    decision, summary, state = _choice(affected, cause, side, findings)
    return Verdict(
        decision,
        summary,
        state,
        (*_reasons(findings, cause), *unknown_reasons(findings)),
        tuple(_actions(affected, cause, findings, alert, namespace)),
        _checklist(findings),
    )


def _choice(
    affected: list[str], cause: tuple[str, str], side: Mapping[str, Any], findings: Mapping[str, Finding]
) -> tuple[str, str, Status]:
    known = [
        name for name in ("agents.status", "platform.pods.trading-agent", "agents.online") if figures_of(findings, name)
    ]
    if not affected and not known:
        return (
            "find out which agents run",
            "It is not known which agents run: neither database, cluster nor Prometheus gave an answer.",
            Status.UNKNOWN,
        )
    if not affected:
        return (
            "nothing to restart",
            "Healthy: no agent is down or silent"
            + (f"; {side['named']}, which the alert names, is well." if side.get("named") else "."),
            Status.OK,
        )
    kind, culprit = cause
    who = f"{names(affected)} {'is' if len(affected) == 1 else 'are'} affected"
    match kind:
        case "mcp":
            return (
                "find the failing MCP server first" if culprit == UNNAMED else f"repair {culprit} first",
                f"{who} because {'tool calls fail' if culprit == UNNAMED else f'{culprit} does not answer'}: a restart of the agents does not help.",
                Status.CRITICAL,
            )
        case "database":
            return "repair the database first", f"{who} because the database does not serve them.", Status.CRITICAL
        case "llm":
            return "repair the LLM gateway first", f"{who} because LLM requests fail.", Status.CRITICAL
        case "resources":
            killed = _killed(findings)
            return (f"raise the {'memory' if killed else 'CPU'} limit of {culprit}",
                    f"{who}: {culprit} {'was killed for exceeding its memory limit' if killed else 'is held back by its CPU limit'}.", Status.CRITICAL)  # fmt: skip
        case "crash":
            return (
                f"restart {affected[0]}",
                f"{who}: {culprit or affected[0]} ended by itself; what it depends on is well.",
                Status.CRITICAL,
            )
    return f"restart {affected[0]}", f"{who}; none of the four common causes is known to be the reason.", Status.WARNING


def _killed(findings: Mapping[str, Finding]) -> str:
    """The agents that were killed for memory; empty for none."""
    return str(
        figures_of(findings, "agents.side_by_side").get("oom_killed")
        or figures_of(findings, "agents.resources").get("oom_killed")
        or ""
    )


def _reasons(findings: Mapping[str, Finding], cause: tuple[str, str]) -> Iterator[str]:
    order = (
        "agents.side_by_side",
        "agents.mcp_servers",
        "agents.last_words",
        "agents.logs",
        "agents.resources",
        "agents.llm",
        "agents.tools",
        "agents.store",
        "agents.signals",
        "platform.rollouts",
        "platform.config_changes",
    )
    for found in known(findings, order):
        if found.status is not Status.OK or found.id == "agents.side_by_side":
            yield f"{found.title}."


def _actions(
    affected: Sequence[str], cause: tuple[str, str], findings: Mapping[str, Finding], alert: Alert, namespace: str
) -> Iterator[Action]:
    kind, culprit = cause if affected else ("", "")
    rolled = str(figures_of(findings, "platform.rollouts").get("rolled_out", "")).split(", ")
    resource = "memory" if _killed(findings) else "cpu"
    yield from repair(kind, culprit, rolled, namespace, known_limits(findings), resource)
    for deployment in list(affected)[:3]:
        if deployment in rolled and kind in ("crash", "resources"):
            yield Action(f"Take the last rollout of {deployment} back", kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
                         "It was rolled out in the window.", changes=True)  # fmt: skip
        later = " Only after the cause is repaired." if kind in ("mcp", "database", "llm") else ""
        yield Action(f"Restart {deployment}", kubectl(namespace, "rollout", "restart", f"deployment/{deployment}"),
                     f"A fresh pod reconnects to everything it needs.{later}", changes=True)  # fmt: skip
    if affected:
        yield Action(
            "Follow its log",
            kubectl(namespace, "logs", "-f", f"deployment/{affected[0]}"),
            "Heartbeats and signals should return within minutes.",
        )
    yield Action("See agent_status again", psql(namespace, "SELECT agent_name, status, last_heartbeat FROM agent_status ORDER BY last_heartbeat DESC;"))  # fmt: skip
    yield silence(alert)


def _checklist(findings: Mapping[str, Finding]) -> tuple[tuple[str, str], ...]:
    title = partial(title_of, findings)
    return (
        ("Which agents, since when?", f"{title('agents.side_by_side')}; {title('agents.online')}"),
        ("What did they say last?", f"{title('agents.last_words')}; {title('agents.logs')}"),
        ("LLM?", title("agents.llm")),
        ("MCP servers?", f"{title('agents.mcp_servers')}; {title('agents.tools')}"),
        ("Database?", title("agents.store")),
        ("Resources?", title("agents.resources")),
        ("What changed before?", f"{title('platform.rollouts')}; {title('platform.config_changes')}"),
        ("Has it recovered?", title("agents.recovery")),
    )
