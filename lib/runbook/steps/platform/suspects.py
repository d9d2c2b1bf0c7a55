"""Changes shortly before trouble began: suspects, not proofs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from runbook.findings import Findings
from runbook.steps.platform.figures import ConfigChanges, Rollouts
from runbook.steps.platform.wording import restarted, rolled_out
from runbook.words import clock

_AFTERWARDS = timedelta(minutes=2)
"""A change is noted and trouble is measured a little late, so which came first is not told by seconds."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A change shortly before trouble began: when, in words, and the deployment where it was a rollout.

    `subject` is the deployment that was rolled out or restarted; empty for a change of configuration.
    """

    at: datetime
    text: str
    deployment: str = ""
    subject: str = ""

    @property
    def is_restart(self) -> bool:
        return bool(self.subject) and not self.deployment


def suspects(findings: Findings, began: datetime, minutes: float = 30) -> tuple[Suspect, ...]:
    """The rollouts, restarts and configuration changes of the `minutes` before `began`, the nearest first.

    Of several restarts of a deployment's pods the nearest stands for all, so that they hide no other change.
    """
    earliest, latest = began - timedelta(minutes=minutes), began + _AFTERWARDS
    near = [suspect for suspect in _changes(findings) if earliest <= suspect.at <= latest]
    near.sort(key=lambda suspect: suspect.at, reverse=True)
    restarts = Counter(suspect.subject for suspect in near if suspect.is_restart)
    return tuple(_merged(near, restarts))


def _merged(near: Sequence[Suspect], restarts: Mapping[str, int]) -> Iterator[Suspect]:
    told = set()
    for suspect in near:
        if not suspect.is_restart:
            yield suspect
        elif suspect.subject not in told:
            told.add(suspect.subject)
            more = restarts[suspect.subject] - 1
            yield replace(suspect, text=f"{suspect.text}, and {more} more of it") if more else suspect


def _changes(findings: Findings) -> Iterator[Suspect]:
    rolled = findings.get(Rollouts) or Rollouts()
    for rollout in rolled.rollouts:
        name = rollout.deployment
        yield Suspect(rollout.at, f"{name} {rolled_out(rollout)} at {clock(rollout.at)}", name, name)
    for restart in rolled.restarts:
        yield Suspect(restart.at, f"{restart.app} {restarted(restart)} at {clock(restart.at)}", subject=restart.app)
    configured = findings.get(ConfigChanges) or ConfigChanges()
    for change in configured.updates:
        who = change.by or "not recorded"
        yield Suspect(change.at, f"{change.action} by {who} at {clock(change.at)}")
