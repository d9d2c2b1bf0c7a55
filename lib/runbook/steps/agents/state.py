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
from runbook.steps.shared.replicas import Replicas, app_of, ends_within, replicas_of, serving
from runbook.steps.shared.values import number, text

RUNNING = frozenset({"RUNNING", "ACTIVE"})
"""What agent_status.status says of a working agent: today's word, and the written runbook's."""
_REPEATEDLY = 3


class State(StrEnum):
    """How an agent is, the worst first. Unstable: restarted in the window; absent: never deployed, which is fine."""

    DOWN = "down"
    UNHEALTHY = "unhealthy"
    UNSTABLE = "unstable"
    WELL = "well"
    UNREPORTED = "not in agent_status"
    ABSENT = "not deployed"

    @property
    def is_ill(self) -> bool:
        return self in (State.DOWN, State.UNHEALTHY, State.UNSTABLE)


@dataclass(slots=True)
class Agent:
    """A deployment, its row in agent_status (see AgentStatus), and all its pods; None where there is none.

    `ends`: how containers of its pods ended within the window.
    """

    deployment: str
    report: Any = None
    pods: Replicas | None = None
    rows: tuple[Any, ...] = ()
    ends: tuple[Any, ...] = ()
    state: State = State.WELL

    @property
    def restarts(self) -> float:
        """Those of the pod that restarted most."""
        return max((number(row.restarts) for row in self.rows), default=0.0)


def side_by_side(
    window: Window, status: Finding[AgentStatus], pods: Finding[Pods], agent_type: str = "", pod: str = ""
) -> Finding[Fleet]:
    """Agents and pods: each agent's row in agent_status beside its pod, whose names differ, and which are affected."""
    if not status.is_known and not pods.is_known:
        nothing = "Neither agent_status nor the pods gave an answer."
        return Finding(Status.UNKNOWN, "Agents and pods: neither is known", nothing)
    agents = _joined(status, pods, window)
    named = meant_by([agent.deployment for agent in agents], agent_type, pod)
    found = _fleet(agents, named, status.is_known, pods.is_known)
    severity = Status.OK if found.is_whole else Status.UNKNOWN
    if found.affected:
        severity = Status.WARNING
    if any(agent.state is State.DOWN for agent in agents):
        severity = Status.CRITICAL
    lines = [_line(agent) for agent in agents if agent.deployment in found.affected[:6]]
    rows = pd.DataFrame([_shown(agent) for agent in agents], columns=_COLUMNS)
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
        _add_pods(agents, pods.known.rows, window)
    for agent in agents.values():
        agent.state = _state(agent, status.is_known, pods.is_known)
    worst_first = list(State)
    return sorted(agents.values(), key=lambda agent: worst_first.index(agent.state))


def _add_pods(agents: dict[str, Agent], rows: pd.DataFrame, window: Window) -> None:
    """Puts to each agent all its pods, and how their containers ended; agents known by their pods alone come in."""
    for name, together in replicas_of(rows).items():
        agents.setdefault(name, Agent(name)).pods = together
    for row in serving(rows).itertuples(index=False):
        agents[app_of(row.app, row.name)].rows += (row,)
    for end in ends_within(rows, window).itertuples(index=False):
        agents[str(end.app)].ends += (end,)


def _state(agent: Agent, status_known: bool, pods_known: bool) -> State:
    report, pods = agent.report, agent.pods
    is_silent = report is not None and not number(report.age) <= HEARTBEAT_STALE_SECONDS
    is_stopped = report is not None and report.status not in RUNNING
    if pods_known and pods is None:
        was_never_there = is_stopped and is_missing(report.age)
        return State.ABSENT if was_never_there else State.DOWN
    if (pods is not None and pods.ready == 0) or (is_silent and is_stopped):
        return State.DOWN
    if is_silent or is_stopped or (pods is not None and pods.down):
        return State.UNHEALTHY
    if agent.ends:
        return State.UNSTABLE
    return State.UNREPORTED if report is None and status_known else State.WELL


def _fleet(agents: Sequence[Agent], named: Sequence[str], status_known: bool, pods_known: bool) -> Fleet:
    ill = [agent.deployment for agent in agents if agent.state.is_ill]
    affected = tuple(dict.fromkeys([*(name for name in named if name in ill), *ill]))
    absent = tuple(agent.deployment for agent in agents if agent.state is State.ABSENT)
    restarted = [agent for agent in agents if agent.ends]
    return Fleet(
        total=len(agents) - len(absent),
        affected=affected,
        first=next(iter((*affected, *(name for name in named if name not in absent))), ""),
        named=tuple(named),
        restarted=tuple(agent.deployment for agent in restarted),
        oom_killed=tuple(
            agent.deployment for agent in restarted if any(end.last_exit == "OOMKilled" for end in agent.ends)
        ),
        repeatedly=tuple(agent.deployment for agent in agents if agent.restarts >= _REPEATEDLY),
        status_known=status_known,
        pods_known=pods_known,
        absent=absent,
    )


_COLUMNS = ["deployment", "agent", "state", "agent_status", "heartbeat", "last error", "pods", "restarts"]


def _shown(agent: Agent) -> dict[str, Any]:
    """An agent as a row of the table: its pods in one."""
    report = agent.report
    row: dict[str, Any] = {"deployment": agent.deployment, "state": agent.state.value, "agent": "", "agent_status": ""}
    row |= {"heartbeat": None, "last error": "", "pods": "", "restarts": None}
    if report is not None:
        row |= {"agent": str(report.agent_name), "agent_status": report.status}
        row |= {"heartbeat": report.age, "last error": last_error(report)}
    if agent.pods is not None:
        row |= {"pods": wording.pods_in_a_cell(agent.pods, _troubles(agent)), "restarts": agent.restarts}
    return row


def _troubles(agent: Agent) -> list[str]:
    """What keeps its pods from being ready, and how its containers last ended, each once."""
    held_up = [str(row.waiting or row.status or "not ready") for row in agent.rows if not row.ready]
    exits = [str(row.last_exit) for row in agent.rows if row.last_exit]
    return list(dict.fromkeys((*held_up, *(str(end.last_exit) for end in agent.ends), *exits)))


def _line(agent: Agent) -> str:
    name = agent.report.agent_name if agent.report else "no row in agent_status"
    line = f"{agent.deployment} ({name}) is {agent.state}"
    if agent.pods is None or not agent.pods.share or not agent.pods.down:
        return line
    waits = ", ".join(_troubles(agent)[:2])
    return f"{line}: {agent.pods.share} pods not ready ({waits})"
