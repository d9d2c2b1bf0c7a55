"""Incidents, runs, messages and their rules, on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from service_kit import alert, message, query, resolved

from runbook import history, queue
from runbook.alert import group_from_json
from runbook.errors import StorageError
from runbook.history import artifacts, deliveries, listing, runs
from runbook.history.changes import changes
from runbook.history.intake import Receipt
from runbook.outcome import FindingRecord, Outcome, Status
from runbook.service import intake, tasks
from runbook.service.context import Context
from runbook.settings import Settings


def take(made: Context, payload: dict[str, Any]) -> Receipt:
    return intake.accept(made, group_from_json(payload))


def states(made: Context) -> list[str]:
    return [r["state"] for r in query(made, "SELECT state FROM runbook.runs ORDER BY id")]


def test_migrations_run_once_and_for_many_at_once(database: Callable[..., str]) -> None:
    url = database()
    ran: list[list[str]] = []

    def migrate() -> None:
        with history.open_database(url, size=1) as opened:
            ran.append(history.migrate(opened, queue.migrations()))

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(names) for names in ran) == [0, 0, 6]
    with history.open_database(url, size=1) as opened:
        assert history.migrate(opened, queue.migrations()) == []
        assert opened.is_ready()


def test_a_refused_migration_changes_nothing(url: str) -> None:
    broken = history.Migration("9999", "CREATE TABLE runbook.half (id int); SELECT nonsense")
    with history.open_database(url, size=1) as opened:
        with pytest.raises(StorageError, match="9999"):
            history.migrate(opened, (broken,))
        with opened.transaction() as connection:
            assert connection.execute("SELECT to_regclass('runbook.half') AS t").fetchone() == {"t": None}


def test_the_same_alert_makes_one_incident_and_one_run(made: Context) -> None:
    first = take(made, message(alert()))
    again = take(made, message(alert()))
    assert (first.result, first.opened, first.new_alerts) == ("accepted", True, 1)
    assert (again.result, again.incident, again.queued) == ("repeated", first.incident, ())
    assert states(made) == ["queued"]
    assert query(made, "SELECT repeats FROM runbook.incidents") == [{"repeats": 1}]


def test_two_replicas_at_the_same_moment_make_one_run(made: Context) -> None:
    barrier = threading.Barrier(6)
    results: list[str] = []

    def send() -> None:
        barrier.wait()
        results.append(take(made, message(alert(), alert(fingerprint="f2"))).result)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["accepted", *["repeated"] * 5]
    assert states(made) == ["queued"]


def test_an_alert_in_two_groups_belongs_to_the_first(made: Context) -> None:
    first = take(made, message(alert(), key="one"))
    second = take(made, message(alert(), key="two"))
    assert (second.result, second.incident) == ("repeated", first.incident)
    assert len(query(made, "SELECT 1 FROM runbook.incidents")) == 1


def test_a_new_start_is_a_new_alert_and_ends_the_old_one(made: Context) -> None:
    take(made, message(alert()))
    kit.do_all(made)
    again = take(made, message(alert(starts_at="2026-01-15T16:00:00Z")))
    assert (again.result, len(again.queued)) == ("accepted", 1)
    old, new = query(made, "SELECT resolved_at FROM runbook.alerts ORDER BY starts_at")
    assert old["resolved_at"] is not None
    assert new["resolved_at"] is None


def test_fifty_pods_are_one_run_that_is_given_all_of_them(made: Context) -> None:
    fake = kit.Fake()
    pods = [alert("HighMemoryUsage", f"p{i}", "warning", pod=f"pod-{i}") for i in range(50)]
    take(made, message(*pods))
    assert kit.do_all(made, fake) == 1
    assert len(fake.requests[0].alerts) == 50
    assert len(query(made, "SELECT 1 FROM runbook.run_alerts")) == 50


def test_a_group_with_two_procedures_has_a_run_for_each(made: Context) -> None:
    fake = kit.Fake()
    take(made, message(alert(), alert("AgentDown", "f2", "warning"), alert("Nobody knows", "f3", None)))
    assert kit.do_all(made, fake) == 3
    assert {r.alertname for r in fake.requests} == {"MaxDrawdownExceeded", "AgentDown", "Nobody knows"}


def test_new_alerts_join_the_run_that_waits(made: Context) -> None:
    take(made, message(alert()))
    joined = take(made, message(alert(), alert(fingerprint="f2")))
    assert joined.queued == ()
    assert states(made) == ["queued"]
    assert len(query(made, "SELECT 1 FROM runbook.run_alerts")) == 2


def test_a_new_alert_after_the_report_runs_again(made: Context) -> None:
    take(made, message(alert()))
    kit.do_all(made)
    take(made, message(alert()))
    assert kit.do_all(made) == 0
    take(made, message(alert(), alert(fingerprint="f2")))
    fake = kit.Fake()
    assert kit.do_all(made, fake) == 1
    assert len(fake.requests[0].alerts) == 2


def test_more_severe_alerts_raise_the_incident_and_the_waiting_run(made: Context) -> None:
    take(made, message(alert(severity="warning")))
    raised = take(made, message(alert(severity="warning"), alert(fingerprint="f2", severity="critical")))
    assert raised.became_critical
    assert [q.severity for q in raised.queued] == ["critical"]
    assert states(made) == ["queued"]
    jobs = query(made, "SELECT priority FROM runbook.procrastinate_jobs WHERE task_name = 'run' ORDER BY id")
    assert [j["priority"] for j in jobs] == [50, 100]


def test_the_catalog_gives_the_severity_an_alert_leaves_out(made: Context) -> None:
    take(made, message(alert(severity=None)))
    assert query(made, "SELECT severity FROM runbook.incidents") == [{"severity": "critical"}]


def test_resolved_cancels_what_waits_and_closes_with_the_duration(made: Context) -> None:
    take(made, message(alert()))
    closed = take(made, resolved(alert()))
    assert (closed.result, len(closed.closed)) == ("resolved", 1)
    assert states(made) == ["cancelled"]
    kinds = [e["kind"] for e in query(made, "SELECT kind, text FROM runbook.events ORDER BY id")]
    assert kinds == ["fired", "resolved", "cancelled"]
    assert take(made, resolved(alert())).result == "resolved"


def test_a_run_that_runs_while_its_alert_is_resolved_ends_with_its_report(made: Context) -> None:
    take(made, message(alert()))
    fake = kit.Fake(meanwhile=lambda: take(made, resolved(alert())))
    kit.do_all(made, fake)
    assert states(made) == ["complete"]
    assert query(made, "SELECT closed_how FROM runbook.incidents") == [{"closed_how": "resolved"}]


def test_part_of_a_group_resolved_leaves_it_open(made: Context) -> None:
    take(made, message(alert(), alert(fingerprint="f2")))
    part = take(made, message(alert(), {**alert(fingerprint="f2"), "status": "resolved"}))
    assert part.closed == ()
    assert take(made, resolved(alert(), alert(fingerprint="f2"))).closed


def test_an_old_firing_message_after_the_end_opens_nothing(made: Context) -> None:
    take(made, message(alert()))
    take(made, resolved(alert()))
    assert take(made, message(alert())).result == "repeated"
    assert len(query(made, "SELECT 1 FROM runbook.incidents")) == 1


def test_an_alert_that_fires_again_long_after_its_end_under_its_old_start_is_reported(made: Context) -> None:
    take(made, message(alert()))
    take(made, resolved(alert()))
    query(made, "UPDATE runbook.alerts SET resolved_at = now() - interval '1 hour' RETURNING 1 AS one")
    assert take(made, message(alert())).opened


def test_resolved_of_an_alert_nobody_saw_is_ignored(made: Context) -> None:
    assert take(made, resolved(alert())).result == "ignored"


def test_a_storm_has_one_parent_that_covers_what_is_not_run_singly(url: str, tmp_path: Path) -> None:
    with kit.context(url, tmp_path, runbook_storm_runs=3, runbook_storm_pause_seconds=0) as made:
        for number in range(10):
            take(made, message(alert("AgentDown", f"a{number}", "warning"), key=f"g{number}"))
        assert states(made).count("not_run") == 7
        assert states(made).count("queued") == 4
        fake = kit.Fake()
        kit.do_all(made, fake)
        assert sorted(len(r.alerts) for r in fake.requests) == [1, 1, 1, 7]
        uncovered = query(
            made,
            "SELECT 1 FROM runbook.alerts a WHERE NOT EXISTS (SELECT 1 FROM runbook.run_alerts c"
            " JOIN runbook.runs r ON r.id = c.run WHERE c.fingerprint = a.fingerprint AND r.state = 'complete')",
        )
        assert uncovered == []
        with made.database.transaction() as connection:
            parent = query(made, "SELECT id FROM runbook.incidents WHERE kind = 'storm'")[0]["id"]
            page = listing.details(connection, parent)
        assert page is not None
        assert len(page.covered) == 7
        assert all("Not run singly" in (child.why or "") for child in page.covered)
        for number in range(10):
            take(made, resolved(alert("AgentDown", f"a{number}", "warning"), key=f"g{number}"))
        assert query(made, "SELECT 1 FROM runbook.incidents WHERE closed_at IS NULL") == []


def test_a_lost_run_is_done_once_more_and_never_again(made: Context) -> None:
    take(made, message(alert()))
    for expected in (["abandoned", "queued"], ["abandoned", "abandoned"]):
        waiting = query(made, "SELECT id FROM runbook.runs WHERE state = 'queued'")[0]["id"]
        with made.database.transaction() as connection:
            assert runs.begin(connection, waiting, "gone", None)
            connection.execute("UPDATE runbook.runs SET started_at = now() - interval '1 hour' WHERE state = 'running'")
        made.database.commit(lambda connection: tasks.sweep(connection, made, 3))
        assert states(made) == expected
    assert len(query(made, "SELECT 1 FROM runbook.run_alerts")) == 2


def test_a_worker_thought_dead_that_comes_back_with_its_report_is_believed(made: Context) -> None:
    take(made, message(alert()))
    with made.database.transaction() as connection:
        assert runs.begin(connection, 1, "slow", None)
        assert runs.abandon(connection, 1, "thought dead")
        assert runs.finish(connection, 1, runs.Ended("complete", "late", 1.0))
    assert states(made) == ["complete", "cancelled"]
    assert kit.do_all(made) == 0


def test_a_run_given_up_at_its_last_attempt_may_still_come_back(made: Context) -> None:
    take(made, message(alert()))
    for number in (1, 2):
        with made.database.transaction() as connection:
            assert runs.begin(connection, number, "slow", None)
            assert bool(runs.abandon(connection, number, "thought dead")) == (number == 1)
    with made.database.transaction() as connection:
        assert not runs.finish(connection, 1, runs.Ended("complete", "the first, too late", 1.0))
        assert runs.finish(connection, 2, runs.Ended("complete", "late", 1.0))
    assert states(made) == ["abandoned", "complete"]


def test_a_worker_that_comes_back_after_another_began_changes_nothing(made: Context) -> None:
    take(made, message(alert()))
    with made.database.transaction() as connection:
        assert runs.begin(connection, 1, "slow", None)
        assert runs.abandon(connection, 1, "thought dead")
        assert runs.begin(connection, 2, "other", None)
        assert not runs.finish(connection, 1, runs.Ended("complete", "late", 1.0))
    assert states(made) == ["abandoned", "running"]


def test_what_waits_for_its_own_reason_is_not_taken_back_by_a_late_report(made: Context) -> None:
    take(made, message(alert()))
    with made.database.transaction() as connection:
        assert runs.begin(connection, 1, "slow", None)
    take(made, message(alert(), alert(fingerprint="f2")))
    with made.database.transaction() as connection:
        assert runs.abandon(connection, 1, "thought dead")
        assert runs.finish(connection, 1, runs.Ended("complete", "late", 1.0))
    assert states(made) == ["complete", "queued"]


def test_a_killed_kernel_is_tried_once_more_and_its_report_kept(made: Context) -> None:
    take(made, message(alert()))
    killed = kit.Fake(status="failed", verdict="No verdict: the kernel died in cell 2.", was_killed=True)
    kit.do_all(made, killed)
    assert states(made) == ["failed", "queued"]
    kit.do_all(made, killed)
    assert states(made) == ["failed", "failed"]


def test_a_failing_cell_is_not_tried_again(made: Context) -> None:
    take(made, message(alert()))
    kit.do_all(made, kit.Fake(status="failed", verdict="No verdict: the run failed in cell 2: ValueError"))
    assert states(made) == ["failed"]


def test_a_worker_that_stops_gives_its_run_back(made: Context) -> None:
    from runbook.service.runs import Runs

    take(made, message(alert()))
    doing = Runs(made, "test", kit.Fake())
    doing.stop()
    doing.do(1)
    assert states(made) == ["abandoned", "queued"]
    assert query(made, "SELECT attempt FROM runbook.runs ORDER BY id") == [{"attempt": 1}, {"attempt": 1}]


def test_a_disk_that_is_full_ends_the_run_with_its_reason(made: Context) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise StorageError("report.html cannot be written to reports: No space left on device.")

    take(made, message(alert()))
    kit.do_all(made, full)
    ended = query(made, "SELECT state, verdict FROM runbook.runs")[0]
    assert (ended["state"], "No space left" in ended["verdict"]) == ("failed", True)


def test_a_report_survives_a_store_that_is_away(made: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from runbook.service import pages
    from runbook.service.runs import store_again

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    settings = Settings(runbook_artifacts="memory://store")
    store = artifacts.open_artifacts(settings, tmp_path)
    away = dataclasses.replace(store, filesystem=_Away())
    take(made, message(alert()))
    kit.do_all(dataclasses.replace(made, artifacts=away))
    with made.database.transaction() as connection:
        run = listing.run(connection, query(made, "SELECT run_id FROM runbook.runs")[0]["run_id"])
    assert run is not None
    assert run.stored == "database"
    assert b"14.2" in (pages.file(made, run, "report.html") or b"")
    back = dataclasses.replace(made, artifacts=store)
    assert store_again(back) == 1
    assert query(made, "SELECT stored FROM runbook.runs") == [{"stored": "artifacts"}]
    assert b"14.2" in (store.read(run.run_id or "", "report.html") or b"")


class _Away:
    def makedirs(self, *arguments: Any, **options: Any) -> None:
        raise ConnectionError("away")

    put_file = cat_file = makedirs


@pytest.mark.parametrize("run_id", ["..", "a/../b", "/etc/passwd", "", "x\x00y", "..%2f"])
def test_artifacts_read_only_their_own_folders(made: Context, run_id: str) -> None:
    assert made.artifacts.read(run_id, "report.html") is None
    assert made.artifacts.read("run", "../../secret") is None


def outcome(level: str, **found: tuple[str, str]) -> Outcome:
    """An outcome with these findings: (status, title) by id."""
    return kit.outcome(
        level=Status(level),
        findings=tuple(
            FindingRecord(id=name, status=Status(status), title=title) for name, (status, title) in found.items()
        ),
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("causes.llm", "agents.llm"),
        ("market.cause", "drawdown.market_cause"),
        ("positions.open_now", "exposure.open_positions"),
        ("platform.logs.bifrost", "platform.logs.bifrost"),
        ("digging", "digging"),
    ],
)
def test_a_finding_renamed_between_two_runs_is_no_change(old: str, new: str) -> None:
    before, after = outcome("warning", **{old: ("ok", "fine")}), outcome("warning", **{new: ("ok", "fine")})
    assert changes(before, after) == ()


def test_changes_are_statuses_not_figures() -> None:
    before = outcome("warning", a=("ok", "2 pods"), b=("warning", "slow"), c=("ok", "gone soon"))
    after = outcome("critical", a=("ok", "3 pods"), b=("critical", "slower"), d=("unknown", "new"))
    assert [(c.before, c.after) for c in changes(before, after)] == [
        ("warning", "critical"),
        ("warning", "critical"),
        ("", "unknown"),
        ("ok", ""),
    ]
    assert changes(before, before) == ()
    assert [(c.before, c.after) for c in changes(before, None)] == [
        ("warning", ""),
        ("ok", ""),
        ("warning", ""),
        ("ok", ""),
    ]


def test_an_outcome_that_cannot_be_read_is_none_and_not_the_end_of_a_page(made: Context) -> None:
    take(made, message(alert()))
    kit.do_all(made)
    query(made, "UPDATE runbook.runs SET outcome = '{\"findings\": 7}' RETURNING id")
    with made.database.transaction() as connection:
        found = listing.headline(connection, 1)
    assert found
    assert found.outcome is None


def test_a_message_is_made_once_and_given_up_in_the_end(made: Context) -> None:
    incident = take(made, message(alert())).incident
    assert incident
    with made.database.transaction() as connection:
        first = deliveries.add(connection, incident, "slack", "report", "key")
        assert first
        assert deliveries.add(connection, incident, "slack", "report", "key") is None
        lasts = [deliveries.failed(connection, first, "away") for _ in range(deliveries.ATTEMPTS)]
    assert lasts == [False] * (deliveries.ATTEMPTS - 1) + [True]
    assert query(made, "SELECT state FROM runbook.deliveries") == [{"state": "failed"}]


def test_prune_removes_closed_incidents_by_age_and_count(made: Context) -> None:
    for number in range(4):
        take(made, message(alert(fingerprint=f"f{number}"), key=f"g{number}"))
    kit.do_all(made)
    for number in range(3):
        take(made, resolved(alert(fingerprint=f"f{number}"), key=f"g{number}"))
    query(made, "UPDATE runbook.incidents SET closed_at = now() - interval '100 days' WHERE id = 1 RETURNING id")
    kept = {path.name for path in made.artifacts.spool.iterdir()}
    gone = tasks.prune(made, 90, 1_000)
    assert (len(gone.incidents), len(gone.run_ids)) == (1, 1)
    assert {path.name for path in made.artifacts.spool.iterdir()} == kept - set(gone.run_ids)
    assert len(tasks.prune(made, 90, 2).incidents) == 1
    assert [i["id"] for i in query(made, "SELECT id FROM runbook.incidents ORDER BY id")] == [3, 4]


@pytest.mark.parametrize(
    ("text", "found"),
    [("over the limit", 1), ("drawdown", 1), ("100%", 0), ("_", 0), ("' OR 1=1 --", 0), ("symbol", 1), ("\\", 0)],
)
def test_search_takes_text_as_text(made: Context, text: str, found: int) -> None:
    take(made, message(alert(symbol="BTC")))
    kit.do_all(made)
    with made.database.transaction() as connection:
        assert len(listing.incidents(connection, listing.Filter(text=text))) == found


def test_escalation_runs_again_and_calls_the_next_level_once(url: str, tmp_path: Path) -> None:
    with kit.context(url, tmp_path, slack_webhook_url="http://127.0.0.1:1/x") as made:
        incident = take(made, message(alert())).incident
        assert incident
        due = query(
            made,
            "SELECT task_name, round(extract(epoch FROM scheduled_at - now()) / 60) AS minutes"
            " FROM runbook.procrastinate_jobs WHERE scheduled_at IS NOT NULL ORDER BY scheduled_at",
        )
        assert [(j["task_name"], int(j["minutes"])) for j in due] == [
            ("dead_man", 1),
            ("escalate", 30),
            ("escalate", 60),
        ]
        kit.do_all(made)
        with made.database.transaction() as connection:
            assert tasks.escalate(connection, made, incident, 2)
            assert not tasks.escalate(connection, made, incident, 2)
        assert kit.do_all(made) == 1
        take(made, resolved(alert()))
        with made.database.transaction() as connection:
            assert not tasks.escalate(connection, made, incident, 3)
        kinds = [d["kind"] for d in query(made, "SELECT kind FROM runbook.deliveries ORDER BY id")]
        assert kinds == ["report", "escalation", "update", "resolved"]


def test_the_dead_man_speaks_once_and_only_without_a_report(url: str, tmp_path: Path) -> None:
    with kit.context(url, tmp_path, slack_webhook_url="http://127.0.0.1:1/x") as made:
        silent = take(made, message(alert(), key="one")).incident
        assert silent
        with made.database.transaction() as connection:
            assert tasks.dead_man(connection, made, silent)
            assert not tasks.dead_man(connection, made, silent)
        told = take(made, message(alert(fingerprint="f2"), key="two")).incident
        assert told
        kit.do_all(made)
        with made.database.transaction() as connection:
            assert not tasks.dead_man(connection, made, told)


def test_the_same_verdict_again_is_not_told_again(url: str, tmp_path: Path) -> None:
    with kit.context(url, tmp_path, slack_webhook_url="http://127.0.0.1:1/x") as made:
        take(made, message(alert()))
        kit.do_all(made)
        take(made, message(alert(), alert(fingerprint="f2")))
        kit.do_all(made)
        assert [d["kind"] for d in query(made, "SELECT kind FROM runbook.deliveries")] == ["report"]
        take(made, message(alert(), alert(fingerprint="f3")))
        kit.do_all(made, kit.Fake(level="warning"))
        assert [d["kind"] for d in query(made, "SELECT kind FROM runbook.deliveries ORDER BY id")] == [
            "report",
            "update",
        ]
