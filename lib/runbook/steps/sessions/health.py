"""The orchestrator: what it answers, and what it said before it restarted."""

from __future__ import annotations

from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.overlap import at_once
from runbook.steps.agents.agent_logs import words_before_restart
from runbook.steps.agents.figures import LastWords
from runbook.steps.platform import Pods
from runbook.steps.sessions import wording
from runbook.steps.sessions.figures import OrchestratorHealth
from runbook.steps.shared.endpoints import Health, heard
from runbook.steps.shared.grading import graded

_PATHS = ("/health", "/readiness")


def orchestrator(cluster: Cluster) -> Finding[OrchestratorHealth]:
    """Orchestrator health: what it answers at /health and /readiness, through the API server's proxy."""
    answers = at_once(*(partial(heard, cluster, "orchestrator-service", 8081, path) for path in _PATHS))
    errors = [answer.error for answer in answers if answer.error is not None]
    if len(errors) == len(answers):
        raise errors[0]
    of_each = dict(zip(_PATHS, answers, strict=True))
    found = OrchestratorHealth(
        failing=tuple(path for path, answer in of_each.items() if answer.health is Health.DOWN),
        unknown=tuple(path for path, answer in of_each.items() if answer.health is Health.UNKNOWN),
    )
    severity = graded(found.failing)
    if found.unknown and not found.failing:
        severity = Status.UNKNOWN
    rows = pd.DataFrame([(path, answer.text) for path, answer in of_each.items()], columns=["path", "answer"])
    return Finding(
        severity,
        wording.orchestrator_title(found),
        "; ".join(f"{path}: {answer.text}" for path, answer in of_each.items()),
        found,
        (Table("What the orchestrator answers", rows),),
    )


def last_words(orchestrator_pods: Finding[Pods], cluster: Cluster, window: Window) -> Finding[LastWords]:
    """Last words: the orchestrator's log before its last restart in the window."""
    app = "orchestrator" if orchestrator_pods.known.restarted else ""
    return words_before_restart(app, cluster, window)
