"""Why agents are down: which of the four common causes of the written runbook it is, and what repairs it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runbook.findings import Findings
from runbook.outcome import Action
from runbook.steps.agents.figures import AgentLog, Fleet, LastWords, McpServers, Need, Needed, Resources
from runbook.steps.platform import Logs, Rollouts
from runbook.steps.shared.fleet import MCP_SERVERS
from runbook.steps.shared.quotas import Quotas, raise_limit
from runbook.steps.shared.verdicts import kubectl

_DATABASE_WORDS = re.compile(r"postgres|database|connection pool|too many clients|sql")
_LLM_WORDS = re.compile(r"bifrost|llm|completion|api key")


class Blamed(StrEnum):
    """What brings agents, or the orchestrator, down."""

    MCP = "mcp"
    DATABASE = "database"
    LLM = "llm"
    MEMORY = "memory"
    CPU = "cpu"
    CRASH = "crash"
    NOTHING_KNOWN = ""


NEEDS = (Blamed.MCP, Blamed.DATABASE, Blamed.LLM)
"""What is repaired before anything that needs it is restarted."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What is to blame, and which deployments: none for MCP where it is not known on which server tool calls fail.

    `containers`: which container of each it is, where that is known.
    """

    blamed: Blamed
    deployments: tuple[str, ...] = ()
    containers: Mapping[str, str] = field(default_factory=dict)

    @property
    def culprit(self) -> str:
        """The deployments in words."""
        if self.blamed is Blamed.MCP and not self.deployments:
            return "an MCP server"
        return ", ".join(self.deployments)


NO_CAUSE = Cause(Blamed.NOTHING_KNOWN)


def cause_of(findings: Findings) -> Cause:
    """The cause of agents that are down.

    What they depend on comes before how they ended: an agent that exits because a server is away looks like a crash.
    """
    fleet, servers, resources = findings.get(Fleet), findings.get(McpServers), findings.get(Resources)
    troubled = {need.needed for need in findings.every(Need) if need.troubles}
    words = _complaints(findings)
    if fleet and fleet.oom_killed:
        return Cause(Blamed.MEMORY, fleet.oom_killed)
    if servers and servers.down:
        return Cause(Blamed.MCP, servers.down)
    if Needed.DATABASE in troubled or _DATABASE_WORDS.search(words):
        return Cause(Blamed.DATABASE, ("postgres",))
    if Needed.LLM in troubled or _LLM_WORDS.search(words):
        return Cause(Blamed.LLM, ("bifrost",))
    if Needed.TOOLS in troubled or "mcp" in words:
        return Cause(Blamed.MCP, tuple(server for server in MCP_SERVERS if server in words))
    if resources and resources.throttled:
        return Cause(Blamed.CPU, resources.throttled, resources.containers)
    restarted = fleet.restarted if fleet else ()
    if restarted or any(last.panics for last in findings.every(LastWords)):
        return Cause(Blamed.CRASH, restarted)
    return NO_CAUSE


def _complaints(findings: Findings) -> str:
    """What the affected agent and the orchestrator said last, and worst, in small letters."""
    orchestrator = (log.worst for log in findings.every(Logs) if log.app == "orchestrator")
    last = (last.words for last in findings.every(LastWords))
    worst = (log.worst for log in findings.every(AgentLog))
    return " ".join((*last, *worst, *orchestrator)).lower()


def rolled_out(findings: Findings) -> tuple[str, ...]:
    """The deployments that were rolled out in the window."""
    changes = findings.get(Rollouts)
    return changes.rolled_out if changes else ()


def repair(cause: Cause, rolled_out: Collection[str], namespace: str, limits: Quotas) -> Iterator[Action]:
    """The commands that look into and repair the cause. `limits` are those of known_limits."""
    match cause.blamed:
        case Blamed.MCP:
            yield from _repair_servers(cause.deployments, rolled_out, namespace)
        case Blamed.DATABASE:
            yield Action("Read postgres' log", kubectl(namespace, "logs", "deployment/postgres", "--tail=100"))
        case Blamed.LLM:
            command = kubectl(namespace, "logs", "deployment/bifrost", "--tail=100")
            yield Action("Read Bifrost's log", command, "Key invalid, rate limit, or provider down?")
        case Blamed.MEMORY:
            for deployment in cause.deployments[:3]:
                note = "Look for the reason of the growth as well."
                yield from raise_limit(deployment, "memory", limits, namespace, note)
        case Blamed.CPU:
            for deployment in cause.deployments[:3]:
                container = cause.containers.get(deployment, "")
                yield from raise_limit(deployment, "cpu", limits, namespace, container=container)


def _repair_servers(servers: Collection[str], rolled_out: Collection[str], namespace: str) -> Iterator[Action]:
    if not servers:
        command = kubectl(namespace, "get", "pods", "-l", "app.kubernetes.io/component=mcp-server")
        yield Action("See which MCP server is down", command)
    for server in servers:
        yield Action(
            f"See why {server} is down",
            kubectl(namespace, "describe", "pod", "-l", f"app.kubernetes.io/name={server}"),
            "Waiting reason, last exit and events.",
        )
        if server in rolled_out:
            yield Action(
                f"Take the last rollout of {server} back",
                kubectl(namespace, "rollout", "undo", f"deployment/{server}"),
                "It was rolled out in the window.",
                changes=True,
            )
        yield Action(
            f"Restart {server}",
            kubectl(namespace, "rollout", "restart", f"deployment/{server}"),
            "Only when its own log shows no lasting reason.",
            changes=True,
        )
