"""What latency says: text from its figures."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.steps.latency.figures import (
    PARTS,
    STATEMENTS_MAX,
    AgentLatency,
    Bottleneck,
    Candidate,
    Decisions,
    ModelLatency,
    Part,
    PartLatency,
    Parts,
    SlowLog,
    SlowQueries,
    Throttling,
)
from runbook.steps.shared.histograms import reading
from runbook.steps.shared.values import text
from runbook.words import amount, moment, names, plural

_AGENTS_MAX = 7
_CAPPED = (
    " The histogram's last bucket ends at 5,000 ms, so p95 cannot read more than that:"
    " the mean and the share over 5 s say how bad it is."
)
_THROTTLED_MEANS = (
    "A throttled pod waits although the node may be idle: its own CPU limit holds it back."
    " It then measures everything it calls as slower, too."
)
_CULPRITS = {
    Part.CPU: "the agents' own CPU limit",
    Part.DATABASE: "the database",
    Part.LLM: "the LLM gateway",
    Part.MCP_TOOLS: "an MCP server",
}
_SWITCH_ON = (
    "To switch it on: set shared_preload_libraries = 'pg_stat_statements' in postgresql.conf"
    " (or -c in the deployment's arguments), restart postgres,"
    " then CREATE EXTENSION pg_stat_statements; in the database cryptofunk."
    " Until then the slow query log is what there is."
)


def agents_title(found: Decisions) -> str:
    """Which agents are slower than the threshold, and how slow the slowest is."""
    threshold = amount(found.threshold_ms, "ms")
    slowest = found.slowest
    p95 = amount(slowest.p95_ms, "ms")
    if slowest.is_capped:
        p95 = f"at least {p95}"
    if not found.slow:
        return f"No agent is slower than {threshold}: the slowest, {slowest.agent}, has p95 {p95}"
    slow, of_all = len(found.slow), len(found.agents)
    listed = names(found.slow, _AGENTS_MAX)
    are = plural(slow, "is", "are")
    return f"{slow} of {of_all} agents {are} slower than {threshold}: {listed}; {slowest.agent} has p95 {p95}"


def agents_detail(found: Decisions, agent_type: str) -> str:
    """The slowest agent's mean, before and now. `agent_type`: the agent that the alert names, if any."""
    capped = _CAPPED if found.is_capped else ""
    asked = f" The alert names {text(agent_type)}." if agent_type else ""
    over = amount(found.slowest.over_share, "%")
    return f"{_means(found.slowest)}; {over} of its decisions took over 5 s.{capped}{asked}"


def _means(found: AgentLatency) -> str:
    return f"Mean {amount(found.mean_ms, 'ms')} against {amount(found.mean_before_ms, 'ms')} before"


def parts_title(parts: Sequence[PartLatency]) -> str:
    """p95 of each part before and now."""
    return "; ".join(f"{part.part} p95 {_from_to(part)}" for part in parts)


def _from_to(found: PartLatency) -> str:
    metric = PARTS[found.part]
    return f"{reading(found.p95_before_ms, metric)} → {reading(found.p95_ms, metric)}"


def parts_detail(found: Parts) -> str:
    """Which parts became slower, and which have no metric."""
    moved = "None of them is slower by half than before the alert."
    if found.moved:
        moved = f"Slower than before the alert by half or more: {names(found.moved)}."
    if found.untold:
        moved += f" What is usual of {names(found.untold)} is not known yet."
    return f"{moved} No metric of {names(found.missing)}." if found.missing else moved


def throttling_title(found: Throttling, most: str) -> str:
    """Which deployments their CPU limit holds back, and how much that holds back `most`, the first of all."""
    highest = amount(found.highest, "%")
    if not found.throttled:
        return f"No pod is throttled: at most {highest} of CPU periods ({most})"
    return f"Throttled in a quarter of their CPU periods or more: {names(found.throttled)}; {most} in {highest}"


def throttling_detail(found: Throttling, unread: str) -> str:
    """What throttling does. `unread`: why the limits are not known, if they are not."""
    if not found.throttled:
        return ""
    return f"{_THROTTLED_MEANS}\nTheir limits are not known: {unread}" if unread else _THROTTLED_MEANS


def models_title(found: ModelLatency) -> str:
    """p95 of the slowest model now and before."""
    before = amount(found.p95_before_ms, "ms")
    if found.few:
        return f"Too few LLM decisions since half an hour before the alert to judge by; p95 before was {before}"
    recorded = f"llm_decisions records p95 {amount(found.p95_ms, 'ms')} for {found.model}"
    return f"{recorded} since half an hour before the alert, {before} before"


