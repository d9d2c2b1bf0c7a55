"""docs/coverage.md against the notebooks: no step of the written runbook is without its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = {
    "CircuitBreakerOpen": 6,
    "HighErrorRate": 5,
    "TradingSessionFailure": 5,
    "PositionLimitExceeded": 5,
    "MaxDrawdownExceeded": 6,
    "AgentDown": 5,
    "AgentHighLatency": 5,
    "HighResourceUsage": 5,
    "DiskSpaceWarning": 5,
}
"""How many numbered response steps each written procedure has."""


def rows() -> list[tuple[str, str, str, str]]:
    lines = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8").splitlines()
    cells = [tuple(part.strip() for part in line.strip("|").split(" | ")) for line in lines if line.startswith("| ")]
    return [(a, b, c, d) for a, b, c, d in cells if a not in ("procedure", "---")]


def headings(procedure: str) -> set[str]:
    notebook = json.loads((ROOT / "notebooks" / f"{procedure}.ipynb").read_text(encoding="utf-8"))
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    return {line.removeprefix("## ") for text in texts for line in text.splitlines() if line.startswith("## ")}


@pytest.mark.parametrize(("procedure", "count"), STEPS.items())
def test_every_numbered_step_has_a_section_that_is_there(procedure: str, count: int) -> None:
    mine = [row for row in rows() if row[0] == procedure]
    assert [row[1].split(".", 1)[0] for row in mine] == [str(number) for number in range(1, count + 1)]
    assert {row[2] for row in mine} <= headings(procedure)


@pytest.mark.parametrize("procedure", ["SystemHealth"])
def test_the_overall_checks_have_their_sections(procedure: str) -> None:
    mine = [row for row in rows() if row[0] == procedure]
    assert len(mine) == 4
    assert {row[2] for row in mine} <= headings(procedure)


@pytest.mark.parametrize("procedure", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_every_page_says_what_else_fires_and_offers_the_next_actions(procedure: str) -> None:
    text = (ROOT / "notebooks" / f"{procedure}.ipynb").read_text(encoding="utf-8")
    assert "alerting.firing" in text
    assert "book.next_actions()" in text
    if procedure != "SystemHealth":  # it is about no single alert
        assert "alerting.history" in text
