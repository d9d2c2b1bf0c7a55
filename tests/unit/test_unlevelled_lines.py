"""Log lines that tell no level are neither errors nor fine: every step that reads logs says how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.alert import Window
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.sources.logs import parse
from runbook.steps import agents, dependencies, error_rates, platform
from runbook.steps.agents.agent_logs import words_before_restart
from runbook.steps.agents.figures import AgentLog, Fleet

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
DIAL = "2026/01/15 14:05:00 dial tcp 10.0.0.1:5432: connect: connection refused"
INFO, WARN, ERROR = '{"level":"info","message":"tick"}', '{"level":"WARN","msg":"slow"}', "level=error msg=lost"
RECOVERED = "2026/01/15 14:05:00 http: panic serving 10.0.0.1:51234: runtime error: index out of range"


def cluster(*lines: str, **by_app: Iterable[str]) -> Any:
    """A cluster whose pods logged these lines a minute apart, up to the end of the window; by app, where several."""

    def logs(app: str, *_: Any, **__: Any) -> SimpleNamespace:
        texts = list(by_app.get(app, lines))
        times = [WINDOW.as_of - timedelta(minutes=len(texts) - 1 - n) for n in range(len(texts))]
        text = "\n".join(f"{time:%Y-%m-%dT%H:%M:%SZ} {line}" for time, line in zip(times, texts, strict=True))
        return SimpleNamespace(frame=parse(text, "pod-1"))

    return SimpleNamespace(logs=logs)


@pytest.mark.parametrize(
    ("lines", "status", "title"),
    [
        ([INFO, WARN], Status.OK, "api: 0 error lines in 2, nothing worse than a warning"),
        ([INFO, DIAL], Status.UNKNOWN, "api: 0 error lines in 2, but 1 of them tells no level"),
        ([DIAL] * 3, Status.UNKNOWN, "api: 0 error lines in 3, but 3 of them tell no level"),
        ([DIAL, ERROR], Status.WARNING, "api: 1 error line in 2, most severe “lost” (1×)"),
        ([RECOVERED], Status.CRITICAL, "api: 1 error line in 1, most severe “http: panic serving #: runtime error"),
        ([], Status.UNKNOWN, "api logged nothing in the window"),
    ],
)
def test_a_log_is_fine_only_where_every_line_says_so(lines: list[str], status: Status, title: str) -> None:
    found = platform.logs(cluster(*lines), WINDOW, "api")
    assert found.status is status
    assert found.title.startswith(title)
    unlevelled = lines.count(DIAL)
    assert found.figures is not None
    assert found.figures.unlevelled == unlevelled
    assert ("no level that is known" in found.detail) == bool(unlevelled)
    if unlevelled:
        assert "unknown" in list(found.tables[0].frame["level"])


def test_several_logs_are_as_unsure_as_the_least_sure() -> None:
    found = platform.logs_of(cluster(api=[INFO], nats=[DIAL]), WINDOW, ["api", "nats"])
    assert found.status is Status.UNKNOWN
    assert found.figures == platform.MergedLog(("api", "nats"), unlevelled=1)


def test_the_log_of_an_agent_is_as_unsure_as_it_is() -> None:
    fleet = Fleet(1, ("a-agent",), "a-agent", (), (), (), (), True, True)
    found = agents.logs(Finding(Status.WARNING, "", figures=fleet), cluster(DIAL), WINDOW)
    assert (found.status, found.figures) == (Status.UNKNOWN, AgentLog("a-agent"))


@pytest.mark.parametrize(
    ("lines", "status", "title"),
    [
        ([INFO], Status.OK, "Before its restart a-agent logged neither an error nor a warning"),
        ([INFO, DIAL, INFO], Status.UNKNOWN, f"Before its restart a-agent said last, at no known level: “{DIAL}”"),
        ([WARN, DIAL], Status.WARNING, "Before its restart a-agent said “slow”"),
        ([DIAL, ERROR], Status.WARNING, "Before its restart a-agent said “lost”"),
    ],
)
def test_last_words_of_no_level_are_quoted_and_not_called_fine(lines: list[str], status: Status, title: str) -> None:
    found = words_before_restart("a-agent", cluster(*lines), WINDOW)
    assert (found.status, found.title) == (status, title)
    assert "Nothing worse than a warning" not in found.detail or DIAL not in lines


def test_a_panic_that_was_recovered_from_did_not_end_the_container() -> None:
    assert words_before_restart("api", cluster(RECOVERED), WINDOW).known.panics == 0
    assert words_before_restart("api", cluster("panic: boom"), WINDOW).known.panics == 1


def test_coingecko_is_not_called_well_by_lines_of_no_level() -> None:
    assert dependencies.coingecko(cluster(INFO, "[INFO] coingecko answered"), WINDOW).status is Status.OK
    found = dependencies.coingecko(cluster(INFO, "get coingecko: EOF"), WINDOW)
    assert (found.status, found.detail) == (
        Status.UNKNOWN,
        "1 line tells no level that is known, most often “get coingecko: EOF” (1×).",
    )


def test_what_rose_and_tells_no_level_is_not_called_calm() -> None:
    steady = [DIAL] * 100
    assert error_rates.logs(cluster(*steady), WINDOW, app="api").status is Status.OK
    found = error_rates.logs(cluster(*[INFO] * 90, *[DIAL] * 10), WINDOW, app="api")
    assert found.status is Status.UNKNOWN
    assert found.title.startswith("api: 1 pattern that tells no level rose, “#/#/# # dial tcp")
    assert list(found.tables[0].frame["level"]) == ["unknown"]
    worse = error_rates.logs(cluster(*[INFO] * 90, *[DIAL, ERROR] * 5), WINDOW, app="api")
    assert worse.status is Status.WARNING
    assert "1 pattern that tells no level rose too." in worse.detail


def test_many_steady_patterns_do_not_rise() -> None:
    noise = [f"level=error msg=part-{chr(97 + n)}{chr(97 + m)}" for n in range(6) for m in range(6)]
    assert error_rates.logs(cluster(*noise * 6), WINDOW, app="api").status is Status.OK