def bottleneck_title(found: Bottleneck) -> str:
    """Which part it is."""
    if not found.slow:
        return "No agent is over the threshold, so there is no bottleneck to name"
    if found.part is None:
        return "None of the four parts moved with the slow agents"
    return f"The bottleneck is {_CULPRITS[found.part]}"


def bottleneck_detail(found: Bottleneck, moved: Candidate | None, spared: Sequence[str], *, is_cpu_known: bool) -> str:
    """Why it is the part that `moved`, and why others that look slow are not.

    `spared` are agents that are neither slow nor throttled.
    """
    if moved is None:
        why = "No part rose with them."
        if not is_cpu_known:
            why = f"{why} CPU throttling is not known, so it remains a suspect."
    else:
        why = _incriminated(moved, spared)
    acquitted = [_acquitted(candidate) for candidate in found.innocent] if found.slow else []
    return " ".join([why, *acquitted])


def _incriminated(found: Candidate, spared: Sequence[str]) -> str:
    """Why the part is the cause."""
    before, now = before_and_now(found)
    if found.part is Part.CPU:
        others = f"; {names(spared)} use the same LLM, tools and database and are fast." if spared else "."
        return f"Exactly the slow agents are throttled ({before} of their CPU periods before, {now} now){others}"
    step, explained = amount(found.together, "ratio"), amount(found.explained, "%")
    return (
        f"Its p95 went from {before} to {now}, in step with the agents (correlation {step}),"
        f" and it explains {explained} of the time that was added to a decision."
    )


def _acquitted(found: Candidate) -> str:
    """Why a part that looks slow is not the cause."""
    before, now = before_and_now(found)
    if found.part is Part.CPU:
        return "CPU is throttled too, but not of exactly the agents that are slow."
    if not found.has_slowed:
        return f"{found.part} looks slow ({now}), but was so before the agents were ({before})."
    if not found.is_in_step:
        return f"{found.part} became slower ({before} to {now}), but not when the agents did."
    return f"{found.part} became slower as well ({before} to {now}), which explains less of the added time."


def before_and_now(found: Candidate) -> tuple[str, str]:
    """p95 of a part before the alert and now; of the CPU the share of periods throttled."""
    if found.part is Part.CPU:
        return amount(found.before, "%"), amount(found.now, "%")
    metric = PARTS[found.part]
    return reading(found.before, metric), reading(found.now, metric)


def slow_queries_title(found: SlowQueries) -> str:
    """How many statements are slow on average, and how many run for long now."""
    run = plural(max(found.running, 1), "query runs", "queries run")
    now = f"{found.running or 'no'} {run} for over a second"
    if not found.is_available:
        return f"pg_stat_statements is off, so past slow queries are not counted; {now} now"
    take = plural(max(found.slow, 1), "statement takes", "statements take")
    least = "At least " if found.slow >= STATEMENTS_MAX else ""
    return f"{least}{found.slow or 'No'} {take} over 100 ms on average{since_reset(found)}; {now}"


def since_reset(found: SlowQueries) -> str:
    """Since when they are counted; empty where that is not known."""
    return f" since {moment(found.counted_since)}, when the statistics were reset" if found.counted_since else ""


def slow_queries_detail(found: SlowQueries, in_log: int) -> str:
    """The slowest statement, else why none does not mean that none was slow. `in_log`: those that postgres logged."""
    if not found.is_available:
        return _SWITCH_ON
    if found.slowest:
        mean, calls = amount(found.slowest.mean_ms, "ms"), amount(found.slowest.calls)
        return f"The slowest: {mean} on average in {calls} calls: {found.slowest.text[:200]}"
    late = "They count only from after the alert began"
    if in_log:
        why = late if found.is_late else "An average hides single slow runs"
        return f"{why}, and postgres' log has {in_log} slow statements: believe the log."
    return f"{late}, so they do not show how it was then." if found.is_late else ""


def slow_log_title(found: SlowLog) -> str:
    """How many slow statements were logged, and how slow the worst of them is."""
    worst = f"a median of {amount(found.median_ms, 'ms')} ({found.times}×)"
    return f"postgres logged {found.count} slow statements; most time went to one with {worst}"


def slow_log_detail(found: SlowLog) -> str:
    """The worst statement, and since when it is logged."""
    return f"Since {moment(found.first_at)}: {found.statement[:240]}"
