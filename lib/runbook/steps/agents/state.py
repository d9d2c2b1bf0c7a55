"""How an agent is, by its row in agent_status and its pod together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


_ILL = (State.DOWN, State.UNHEALTHY, State.UNSTABLE)
_WORST_FIRST = tuple(State)


@dataclass(frozen=True, slots=True)
class Report:
    """An agent's row in agent_status."""

    agent: str
    status: Any
    heartbeat_age_seconds: float
    last_error: str


@dataclass(frozen=True, slots=True)
class Pod:
    """An agent's pod. `waiting` and `last_exit` are Kubernetes' reasons, "" for none."""

    name: str
    is_ready: bool
    restarts: Any
    waiting: str
    last_exit: str
    last_exit_at: Any


@dataclass(frozen=True, slots=True)
class Agent:
    """One deployment: what it reported and its pod, as far as there are such, and how it is by both."""

    deployment: str
    report: Report | None = None
    pod: Pod | None = None
    state: State = State.WELL


def side_by_side(
    window: Window, status: Finding[AgentStatus], pods: Finding[Pods], agent_type: str = "", pod: str = ""
) -> Finding[Fleet]:
    """Agents and pods: each agent's row in agent_status beside its pod, whose names differ, and which are affected."""
    if not status.is_known and not pods.is_known:
        nothing = "Neither agent_status nor the pods gave an answer."
        return Finding(Status.UNKNOWN, "Agents and pods: neither is known", nothing)
    agents = _joined(status, pods, window)
    deployments = [agent.deployment for agent in agents]
    ill = [agent.deployment for agent in agents if agent.state in _ILL]
    named = meant_by(deployments, agent_type, pod)
    affected = tuple(dict.fromkeys([*(name for name in named if name in ill), *ill]))
    restarted = [agent for agent in agents if agent.pod and is_recent(agent.pod.last_exit_at, window)]
    found = Fleet(
        total=len(agents),
        affected=affected,
        first=next(iter((*affected, *named)), ""),
        named=tuple(named),
        restarted=tuple(agent.deployment for agent in restarted),
        oom_killed=tuple(agent.deployment for agent in restarted if agent.pod and agent.pod.last_exit == "OOMKilled"),
        repeatedly=tuple(
            agent.deployment for agent in agents if agent.pod and number(agent.pod.restarts) >= _REPEATEDLY
        ),
        pods_known=pods.is_known,
    )
    severity = Status.OK if status.is_known and pods.is_known else Status.UNKNOWN
    if affected:
        severity = Status.WARNING
    if any(agent.state is State.DOWN for agent in agents):
        severity = Status.CRITICAL
    rows = pd.DataFrame([_shown(agent) for agent in agents])
    return Finding(
        severity,
        wording.fleet_title(found, status.is_known),
        wording.fleet_detail(
            found, status.is_known, [_line(agent) for agent in agents if agent.deployment in affected[:6]]
        ),
        found,
        (Table("Agents and their pods, those in trouble first", rows, {"heartbeat": "s", "restarts": ""}),),
    )


def meant_by(deployments: Sequence[str], agent_type: str, pod: str) -> list[str]:
    """The deployments that the alert's labels name, as far as there are such."""
    wanted = {workload_of(pod), pod} if pod else set()
    wanted |= {deployment_of(agent_type), agent_type} if agent_type else set()
    return [name for name in deployments if name in wanted]


def is_recent(value: Any, window: Window) -> bool:
    """Whether the time `value` lies in the window."""
    return not is_missing(value) and window.start <= value <= window.as_of


def is_missing(value: Any) -> bool:
    """Whether a table's cell holds nothing: none, NaN or no time."""
    return value is None or bool(pd.isna(value))


def _joined(status: Finding[AgentStatus], pods: Finding[Pods], window: Window) -> list[Agent]:
    """Every agent that either source knows, in trouble first."""
    agents = {}
    for report in _reports(status):
        deployment = deployment_of(report.agent)
        agents[deployment] = Agent(deployment, report)
    for deployment, pod in _pods(pods):
        agents[deployment] = replace(agents.get(deployment, Agent(deployment)), pod=pod)
    known = (replace(agent, state=_state(agent, window, status.is_known, pods.is_known)) for agent in agents.values())
    return sorted(known, key=lambda agent: _WORST_FIRST.index(agent.state))


def _reports(status: Finding[AgentStatus]) -> list[Report]:
    rows = status.known.rows.to_dict("records") if status.is_known else []
    return [
        Report(
            str(row["agent_name"]),
            row["status"],
            row["age"],
            "" if is_missing(row["last_error"]) else text(row["last_error"]),
        )
        for row in rows
    ]


def _pods(pods: Finding[Pods]) -> list[tuple[str, Pod]]:
    """Each pod with the deployment that it is of."""
    rows = pods.known.rows.to_dict("records") if pods.is_known else []
    return [
        (
            str(row["app"] or workload_of(str(row["name"]))),
            Pod(row["name"], row["ready"], row["restarts"], row["waiting"], row["last_exit"], row["last_exit_at"]),
        )
        for row in rows
    ]


def _state(agent: Agent, window: Window, status_known: bool, pods_known: bool) -> State:
    report, pod = agent.report, agent.pod
    is_silent = report is not None and not number(report.heartbeat_age_seconds) <= HEARTBEAT_STALE_SECONDS
    is_stopped = report is not None and report.status not in RUNNING
    lacks_pod = pods_known and pod is None
    if lacks_pod or (pod is not None and not pod.is_ready) or (is_silent and is_stopped):
        return State.DOWN
    if is_silent or is_stopped:
        return State.UNHEALTHY
    if pod is not None and is_recent(pod.last_exit_at, window):
        return State.UNSTABLE
    return State.UNREPORTED if report is None and status_known else State.WELL


def _shown(agent: Agent) -> dict[str, Any]:
    """An agent as a row of the table: the pod's parts in one."""
    report, pod = agent.report, agent.pod
    return {
        "deployment": agent.deployment,
        "agent": report.agent if report else "",
        "state": agent.state.value,
        "agent_status": report.status if report else "",
        "heartbeat": report.heartbeat_age_seconds if report else None,
        "last error": report.last_error if report else "",
        "pod": wording.pod_parts(pod.is_ready, pod.waiting, pod.last_exit) if pod else "",
        "restarts": pod.restarts if pod else None,
    }


def _line(agent: Agent) -> str:
    name = agent.report.agent if agent.report else "no row in agent_status"
    return f"{agent.deployment} ({name}) is {agent.state}"
