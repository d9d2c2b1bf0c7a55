"""The recorded evidence of the demo answers every question that its notebooks ask of Prometheus and Alertmanager.

Where this fails a question has changed: `python -m tests.recording` records anew.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cryptofunk_demo import incidents, prometheus
from cryptofunk_demo.platform import Platform
from tests.notebooks.conftest import CATALOG, Investigation

INCIDENTS = sorted(incidents.INCIDENTS)


@pytest.mark.parametrize("incident", INCIDENTS)
def test_a_run_on_recorded_metrics_says_the_same(
    incident: str, platforms: Callable[..., Platform], investigate: Callable[..., Investigation]
) -> None:
    platform = platforms(incident)
    folder = prometheus.recorded(incident)
    assert folder is not None, "nothing is recorded of this incident"
    address = f"recorded:{folder}"
    environment = {**platform.environment, "PROMETHEUS_URL": address, "ALERTMANAGER_URL": address}
    procedure = CATALOG.entry(platform.incident.alert.name).procedure

    found = investigate(procedure, environment, alerts=[platform.alert])

    missing = [
        a.question for a in found.book.evidence.answers if a.source in ("metrics", "alertmanager") and a.status != "ok"
    ]
    assert missing == []
    assert found.outcome["status"] != "unknown", found.describe()
    states = {state["name"]: state["status"] for state in found.outcome["sources"]}
    assert {states["metrics"], states["alertmanager"]} == {"recorded"}
    if incident != "healthy":
        assert found.names(platform.incident.cause), found.describe()
