"""An incident of several procedures, and one that turns critical: what is run again, its name, who is called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from service_kit import alert, message, query, resolved

from runbook.alert import group_from_json
from runbook.history import listing
from runbook.history.intake import Receipt
from runbook.notify import Message
from runbook.service import intake, messages, pages, tasks
from runbook.service.context import Context

AGENT = alert("AgentDown", "a", "warning")


@pytest.fixture
def made(url: str, tmp_path: Path) -> Iterator[Context]:
    with kit.context(url, tmp_path, slack_webhook_url="http://127.0.0.1:1/x") as opened:
        yield opened


def take(made: Context, *alerts: dict[str, Any]) -> Receipt:
    return intake.accept(made, group_from_json(message(*alerts)))


def gone(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "status": "resolved", "endsAt": "2026-01-15T15:00:00Z"}


def said(made: Context) -> list[Message]:
    """All messages there are, as they are composed now."""
    with made.database.transaction() as connection:
        composed = [messages.compose(connection, made, item) for item in kit.deliveries(connection)]
    return [item for item in composed if item]


def ask(made: Context, incident: int, reason: str = "asked") -> list[str]:
    with made.database.transaction() as connection:
        return [queued.procedure for queued in tasks.ask(connection, made, incident, reason)]


def test_turning_critical_is_told_as_a_new_critical_by_its_name_with_a_mention(made: Context) -> None:
    take(made, AGENT)
    kit.do_all(made)
    take(made, AGENT, alert())
    assert query(made, "SELECT title, procedure, severity FROM runbook.incidents") == [
        {"title": "MaxDrawdownExceeded", "procedure": "MaxDrawdownExceeded", "severity": "critical"}
    ]
    kit.do_all(made)
    kit.do_all(made)
    last = said(made)[-1]
    assert (last.title, last.mentions_channel) == ("CRITICAL MaxDrawdownExceeded", True)
    assert last.channel == "#cryptofunk-critical"
    take(made, AGENT, alert(), alert(fingerprint="f2"))
    kit.do_all(made, kit.Fake(level="warning"))
    assert [(m.title, m.mentions_channel) for m in said(made)[2:]] == [("UPDATE MaxDrawdownExceeded", False)]


def test_turning_critical_within_a_procedure_is_called_after_the_critical_alert(made: Context) -> None:
    take(made, AGENT)
    take(made, AGENT, alert("AgentUnhealthy", "b", "critical"))
    fake = kit.Fake()
    kit.do_all(made, fake)
    assert [r.alertname for r in fake.requests] == ["AgentUnhealthy"]
    assert [(m.title, m.mentions_channel) for m in said(made)] == [("CRITICAL AgentUnhealthy", True)]


def test_the_report_on_a_lesser_alert_of_a_critical_incident_calls_nobody(made: Context) -> None:
    take(made, AGENT)
    kit.do_all(made, kit.Fake(meanwhile=lambda: take(made, AGENT, alert())))
    assert [(m.title, m.mentions_channel) for m in said(made)] == [("UPDATE AgentDown", False)]
    kit.do_all(made)
    assert [(m.title, m.mentions_channel) for m in said(made)[1:]] == [("CRITICAL MaxDrawdownExceeded", True)]


def test_run_again_runs_every_procedure_that_still_fires(made: Context) -> None:
    incident = take(made, AGENT, alert()).incident or 0
    kit.do_all(made)
    assert ask(made, incident) == ["AgentDown", "MaxDrawdownExceeded"]
    assert ask(made, incident) == []
    kit.do_all(made)
    take(made, AGENT, gone(alert()))
    assert ask(made, incident, "escalation") == ["AgentDown"]
    kit.do_all(made)
    intake.accept(made, group_from_json(resolved(AGENT, alert())))
    assert ask(made, incident) == ["AgentDown", "MaxDrawdownExceeded"]


def headline(made: Context, incident: int) -> list[Any]:
    """What the list and the page take from the runs as the incident's verdict."""
    page = pages.incident(made, incident)
    assert page
    with made.database.transaction() as connection:
        item = listing.incidents(connection, listing.Filter())[0]
    return [page["latest"].verdict, item.last_verdict, item.last_level]


def test_the_headline_is_the_worst_of_what_still_fires(made: Context) -> None:
    incident = take(made, alert()).incident or 0
    kit.do_all(made, kit.Fake(verdict="The drawdown is real.", level="critical"))
    take(made, alert(), AGENT)
    kit.do_all(made, kit.Fake(verdict="One agent is slow.", level="warning"))
    assert headline(made, incident) == ["The drawdown is real."] * 2 + ["critical"]
    take(made, gone(alert()), AGENT)
    assert headline(made, incident) == ["One agent is slow."] * 2 + ["warning"]
    take(made, AGENT, alert("AgentDown", "a2", "warning"))
    kit.do_all(made, kit.Fake(verdict="All agents are well.", level="ok"))
    assert headline(made, incident) == ["All agents are well."] * 2 + ["ok"]


def test_an_unknown_severity_is_kept_and_shown_beside_what_it_counts_as(made: Context) -> None:
    take(made, alert("AgentDown", "a", "P1"))
    kit.do_all(made)
    (report,) = said(made)
    assert report.severity == "warning"
    assert "1 × AgentDown firing (severity P1, treated as warning)" in report.lines
    (incident,) = query(made, "SELECT id FROM runbook.incidents")
    with made.database.transaction() as connection:
        found = listing.details(connection, incident["id"])
    assert found is not None
    assert [one.severity_text for one in found.alerts] == ["P1, treated as warning"]
