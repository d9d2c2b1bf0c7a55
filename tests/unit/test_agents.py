"""Agents and failed sessions: how findings are put together and which cause is named."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.agents import causes
from runbook.steps.agents import observations as agents
from runbook.steps.agents.habits import signal_habits
from runbook.steps.sessions import observations as sessions
from runbook.steps.sessions import verdict as session_verdict
from runbook.steps.shared import fleet, quotas

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
ALERT = Alert("AgentDown", {"alertname": "AgentDown"}, {}, MOMENT)


def known(name: str, status: Status = Status.OK, **figures: Any) -> Finding:
    return Finding(name, status, name, figures=figures)


def unknown(name: str) -> Finding:
    return Finding(name, Status.UNKNOWN, f"{name}: not known", "The source is away.")


def by_id(*findings: Finding) -> Mapping[str, Finding]:
    return {one.id: one for one in findings}


def status_of(**silent_seconds: float) -> Finding:
    rows = [
        {"agent_name": name.replace("_", "-"), "status": "RUNNING", "age": age, "error_count": 0, "last_error": None}
        for name, age in silent_seconds.items()
    ]
    return Finding("agents.status", Status.OK, "", series={"agents": pd.DataFrame(rows)})


def pods_of(*rows: tuple[str, bool, str]) -> Finding:
    frame = pd.DataFrame(
        [
            {
                "name": f"{app}-7d9c5b8f6-x2x9k",
                "app": app,
                "ready": ready,
                "restarts": 4 if ended else 0,
                "waiting": "",
                "last_exit": ended,
                "last_exit_at": pd.Timestamp(MOMENT - timedelta(minutes=3)) if ended else pd.NaT,
            }
            for app, ready, ended in rows
        ]
    )
    return Finding("platform.pods.trading-agent", Status.OK, "", series={"pods": frame})


@pytest.mark.parametrize(
    ("name", "deployment"),
    [("trend-follower", "trend-agent"), ("trend", "trend-agent"), ("trend-agent", "trend-agent"), ("risk-analyzer-server", "risk-analyzer-server")],
)  # fmt: skip
def test_an_agent_is_found_by_any_of_its_names(name: str, deployment: str) -> None:
    assert fleet.deployment_of(name) == deployment


def test_a_pods_name_gives_its_deployment() -> None:
    assert fleet.workload_of("trend-agent-7d9c5b8f6-x2x9k") == "trend-agent"
    assert fleet.workload_of("trend-agent") == "trend-agent"


def test_agents_and_pods_are_joined_although_their_names_differ() -> None:
    found = agents.side_by_side(
        WINDOW, status_of(trend_follower=700.0, mean_reversion=4.0), pods_of(("trend-agent", False, "Error"), ("reversion-agent", True, "")), agent_type="trend"
    )  # fmt: skip
    assert found.status is Status.CRITICAL
    assert found.figures["affected"] == "trend-agent"
    assert found.figures["restarted"] == "trend-agent"


def test_half_known_is_never_ok() -> None:
    found = agents.side_by_side(WINDOW, unknown("agents.status"), pods_of(("trend-agent", True, "")))
    assert found.status is Status.UNKNOWN
    found = agents.side_by_side(WINDOW, status_of(trend_follower=4.0), unknown("platform.pods"))
    assert found.status is Status.UNKNOWN
    assert not found.figures["pods_known"]


def test_an_agent_the_alert_names_by_a_hostile_label_is_not_believed_in() -> None:
    found = agents.side_by_side(
        WINDOW,
        status_of(trend_follower=4.0),
        pods_of(("trend-agent", True, "")),
        agent_type='"} or vector(1)',
        pod="$(id)",
    )
    assert found.figures["first"] == ""


def test_a_missing_pod_is_down() -> None:
    found = agents.side_by_side(WINDOW, status_of(trend_follower=4.0, mean_reversion=4.0), pods_of(("trend-agent", True, "")))  # fmt: skip
    assert found.figures["affected"] == "reversion-agent"


@pytest.mark.parametrize(
    ("findings", "cause"),
    [
        ((known("agents.mcp_servers", down="risk-analyzer-server"), known("agents.side_by_side", restarted="trend-agent")),
         ("mcp", "risk-analyzer-server")),
        ((known("agents.resources", oom_killed="sentiment-agent"), known("agents.mcp_servers", down="")), ("resources", "sentiment-agent")),
        ((known("agents.last_words", words="mcp: initialize technical-indicators-server: connection refused"),),
         ("mcp", "technical-indicators-server")),
        ((known("agents.tools", bad="48 errors a minute"),), ("mcp", causes.UNNAMED)),
        ((known("agents.store", bad="the pool is exhausted"),), ("database", "postgres")),
        ((known("agents.llm", bad="its breaker is open"),), ("llm", "bifrost")),
        ((known("agents.last_words", words="panic: index out of range", panics=1), known("agents.side_by_side", restarted="trend-agent")),
         ("crash", "trend-agent")),
        ((unknown("agents.mcp_servers"),), ("", "")),
    ],
)  # fmt: skip
def test_what_agents_depend_on_comes_before_how_they_ended(findings: tuple[Finding, ...], cause: tuple[str, str]) -> None:  # fmt: skip
    assert causes.cause_of(by_id(*findings)) == cause


def test_nothing_known_is_not_healthy() -> None:
    verdict = agents.decide(by_id(unknown("agents.status"), unknown("agents.side_by_side")), ALERT, WINDOW)
    assert verdict.status is Status.UNKNOWN


def test_an_agent_whose_server_is_down_is_not_to_be_restarted_first() -> None:
    verdict = agents.decide(
        by_id(
            known("agents.side_by_side", Status.CRITICAL, affected="trend-agent", restarted="trend-agent", named=""),
            known("agents.mcp_servers", Status.CRITICAL, down="technical-indicators-server"),
            known("platform.rollouts", Status.WARNING, rolled_out="technical-indicators-server"),
        ),
        ALERT,
        WINDOW,
    )
    assert verdict.decision == "repair technical-indicators-server first"
    commands = [one.command for one in verdict.actions]
    undo = "kubectl -n cryptofunk rollout undo deployment/technical-indicators-server"
    assert commands.index(undo) < commands.index("kubectl -n cryptofunk rollout restart deployment/trend-agent")


ORCHESTRATOR_UP = (known("platform.pods.orchestrator", not_ready="", restarted=""), known("sessions.orchestrator", failing=""))  # fmt: skip
ORCHESTRATOR_DOWN = (known("platform.pods.orchestrator", not_ready="orchestrator", restarted="orchestrator"),)
FLOWS, STILL = known("sessions.flow", flows=True, signals=3), known("sessions.flow", flows=False, stopped_at=MOMENT)
RUNS, PAUSED = known("sessions.paused", paused=False), known("sessions.paused", paused=True, paused_by="ops", paused_at=MOMENT, reason="maintenance")  # fmt: skip


@pytest.mark.parametrize(
    ("findings", "kind"),
    [
        ((*ORCHESTRATOR_UP, FLOWS, RUNS), "running"),
        ((*ORCHESTRATOR_UP, STILL, PAUSED), "paused"),
        ((*ORCHESTRATOR_UP, STILL, RUNS), "stalled"),
        ((*ORCHESTRATOR_DOWN, STILL, RUNS), "crashed"),
        ((*ORCHESTRATOR_DOWN, STILL, RUNS, known("agents.mcp_servers", down="risk-analyzer-server")), "dependency"),
        ((*ORCHESTRATOR_UP, STILL, RUNS, known("agents.mcp_servers", down="risk-analyzer-server")), "dependency"),
        ((unknown("platform.pods"), STILL, RUNS), "silent"),
        ((FLOWS, RUNS), "unknown"),
        ((*ORCHESTRATOR_UP,), "unknown"),
    ],
)
def test_paused_crashed_or_without_what_it_needs(findings: tuple[Finding, ...], kind: str) -> None:
    assert session_verdict.failure(by_id(*findings))[0] == kind
    verdict = sessions.decide(by_id(*findings), ALERT, WINDOW)
    assert (verdict.status is Status.OK) == (kind == "running")


@pytest.mark.parametrize(("component", "histogram"), [("llm", "a_ms"), ("mcp", "b_ms"), ("database", "c_ms")])
def test_the_promql_of_the_causes_is_valid(component: str, histogram: str) -> None:
    promql_parser.parse(causes.causes_expression(component, histogram, 330))


def test_the_promql_of_resources_is_valid_for_any_pod() -> None:
    promql_parser.parse(causes.resources_expression(['we"ird.*', "trend-agent"], "crypto\nfunk", 368))


def test_a_refusal_is_told_in_its_own_words() -> None:
    assert causes.said('{"kind": "Status", "message": "no endpoints\\navailable"}') == "no endpoints available"
    assert causes.said("[1, 2]") == "[1, 2]"
    assert causes.said("<html>") == "<html>"


@pytest.mark.parametrize(
    ("resource", "text"), [("memory", '"limits":{"memory":"768Mi"}'), ("cpu", '"limits":{"cpu":"750m"}')]
)
def test_only_the_limit_that_ran_out_is_raised_one_step_from_what_it_is(resource: str, text: str) -> None:
    pods = known(
        "platform.pods.trading-agent", limits={"a-agent": {"container": "main", "memory": 512 * 2**20, "cpu": 0.5}}
    )
    limits = quotas.known_limits(by_id(pods))
    (action,) = causes.repair("resources", "a-agent", [], "cryptofunk", limits, resource)
    assert action.changes
    assert text in action.command


def test_a_limit_that_is_not_known_is_not_guessed() -> None:
    (action,) = causes.repair("resources", "a-agent", [], "cryptofunk", {}, "memory")
    assert not action.changes


@pytest.mark.parametrize(
    ("minutes", "p95_minutes", "gaps", "state"),
    [
        (18, 4, 200, "silent"),
        (8, 4, 200, "quiet"),
        (3, 4, 200, "as usual"),
        (4, 1, 200, "quiet"),  # above three gaps, but not yet five minutes
        (18, 4, 2, "quiet"),  # no habit known
        (50, 4, 2, "silent"),
    ],
)
def test_silence_is_measured_by_an_agents_own_gaps(minutes: int, p95_minutes: int, gaps: int, state: str) -> None:
    last = pd.Timestamp(WINDOW.as_of - timedelta(minutes=minutes))
    made = pd.DataFrame({"agent_name": ["a"], "bucket": [last], "signals": [3], "last": [last]})
    habits = pd.DataFrame({"agent_name": ["a"], "gaps": [gaps], "median_seconds": [60.0], "p95_seconds": [60.0 * p95_minutes], "last": [last]})  # fmt: skip
    asked = {"agents/signals": made, "agents/gaps": habits}
    database = SimpleNamespace(ask=lambda question, **_: SimpleNamespace(frame=asked[question]))
    found = agents.signals(database, WINDOW)  # type: ignore[arg-type]
    assert list(found.tables[0].frame["state"]) == [state]
    assert ("as usual" in found.title) == (state == "as usual")
    assert (found.status is Status.OK) == (state == "as usual")


def test_an_agent_without_any_signal_in_the_window_is_silent_too() -> None:
    last = pd.Timestamp(WINDOW.as_of)
    made = pd.DataFrame({"agent_name": ["a"], "bucket": [last], "signals": [3], "last": [last]})
    habits = pd.DataFrame({"agent_name": ["b"], "gaps": [9], "median_seconds": [60.0], "p95_seconds": [90.0], "last": [last - timedelta(days=1)]})  # fmt: skip
    table = signal_habits(made, habits, WINDOW)
    assert list(table["agent"] + " " + table["state"]) == ["b silent", "a as usual"]


@pytest.mark.parametrize(
    ("levels", "status", "words"),
    [
        (("error", "warn", "info"), Status.WARNING, "line 0"),
        (("info", "warn", "info"), Status.WARNING, "line 1"),
        (("info", "info", "info"), Status.OK, ""),
        (("panic", "info", "info"), Status.CRITICAL, "line 0"),
    ],
)
def test_last_words_are_the_last_complaint(levels: tuple[str, ...], status: Status, words: str) -> None:
    frame = pd.DataFrame({"time": pd.Timestamp(WINDOW.as_of), "level": levels, "message": [f"line {n}" for n in range(3)], "fields": [{}] * 3})  # fmt: skip
    cluster = SimpleNamespace(logs=lambda *_, **__: SimpleNamespace(frame=frame))
    found = agents.words_before_restart("agents.last_words", "a-agent", cluster, WINDOW)  # type: ignore[arg-type]
    assert (found.status, found.figures["words"]) == (status, words)
