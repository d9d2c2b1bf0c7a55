"""The decision of TradingSessionFailure: resume, restart, or repair first what the orchestrator needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import exposure, platform
from runbook.steps.agents import LastWords, McpServers, Need, Needed, mcp_servers
from runbook.steps.agents import status as agent_status
from runbook.steps.agents.causes import NEEDS, NO_CAUSE, Blamed, Cause, cause_of, repair, rolled_out
from runbook.steps.platform import Pods
from runbook.steps.sessions.figures import Flow, Halt, OrchestratorHealth, RestartSafety
from runbook.steps.sessions.health import last_words, orchestrator
from runbook.steps.sessions.session import paused
from runbook.steps.sessions.trading import flow
from runbook.steps.shared.verdicts import kubectl, psql, silence, unknown_reasons
from runbook.words import moment

_ORCHESTRATOR = "orchestrator"
_SEE_SESSIONS = """
SELECT started_at, stopped_at, mode, total_trades FROM trading_sessions ORDER BY created_at DESC LIMIT 3;
SELECT max(created_at) AS last_signal FROM agent_signals;
SELECT max(placed_at) AS last_order FROM orders;
""".strip()


class Failure(StrEnum):
    """Why no session trades.

    Unwell: by its own word, though it is not known to have crashed. Stalled: up, but nothing flows; silent: nothing
    flows, the orchestrator not seen.
    """

    PAUSED = "paused"
    DEPENDENCY = "dependency"
    MEMORY = "memory"
    CRASHED = "crashed"
    UNWELL = "unwell"
    STALLED = "stalled"
    SILENT = "silent"
    RUNNING = "running"
    UNKNOWN = "unknown"


_BEFORE_RESTART = {
    Failure.DEPENDENCY: " Only after the cause is repaired.",
    Failure.PAUSED: " A fresh orchestrator starts unpaused; prefer its own resume where there is one.",
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is the matter with the session, and what the orchestrator needs and lacks, where that is why."""

    failure: Failure
    cause: Cause = NO_CAUSE


