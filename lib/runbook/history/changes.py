"""What changed from one run to the next: findings and verdict, compared."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.history.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: what it is about, how it was and how it is; "" where it was not or is not."""

    what: str
    before: str
    after: str


def changes(before: Outcome, after: Outcome) -> tuple[Change, ...]:
    """The differences between two outcomes: the level, then findings by id, in the order of the later run.

    A figure inside a title that moved is no change; a status that moved is.
    """
    found: list[Change] = []
    if before.level != after.level:
        found.append(Change("The whole", before.level, after.level))
    old = {finding.id: finding for finding in before.findings}
    new = {finding.id: finding for finding in after.findings}
    for key, finding in new.items():
        was = old.get(key)
        if was is None:
            found.append(Change(finding.title, "", finding.status))
        elif was.status != finding.status:
            found.append(Change(finding.title, was.status, finding.status))
    found.extend(Change(was.title, was.status, "") for key, was in old.items() if key not in new)
    return tuple(found)
