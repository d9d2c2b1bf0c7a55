"""The catalog: every alert name the platform fires has its procedure, and a wrong file is refused by place."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from runbook import catalog
from runbook.errors import ConfigurationError, InputError
from runbook.parameters import Folders

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "parameters" / "catalog.yaml"
# The 56 names of the platform's rules (deployments/prometheus/alerts), and where each goes.
RULES = {
    "AgentDown": "AgentDown AgentNoRecentSignals AgentsHealthCheckDegraded AgentsHealthCheckFailed",
    "AgentHighLatency": "AgentHighProcessingTime HighAPILatency HighLLMRequestLatency HighOrchestratorLatency "
    "HighOrderExecutionLatency",
    "AnyAlert": "LargeTradeExecuted LowAgentConfidence LowRedisCacheHitRate LowVotingConsensus LowWinRate "
    "NegativeSharpeRatio ProfitTargetHit RapidTradingActivity StopLossHit VectorSearchCriticalErrorRate "
    "VectorSearchCriticalLatency VectorSearchHighErrorRate VectorSearchHighLatency VectorSearchHighQueryVolume "
    "VectorSearchLowResultCount VectorSearchNoOperations VectorSearchSlowWithHighConnections",
    "CircuitBreakerOpen": "CircuitBreakerTripped FrequentCircuitBreakerTrips",
    "DatabasePressure": "DatabaseConnectionPoolCritical DatabaseConnectionPoolExhausted DatabaseConnectionPoolLow "
    "HighDatabaseQueryLatency",
    "HighErrorRate": "CriticalErrorRate CriticalErrors DatabaseErrors ExchangeConnectionIssues HighClientErrorRate "
    "HighErrorRate HighExchangeAPIErrors HighServerErrorRate MCPToolCallFailures NATSConnectionIssues",
    "MaxDrawdownExceeded": "CriticalDrawdown HighDrawdown",
    "PositionLimitExceeded": "LargePositionValue TooManyOpenPositions",
    "SystemHealth": "DatabaseHealthCheckFailed DatabaseHealthCheckSlowdown HealthCheckFailureRateHigh "
    "HealthCheckFlapping HealthCheckHighLatency NATSHealthCheckFailed SystemDegraded",
    "TradingSessionFailure": "AllHealthChecksFailed NoActiveAgents NoActiveSessions",
}
# The platform's facts, and the written runbook's own names.
PROCEDURES = {
    "CircuitBreakerOpen": "CircuitBreakerOpen CircuitBreakerTripped FrequentCircuitBreakerTrips",
    "HighErrorRate": "HighErrorRate CriticalErrorRate CriticalErrors HighServerErrorRate HighClientErrorRate "
    "DatabaseErrors MCPToolCallFailures HighExchangeAPIErrors ExchangeConnectionIssues NATSConnectionIssues",
    "TradingSessionFailure": "TradingSessionFailure NoActiveSessions NoActiveAgents AllHealthChecksFailed",
    "PositionLimitExceeded": "PositionLimitExceeded TooManyOpenPositions LargePositionValue",
    "MaxDrawdownExceeded": "MaxDrawdownExceeded HighDrawdown CriticalDrawdown",
    "AgentDown": "AgentDown AgentUnhealthy AgentNoRecentSignals AgentsHealthCheckFailed AgentsHealthCheckDegraded",
    "AgentHighLatency": "AgentHighLatency AgentHighProcessingTime HighLLMRequestLatency HighOrchestratorLatency",
    "HighResourceUsage": "HighMemoryUsage HighCPUUsage",
    "DiskSpaceWarning": "DiskSpaceWarning",
}


def names() -> list[tuple[str, str]]:
    return [(alert, procedure) for procedure, alerts in PROCEDURES.items() for alert in alerts.split()]


@pytest.mark.parametrize(("alert", "procedure"), names())
def test_every_alert_has_its_procedure(alert: str, procedure: str) -> None:
    entry = catalog.load(CATALOG).entry(alert)
    assert (entry.procedure, entry.is_known) == (procedure, True)


def test_every_rule_of_the_platform_has_its_place() -> None:
    loaded = catalog.load(CATALOG)
    places = {alert: procedure for procedure, alerts in RULES.items() for alert in alerts.split()}
    assert len(places) == 56
    entries = {alert: loaded.entry(alert) for alert in places}
    assert {alert: entry.procedure for alert, entry in entries.items()} == places
    assert all(entry.is_known for entry in entries.values())
    assert [a for a, entry in entries.items() if not entry.has_own_procedure] == RULES["AnyAlert"].split()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MaxDrawdwn", "MaxDrawdownExceeded"),
        ("maxdrawdownexceeded", "MaxDrawdownExceeded"),
        ("HighDrawdwon", "HighDrawdown"),
        ("AgentDwon", "AgentDown"),
        ("xyz", ""),
        ("", ""),
    ],
)
def test_the_name_that_was_probably_meant(name: str, nearest: str) -> None:
    assert catalog.load(CATALOG).nearest(name) == nearest


@pytest.mark.parametrize(
    ("alert", "severity"),
    [
        ("MaxDrawdownExceeded", "critical"),
        ("HighErrorRate", "critical"),
        ("TradingSessionFailure", "critical"),
        ("CircuitBreakerOpen", "warning"),
        ("PositionLimitExceeded", "warning"),
        ("AgentDown", "warning"),
        ("HighMemoryUsage", "warning"),
        ("DiskSpaceWarning", "warning"),
    ],
)
def test_severities_are_the_written_runbooks(alert: str, severity: str) -> None:
    assert catalog.load(CATALOG).entry(alert).severity == severity


def test_any_other_name_goes_to_the_general_procedure() -> None:
    entry = catalog.load(CATALOG).entry("../../etc/passwd")
    assert (entry.procedure, entry.is_known, entry.severity) == ("AnyAlert", False, "warning")


def test_a_procedure_is_served_by_its_own_name() -> None:
    assert catalog.load(CATALOG).entry("SystemHealth").procedure == "SystemHealth"


def test_response_times_channels_and_escalation() -> None:
    loaded = catalog.load(CATALOG)
    assert {name: s.response_minutes for name, s in loaded.severities.items()} == {
        "critical": 15,
        "warning": 60,
        "info": None,
    }
    assert [level.after_minutes for level in loaded.escalation] == [0, 30, 60]
    entry = loaded.entry("HighDrawdown")
    assert loaded.channels(entry, "critical") == ("#cryptofunk-critical", "#cryptofunk-alerts", "#cryptofunk-trading")


def test_a_procedure_that_is_not_written_falls_back(tmp_path: Path) -> None:
    loaded = catalog.load(CATALOG)
    folders = Folders(tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"no notebook DiskSpaceWarning\.ipynb"):
        loaded.runnable("DiskSpaceWarning", folders)
    (tmp_path / "AnyAlert.ipynb").touch()
    assert loaded.runnable("DiskSpaceWarning", folders).procedure == "AnyAlert"
    (tmp_path / "DiskSpaceWarning.ipynb").touch()
    assert loaded.runnable("DiskSpaceWarning", folders).procedure == "DiskSpaceWarning"


def changed(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(CATALOG.read_text()), **changes}


def with_commands(*commands: str) -> dict[str, Any]:
    return changed(procedures={"AnyAlert": {"category": "c", "channel": "d", "commands": list(commands)}})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "its top"),
        (changed(extra=1), "extra"),
        (changed(severities={}), "severities lacks critical"),
        (changed(escalation=[]), "rise from level to level"),
        (changed(procedures={"X": {"category": "c", "channel": "d"}}), "lacks AnyAlert"),
        (changed(procedures={"a/b": {"category": "c", "channel": "d"}}), "procedures"),
        (
            changed(
                procedures={
                    name: {"category": "c", "channel": "d", "alerts": {"A": "info"}} for name in ("X", "AnyAlert")
                }
            ),
            "A belongs to both AnyAlert and X",
        ),
        (changed(procedures={"AnyAlert": {"category": "c", "channel": "d", "alerts": {"A": "fatal"}}}), "A"),
        (with_commands("kubectl get pods"), "procedures.AnyAlert: at least two of the commands"),
        (with_commands("df -h", "kubectl get pod/<pod>"), "procedures.AnyAlert: .* asks for <pod>"),
        (with_commands("df -h", "sh -c 'df"), "procedures.AnyAlert: .* a quote that is not closed"),
        (with_commands(*["df -h"] * 7), "procedures.AnyAlert.commands: .* at most 6"),
    ],
)
def test_a_wrong_catalog_is_refused_with_the_place(tmp_path: Path, data: Any, message: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigurationError, match=message):
        catalog.load(path)


def test_a_catalog_that_is_no_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("a: 1\nb: [\n")
    with pytest.raises(ConfigurationError, match=r"catalog\.yaml is not valid YAML, line"):
        catalog.load(path)


def test_a_missing_catalog_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"catalog\.yaml cannot be read"):
        catalog.load(tmp_path / "catalog.yaml")


@pytest.mark.parametrize("procedure", [*PROCEDURES, *RULES])
def test_every_procedure_has_first_commands_of_its_own(procedure: str) -> None:
    assert len(catalog.load(CATALOG).procedures[procedure].commands) >= 2


def every_command() -> list[str]:
    procedures = catalog.load(CATALOG).procedures.values()
    return list(dict.fromkeys(command for procedure in procedures for command in procedure.commands))


@pytest.mark.parametrize("command", every_command())
def test_first_commands_only_read(command: str) -> None:
    words = shlex.split(command)
    assert words[0] == "kubectl"
    assert words[1] in ("get", "describe", "logs", "top", "exec")
    assert words[words.index("-n") + 1] == "<namespace>"
    if words[1] == "exec":
        assert words[words.index("--") + 1] in ("psql", "promtool", "amtool", "df")
    if "psql" in words:
        assert words[-1].startswith("SELECT ")


@pytest.mark.parametrize("command", [command for command in every_command() if "promtool" in command])
def test_first_commands_ask_prometheus_for_what_the_steps_ask_too(command: str) -> None:
    expression = shlex.split(command)[-1]
    promql_parser.parse(expression)
    steps = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "lib" / "runbook" / "steps").rglob("*.py"))
    for metric in re.findall(r"\b(?:cryptofunk|circuit_breaker|health_check)_\w+", expression):
        assert metric.removesuffix("_bucket") in steps


def test_first_commands_of_an_alert() -> None:
    loaded = catalog.load(CATALOG)
    without = loaded.first_commands("AgentDown", {"node": "n1"}, "trading")
    with_pod = loaded.first_commands("AgentDown", {"node": "n1", "pod": "trend-agent-1"}, "trading")
    assert "kubectl get pods -n trading -l app.kubernetes.io/component=trading-agent" in without
    assert set(with_pod) - set(without) == {
        "kubectl describe -n trading pod/trend-agent-1",
        "kubectl logs -n trading pod/trend-agent-1 --tail=100",
    }


def test_a_procedure_without_commands_has_the_general_ones(tmp_path: Path) -> None:
    data = changed()
    data["procedures"]["AgentDown"].pop("commands")
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(data))
    loaded = catalog.load(path)
    general = loaded.first_commands("AnyAlert", {}, "cryptofunk")
    assert len(general) >= 2
    assert loaded.first_commands("AgentDown", {"pod": "x"}, "cryptofunk") == general
    assert loaded.first_commands("NoLongerThere", {}, "cryptofunk") == general
