"""What pages say of clusters as they are in life: nothing hides behind what is well, nothing left over is blamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cryptofunk_demo import incidents
from cryptofunk_demo.platform import Platform
from tests.cluster_worlds import EVENTS, PODS
from tests.notebooks.conftest import Investigation
from tests.notebooks.inspection import inspect

World = Callable[..., Investigation]


@pytest.fixture
def look(investigate: Callable[..., Investigation], platforms: Callable[..., Platform]) -> World:
    """Runs a notebook in a world of the default incident, for an alert of its own name."""

    def run(procedure: str, world: str, **labels: str) -> Investigation:
        platform = platforms(incidents.DEFAULT, world=world)
        given = {"alertname": procedure, "severity": "warning", **labels}
        found = investigate(procedure, platform.environment, alerts=[{**platform.alert, "labels": given}])
        inspect(found)
        return found

    return run


def finding(found: Investigation, identity: str) -> dict[str, Any]:
    (one,) = [one for one in found.findings if one["id"] == identity]
    return one


def test_a_replica_that_loops_is_affected_and_its_kill_is_the_cause(look: World) -> None:
    found = look("AgentDown", "replicas", agent_type="trend")
    together = finding(found, "agents.side_by_side")
    assert (together["status"], together["title"]) == ("warning", "Affected: trend-agent")
    assert "1 of 2 pods not ready (CrashLoopBackOff, OOMKilled)" in together["detail"]
    pods = finding(found, "platform.pods.trading-agent")
    assert pods["title"].startswith("1 of 14 pods is not ready: trend-agent (1 of 2)")
    assert "trend-agent was killed for exceeding its memory limit" in found.outcome["verdict"], found.describe()


def test_a_replica_on_a_lost_node_is_not_ready(look: World) -> None:
    found = look("SystemHealth", "replicas")
    pods = finding(found, "platform.pods")
    assert pods["status"] == "critical"
    assert pods["title"].startswith("2 of 34 pods are not ready: api (1 of 3), trend-agent (1 of 2)")
    assert "api (1 of 3) is not ready, although its containers are, as on a lost node" in pods["detail"]


def test_the_sidecar_that_comes_first_gets_no_advice(look: World, platforms: Callable[..., Platform]) -> None:
    platform = platforms(incidents.DEFAULT, world="sidecars")
    (pod,) = [
        pod["metadata"]["name"]
        for pod in platform.cluster_state.objects["pods"]  # type: ignore[union-attr]
        if pod["metadata"]["name"].startswith("risk-agent")
    ]
    found = look("HighResourceUsage", "sidecars", pod=pod, resource="memory")
    assert finding(found, "resources.limits")["title"].startswith("risk-agent: memory 256.0 MiB requested, 512.0 MiB")
    assert "of 40 containers" in " ".join(table["caption"] for table in tables(found, "resources.top_pods"))
    logs = finding(look("MaxDrawdownExceeded", "sidecars"), "platform.logs.risk-agent")
    assert logs["status"] != "unknown", "each container's log was read"


def tables(found: Investigation, identity: str) -> list[dict[str, Any]]:
    return list(finding(found, identity)["tables"])


def test_what_is_left_over_beside_pods_that_serve_is_no_fault(look: World) -> None:
    found = look("SystemHealth", "leftovers")
    pods = finding(found, "platform.pods")
    assert (pods["status"], pods["title"]) == ("ok", "All 20 pods are ready")
    assert pods["detail"] == (
        "Left over, which is no fault: 5 pods (1 Evicted, 1 Terminating, 1 Error, 1 Completed, 1 Terminated)."
    )
    assert finding(look("AnyAlert", "leftovers", service="api"), "alerting.about")["title"] == "It is about api; ready"


def test_none_of_many_pods_and_events_is_overlooked(look: World) -> None:
    found = look("SystemHealth", "many-pods")
    assert finding(found, "platform.pods")["title"] == f"All {PODS} pods are ready"
    events = finding(found, "platform.events")
    assert (events["status"], events["title"]) == ("warning", "Kubernetes warned 1 times: Unhealthy")
    assert EVENTS > 500
    log = finding(look("AnyAlert", "many-pods", service="api"), "alerting.logs")
    assert "5 of 527 pods of api were read" in log["detail"]
    assert log["status"] != "ok"


@pytest.mark.parametrize(
    ("procedure", "identity"),
    [
        ("TradingSessionFailure", "sessions.orchestrator"),
        ("TradingSessionFailure", "agents.mcp_servers"),
        ("SystemHealth", "dependencies.endpoints"),
    ],
)
def test_what_the_proxy_does_not_reach_is_unknown_and_not_down(look: World, procedure: str, identity: str) -> None:
    found = look(procedure, "barred")
    one = finding(found, identity)
    assert one["status"] == "unknown"
    assert "does not reach" in one["detail"]
    assert "orchestrator crashed" not in found.conclusion, found.describe()
    (cluster,) = [state for state in found.outcome["sources"] if state["name"] == "cluster"]
    assert "questions failed" in cluster["reason"], "the other questions are answered"
