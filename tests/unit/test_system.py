"""The conclusion of SystemHealth: what it counts, and where it sends the reader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runbook.alert import Window
from runbook.findings import Finding, Findings
from runbook.outcome import Status, Verdict
from runbook.steps import system

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))


def decided(**counts: int) -> Verdict:
    """The conclusion from so many findings of each status."""
    statuses = [status for name, count in counts.items() for status in [Status(name)] * count]
    findings = Findings(Finding[None](status, f"title {i}") for i, status in enumerate(statuses))
    return system.decide(findings, WINDOW)


@pytest.mark.parametrize(
    ("counts", "status", "summary"),
    [
        (
            {"warning": 1, "ok": 11, "unknown": 9, "skipped": 1},
            Status.WARNING,
            "Of the 12 checks that answered none is critical, 1 warns: title 0. 10 have no answer.",
        ),
        (
            {"warning": 2, "ok": 1, "unknown": 19},
            Status.UNKNOWN,
            "Of the 3 checks that answered none is critical, 2 warn: title 0; title 1. 19 have no answer.",
        ),
        ({"warning": 1, "ok": 2}, Status.WARNING, "Of 3 checks none is critical, 1 warns: title 0."),
        (
            {"critical": 1, "ok": 1, "unknown": 1},
            Status.CRITICAL,
            "1 of the 2 checks that answered is critical: title 0. 1 has no answer.",
        ),
        ({"ok": 2, "skipped": 1}, Status.UNKNOWN, "Of the 2 checks that answered none warns. 1 has no answer."),
        ({"unknown": 2}, Status.UNKNOWN, "Nothing is known: none of the checks has an answer."),
        ({}, Status.UNKNOWN, "Nothing is known: none of the checks has an answer."),
        ({"ok": 2}, Status.OK, "Healthy: all 2 checks pass."),
    ],
)
def test_the_health_page_counts_only_what_answered(counts: dict[str, int], status: Status, summary: str) -> None:
    verdict = decided(**counts)
    assert (verdict.status, verdict.summary) == (status, summary)
