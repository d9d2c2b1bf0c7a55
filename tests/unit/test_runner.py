"""What a request comes to, and what a record of events says: no process runs here."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook import catalog, parameters
from runbook.alert import Alert
from runbook.errors import InputError, ParameterError
from runbook.outcome import FINDING_MIME, OUTCOME_MIME, Conclusion, FindingRecord, SourceState, Status
from runbook.parameters import Folders
from runbook.runner import Prepared, Request, RunStatus, prepare
from runbook.runner import record as records
from runbook.runner.record import CellState, End, Record
from runbook.settings import Settings

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = Folders(FIXTURES / "notebooks", FIXTURES / "parameters")
MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)


def prepared(request: Request, **settings: Any) -> Prepared:
    return prepare(request, catalog.load(FOLDERS.catalog), FOLDERS, Settings(**settings))


def test_notebook_then_file_then_labels_then_person() -> None:
    request = Request("EchoParameters", labels={"ratio": "0.3", "count": "7"}, parameters={"retries": "9"})
    found = prepared(request).parameters
    assert (found["threshold"], found["retries"]) == (0.3, 9)
    assert prepared(Request("EchoParameters")).parameters["threshold"] == 0.2


def test_a_label_that_does_not_fit_is_left_out_and_said_so() -> None:
    found = prepared(Request("EchoParameters", labels={"ratio": "much", "who": "x"}))
    assert found.parameters["threshold"] == 0.2
    assert found.notes == ("The alert's label ratio does not fit the parameter threshold: it was left out.",)


@pytest.mark.parametrize(
    ("name", "value"),
    [("treshold", "1"), ("threshold", "x"), ("retries", True), ("as_of", "noon"), ("lookback_hours", -1.0), ("a b", 1)],
)
def test_wrong_parameters_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ParameterError):
        prepared(Request("EchoParameters", parameters={name: value}))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_limit_is_positive_and_at_most_a_day(seconds: float) -> None:
    with pytest.raises(InputError, match="limit"):
        prepared(Request("AllRuns", limit_seconds=seconds))


def test_an_alert_needs_a_name() -> None:
    with pytest.raises(InputError, match="name"):
        prepared(Request(""))


def test_severity_is_the_labels_else_the_catalogs() -> None:
    assert prepared(Request("AlsoRuns")).severity == "info"
    assert prepared(Request("AlsoRuns", labels={"severity": "Critical"})).severity == "critical"
    assert prepared(Request("AlsoRuns", labels={"severity": "<b>"})).severity == "info"


def test_the_original_of_an_unknown_severity_is_shown() -> None:
    found = prepared(Request("AlsoRuns", labels={"severity": "P1"}))
    assert found.notes == ("The alert's severity is none that the procedures know: P1, treated as info.",)
    assert prepared(Request("AlsoRuns", labels={"severity": "Critical"})).notes == ()


def test_what_the_alert_carries_counts_before_what_a_person_gives_and_the_catalog() -> None:
    folders = parameters.folders()
    known, settings = catalog.load(folders.catalog), Settings()

    def severity(**labels: str) -> str:
        request = Request("AgentDown", labels=labels, parameters={"severity": "critical"})
        return prepare(request, known, folders, settings).severity

    assert (severity(), severity(severity="info"), severity(severity="P1")) == ("critical", "info", "critical")


def test_times_come_from_the_request_then_the_pinned_clock_then_now() -> None:
    as_of = MOMENT + timedelta(minutes=8)
    found = prepared(Request("AllRuns"), runbook_as_of=as_of, runbook_starts_at=MOMENT)
    assert (found.starts_at, found.as_of) == (MOMENT, as_of)
    assert found.parameters["starts_at"] == "2026-01-15T14:02:00Z"
    asked = Request("AllRuns", starts_at=MOMENT, parameters={"as_of": "2026-01-15T15:00:00Z"})
    assert prepared(asked, runbook_as_of=as_of).as_of == datetime(2026, 1, 15, 15, tzinfo=UTC)
    before = datetime.now(UTC) - timedelta(seconds=2)
    assert prepared(Request("AllRuns")).as_of >= before


def test_a_senders_clock_that_runs_ahead_is_no_error() -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    found = prepared(Request("AllRuns", starts_at=ahead))
    assert found.as_of == found.starts_at == ahead


@pytest.mark.parametrize("year", [1, 1970, 2100, 9998])
def test_a_senders_clock_that_is_far_off_is_not_believed_and_that_is_said(year: int) -> None:
    alert = Alert(
        name="AllRuns", labels={"alertname": "AllRuns"}, annotations={}, starts_at=datetime(year, 1, 1, tzinfo=UTC)
    )
    found = prepared(Request.of_alert(alert))
    assert abs(datetime.now(UTC) - found.starts_at) < timedelta(minutes=5)
    assert found.as_of == found.starts_at
    assert f"{year:04}-01-01" in found.notes[0]


def test_looking_from_before_the_alert_is_refused() -> None:
    with pytest.raises(ParameterError, match="before"):
        prepared(Request("AllRuns", starts_at=MOMENT, as_of=MOMENT - timedelta(seconds=1)))


def test_evidence_brings_its_own_moment_and_labels(tmp_path: Path) -> None:
    context = {"starts_at": "2026-01-15T14:02:00Z", "as_of": "2026-01-15T14:10:00Z", "labels": {"symbol": "BTCUSDT"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"context": context}))
    found = prepared(Request("AllRuns", evidence=tmp_path))
    assert (found.starts_at, found.as_of) == (MOMENT, MOMENT + timedelta(minutes=8))
    assert found.labels == {"symbol": "BTCUSDT"}


@pytest.mark.parametrize("text", [None, "{", "[]", '{"context": 1}', "[" * 100_000])
def test_evidence_that_is_none_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        prepared(Request("AllRuns", evidence=tmp_path))


def test_a_replay_takes_the_recorded_parameters_and_the_persons_own_win(tmp_path: Path) -> None:
    kept = {"threshold": 0.7, "retries": "[redacted]", "lookback_hours": 12.0, "as_of": "x", "gone": 1}
    (tmp_path / "manifest.json").write_text(json.dumps({"context": {"parameters": kept}}))
    found = prepared(Request("EchoParameters", evidence=tmp_path, parameters={"lookback_hours": 3.0})).parameters
    assert (found["threshold"], found["lookback_hours"]) == (0.7, 3.0)
    assert found.get("retries") != "[redacted]"
    assert "gone" not in found


@pytest.mark.parametrize("year", [1, 2008, 2100, 9999])
def test_times_far_from_any_alert_are_refused(year: int) -> None:
    far = datetime(year, 6, 1, tzinfo=UTC)
    with pytest.raises(ParameterError, match="2009"):
        prepared(Request("AllRuns", starts_at=far, as_of=far))


def test_less_than_a_second_is_not_told_as_none() -> None:
    assert records.how_it_stopped(Record(end=End.RUN_LIMIT, seconds=0.012)).endswith("after 0.01 s")


def test_a_verdict_has_one_full_stop() -> None:
    died = Record(end=End.EXECUTOR_DIED, reason="Error: it is missing.")
    assert records.verdict_of(died, [], None, "x").endswith("it is missing. Nothing was found until then.")


def test_the_alert_that_the_run_is_about_stays_however_many_are_cut() -> None:
    alerts = tuple(Alert("AllRuns", {"n": str(n)}, {}, MOMENT) for n in range(80))
    found = prepared(Request.of_alert(alerts[79], alerts))
    assert found.parameters["alerts"][0]["labels"] == {"n": "79"} == found.labels


def test_a_storm_of_alerts_is_cut_and_said_so() -> None:
    alerts = tuple(Alert("AllRuns", {"n": str(n)}, {}, MOMENT) for n in range(80))
    found = prepared(Request.of_alert(alerts[0], alerts))
    assert len(found.parameters["alerts"]) == 50
    assert found.notes == ("30 more alerts of the group are not listed.",)


def recorded(*states: str, end: End = End.DONE, running: int | None = None) -> Record:
    """A record of cells under the heading "Q", one for each of `states`: ran, failed, or not_run."""
    record = Record()
    record.take({"event": "plan", "cells": [{"index": i, "counts": True, "title": "Q"} for i in range(len(states))]}, 0)
    for index, state in enumerate(states):
        if state != "not_run":
            record.take({"event": "cell_started", "index": index}, 1)
            error = "ValueError: x" if state == "failed" else ""
            record.take({"event": "cell_finished", "index": index, "error": error}, 2)
    if running is not None:
        record.take({"event": "cell_started", "index": running}, 3)
    record.seconds = 40
    record.close(end, 43)
    return record


OK = [FindingRecord(id="a", status=Status.OK, title="fine")]
UNKNOWN = [*OK, FindingRecord(id="b", status=Status.UNKNOWN, title="?")]
CONCLUDED = Conclusion(verdict="All is well.")
SILENT = Conclusion(verdict="All is well.", sources=(SourceState("database", "unknown", "away"),))


@pytest.mark.parametrize(
    ("record", "findings", "outcome", "status"),
    [
        (recorded("ran", "ran"), OK, CONCLUDED, "complete"),
        (recorded("ran"), UNKNOWN, CONCLUDED, "degraded"),
        (recorded("ran"), OK, None, "degraded"),
        (recorded("ran"), OK, SILENT, "degraded"),
        (recorded("ran", "failed", "not_run"), OK, None, "failed"),
        (recorded("ran", "failed"), OK, CONCLUDED, "failed"),
        (recorded("ran", "not_run"), OK, CONCLUDED, "failed"),
        (recorded("ran", "not_run", end=End.KERNEL_DIED, running=1), OK, None, "failed"),
        (recorded("ran", "not_run", end=End.EXECUTOR_DIED, running=1), OK, None, "failed"),
        (Record(end=End.EXECUTOR_DIED), [], None, "failed"),
        (Record(end=End.DONE), [], None, "failed"),
        (recorded("ran", "not_run", end=End.RUN_LIMIT, running=1), OK, None, "timed_out"),
        (recorded("ran", "not_run", end=End.CELL_LIMIT, running=1), OK, None, "timed_out"),
        (recorded("ran", "not_run", end=End.CANCELLED, running=1), OK, None, "cancelled"),
    ],
)
def test_status(record: Record, findings: list[FindingRecord], outcome: Conclusion | None, status: str) -> None:
    assert records.status_of(record, findings, outcome) == status


@pytest.mark.parametrize(
    ("status", "code"), [("complete", 0), ("degraded", 3), ("failed", 4), ("timed_out", 4), ("cancelled", 4)]
)
def test_exit_codes(status: str, code: int) -> None:
    assert RunStatus(status).exit_code == code


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (End.RUN_LIMIT, CellState.TIMED_OUT),
        (End.CELL_LIMIT, CellState.TIMED_OUT),
        (End.KERNEL_DIED, CellState.FAILED),
        (End.EXECUTOR_DIED, CellState.FAILED),
        (End.CANCELLED, CellState.FAILED),
    ],
)
def test_the_cell_that_was_running_gets_its_state_from_the_end(end: End, state: CellState) -> None:
    record = recorded("ran", "not_run", "not_run", end=end, running=1)
    assert [cell.state for cell in record.counted] == [CellState.RAN, state, CellState.NOT_RUN]
    assert record.counts().total == 3


@pytest.mark.parametrize(
    ("record", "clause"),
    [
        (recorded("ran", end=End.RUN_LIMIT, running=0), "stopped at its time limit after 40 s in cell 1 (Q)"),
        (recorded("ran", "not_run", end=End.CELL_LIMIT, running=1), "time limit of one cell after 40 s in cell 2 (Q)"),
        (recorded("ran", "not_run", end=End.KERNEL_DIED, running=1), "the kernel died in cell 2 (Q)"),
        (recorded("ran", "not_run", end=End.EXECUTOR_DIED, running=1), "the notebook died in cell 2 (Q)"),
        (Record(end=End.EXECUTOR_DIED, reason="OSError: x"), "died before the first cell: OSError: x"),
        (recorded("ran", "not_run", end=End.CANCELLED, running=1), "cancelled after 40 s in cell 2 (Q)"),
        (recorded("failed", "not_run"), "failed in cell 1 (Q): ValueError: x"),
    ],
)
def test_a_run_cut_short_has_no_verdict_and_says_why_and_what_was_found(record: Record, clause: str) -> None:
    bad = FindingRecord(id="c", status=Status.CRITICAL, title="The drawdown is 14 %")
    verdict = records.verdict_of(record, [*UNKNOWN, bad], None, "X.ipynb")
    assert verdict.startswith("No verdict: ")
    assert clause in verdict
    assert verdict.endswith("Found until then: 1 critical, 1 unknown, 1 ok. The worst: The drawdown is 14 %.")


def test_a_failure_after_the_conclusion_does_not_hide_it() -> None:
    verdict = records.verdict_of(recorded("ran", "failed"), OK, CONCLUDED, "X.ipynb")
    assert verdict == "All is well. (After this conclusion the run failed in cell 2 (Q): ValueError: x.)"


def displaying(*bundles: dict[str, Any]) -> dict[str, Any]:
    return {"cells": [{"outputs": [{"data": bundle}]} for bundle in bundles] + [{"source": "text"}]}


@pytest.mark.parametrize("data", [None, [], "x", {}, {"status": "fine"}, {"status": ["ok"], "id": 1}])
def test_a_finding_that_cannot_be_read_is_unknown_not_dropped(data: Any) -> None:
    (finding,) = records.findings_in(displaying({FINDING_MIME: data}))
    assert finding.status is Status.UNKNOWN
    assert finding.id
    assert finding.title


def test_findings_keep_their_order_and_the_same_one_counts_once() -> None:
    first, second = {"id": "a", "status": "ok", "title": "1"}, {"id": "a", "status": "critical", "title": "2"}
    one_cell = {"cells": [{"outputs": [{"data": {FINDING_MIME: f}} for f in (first, first, second)]}]}
    assert [f.title for f in records.findings_in(one_cell)] == ["1", "2"]


def test_the_last_conclusion_counts_without_the_parts_that_cannot_be_read() -> None:
    said = {"verdict": "Second.", "sources": [{"name": "database", "status": None}, 3], "actions": "none"}
    concluded = records.conclusion_in(displaying({OUTCOME_MIME: {"verdict": "First."}}, {OUTCOME_MIME: said}))
    assert concluded is not None
    assert concluded.verdict == "Second."
    assert (concluded.sources, concluded.actions) == ((), ())
    assert concluded.status is Status.UNKNOWN


@pytest.mark.parametrize("data", [None, [], {"verdict": 3}])
def test_a_conclusion_that_cannot_be_read_is_none(data: Any) -> None:
    assert records.conclusion_in(displaying({OUTCOME_MIME: data})) is None
