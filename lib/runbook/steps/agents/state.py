"""How an agent is, by its row in agent_status and its pod together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.steps.agents import wording
from runbook.steps.agents.figures import HEARTBEAT_STALE_SECONDS, AgentStatus, Fleet
from runbook.steps.platform import Pods
from runbook.steps.shared.fleet import deployment_of, workload_of
from runbook.steps.shared.values import number, text

RUNNING = frozenset({"RUNNING", "ACTIVE"})
"""What agent_status.status says of a working agent: today's word, and the written runbook's."""
_REPEATEDLY = 3


class State(StrEnum):
    """How an agent is, the worst first. Unstable: restarted in the window."""

    DOWN = "down"
    UNHEALTHY = "unhealthy"
    UNSTABLE = "unstable"
    WELL = "well"
    UNREPORTED = "not in agent_status"
    UNTOLD = "heartbeat from the future"
    UNHEARD = "has never reported"
    ABSENT = "not deployed"

    @property
    def is_ill(self) -> bool:
        return self in (State.DOWN, State.UNHEALTHY, State.UNSTABLE)


@dataclass(slots=True)
class Agent:
    """A deployment, its row in agent_status (see AgentStatus) and its pod's (see Pods); None where there is none."""

    deployment: str
    report: Any = None
    pod: Any = None
    state: State = State.WELL


def side_by_side(
    window: Window, status: Finding[AgentStatus], pods: Finding[Pods], agent_type: str = "", pod: str = ""
) -> Finding[Fleet]:
    """Agents and pods: each agent's row in agent_status beside its pod, whose names differ, and which are affected."""
    if not status.is_known and not pods.is_known:
        nothing = "Neither agent_status nor the pods gave an answer."
        return Finding(Status.UNKNOWN, "Agents and pods: neither is known", nothing)
    agents = _joined(status, pods, window)
    named = meant_by([agent.deployment for agent in agents], agent_type, pod)
    found = _fleet(agents, named, window, status.is_known, pods.is_known)
    severity = Status.OK if found.is_whole and found.total and not found.untold else Status.UNKNOWN
    if found.affected:
        severity = Status.WARNING
    if any(agent.state is State.DOWN for agent in agents):
        severity = Status.CRITICAL
    lines = [_line(agent) for agent in agents if agent.deployment in found.affected[:6]]
    rows = pd.DataFrame([_shown(agent) for agent in agents])
    return Finding(
        severity,
        wording.fleet_title(found),
        wording.fleet_detail(found, lines),
        found,
        (Table("Agents and their pods, those in trouble first", rows, {"heartbeat": "s", "restarts": ""}),),
    )


def meant_by(deployments: Sequence[str], agent_type: str, pod: str) -> list[str]:
    """The deployments that the alert's labels name, as far as there are such."""
    wanted = set()
    if pod:
        wanted |= {workload_of(pod), pod}
    if agent_type:
        wanted |= {deployment_of(agent_type), agent_type}
    return [name for name in deployments if name in wanted]


def last_error(row: Any) -> str:
    """The last error of a row in agent_status on one line; "" where it has none."""
    return "" if is_missing(row.last_error) else text(row.last_error)


def is_missing(value: Any) -> bool:
    """Whether a table's cell holds nothing: none, NaN or no time."""
    return value is None or bool(pd.isna(value))


def _joined(status: Finding[AgentStatus], pods: Finding[Pods], window: Window) -> list[Agent]:
    """Every agent that either source knows, those in trouble first."""
    agents: dict[str, Agent] = {}
    if status.is_known:
        for row in status.known.rows.itertuples():
            name = deployment_of(str(row.agent_name))
            agents[name] = Agent(name, report=row)
    if pods.is_known:
        for row in pods.known.rows.itertuples():
            name = str(row.app or workload_of(str(row.name)))
            agents.setdefault(name, Agent(name)).pod = row
    for agent in agents.values():
        agent.state = _state(agent, window, status.is_known, pods.is_known)
    worst_first = list(State)
    return sorted(agents.values(), key=lambda agent: worst_first.index(agent.state))


def _state(agent: Agent, window: Window, status_known: bool, pods_known: bool) -> State:
    report, pod = agent.report, agent.pod
    is_never = report is not None and bool(report.never)
    lacks_pod = pods_known and pod is None
    if is_never and pod is None:
        return State.ABSENT if pods_known else State.UNHEARD
    has_reported = report is not None and not is_never
    is_ahead = has_reported and bool(report.ahead)
    is_silent = has_reported and not is_ahead and not number(report.age) <= HEARTBEAT_STALE_SECONDS
    is_stopped = has_reported and report.status not in RUNNING
    if lacks_pod or (pod is not None and not pod.ready) or (is_silent and is_stopped):
        return State.DOWN
    if is_silent or is_stopped:
        return State.UNHEALTHY
    if _has_restarted(agent, window):
        return State.UNSTABLE
    if is_ahead:
        return State.UNTOLD
    if is_never:
        return State.UNHEARD
    return State.UNREPORTED if report is None and status_known else State.WELL


def _has_restarted(agent: Agent, window: Window) -> bool:
    """Whether its pod last ended within the window."""
    if agent.pod is None or is_missing(agent.pod.last_exit_at):
        return False
    return bool(window.start <= agent.pod.last_exit_at <= window.as_of)


def _fleet(
    agents: Sequence[Agent], named: Sequence[str], window: Window, status_known: bool, pods_known: bool
) -> Fleet:
    ill = [agent.deployment for agent in agents if agent.state.is_ill]
    affected = tuple(dict.fromkeys([*(name for name in named if name in ill), *ill]))
    with_pod = [agent for agent in agents if agent.pod is not None]
    restarted = [agent for agent in with_pod if _has_restarted(agent, window)]
    absent = tuple(agent.deployment for agent in agents if agent.state is State.ABSENT)
    return Fleet(
        total=len(agents) - len(absent),
        affected=affected,
        first=next((name for name in (*affected, *named) if name not in absent), ""),
        named=tuple(named),
        restarted=tuple(agent.deployment for agent in restarted),
        oom_killed=tuple(agent.deployment for agent in restarted if agent.pod.last_exit == "OOMKilled"),
        repeatedly=tuple(agent.deployment for agent in with_pod if number(agent.pod.restarts) >= _REPEATEDLY),
        status_known=status_known,
        untold=tuple(agent.deployment for agent in agents if agent.state is State.UNTOLD),
        pods_known=pods_known,
        absent=absent,
    )


def _shown(agent: Agent) -> dict[str, Any]:
    """An agent as a row of the table: the pod's parts in one."""
    report, pod = agent.report, agent.pod
    row: dict[str, Any] = {"deployment": agent.deployment, "agent": "", "state": agent.state.value, "agent_status": ""}
    row |= {"heartbeat": None, "last error": "", "pod": "", "restarts": None}
    if report is not None:
        row |= {"agent": str(report.agent_name), "agent_status": report.status}
        row |= {"heartbeat": report.age, "last error": last_error(report)}
    if pod is not None:
        row |= {"pod": wording.pod_parts(pod.ready, pod.waiting, pod.last_exit), "restarts": pod.restarts}
    return row


def _line(agent: Agent) -> str:
    name = agent.report.agent_name if agent.report else "no row in agent_status"
    return f"{agent.deployment} ({name}) is {agent.state}"
