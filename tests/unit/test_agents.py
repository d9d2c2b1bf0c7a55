"""Agents: how findings are put together and which cause is named."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.errors import SourceError
from runbook.findings import Finding, Findings, step_id
from runbook.outcome import Status
from runbook.steps import agents
from runbook.steps.agents import causes
from runbook.steps.agents.agent_logs import words_before_restart
from runbook.steps.agents.causes import Blamed, Cause
from runbook.steps.agents.figures import (
    AgentStatus,
    Fleet,
    LastWords,
    McpServers,
    Need,
    Needed,
    Online,
    Resources,
    Signals,
    Trouble,
)
from runbook.steps.agents.habits import signal_habits
from runbook.steps.agents.needs import expression_of, message_of
from runbook.steps.agents.usage import resources_expression
from runbook.steps.platform import Pods, Rollout, Rollouts, known_limits
from runbook.steps.shared import fleet
from runbook.steps.shared.quotas import Limits

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
ALERT = Alert("AgentDown", {"alertname": "AgentDown"}, {}, MOMENT)
NO_SAMPLE = {
    "errors_per_minute": math.nan,
    "errors_before": math.nan,
    "p95_ms": math.nan,
    "p95_before_ms": math.nan,
    "breaker": math.nan,
    "connections": math.nan,
}
SERVER = "risk-analyzer-server"
FLEET = Fleet(
    total=1,
    affected=(),
    first="",
    named=(),
    restarted=(),
    oom_killed=(),
    repeatedly=(),
    status_known=True,
    pods_known=True,
)
RESTARTED = replace(FLEET, affected=("trend-agent",), first="trend-agent", restarted=("trend-agent",))


def known(figures: Any, status: Status = Status.OK) -> Finding[Any]:
    return Finding(status, type(figures).__name__, figures=figures)


def unknown(step: Any) -> Finding[Any]:
    name = step_id(step)
    return Finding(Status.UNKNOWN, f"{name}: not known", "The source is away.", id=name)


def in_trouble(needed: Needed, trouble: Trouble) -> Need:
    return Need(needed, (trouble,), **NO_SAMPLE)


def status_of(**silent_seconds: float) -> Finding[AgentStatus]:
    rows = [
        {"agent_name": name.replace("_", "-"), "status": "RUNNING", "age": age, "error_count": 0, "last_error": None}
        for name, age in silent_seconds.items()
    ]
    return known(AgentStatus(len(rows), (), (), (), math.nan, pd.DataFrame(rows).assign(ahead=False, never=False)))


class Reported:
    """A database whose agent_status has rows with heartbeats so many seconds ago."""

    def __init__(self, **silent_seconds: float) -> None:
        rows = [
            {
                "agent_name": name.replace("_", "-"),
                "status": "RUNNING",
                "started_at": pd.Timestamp(WINDOW.start),
                "last_heartbeat": pd.Timestamp(WINDOW.as_of) - pd.Timedelta(seconds=age),
                "error_count": 0,
                "last_error": None,
            }
            for name, age in silent_seconds.items()
        ]
        self.frame = pd.DataFrame(rows)

    def ask(self, *_: Any, **__: Any) -> Reported:
        return self


def test_heartbeats_from_the_future_tell_nothing() -> None:
    found = agents.status(Reported(trend_follower=4.0, mean_reversion=-3_600.0), WINDOW)  # type: ignore[arg-type]
    assert found.status is Status.UNKNOWN
    assert found.title.startswith("1 of 2 agents sends a heartbeat from the future")
    assert "mean-reversion are up to 1 h later than the report's moment: a clock is off" in found.detail
    # From a little later, as when it came while the report ran, it is fresh.
    assert agents.status(Reported(trend_follower=-30.0), WINDOW).status is Status.OK  # type: ignore[arg-type]
    silent = agents.status(Reported(trend_follower=900.0, mean_reversion=-3_600.0), WINDOW)  # type: ignore[arg-type]
    assert (silent.status, silent.known.silent) == (Status.WARNING, ("trend-follower",))
    side = agents.side_by_side(WINDOW, silent, pods_of(("trend-agent", True, ""), ("reversion-agent", True, "")))
    assert side.known.affected == ("trend-agent",)
    assert side.known.untold == ("reversion-agent",)


def never_deployed(*names: str) -> pd.DataFrame:
    """Rows as the first migration leaves them."""
    row = {"status": "STOPPED", "started_at": None, "last_heartbeat": None, "error_count": 0, "last_error": None}
    return pd.DataFrame([{"agent_name": name, **row} for name in names])


def test_agents_that_were_never_deployed_are_not_down() -> None:
    source = Reported(trend_follower=4.0)
    source.frame = pd.concat([source.frame, never_deployed("risk-manager", "mean-reversion")], ignore_index=True)
    found = agents.status(source, WINDOW)  # type: ignore[arg-type]
    assert (found.status, found.known.total, found.known.bad) == (Status.OK, 1, ())
    assert found.title == "All 1 agents run and sent a heartbeat within 2 min"
    assert "risk-manager, mean-reversion have never run" in found.detail
    side = agents.side_by_side(WINDOW, found, pods_of(("trend-agent", True, "")), agent_type="risk-manager")
    assert (side.status, side.known.affected, side.known.first) == (Status.OK, (), "")
    assert side.known.absent == ("risk-agent", "reversion-agent")
    assert "which is well" not in side.detail
    decided = agents.decide(Findings([found, replace(side, id=step_id(agents.side_by_side))]), ALERT, WINDOW)
    assert "risk-agent, which the alert names, is not deployed" in decided.summary
    assert decided.status is not Status.OK


def test_one_that_ran_once_and_has_no_pod_is_down() -> None:
    source = Reported(trend_follower=4.0)
    once = never_deployed("risk-manager").assign(started_at=pd.Timestamp(WINDOW.start))
    source.frame = pd.concat([source.frame, once], ignore_index=True)
    found = agents.status(source, WINDOW)  # type: ignore[arg-type]
    side = agents.side_by_side(WINDOW, found, pods_of(("trend-agent", True, "")))
    assert (side.status, side.known.affected, side.known.absent) == (Status.CRITICAL, ("risk-agent",), ())


def test_nobody_was_ever_deployed_is_not_ok() -> None:
    source = Reported()
    source.frame = never_deployed("risk-manager")
    found = agents.status(source, WINDOW)  # type: ignore[arg-type]
    assert found.status is Status.UNKNOWN
    assert found.title.startswith("No agent has ever reported")


def test_types_that_were_never_online_are_not_offline() -> None:
    times = pd.date_range(WINDOW.start, WINDOW.as_of, freq="5min")
    kinds = {"analysis": 1.0, "technical": 1.0, "risk": 0.0}
    frame = pd.concat([pd.DataFrame({"time": times, "value": on, "agent_type": kind}) for kind, on in kinds.items()])

    class Exported:
        def range(self, *_: Any, **__: Any) -> Any:
            self.frame = frame
            return self

    found = agents.online(Exported(), WINDOW)  # type: ignore[arg-type]
    assert (found.status, found.known.offline, found.known.never) == (Status.OK, (), ("risk",))
    assert found.title == "All 2 agents are online by their own metric"
    assert "not deployed or down for longer: risk" in found.detail
    frame.loc[frame["time"] < WINDOW.starts_at, "value"] = 1.0
    assert agents.online(Exported(), WINDOW).known.offline == ("risk",)  # type: ignore[arg-type]


def pods_of(*rows: tuple[str, bool, str]) -> Finding[Pods]:
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
    return known(Pods("trading-agent", frame))


@pytest.mark.parametrize(
    ("name", "deployment"),
    [
        ("trend-follower", "trend-agent"),
        ("trend", "trend-agent"),
        ("trend-agent", "trend-agent"),
        (SERVER, SERVER),
    ],
)
def test_an_agent_is_found_by_any_of_its_names(name: str, deployment: str) -> None:
    assert fleet.deployment_of(name) == deployment


def test_a_pods_name_gives_its_deployment() -> None:
    assert fleet.workload_of("trend-agent-7d9c5b8f6-x2x9k") == "trend-agent"
    assert fleet.workload_of("trend-agent") == "trend-agent"


def test_agents_and_pods_are_joined_although_their_names_differ() -> None:
    status = status_of(trend_follower=700.0, mean_reversion=4.0)
    pods = pods_of(("trend-agent", False, "Error"), ("reversion-agent", True, ""))
    found = agents.side_by_side(WINDOW, status, pods, agent_type="trend")
    assert found.status is Status.CRITICAL
    assert found.known.affected == ("trend-agent",)
    assert found.known.restarted == found.known.repeatedly == ("trend-agent",)
    assert found.known.oom_killed == ()


def test_half_known_is_never_ok() -> None:
    found = agents.side_by_side(WINDOW, unknown(agents.status), pods_of(("trend-agent", True, "")))
    assert found.status is Status.UNKNOWN
    found = agents.side_by_side(WINDOW, status_of(trend_follower=4.0), unknown(agents.status))
    assert found.status is Status.UNKNOWN
    assert found.figures is not None
    assert not found.figures.pods_known


def test_an_agent_the_alert_names_by_a_hostile_label_is_not_believed_in() -> None:
    found = agents.side_by_side(
        WINDOW,
        status_of(trend_follower=4.0),
        pods_of(("trend-agent", True, "")),
        agent_type='"} or vector(1)',
        pod="$(id)",
    )
    assert found.known.first == ""


def test_a_missing_pod_is_down() -> None:
    status = status_of(trend_follower=4.0, mean_reversion=4.0)
    found = agents.side_by_side(WINDOW, status, pods_of(("trend-agent", True, "")))
    assert found.known.affected == ("reversion-agent",)


@pytest.mark.parametrize(
    ("figures", "cause"),
    [
        ((McpServers((SERVER,), ()), RESTARTED), Cause(Blamed.MCP, (SERVER,))),
        (
            (replace(FLEET, oom_killed=("sentiment-agent",)), McpServers((SERVER,), ())),
            Cause(Blamed.MEMORY, ("sentiment-agent",)),
        ),
        (
            (LastWords("a-agent", "mcp: initialize technical-indicators-server: connection refused"),),
            Cause(Blamed.MCP, ("technical-indicators-server",)),
        ),
        ((in_trouble(Needed.TOOLS, Trouble.ERRORS),), Cause(Blamed.MCP)),
        ((in_trouble(Needed.DATABASE, Trouble.POOL),), Cause(Blamed.DATABASE, ("postgres",))),
        ((in_trouble(Needed.LLM, Trouble.BREAKER),), Cause(Blamed.LLM, ("bifrost",))),
        (
            (Resources((), (), ("trend-agent",), 0.5), Need(Needed.LLM, (), **NO_SAMPLE)),
            Cause(Blamed.CPU, ("trend-agent",)),
        ),
        (
            (LastWords("trend-agent", "panic: index out of range", panics=1), RESTARTED),
            Cause(Blamed.CRASH, ("trend-agent",)),
        ),
        ((), causes.NO_CAUSE),
    ],
)
def test_what_agents_depend_on_comes_before_how_they_ended(figures: tuple[Any, ...], cause: Cause) -> None:
    assert causes.cause_of(Findings(map(known, figures))) == cause


def test_nothing_known_is_not_healthy() -> None:
    nothing = Findings([unknown(agents.status), unknown(agents.side_by_side)])
    assert agents.decide(nothing, ALERT, WINDOW).status is Status.UNKNOWN


def test_without_agents_and_pods_together_those_that_any_source_calls_silent_are_affected() -> None:
    found = Findings(
        [
            unknown(agents.side_by_side),
            known(Signals(9, silent=("trend-follower",))),
            known(Online(2, ("technical", "all"), None, {})),
        ]
    )
    verdict = agents.decide(found, ALERT, WINDOW)
    assert verdict.summary.startswith("technical-agent, trend-agent are affected")


def test_an_agent_whose_server_is_down_is_not_to_be_restarted_first() -> None:
    server = "technical-indicators-server"
    found = Findings(
        [
            known(RESTARTED, Status.CRITICAL),
            known(McpServers((server,), ()), Status.CRITICAL),
            known(Rollouts((Rollout(MOMENT, server),)), Status.WARNING),
        ]
    )
    verdict = agents.decide(found, ALERT, WINDOW)
    assert verdict.decision == f"repair {server} first"
    commands = [action.command for action in verdict.actions]
    undo = f"kubectl -n cryptofunk rollout undo deployment/{server}"
    assert commands.index(undo) < commands.index("kubectl -n cryptofunk rollout restart deployment/trend-agent")


@pytest.mark.parametrize("needed", Needed)
def test_the_promql_of_what_agents_need_is_valid(needed: Needed) -> None:
    promql_parser.parse(expression_of(needed, 330))


def test_the_promql_of_resources_is_valid_for_any_pod() -> None:
    promql_parser.parse(resources_expression(['we"ird.*', "trend-agent"], "crypto\nfunk", 368))


@pytest.mark.parametrize(
    ("samples", "troubles", "title"),
    [
        ({"errors": (0.5, 0.1), "p95": (20.0, 20.0)}, (), "Database: 0.5 errors a minute, p95 20 ms"),
        ({"errors": (9.0, 1.0)}, (Trouble.ERRORS,), "Database in trouble: 9 errors a minute, 1 before"),
        ({"errors": (9.0, 4.0)}, (), "Database: 9 errors a minute, p95 n/a"),
        ({"p95": (900.0, 20.0)}, (Trouble.SLOW,), "Database in trouble: p95 900 ms, 20 ms before"),
        ({"p95": (900.0, 800.0)}, (), "Database: n/a errors a minute, p95 900 ms"),
        (
            {"errors": (0.0, 0.0), "breaker": (2.0, math.nan)},
            (Trouble.BREAKER,),
            "Database in trouble: its circuit breaker is half-open",
        ),
        (
            {"errors": (0.0, 0.0), "active": (10.0, math.nan)},
            (Trouble.POOL,),
            "Database in trouble: the connection pool is exhausted (10 of 10 in use)",
        ),
    ],
)
def test_what_is_worse_than_before_is_trouble(
    samples: dict[str, tuple[float, float]], troubles: tuple[Trouble, ...], title: str
) -> None:
    rows = [
        {"part": part, "at": at, "value": value}
        for part, pair in samples.items()
        for at, value in zip(("now", "before"), pair, strict=True)
    ]
    metrics = SimpleNamespace(instant=lambda *_: SimpleNamespace(frame=pd.DataFrame(rows)))
    found = agents.store(metrics, WINDOW)  # type: ignore[arg-type]
    assert (found.known.troubles, found.title) == (troubles, title)


def test_a_refusal_is_told_in_its_own_words() -> None:
    assert message_of('{"kind": "Status", "message": "no endpoints\\navailable"}') == "no endpoints available"
    assert message_of("[1, 2]") == "[1, 2]"
    assert message_of("<html>") == "<html>"


def test_of_a_server_that_cannot_be_asked_it_is_not_known_how_it_is() -> None:
    def health(server: str, *_: Any) -> Any:
        if server == SERVER:
            raise SourceError("no answer")
        return SimpleNamespace(data={"code": 200, "body": "ok"})

    found = agents.mcp_servers(SimpleNamespace(health=health))  # type: ignore[arg-type]
    assert found.status is Status.UNKNOWN
    assert found.figures == McpServers(down=(), unknown=(SERVER,))


@pytest.mark.parametrize(
    ("blamed", "text"),
    [(Blamed.MEMORY, '"limits":{"memory":"768Mi"}'), (Blamed.CPU, '"limits":{"cpu":"750m"}')],
)
def test_only_the_limit_that_ran_out_is_raised_one_step_from_what_it_is(blamed: Blamed, text: str) -> None:
    limits = {"a-agent": Limits("main", memory=512 * 2**20, cpu=0.5)}
    pods = Findings([known(Pods("trading-agent", pd.DataFrame(), limits=limits))])
    (action,) = causes.repair(Cause(blamed, ("a-agent",)), [], "cryptofunk", known_limits(pods))
    assert action.changes
    assert text in action.command


def test_a_limit_that_is_not_known_is_not_guessed() -> None:
    (action,) = causes.repair(Cause(Blamed.MEMORY, ("a-agent",)), [], "cryptofunk", {})
    assert not action.changes


@pytest.mark.parametrize(
    ("minutes", "p95_minutes", "gaps", "state"),
    [
        (18, 4, 200, "silent"),
        (8, 4, 200, "quiet"),
        (3, 4, 200, "as usual"),
        (4, 1, 200, "quiet"),  # above three gaps, but not yet five minutes
        (18, 4, 2, "quiet"),  # no habit known
        (3, 4, 2, "habit not known"),
        (50, 4, 2, "silent"),
    ],
)
def test_silence_is_measured_by_an_agents_own_gaps(minutes: int, p95_minutes: int, gaps: int, state: str) -> None:
    last = pd.Timestamp(WINDOW.as_of - timedelta(minutes=minutes))
    made = pd.DataFrame({"agent_name": ["a"], "bucket": [last], "signals": [3], "last": [last]})
    habit = {"gaps": [gaps], "median_seconds": [60.0], "p95_seconds": [60.0 * p95_minutes]}
    habits = pd.DataFrame({"agent_name": ["a"], **habit, "last": [last]})
    asked = {"agents/signals": made, "agents/gaps": habits}
    database = SimpleNamespace(ask=lambda question, **_: SimpleNamespace(frame=asked[question]))
    found = agents.signals(database, WINDOW)  # type: ignore[arg-type]
    assert list(found.tables[0].frame["state"]) == [state]
    assert ("as usual" in found.title) == (state == "as usual")
    assert (found.status is Status.OK) == (state == "as usual")
    assert found.figures is not None
    assert found.figures.silent == (("a",) if state == "silent" else ())
    assert found.figures.quiet == (("a",) if state == "quiet" else ())
    assert (found.status is Status.UNKNOWN) == (state == "habit not known")


def test_an_agent_without_any_signal_in_the_window_is_silent_too() -> None:
    last = pd.Timestamp(WINDOW.as_of)
    made = pd.DataFrame({"agent_name": ["a"], "bucket": [last], "signals": [3], "last": [last]})
    habit = {"gaps": [9], "median_seconds": [60.0], "p95_seconds": [90.0]}
    habits = pd.DataFrame({"agent_name": ["b"], **habit, "last": [last - timedelta(days=1)]})
    table = signal_habits(made, habits, WINDOW)
    assert list(table["agent"] + " " + table["state"]) == ["b silent", "a habit not known"]


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
    messages = [f"line {number}" for number in range(3)]
    frame = pd.DataFrame({"time": pd.Timestamp(WINDOW.as_of), "level": levels, "message": messages, "fields": [{}] * 3})
    cluster = SimpleNamespace(logs=lambda *_, **__: SimpleNamespace(frame=frame))
    found = words_before_restart("a-agent", cluster, WINDOW)  # type: ignore[arg-type]
    assert (found.status, found.known.words) == (status, words)


def test_the_agent_whose_last_words_are_read_is_an_affected_one_that_restarted() -> None:
    asked = []
    frame = pd.DataFrame(columns=["time", "level", "message", "fields"])

    def logs(app: str, *_: Any, **__: Any) -> Any:
        asked.append(app)
        return SimpleNamespace(frame=frame)

    side = replace(FLEET, affected=("a", "b"), restarted=("c", "b"))
    agents.last_words(known(side), SimpleNamespace(logs=logs), WINDOW)  # type: ignore[arg-type]
    agents.last_words(known(replace(side, affected=())), SimpleNamespace(logs=logs), WINDOW)  # type: ignore[arg-type]
    assert asked == ["b", "c"]


@pytest.mark.parametrize(
    ("signals", "status", "title"),
    [
        (known(Signals(9)), Status.OK, "Recovered: agent_status, metric, pods and signals all are as usual"),
        (known(Signals(9, quiet=("a", "b"))), Status.WARNING, "Not recovered yet: signals: a, b"),
        (known(Signals(0, silent=("all",))), Status.WARNING, "Not recovered yet: signals: all"),
        (unknown(agents.signals), Status.UNKNOWN, "Not known to have recovered: signals gave no answer"),
    ],
)
def test_recovered_is_only_who_is_known_to_be(signals: Finding[Signals], status: Status, title: str) -> None:
    online = known(Online(1, (), None, {}))
    side = known(replace(FLEET, repeatedly=("a",)))
    found = agents.recovery(WINDOW, status_of(a=1.0), signals, online, side)
    assert (found.status, found.title) == (status, title)
    assert found.detail == "Failed repeatedly (three restarts or more): a."
