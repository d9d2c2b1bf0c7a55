"""Health endpoints: only what a service says itself is its answer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.errors import QueryFailed, SourceError, SourceUnavailable
from runbook.outcome import Status
from runbook.steps import agents, dependencies, sessions
from runbook.steps.agents import McpServers
from runbook.steps.sessions.figures import OrchestratorHealth
from runbook.steps.shared.endpoints import Health, heard

Reply = dict[str, Any] | SourceError
WELL: Reply = {"code": 200, "body": '{"status": "healthy"}'}
UNREACHED = QueryFailed("cluster's proxy does not reach services/x:1, so it is not known")
HANGS = SourceUnavailable("cluster did not answer in 5 s")
NO_POD: Reply = {"code": 503, "body": "no endpoints available", "by": "cluster"}


def cluster(reply: Callable[[str, str], Reply] | Reply) -> Any:
    """A cluster whose services answer `reply`, or what it gives for a service and a path."""

    def health(service: str, _: int, path: str) -> Any:
        found = reply(service, path) if callable(reply) else reply
        if isinstance(found, SourceError):
            raise found
        return SimpleNamespace(data=found)

    return SimpleNamespace(health=health)


@pytest.mark.parametrize(
    ("reply", "health", "text"),
    [
        (WELL, Health.WELL, '200 {"status": "healthy"}'),
        ({"code": 200, "body": "ok"}, Health.WELL, "200 ok"),
        ({"code": 200, "body": '{"status": "degraded"}'}, Health.DOWN, '200 {"status": "degraded"}'),
        ({"code": 503, "body": '{"message": "no database"}'}, Health.DOWN, "503 no database"),
        ({"code": 500, "body": ""}, Health.DOWN, "500"),
        ({"code": 404, "body": "404 page not found"}, Health.UNKNOWN, "404 404 page not found, which says nothing"),
        ({"code": 401, "body": "who are you?"}, Health.UNKNOWN, "401 who are you?, which says nothing of its health"),
        (NO_POD, Health.DOWN, "no ready pod stands behind it, as Kubernetes says"),
        (UNREACHED, Health.UNKNOWN, "cluster's proxy does not reach"),
        (HANGS, Health.UNKNOWN, "cluster did not answer in 5 s"),
    ],
)
def test_what_an_answer_says_of_health(reply: Reply, health: Health, text: str) -> None:
    found = heard(cluster(reply), "api-service", 80, "/health")
    assert found.health is health
    assert found.text.startswith(text)


STEPS: list[Any] = [agents.mcp_servers, dependencies.endpoints, sessions.orchestrator]


@pytest.mark.parametrize("step", STEPS)
def test_where_nothing_is_reached_this_way_that_is_said_once(step: Any) -> None:
    with pytest.raises(QueryFailed, match="does not reach"):
        step(cluster(UNREACHED))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("trouble", [UNREACHED, HANGS, {"code": 404, "body": "404 page not found"}])
def test_what_is_not_known_of_some_is_neither_well_nor_down(step: Any, trouble: Reply) -> None:
    silent = ("risk-analyzer-server", "api-service")

    def reply(service: str, path: str) -> Reply:
        return trouble if service in silent or path == "/readiness" else WELL

    found = step(cluster(reply))
    assert found.status is Status.UNKNOWN
    assert found.detail


@pytest.mark.parametrize("step", STEPS)
def test_what_says_itself_that_it_is_not_well_is_down(step: Any) -> None:
    assert step(cluster({"code": 503, "body": "no database"})).status is Status.CRITICAL
    assert step(cluster(NO_POD)).status is Status.CRITICAL
    assert step(cluster(WELL)).status is Status.OK


def test_figures_tell_them_apart() -> None:
    def reply(service: str, path: str) -> Reply:
        return {"market-data-server": UNREACHED, "risk-analyzer-server": NO_POD}.get(service, WELL)

    found = agents.mcp_servers(cluster(reply))
    assert found.figures == McpServers(down=("risk-analyzer-server",), unknown=("market-data-server",))
    assert found.status is Status.CRITICAL


def test_the_orchestrator_that_is_unwell_by_its_own_word() -> None:
    found = sessions.orchestrator(cluster(lambda _, path: {"code": 503, "body": "x"} if path == "/health" else WELL))
    assert found.figures == OrchestratorHealth(failing=("/health",))
    assert found.title == "The orchestrator does not answer healthy at /health"
