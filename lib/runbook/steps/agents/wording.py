"""What the checks of agents say, from their figures."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from runbook.steps.agents.figures import (
    HEARTBEAT_STALE_SECONDS,
    HISTOGRAMS,
    POOL_CONNECTIONS,
    AgentStatus,
    Fleet,
    McpServers,
    Need,
    Needed,
    Online,
    Resources,
    Signals,
    Trouble,
)
from runbook.steps.agents.habits import SIGNAL_GAPS, SILENT_SECONDS
from runbook.steps.shared.histograms import reading
from runbook.words import ago, amount, capitalised, duration, moment, names, plural

_NEEDED = {Needed.LLM: "LLM", Needed.TOOLS: "MCP tools", Needed.DATABASE: "Database"}


def status_title(found: AgentStatus) -> str:
    if not found.total:
        return "No agent has ever reported to agent_status: whether any is deployed is not known from it"
    if not found.bad and found.ahead:
        are = plural(len(found.ahead), "sends a heartbeat", "send heartbeats")
        return f"{len(found.ahead)} of {found.total} agents {are} from the future: whether they live is not known"
    if not found.bad:
        return f"All {found.total} agents run and sent a heartbeat within {duration(HEARTBEAT_STALE_SECONDS)}"
    are = plural(len(found.bad), "is", "are")
    return f"{len(found.bad)} of {found.total} agents {are} not well in agent_status: {names(found.bad)}"


def status_detail(found: AgentStatus, lines: str, ahead_seconds: float) -> str:
    """`lines`: what is the matter with those that are not well; `ahead_seconds`: by how much a heartbeat is ahead."""
    parts = [lines] if lines else []
    if found.never:
        have = plural(len(found.never), "has", "have")
        parts.append(f"{names(found.never)} {have} never run: a row and no start or heartbeat since ever")
    if not found.ahead:
        return ". ".join(parts)
    parts.append(
        f"Heartbeats of {names(found.ahead)} are up to {duration(ahead_seconds)} later than the report's moment: "
        "a clock is off, or that moment has long passed."
    )
    return ". ".join(parts)


def status_line(row: Any, last_error: str) -> str:
    """Of a row in agent_status that is not well."""
    line = f"{row.agent_name}: {row.status}, heartbeat {ago(row.age)}"
    return f"{line}, {last_error}" if last_error else line


def fleet_title(found: Fleet) -> str:
    title = f"No agent of {found.total} is in trouble"
    if not found.total:
        title = "No agent is deployed, as far as is known"
    if found.untold:
        title += f" as far as is known; heartbeats from the future: {names(found.untold)}"
    if found.affected:
        title = f"Affected: {names(found.affected)}"
    if found.is_whole:
        return title
    known = "agent_status" if found.status_known else "pods"
    return f"{title} ({known} only; the other is not known)"


def fleet_detail(found: Fleet, lines: Sequence[str]) -> str:
    """`lines` say of each affected agent how it is."""
    detail = "; ".join(lines)
    if found.affected:
        detail += "."
    if found.absent:
        detail += f" Not deployed: {names(found.absent)} (no pod, and never run)."
    if found.named:
        is_well = found.is_whole and not set(found.named) & {*found.affected, *found.absent, *found.untold}
        well = ", which is well by both" if is_well else ""
        detail += f" The alert names {names(found.named)}{well}."
    if not found.is_whole:
        missing = "The pods" if found.status_known else "agent_status"
        detail += f" {missing} gave no answer, so half of each agent is not known."
    return detail


def pod_parts(is_ready: bool, waiting: str, last_exit: str) -> str:
    ready = "ready" if is_ready else "NOT ready"
    return ", ".join(str(part) for part in (ready, waiting, last_exit) if part)


def online_title(found: Online) -> str:
    if not found.offline:
        return f"All {found.total} agents are online by their own metric"
    are = plural(len(found.offline), "is", "are")
    return f"{len(found.offline)} of {found.total} agents {are} offline by their own metric: {names(found.offline)}"


def online_detail(offline: Mapping[str, pd.Timestamp], ended: Collection[str], never: Sequence[str] = ()) -> str:
    """`offline`: since when, by type of agent; the samples of those in `ended` stop there, the `never` never were."""
    unseen = ""
    if never:
        unseen = f"Online at no moment of the window, so not deployed or down for longer: {names(never)}."
    if not offline:
        return unseen
    lines = []
    for kind, since in offline.items():
        line = f"{kind} since {moment(since)}"
        lines.append(f"{line} (its samples end there)" if kind in ended else line)
    return f"Offline: {'; '.join(lines)}. {unseen}".rstrip()


def signals_title(found: Signals, agents: int, quiet: Sequence[str]) -> str:
    if found.silent:
        return f"{len(found.silent)} of {agents} agents fell silent: {names(found.silent)}"
    if quiet:
        are = "one is" if len(quiet) == 1 else f"{len(quiet)} are"
        return f"No agent of {agents} is silent, but {are} quiet for longer than usual: {names(quiet)}"
    if found.untold:
        untold = f"how often {names(found.untold)} usually do is not known yet"
        return f"None of {agents} agents that make signals is silent, but {untold}"
    return f"All {agents} agents that make signals do so as usual"


def signals_detail(found: Signals, longest: Mapping[str, Any], quiet: Sequence[str]) -> str:
    also = ""
    if found.silent and quiet:
        also = f"Quiet for longer than 95 % of their gaps: {names(quiet)}. "
    return (
        f"The longest without a signal: {longest['agent']}, {duration(longest['age'])}. {also}"
        f"Silent: over {SIGNAL_GAPS} times the gap that 95 % of its gaps before the alert stayed within, "
        f"and over {duration(SILENT_SECONDS)}."
    )


def quiet_agents(rows: pd.DataFrame) -> list[str]:
    """Each quiet agent with how long it is quiet, beside its habit."""
    return [
        f"{row['agent']} ({duration(row['age'])}, p95 {duration(row['p95 gap'])})" for row in rows.to_dict("records")
    ]


def recovery_title(open_ends: Mapping[str, Sequence[str]], unknown: Sequence[str]) -> str:
    """`open_ends`: the agents that are not well by each source; `unknown` are the sources that gave no answer."""
    if open_ends:
        lines = [f"{source}: {', '.join(agents)}" for source, agents in open_ends.items()]
        return f"Not recovered yet: {'; '.join(lines)}"
    if unknown:
        return f"Not known to have recovered: {names(unknown)} gave no answer"
    return "Recovered: agent_status, metric, pods and signals all are as usual"


def recovery_detail(repeatedly: Sequence[str], unknown: Sequence[str]) -> str:
    if repeatedly:
        return f"Failed repeatedly (three restarts or more): {names(repeatedly)}."
    return f"Not known: {names(unknown)}." if unknown else ""


def mcp_title(found: McpServers, total: int) -> str:
    if found.down:
        does = plural(len(found.down), "does", "do")
        return f"{len(found.down)} of {total} MCP servers {does} not answer: {names(found.down)}"
    if found.unknown:
        return f"Not known of {names(found.unknown)}; the others answer"
    return f"All {total} MCP servers answer /health"


def need_subject(needed: Needed) -> str:
    return _NEEDED[needed]


def need_title(found: Need) -> str:
    subject = need_subject(found.needed)
    if found.troubles:
        return f"{subject} in trouble: {'; '.join(_trouble(found, trouble) for trouble in found.troubles)}"
    pool = ""
    if math.isfinite(found.connections):
        pool = f"; {_in_use(found)} connections in use"
    return f"{subject}: {_rate(found.errors_per_minute)} errors a minute, p95 {_p95(found)}{pool}"


def need_detail(found: Need) -> str:
    return f"Before the alert: {_rate(found.errors_before)} errors a minute, p95 {_p95_before(found)}."


def _trouble(found: Need, trouble: Trouble) -> str:
    match trouble:
        case Trouble.ERRORS:
            return f"{_rate(found.errors_per_minute)} errors a minute, {_rate(found.errors_before)} before"
        case Trouble.SLOW:
            return f"p95 {_p95(found)}, {_p95_before(found)} before"
        case Trouble.BREAKER:
            state = "open" if found.breaker == 1 else "half-open"
            return f"its circuit breaker is {state}"
        case Trouble.POOL:
            return f"the connection pool is exhausted ({_in_use(found)} in use)"


def _p95(found: Need) -> str:
    return reading(found.p95_ms, HISTOGRAMS[found.needed])


def _p95_before(found: Need) -> str:
    return reading(found.p95_before_ms, HISTOGRAMS[found.needed])


def _in_use(found: Need) -> str:
    return f"{amount(found.connections, 'ratio')} of {POOL_CONNECTIONS}"


def _rate(a_minute: float) -> str:
    if not math.isfinite(a_minute):
        return amount(a_minute)
    hundredths = round(a_minute, 2)
    return amount(hundredths, "ratio")


def resources_title(found: Resources) -> str:
    short = []
    if found.oom_killed:
        short.append(f"OOM-killed: {', '.join(found.oom_killed)}")
    if found.memory_high:
        short.append(f"memory at 90 % of its limit or more: {names(found.memory_high)}")
    if found.throttled:
        short.append(f"CPU throttled: {names(found.throttled)}")
    if short:
        return capitalised("; ".join(short))
    return f"Memory and CPU are not the matter: memory at most {amount(found.memory_share, '%')} of its limit"