def decide(findings: Findings, alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of TradingSessionFailure: resume, restart, or repair first what the orchestrator needs, and why."""
    diagnosis = diagnosis_of(findings)
    decision, summary, severity = _choice(diagnosis, findings)
    return Verdict(
        decision,
        summary,
        severity,
        (*_reasons(findings), *unknown_reasons(findings)),
        tuple(_actions(diagnosis, findings, alert, namespace)),
        _checklist(findings),
    )


def diagnosis_of(findings: Findings) -> Diagnosis:
    """What is the matter with the session.

    What the orchestrator needs comes before how it ended: it exits when a server it needs is away, which looks like
    a crash.
    """
    halt, trading, health = findings.get(Halt), findings.get(Flow), findings.get(OrchestratorHealth)
    pods = _pods(findings, _ORCHESTRATOR)
    is_seen = pods is not None or health is not None
    is_broken = bool(pods and pods.not_ready) or bool(health and health.failing)
    if halt and halt.paused and not is_broken:
        return Diagnosis(Failure.PAUSED)
    if not is_broken and (trading is None or trading.flows):
        is_known = trading is not None and halt is not None and is_seen
        return Diagnosis(Failure.RUNNING if is_known else Failure.UNKNOWN)
    if pods and pods.oom_killed:
        return Diagnosis(Failure.MEMORY)
    cause = cause_of(findings)
    if cause.blamed in NEEDS:
        return Diagnosis(Failure.DEPENDENCY, cause)
    if is_broken:
        return Diagnosis(Failure.CRASHED if pods and pods.not_ready else Failure.UNWELL)
    # That it is up is only claimed where it was seen to be.
    return Diagnosis(Failure.STALLED if halt and is_seen else Failure.SILENT)


def _choice(diagnosis: Diagnosis, findings: Findings) -> tuple[str, str, Status]:
    halt, trading = findings.get(Halt), findings.get(Flow)
    since = ""
    if trading and trading.stopped_at is not None:
        since = f" Nothing has been traded or signalled since {moment(trading.stopped_at)}."
    match diagnosis.failure:
        case Failure.DEPENDENCY:
            culprit = diagnosis.cause.culprit
            summary = (
                f"No session trades because {culprit} does not serve the orchestrator: "
                f"restarting does not help before that.{since}"
            )
            return f"repair {culprit} first", summary, Status.CRITICAL
        case Failure.MEMORY:
            summary = f"The orchestrator was killed for exceeding its memory limit.{since}"
            return "raise the memory limit of orchestrator", summary, Status.CRITICAL
        case Failure.CRASHED:
            decision, summary = _after_crash(findings)
            return decision, f"{summary}{since}", Status.CRITICAL
        case Failure.UNWELL:
            return "restart the orchestrator", f"{_unwell(findings)}{since}", Status.CRITICAL
        case Failure.PAUSED if halt:
            why = f"trading is paused since {moment(halt.paused_at)} by {halt.paused_by} ({halt.reason})"
            return "resume trading, if the reason is over", f"Nothing crashed: {why}.{since}", Status.WARNING
        case Failure.STALLED:
            summary = f"The orchestrator is up and not paused, but nothing flows.{since}"
            return "restart the orchestrator", summary, Status.CRITICAL
        case Failure.SILENT:
            summary = f"Nothing flows, and whether the orchestrator runs is not known.{since}"
            return "look at the orchestrator", summary, Status.CRITICAL
        case Failure.RUNNING if trading:
            came = f"{trading.signals} signals came since the alert"
            summary = f"Healthy: the orchestrator runs, trading is not paused and {came}."
            return "nothing to restart", summary, Status.OK
    summary = "It is not known whether a session trades: too little could be asked."
    return "find out whether the orchestrator runs", summary, Status.UNKNOWN


def _unwell(findings: Findings) -> str:
    """What it says of itself, beside what its pods say of it."""
    health, pods = findings.get(OrchestratorHealth), _pods(findings, _ORCHESTRATOR)
    paths = ", ".join(health.failing) if health else "its health endpoint"
    beside = ", although its pod is ready" if pods else "; whether its pod is ready is not known"
    return f"The orchestrator does not answer healthy at {paths}{beside}; {_needs(findings)}."


def _needs(findings: Findings) -> str:
    measured = {need.needed for need in findings.every(Need)}
    is_checked = findings.get(McpServers) is not None and {Needed.DATABASE, Needed.LLM} <= measured
    return "what it depends on is well" if is_checked else "nothing it depends on is known to be down"


def _after_crash(findings: Findings) -> tuple[str, str]:
    needs = _needs(findings)
    last = findings.get(LastWords)
    words = ""
    if last and last.words:
        words = f" Its last words: “{last.words[:120]}”."
    if _ORCHESTRATOR in rolled_out(findings):
        summary = f"The orchestrator crashes since it was rolled out; {needs}.{words}"
        return "take the orchestrator's rollout back", summary
    return "restart the orchestrator", f"The orchestrator crashed; {needs}.{words}"


def _reasons(findings: Findings) -> Iterator[str]:
    for found in _argued(findings):
        if found.status is not Status.OK or isinstance(found.figures, Flow | Halt):
            yield f"{found.title}."
    for restart in findings.every(RestartSafety):
        if restart.is_safe:
            yield "A restart is safe now."
        else:
            yield f"A restart is not safe yet: {'; '.join(restart.reasons)}."


def _argued(findings: Findings) -> Iterator[Finding[Any]]:
    found = (
        findings.of(platform.pods, _ORCHESTRATOR),
        findings.of(orchestrator),
        findings.of(last_words),
        findings.of(mcp_servers),
        findings.of(platform.pods, "mcp-server"),
        findings.of(paused),
        findings.of(agent_status),
        findings.of(flow),
        findings.of(platform.rollouts),
        findings.of(platform.config_changes),
    )
    return (finding for finding in found if finding is not None and finding.is_known)


def _actions(diagnosis: Diagnosis, findings: Findings, alert: Alert, namespace: str) -> Iterator[Action]:
    restart = findings.get(RestartSafety)
    unsafe = ""
    if restart and not restart.is_safe:
        unsafe = f" Not before this is settled: {'; '.join(restart.reasons)}."
    yield from _repairs(diagnosis, findings, unsafe, namespace)
    if diagnosis.failure is not Failure.RUNNING:
        yield Action(
            "Restart the orchestrator gracefully",
            kubectl(namespace, "rollout", "restart", "deployment/orchestrator"),
            f"It opens a new trading session.{_BEFORE_RESTART.get(diagnosis.failure, '')}{unsafe}",
            changes=True,
        )
    yield Action("Monitor its startup", kubectl(namespace, "logs", "-f", "deployment/orchestrator"))
    yield Action("See whether a session trades again", psql(namespace, _SEE_SESSIONS))
    yield silence(alert)


def _repairs(diagnosis: Diagnosis, findings: Findings, unsafe: str, namespace: str) -> Iterator[Action]:
    rolled, limits = rolled_out(findings), platform.known_limits(findings)
    match diagnosis.failure:
        case Failure.DEPENDENCY:
            yield from repair(diagnosis.cause, rolled, namespace, limits)
            servers = _pods(findings, "mcp-server")
            if servers:
                yield from repair(Cause(Blamed.MEMORY, servers.oom_killed), rolled, namespace, limits)
        case Failure.MEMORY:
            yield from repair(Cause(Blamed.MEMORY, (_ORCHESTRATOR,)), rolled, namespace, limits)
        case Failure.CRASHED if _ORCHESTRATOR in rolled:
            yield Action(
                "Take the last rollout of the orchestrator back",
                kubectl(namespace, "rollout", "undo", "deployment/orchestrator"),
                f"It crashes since then.{unsafe}",
                changes=True,
            )


def _checklist(findings: Findings) -> tuple[tuple[str, str], ...]:
    title = findings.title
    pods = title(platform.pods, _ORCHESTRATOR).lower()
    return (
        ("Paused or crashed?", f"{title(paused)}; {pods}"),
        ("What did it say last?", title(last_words)),
        ("Were the agents well?", title(agent_status)),
        ("Were the MCP servers well?", title(mcp_servers)),
        ("What changed before?", f"{title(platform.rollouts)}; {title(platform.config_changes)}"),
        ("What stayed open meanwhile?", title(exposure.open_positions)),
        ("Since when does trading flow again?", title(flow)),
    )


def _pods(findings: Findings, of: str) -> Pods | None:
    return next((pods for pods in findings.every(Pods) if pods.of == of), None)
