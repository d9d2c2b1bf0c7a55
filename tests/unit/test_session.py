"""The session: opens, runs steps, shows what they found and concludes honestly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runbook import session
from runbook.ahead import THREADS_MAX
from runbook.alert import Alert, Window
from runbook.charts import Chart
from runbook.errors import ConfigurationError, InputError, NotConfigured, QueryFailed, SourceUnavailable
from runbook.findings import Finding, Findings
from runbook.outcome import CONTEXT_MIME, FINDING_MIME, OUTCOME_MIME, Action, Status, Verdict
from runbook.plan import Check
from runbook.session import Runbook
from runbook.settings import Settings
from runbook.sources.database import Database
from runbook.sources.evidence import Partial

STARTS, AS_OF = "2026-01-15T14:02:00Z", "2026-01-15T14:10:00Z"
Shown = list[tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    outputs: Shown = []

    def display(data: dict[str, Any], *, raw: bool, metadata: dict[str, Any] | None = None) -> None:
        assert raw
        outputs.append((data, metadata or {}))

    monkeypatch.setattr(session, "display", display)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return outputs


@pytest.fixture
def book(shown: Shown) -> Runbook:
    return Runbook.open("MaxDrawdownExceeded", starts_at=STARTS, as_of=AS_OF)


def of(shown: Shown, mime: str) -> list[Any]:
    return [data[mime] for data, _ in shown if mime in data]


@dataclass(frozen=True, slots=True)
class Count:
    n: int


def fine(window: Window) -> Finding[Count]:
    """Fine: always."""
    return Finding(Status.OK, f"Fine since {window.start:%H:%M}", figures=Count(1))


def needs_fine(found: Finding[Count], window: Window) -> Finding[None]:
    """Needs fine: its figure."""
    return Finding(Status.WARNING, f"n is {found.known.n}")


def asks(database: Database) -> Finding[Count]:
    """Rows there: how many."""
    rows = database.sql("SELECT 1").rows
    return Finding(Status.OK, f"{rows} rows", figures=Count(rows))


def refused() -> Finding[None]:
    """Refused question: nothing."""
    raise QueryFailed("database refused the query: no such table")


def buggy() -> Finding[None]:
    """Buggy: raises."""
    raise TypeError("a bug")


def healthy(findings: Findings) -> Verdict:
    return Verdict(
        "continue", "Healthy: no drawdown.", Status.OK, (), (Action("Look", "kubectl get pods"),), (("How?", "So."),)
    )


def test_it_introduces_itself(shown: Shown, book: Runbook) -> None:
    (context,) = of(shown, CONTEXT_MIME)
    assert context["starts_at"] == "2026-01-15T14:02:00+00:00"
    assert context["window_start"] == "2026-01-15T08:02:00+00:00"
    assert context["labels"] == {"alertname": "MaxDrawdownExceeded"}
    assert [one["labels"] for one in context["alerts"]] == [context["labels"]]


def test_a_step_is_given_what_it_names(shown: Shown, book: Runbook) -> None:
    found = book.check(fine)
    assert found.title == "Fine since 08:02"
    assert book.check(needs_fine, found).title == "n is 1"
    assert [one["id"] for one in of(shown, FINDING_MIME)] == ["test_session.fine", "test_session.needs_fine"]


def test_no_answer_is_unknown_and_what_needs_it_is_skipped(shown: Shown, book: Runbook) -> None:
    found = book.check(asks)
    assert (found.status, found.title) == (Status.UNKNOWN, "Rows there: not known")
    assert "set DATABASE_URL" in found.detail
    assert found.answers[0].status == "failed"
    after = book.check(needs_fine, found)
    assert (after.status, after.title) == (Status.SKIPPED, "Needs fine: skipped")
    assert "test_session.asks" in after.detail
    assert book.check(needs_fine, after).status is Status.SKIPPED


def test_a_refusal_is_unknown_and_a_bug_is_raised(book: Runbook) -> None:
    assert book.check(refused).detail == "database refused the query: no such table."
    with pytest.raises(TypeError, match="a bug"):
        book.check(buggy)


def test_steps_asked_ahead_run_once_and_side_by_side(book: Runbook) -> None:
    both, ran = threading.Barrier(2, timeout=10), []

    def first() -> Finding[Count]:
        """First: waits for the second."""
        both.wait()
        ran.append("first")
        return Finding(Status.OK, "first", figures=Count(7))

    def second() -> Finding[None]:
        """Second: waits for the first."""
        both.wait()
        return Finding(Status.OK, "second")

    def third(first: Finding[Count]) -> Finding[None]:
        """Third: builds on the first."""
        return Finding(Status.OK, f"third after {first.known.n}")

    planned = Check(first)
    book.ask_ahead([Check(second), planned, Check(third, (planned,))])
    found = book.check(first)
    assert book.check(second).title == "second"
    assert book.check(third, found).title == "third after 7"
    assert ran == ["first"]


def test_what_is_asked_ahead_waits_only_where_it_looks(book: Runbook) -> None:
    asked = threading.Event()

    def early() -> Finding[Count]:
        """Early: only after the later step has put its question."""
        assert asked.wait(10)
        return Finding(Status.OK, "early", figures=Count(1))

    def later(found: Finding[Count], more: Finding[Count] | None = None) -> Finding[None]:
        """Later: asks, then looks at what it builds on."""
        asked.set()
        return Finding(Status.OK, f"later than {found.known.n} and {more.title if more else 'nothing'}")

    first, other = Check(early), Check(fine)
    book.ask_ahead([first, other, Check(later, (first,), {"more": other})])
    found, more = book.check(early), book.check(fine)
    assert book.check(later, found, more=more).title == f"later than 1 and {more.title}"


def test_what_needs_an_unknown_finding_is_skipped_ahead_as_otherwise(book: Runbook) -> None:
    def asks_too(found: Finding[Count], database: Database) -> Finding[None]:
        """Asks too: and fails, before it looks."""
        database.sql("SELECT 1")
        return Finding(Status.OK, str(found.figures))

    def copes(found: Finding[Count] | None = None) -> Finding[None]:
        """Copes: without the finding, too."""
        return Finding(Status.OK, "known" if found is not None and found.is_known else "unknown")

    first = Check(asks)
    book.ask_ahead(
        [first, Check(needs_fine, (first,)), Check(asks_too, (first,)), Check(copes, named={"found": first})]
    )
    found = book.check(asks)
    for step, name in ((needs_fine, "Needs fine"), (asks_too, "Asks too")):
        after = book.check(step, found)
        assert (after.status, after.title, after.answers) == (Status.SKIPPED, f"{name}: skipped", ())
    assert book.check(copes, found=found).title == "unknown"


def test_a_finding_that_says_nothing_is_not_looked_into_even_by_keyword(book: Runbook) -> None:
    def careless(found: Finding[Count]) -> Finding[None]:
        """Careless: looks in without asking whether it is known."""
        return Finding(Status.OK, f"n is {found.known.n}")

    found = book.check(asks)
    after = book.check(careless, found=found)
    assert (after.status, after.detail) == (Status.SKIPPED, "Needs test_session.asks, which gave no answer.")


@pytest.mark.parametrize("status", [Status.OK, Status.WARNING])
def test_what_rests_on_a_part_is_never_ok_and_says_what_is_missing(book: Runbook, status: Status) -> None:
    def counts() -> Finding[Count]:
        """Counts: what was read."""
        book.evidence.ask("cluster", "/pods", {}, "", lambda: Partial([1, 2], "the list was cut at 2 of 9"))
        return Finding(status, "All 2 are well", figures=Count(2))

    found = book.check(counts)
    assert found.status is (Status.UNKNOWN if status is Status.OK else status)
    assert found.detail.endswith("Not whole: the list was cut at 2 of 9.")
    assert found.answers[0].data == [1, 2]
    assert found.title == ("As far as was read: All 2 are well" if status is Status.OK else "All 2 are well")


def test_a_cell_run_again_asks_again_and_what_follows_builds_on_the_new_finding(book: Runbook) -> None:
    numbers = iter(range(1, 9))

    def counts() -> Finding[Count]:
        """Counts: up."""
        return Finding(Status.OK, "counts", figures=Count(next(numbers)))

    planned = Check(counts)
    book.ask_ahead([planned, Check(needs_fine, (planned,))])
    first, second = book.check(counts), book.check(counts)
    assert (first.known.n, second.known.n) == (1, 2)
    assert book.check(needs_fine, second).title == "n is 2"
    assert book.check(needs_fine, first).title == "n is 1"
    assert len([found for found in book.findings if found.id == "test_session.counts"]) == 1


def test_other_arguments_than_were_asked_ahead_are_asked_anew(book: Runbook) -> None:
    def limited(limit: float) -> Finding[None]:
        """Limited: to what it is given."""
        return Finding(Status.OK, f"at most {limit}")

    book.ask_ahead([Check(limited, arguments={"limit": 1.0})])
    assert book.check(limited, limit=2.0).title == "at most 2.0"
    assert book.check(limited, limit=1.0).title == "at most 1.0"


def test_a_step_asked_of_several_says_of_which(book: Runbook) -> None:
    def of_app(database: Database, app: str = "") -> Finding[None]:
        """Of an app: what it is asked of."""
        return Finding(Status.OK, database.sql("SELECT 1").source)

    assert [book.check(of_app, app=app).id for app in ("api", "nats")] == [
        "test_session.of_app.api",
        "test_session.of_app.nats",
    ]
    assert len(book.findings.unknown) == 2


def test_many_steps_asked_ahead_need_few_threads_and_do_not_wait_for_each_other(book: Runbook) -> None:
    def link(found: Finding[Count] | None = None, n: int = 0) -> Finding[Count]:
        """Link: of a chain."""
        return Finding(Status.OK, "link", figures=Count(n + (found.known.n if found else 0)))

    chain = [Check(link, arguments={"n": 1})]
    for n in range(2, 61):
        chain.append(Check(link, named={"found": chain[-1]}, arguments={"n": n}))
    book.ask_ahead(chain)
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")}
    assert len(names) <= THREADS_MAX
    found = book.check(link, n=1)
    for n in range(2, 61):
        found = book.check(link, found=found, n=n)
    assert found.known.n == sum(range(61))


def test_a_bug_asked_ahead_is_raised_where_it_is_checked(book: Runbook) -> None:
    book.ask_ahead([Check(buggy), Check(asks)])
    assert book.check(asks).status is Status.UNKNOWN
    with pytest.raises(TypeError):
        book.check(buggy)


def test_what_failed_ahead_on_other_findings_is_not_raised(book: Runbook) -> None:
    def picky(found: Finding[Count]) -> Finding[None]:
        """Picky: fails on the first count."""
        if found.known.n == 1:
            raise ValueError("of the first count")
        return Finding(Status.OK, "fine with the second")

    numbers = iter((1, 2))

    def counts() -> Finding[Count]:
        """Counts: up."""
        return Finding(Status.OK, "counts", figures=Count(next(numbers)))

    planned = Check(counts)
    book.ask_ahead([planned, Check(picky, (planned,))])
    book.check(counts)
    assert book.check(picky, book.check(counts)).title == "fine with the second"


def test_charts_are_shown_with_their_words_and_only_for_what_is_known(shown: Shown, book: Runbook) -> None:
    def draw(found: Finding[Any], window: Window) -> Chart:
        return Chart("<svg/>", found.title, "what it shows")

    def nothing(found: Finding[Any], window: Window) -> None:
        return None

    book.check(fine, chart=[draw, nothing])
    book.check(refused, chart=draw)
    charts = [(data, metadata) for data, metadata in shown if "image/svg+xml" in data]
    assert [metadata["image/svg+xml"]["alt"] for _, metadata in charts] == ["what it shows"]


def test_a_conclusion_is_honest(shown: Shown, book: Runbook) -> None:
    book.check(fine)
    assert book.conclude(healthy).status is Status.OK
    book.check(refused)
    outcome = book.conclude(healthy)
    assert outcome.status is Status.UNKNOWN
    assert outcome.verdict == "Not fully known; what answered is fine: no drawdown."
    assert "1 of 2 checks have no answer" in outcome.reasons[0]
    last = of(shown, OUTCOME_MIME)[-1]
    assert [one["status"] for one in last["findings"]] == ["ok", "unknown"]
    assert {one["name"] for one in last["sources"]} == {"database", "metrics", "cluster", "alertmanager"}


def test_nothing_checked_is_not_healthy(book: Runbook) -> None:
    concluded = book.conclude(healthy)
    assert (concluded.status, concluded.verdict) == (Status.UNKNOWN, "Not known: none of the checks has an answer.")


def test_next_actions_are_shown_as_commands(shown: Shown, book: Runbook) -> None:
    book.conclude(healthy)
    book.next_actions()
    assert "kubectl get pods" in shown[-1][0]["text/html"]


@pytest.mark.parametrize(
    "dig",
    [
        lambda b: b.sql("SELECT 1"),
        lambda b: b.promql("up"),
        lambda b: b.promql("up", instant=True),
        lambda b: b.logs("api", minutes=5),
    ],
)
def test_digging_without_sources_says_why_and_is_no_check(
    shown: Shown, book: Runbook, dig: Callable[[Runbook], Finding[Any]]
) -> None:
    found = dig(book)
    assert found.status is Status.UNKNOWN
    assert "set " in shown[-1][0]["text/html"]
    assert len(book.findings) == 0
    assert FINDING_MIME not in shown[-1][0]


class Answering:
    """Sources that answer digging with this many rows, and know these metrics."""

    def __init__(self, book: Runbook, rows: int, missing: str = "", existing: Sequence[str] | None = ()) -> None:
        self._book, self._found = book, Partial(pd.DataFrame({"value": [1.0] * rows}), missing)
        self._existing = existing
        book._sources |= {"metrics": self, "database": self}

    def range(self, *_: Any, **__: Any) -> Any:
        return self._book.evidence.ask("metrics", "q", {}, "", lambda: self._found)

    def sql(self, *_: Any, **__: Any) -> Any:
        return self.range()

    def existing(self, names: Sequence[str]) -> Any:
        if self._existing is None:
            raise SourceUnavailable("metrics did not answer")
        return self._book.evidence.ask("metrics", "names", {}, "", lambda: list(self._existing or ()))


@pytest.mark.parametrize(
    ("existing", "says"),
    [
        ((), "Does the metric exist? Prometheus knows no no_such_metric, other."),
        (("other",), "Does the metric exist? Prometheus knows no no_such_metric."),
        (("other", "no_such_metric"), "Prometheus knows no_such_metric, other, but has no sample that fits"),
        (None, "Does the metric exist? It was asked for no_such_metric, other."),
    ],
)
def test_no_rows_are_no_answer_that_all_is_well(book: Runbook, existing: Sequence[str] | None, says: str) -> None:
    Answering(book, 0, existing=existing)
    found = book.promql("no_such_metric / other")
    assert (found.status, found.title) == (Status.UNKNOWN, "PromQL: no rows")
    assert says in found.detail
    assert "fits" in book.promql("1 +").detail
    assert (book.sql("SELECT 1").status, book.sql("SELECT 1").title) == (Status.UNKNOWN, "SQL: no rows")


def test_digging_says_that_its_answer_is_a_part(book: Runbook) -> None:
    Answering(book, 3, "the rows after the first 3 were not read")
    found = book.sql("SELECT 1")
    assert (found.status, found.title) == (Status.UNKNOWN, "As far as was read: SQL: 3 rows")
    assert "the rows after the first 3 were not read" in found.detail
    Answering(book, 3)
    assert (book.promql("up").status, book.promql("up").title) == (Status.OK, "PromQL: 3 rows")


def alert(name: str, severity: str, starts_at: str, **labels: str) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {},
        "startsAt": starts_at,
    }


def test_the_subject_is_the_most_severe_alert_of_the_group(shown: Shown) -> None:
    book = Runbook.open(
        "AgentDown",
        as_of=AS_OF,
        alerts=[
            alert("AgentDown", "warning", STARTS, pod="a"),
            alert("AgentDown", "critical", "2026-01-15T14:05:00Z", pod="b"),
        ],
    )
    assert book.alert.labels["pod"] == "b"
    assert book.window.starts_at.minute == 5
    assert [one.labels["pod"] for one in book.others] == ["a"]


def test_given_labels_win_and_severity_fills_in(shown: Shown) -> None:
    book = Runbook.open("AgentDown", severity="critical", labels={"pod": "x"}, as_of=AS_OF)
    assert book.alert == Alert(
        "AgentDown", {"alertname": "AgentDown", "pod": "x", "severity": "critical"}, {}, book.window.as_of
    )


def test_times_come_from_the_environment_else_now(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_AS_OF", AS_OF)
    monkeypatch.setenv("RUNBOOK_STARTS_AT", STARTS)
    book = Runbook.open("AgentDown")
    assert (book.window.starts_at.isoformat(), book.window.as_of.isoformat()) == (
        "2026-01-15T14:02:00+00:00",
        "2026-01-15T14:10:00+00:00",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"starts_at": "soon"},
        {"as_of": "2026-01-15"},
        {"lookback_hours": 0},
        {"alerts": [{"labels": {}}]},
        {"alerts": [7]},
    ],
)
def test_bad_input_is_refused(shown: Shown, wrong: dict[str, Any]) -> None:
    with pytest.raises((InputError, TypeError, ValueError)):
        Runbook.open("AgentDown", **wrong)


def test_a_wrong_setting_is_named(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_QUERY_SECONDS", "x")
    with pytest.raises(ConfigurationError, match="RUNBOOK_QUERY_SECONDS"):
        Runbook.open("AgentDown")


def test_secrets_in_labels_are_masked_everywhere(shown: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:the-db-password@127.0.0.1:9/x")
    monkeypatch.setenv("RUNBOOK_RECORD", str(tmp_path))
    told = {"note": "api_key=K3Y-VALUE the-db-password"}
    book = Runbook.open(
        "AgentDown",
        labels=told,
        alerts=[{**alert("AgentDown", "critical", STARTS, **told), "annotations": told}],
        as_of=AS_OF,
    )
    book.check(asks)
    book.conclude(healthy)
    text = json.dumps([data for data, _ in shown]) + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "K3Y-VALUE" not in text
    assert "the-db-password" not in text


def test_not_configured_names_the_variable() -> None:
    assert "environment variable" in str(NotConfigured())
