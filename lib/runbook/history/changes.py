"""What changed from one run to the next: findings and verdict, compared."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.outcome import Outcome

_RENAMED_DOMAINS = {
    "bottleneck": "latency",
    "causes": "agents",
    "leaks": "resources",
    "openings": "exposure",
    "storage": "disk",
    "usage": "resources",
    "volumes": "disk",
}
_RENAMED_STEPS = {
    "market.cause": "drawdown.market_cause",
    "market.conditions": "drawdown.market_conditions",
    "positions.contributions": "drawdown.contributions",
    "positions.losing": "drawdown.losing_positions",
    "positions.open_now": "exposure.open_positions",
    "positions.restart_safety": "sessions.restart_safety",
}
"""Ids of runs before December 2026, when a step's id was not yet the name by which its notebook calls it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: what it is about, how it was and how it is; "" where it was not or is not."""

    what: str
    before: str
    after: str


def changes(before: Outcome, after: Outcome | None) -> tuple[Change, ...]:
    """The differences between two outcomes: the level, then findings by id, in the order of the later run.

    A figure inside a title that moved is no change; a status that moved is. A run without an outcome has nothing of
    the one before.
    """
    found: list[Change] = []
    level = after.level.value if after else ""
    if before.level != level:
        found.append(Change("The whole", before.level.value, level))
    old = {present_id(finding.id): finding for finding in before.findings}
    new = {present_id(finding.id): finding for finding in after.findings} if after else {}
    for key, finding in new.items():
        was = old.get(key)
        if was is None:
            found.append(Change(finding.title, "", finding.status.value))
        elif was.status != finding.status:
            found.append(Change(finding.title, was.status.value, finding.status.value))
    found.extend(Change(was.title, was.status.value, "") for key, was in old.items() if key not in new)
    return tuple(found)


def present_id(old: str) -> str:
    """The id that a finding has today, of one from any time."""
    domain, dot, step = old.partition(".")
    return _RENAMED_STEPS.get(old) or f"{_RENAMED_DOMAINS.get(domain, domain)}{dot}{step}"
