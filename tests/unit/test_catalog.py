"""The catalog: every alert name the platform fires has its procedure, and a wrong file is refused by place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook import catalog
from runbook.errors import ConfigurationError, InputError
from runbook.parameters import Folders

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "parameters" / "catalog.yaml"
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
