"""The orchestrator: what it answers, and what it said before it restarted."""

from __future__ import annotations

from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.sources.cluster import Cluster
from runbook.sources.overlap import at_once
from runbook.steps.agents.agent_logs import words_before_restart
from runbook.steps.agents.figures import LastWords
from runbook.steps.agents.needs import message_of
from runbook.steps.platform import Pods
from runbook.steps.sessions.figures import OrchestratorHealth
from runbook.steps.shared.grading import graded

_PATHS = ("/health", "/readiness")


def orchestrator(cluster: Cluster) -> Finding[OrchestratorHealth]:
    """Orchestrator health: what it answers at /health and /readiness, through the API server's proxy."""
    asked = at_once(*(partial(cluster.health, "orchestrator-service", 8081, path) for path in _PATHS))
    data = [answer.data for answer in asked]
    rows = pd.DataFrame(
        {
            "path": _PATHS,
            "code": [int(answer["code"]) for answer in data],
            "answer": [message_of(str(answer["body"])) for answer in data],
        }
    )
    found = OrchestratorHealth(failing=tuple(rows.loc[rows["code"] >= 300, "path"]))
    title = "The orchestrator answers at /health and /readiness"
    if found.failing:
        title = f"The orchestrator does not answer at {', '.join(found.failing)}"
    return Finding(
        graded(found.failing),
        title,
        "; ".join(f"{row.path}: {row.code} {row.answer}" for row in rows.itertuples()),
        found,
        (Table("What the orchestrator answers", rows, {"code": ""}),),
    )


def last_words(orchestrator_pods: Finding[Pods], cluster: Cluster, window: Window) -> Finding[LastWords]:
    """Last words: the orchestrator's log before its last restart in the window."""
    app = "orchestrator" if orchestrator_pods.known.restarted else ""
    return words_before_restart(app, cluster, window)
