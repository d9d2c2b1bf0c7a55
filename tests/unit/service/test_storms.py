"""A storm covers the procedure it is of, and nothing else: what else an incident holds is run, told and escalated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from service_kit import alert, message, query, resolved

from runbook import history, queue
from runbook.alert import group_from_json
from runbook.history import listing
from runbook.history.closing import close_by_hand
from runbook.history.intake import Receipt
from runbook.service import intake, messages, tasks
from runbook.service.context import Context


@pytest.fixture
def storm(url: str, tmp_path: Path) -> Iterator[Context]:
    """Three incidents of warnings that were run singly, and a fourth, `g3`, that opened the storm, incident 5."""
    settings = {"runbook_storm_runs": 3, "runbook_storm_pause_seconds": 0, "slack_webhook_url": "http://127.0.0.1:1/x"}
    with kit.context(url, tmp_path, **settings) as made:
        for number in range(4):
            take(made, message(memory(number), key=f"g{number}"))
        kit.do_all(made)
        yield made


def take(made: Context, payload: dict[str, Any]) -> Receipt:
    return intake.accept(made, group_from_json(payload))


def memory(number: int, severity: str = "warning") -> dict[str, Any]:
    return alert("HighMemoryUsage", f"m{number}-{severity}", severity, pod=f"pod-{number}")


def listed(made: Context, **wanted: str) -> list[int]:
    with made.database.transaction() as connection:
        return [item.id for item in listing.incidents(connection, listing.Filter(**wanted))]


def told(made: Context, incident: int | None) -> list[str]:
    statement = "SELECT kind FROM runbook.deliveries WHERE incident_id = %s ORDER BY id"
    return [item["kind"] for item in query(made, statement, incident)]


def watched(made: Context, incident: int | None) -> list[str]:
    statement = (
        "SELECT task_name FROM runbook.procrastinate_jobs WHERE args->>'incident' = %s ORDER BY scheduled_at, id"
    )
    return [item["task_name"] for item in query(made, statement, str(incident))]


WATCH = ["dead_man", "escalate", "escalate"]


def test_a_critical_incident_that_a_storms_alert_joins_keeps_its_place(storm: Context) -> None:
    critical = take(storm, message(alert(), key="a")).incident
    take(storm, message(alert(), memory(7), key="a"))
    kit.do_all(storm)
    assert critical in listed(storm)
    assert critical in listed(storm, severity="critical")
    assert told(storm, critical) == ["report"]
    assert watched(storm, critical) == WATCH
    assert query(storm, "SELECT parent_id FROM runbook.incidents WHERE id = %s", critical) == [{"parent_id": None}]


def test_an_incident_of_a_storms_alert_and_a_critical_one_is_critical_by_itself(storm: Context) -> None:
    both = take(storm, message(alert(), memory(7), key="c"))
    assert (both.parent, both.became_critical) == (None, True)
    fake = kit.Fake()
    kit.do_all(storm, fake)
    assert {r.alertname: len(r.alerts) for r in fake.requests} == {"MaxDrawdownExceeded": 1, "HighMemoryUsage": 2}
    assert both.incident in listed(storm, severity="critical")
    assert told(storm, both.incident) == ["report"]
    assert watched(storm, both.incident) == WATCH
    with storm.database.transaction() as connection:
        page = listing.details(connection, 5)
    assert page is not None
    assert {child.id for child in page.covered} == {4, both.incident}
    assert page.covered_count == 2
    assert sorted(item.name for item in page.alerts) == ["HighMemoryUsage"] * 2


def test_a_critical_alert_that_joins_a_covered_incident_takes_it_out_of_the_storm(storm: Context) -> None:
    assert 4 not in listed(storm)
    joined = take(storm, message(memory(3), alert(), key="g3"))
    assert (joined.incident, joined.parent) == (4, None)
    assert watched(storm, 4) == WATCH
    kit.do_all(storm)
    assert 4 in listed(storm, severity="critical")
    assert told(storm, 4) == ["report"]


def test_a_covered_incident_that_runs_by_itself_later_is_listed_and_told(storm: Context) -> None:
    query(storm, "UPDATE runbook.runs SET queued_at = now() - interval '1 hour' RETURNING 1 AS one")
    take(storm, message(memory(3), memory(3, "critical"), key="g3"))
    fake = kit.Fake()
    kit.do_all(storm, fake)
    assert [len(r.alerts) for r in fake.requests] == [2]
    assert 4 in listed(storm)
    assert told(storm, 4) == ["report"]
    assert watched(storm, 4) == WATCH


def test_a_critical_alert_that_a_storm_covers_makes_it_critical(storm: Context) -> None:
    assert watched(storm, 5) == []
    covered = take(storm, message(memory(8, "critical"), key="g8"))
    assert covered.parent == 5
    assert watched(storm, 5) == WATCH
    assert watched(storm, covered.incident) == []
    assert listed(storm, severity="critical") == [5]
    assert {"text": "warning -> critical"} in query(storm, "SELECT text FROM runbook.events WHERE incident_id = 5")


def test_a_storm_ends_with_the_last_alert_it_covers_also_of_an_incident_that_goes_on(storm: Context) -> None:
    take(storm, message(alert(), memory(7), key="c"))
    take(storm, resolved(memory(3), key="g3"))
    assert 5 in [i["id"] for i in query(storm, "SELECT id FROM runbook.incidents WHERE closed_at IS NULL")]
    ended = take(storm, message(alert(), {**memory(7), "status": "resolved"}, key="c"))
    assert ended.closed == (5,)


def test_closing_a_storm_closes_what_has_no_place_but_in_it(storm: Context) -> None:
    both = take(storm, message(alert(), memory(7), key="c")).incident
    with storm.database.transaction() as connection:
        assert close_by_hand(connection, 5, "somebody")
    assert query(storm, "SELECT closed_how FROM runbook.incidents WHERE id = 4") == [{"closed_how": "closed"}]
    is_open = {i["id"] for i in query(storm, "SELECT id FROM runbook.incidents WHERE closed_at IS NULL")}
    assert both in is_open
    assert is_open <= set(listed(storm))


def test_open_critical_incidents_come_first_then_the_newest(storm: Context) -> None:
    critical = take(storm, message(alert(), key="a")).incident
    newest = take(storm, message(alert("AgentDown", "w", "warning"), key="w")).incident
    take(storm, resolved(memory(0), key="g0"))
    assert listed(storm) == [critical, newest, 5, 3, 2, 1]


def dead_man(made: Context, incident: int | None) -> bool:
    assert incident
    with made.database.transaction() as connection:
        return tasks.dead_man(connection, made, incident)


def spoken(made: Context) -> list[str]:
    """What the waiting messages of the dead man say, each as its title, headline and first command."""
    said = []
    with made.database.transaction() as connection:
        for item in kit.deliveries(connection):
            if item.kind != "dead_man":
                continue
            composed = messages.compose(connection, made, item)
            assert composed
            said.append(f"{composed.title} | {composed.headline} | {composed.commands[0]}")
    return said


def test_the_dead_man_speaks_of_a_critical_alert_that_joins_what_was_reported(storm: Context) -> None:
    warned = take(storm, message(alert("AgentDown", "a", "warning"), key="w")).incident
    kit.do_all(storm)
    take(storm, message(alert("AgentDown", "a", "warning"), alert(instance="risk"), key="w"))
    assert watched(storm, warned) == WATCH
    assert dead_man(storm, warned)
    assert not dead_man(storm, warned)
    assert spoken(storm) == [
        (
            "NO REPORT MaxDrawdownExceeded | No report after 1 min."
            " Work by hand with the procedure MaxDrawdownExceeded."
            " | runbook run MaxDrawdownExceeded --label instance=risk --label severity=critical"
            " --starts-at 2026-01-15T14:02:00Z"
        )
    ]


def test_each_critical_alert_is_looked_after_not_only_the_first(storm: Context) -> None:
    critical = take(storm, message(alert(), key="a")).incident
    kit.do_all(storm)
    assert not dead_man(storm, critical)
    take(storm, message(alert(), alert(fingerprint="f2"), key="a"))
    assert watched(storm, critical) == ["dead_man", "dead_man", "escalate", "escalate"]
    looks = query(storm, "SELECT args FROM runbook.procrastinate_jobs WHERE task_name = 'dead_man' ORDER BY id")
    first, second = (datetime.fromisoformat(look["args"]["received"]) for look in looks)
    with storm.database.transaction() as connection:
        assert not tasks.dead_man(connection, storm, critical or 0, first)
        assert tasks.dead_man(connection, storm, critical or 0, second)
    kit.do_all(storm)
    take(storm, message(alert(), alert(fingerprint="f2"), alert(fingerprint="f3"), key="a"))
    assert dead_man(storm, critical)
    assert told(storm, critical) == ["report", "dead_man", "dead_man"]


def test_the_dead_man_of_a_storm_is_of_critical_alerts_and_names_one(storm: Context) -> None:
    take(storm, message(memory(7), key="g7"))
    assert not dead_man(storm, 5)
    take(storm, message(memory(8, "critical"), key="g8"))
    assert dead_man(storm, 5)
    assert "NO REPORT HighMemoryUsage |" in spoken(storm)[0]
    assert "| runbook run HighMemoryUsage --label pod=pod-8" in spoken(storm)[0]


def test_a_covered_incident_that_is_run_again_by_hand_has_its_own_place(storm: Context) -> None:
    take(storm, message(memory(8, "critical"), key="g8"))
    with storm.database.transaction() as connection:
        covered = query(storm, "SELECT id FROM runbook.incidents WHERE parent_id = 5 AND severity = 'critical'")[0][
            "id"
        ]
        assert tasks.ask(connection, storm, covered, "escalation") == ()
        assert [queued.incident for queued in tasks.ask(connection, storm, covered, "asked")] == [covered]
    kit.do_all(storm)
    assert covered in listed(storm, severity="critical")
    assert told(storm, covered) == ["report"]
    assert watched(storm, covered) == WATCH


def test_an_open_incident_is_listed_where_its_storm_has_ended_all_the_same(storm: Context) -> None:
    query(storm, "UPDATE runbook.incidents SET closed_at = now() WHERE id = 5 RETURNING id")
    assert 4 in listed(storm)


def test_a_history_of_before_is_brought_along(storm: Context) -> None:
    mixed = take(storm, message(alert(), memory(7), key="c")).incident
    with storm.database.transaction() as connection:
        connection.execute("ALTER TABLE runbook.alerts DROP COLUMN storm_id")
        connection.execute("DELETE FROM runbook.migrations WHERE name = '0004_storms.sql'")
        connection.execute("UPDATE runbook.incidents SET parent_id = 5 WHERE id = %s", [mixed])
    assert history.migrate(storm.database, queue.migrations()) == ["0004_storms.sql"]
    covered = query(storm, "SELECT incident_id, name FROM runbook.alerts WHERE storm_id = 5 ORDER BY incident_id")
    assert covered == [{"incident_id": i, "name": "HighMemoryUsage"} for i in (4, mixed)]
    assert mixed in listed(storm)
    assert 4 not in listed(storm)


def test_alerts_of_different_names_never_share_a_run_of_the_general_procedure(url: str, tmp_path: Path) -> None:
    """Not within a group, and not in a storm: each run has one name, and labels and annotations of that name."""
    fake = kit.Fake()
    with kit.context(url, tmp_path, runbook_storm_runs=3, runbook_storm_pause_seconds=0) as made:
        take(made, message(unheard("LowWinRate", 1), unheard("StopLossHit", 2), unheard("LowWinRate", 3), key="both"))
        kit.do_all(made, fake)
        assert shares(fake) == [("LowWinRate", {"LowWinRate"}, 2), ("StopLossHit", {"StopLossHit"}, 1)]
        for number in range(4, 10):
            name = "LowVotingConsensus" if number % 2 else "NegativeSharpeRatio"
            take(made, message(unheard(name, number), key=f"g{number}"))
        storm = query(made, "SELECT id FROM runbook.incidents WHERE kind = 'storm'")
        assert len(storm) == 1
        covered = kit.Fake()
        kit.do_all(made, covered)
        in_storm = [share for share in shares(covered) if share[2] > 1]
        assert sorted(in_storm) == [
            ("LowVotingConsensus", {"LowVotingConsensus"}, 3),
            ("NegativeSharpeRatio", {"NegativeSharpeRatio"}, 2),
        ]
        for request in (*fake.requests, *covered.requests):
            assert request.labels["alertname"] == request.alertname
            assert request.annotations == {"summary": f"{request.alertname} fires"}
            assert request.alerts[0].labels == request.labels
        # Run again by hand: each name by itself once more.
        with made.database.transaction() as connection:
            assert len(tasks.ask(connection, made, storm[0]["id"], "asked")) == 2


def unheard(name: str, number: int) -> dict[str, Any]:
    return alert(name, f"u{number}", "warning", number=str(number))


def shares(fake: kit.Fake) -> list[tuple[str, set[str], int]]:
    """Of each run its name, the names of the alerts that it covers, and how many there are."""
    return sorted((r.alertname, {one.name for one in r.alerts}, len(r.alerts)) for r in fake.requests)


def test_messages_of_the_general_procedure_are_called_after_the_alert_that_was_run(url: str, tmp_path: Path) -> None:
    with kit.context(url, tmp_path, slack_webhook_url="http://127.0.0.1:1/x") as made:
        take(made, message(unheard("LowWinRate", 1), unheard("StopLossHit", 2)))
        kit.do_all(made)
        with made.database.transaction() as connection:
            composed = [messages.compose(connection, made, item) for item in kit.deliveries(connection)]
        assert sorted(item.alertname for item in composed if item) == ["LowWinRate", "StopLossHit"]
