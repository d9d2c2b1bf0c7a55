"""The plan: read from a notebook's own cells, and nothing but a head start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbook import plan
from runbook.session import Runbook
from runbook.steps import agents, drawdown, platform, sessions

OPENING = 'book = Runbook.open("X", globals())'
NAMESPACE: dict[str, Any] = {
    "agents": agents,
    "drawdown": drawdown,
    "platform": platform,
    "sessions": sessions,
    "pod": "p-1",
}


def read(*cells: str, **more: Any) -> tuple[plan.Check, ...]:
    return plan.read((OPENING, *cells), NAMESPACE | more)


def test_checks_are_read_in_order_with_what_they_build_on() -> None:
    session, fills, history = read(
        "session = book.check(sessions.latest)",
        "fills = book.check(drawdown.from_fills, session, chart=[charts.equity])\nbook.check(drawdown.history, fills)",
    )
    assert [one.step for one in (session, fills, history)] == [
        sessions.latest,
        drawdown.from_fills,
        drawdown.history,
    ]
    assert fills.needs == (session,)
    assert history.needs == (fills,)


def test_parameters_and_literals_are_arguments_and_findings_are_named() -> None:
    status, side = read(
        "status = book.check(agents.status)",
        'book.check(agents.side_by_side, status=status, agent_type="trend", pod=pod)',
    )
    assert dict(side.named) == {"status": status}
    assert dict(side.arguments) == {"agent_type": "trend", "pod": "p-1"}


def test_a_variable_holds_the_latest_finding_put_into_it() -> None:
    first, second, logs = read(
        'found = book.check(platform.pods, component="a")\nfound = book.check(platform.pods, component="b")',
        "book.check(agents.logs, found)",
    )
    assert logs.needs == (second,)
    assert first.arguments == {"component": "a"}


@pytest.mark.parametrize(
    "cell",
    [
        "%matplotlib inline\nbook.check(agents.status)",
        "book.check(",
        "book.check()",
        "book.check(nobody.knows)",
        "book.check(agents.nothing)",
        "book.check(agents.logs, unknown_finding)",
        "book.check(platform.logs, app=pod.upper())",
        "book.check(agents.logs, pod)",
        "other.check(agents.status)",
        "for app in apps:\n    book.check(platform.logs, app=app)",
        "pod = other()\nbook.check(platform.logs, app=pod)",
        "found = book.check(nobody.knows)\nbook.check(agents.logs, found)",
        "book.check(*steps)",
        "book.check(agents.logs, **more)",
        "book\0.check",
        "book.check(own_step)",
        "book.check(platform.logs, app=pod.name)",
        "book.check(platform.logs, app=anything)",
        "other = Runbook.open('Y', globals())\nother.check(agents.status)",
        "-" * 100_000 + "1",
    ],
)
def test_what_cannot_be_read_is_left_to_its_cell(cell: str) -> None:
    def own_step() -> None:
        """A step made in the notebook may be another by the time its cell runs."""

    checks = read(cell, "book.check(agents.online)", own_step=own_step, anything=object())
    assert [one.step for one in checks] == [agents.online]


def test_without_an_opening_there_is_no_plan() -> None:
    assert plan.read(("book.check(agents.status)",), NAMESPACE) == ()


def test_what_asks_a_source_begins_early_and_so_does_what_it_builds_on() -> None:
    checks = read(
        "status = book.check(agents.status)\npods = book.check(platform.pods)",
        "side = book.check(agents.side_by_side, status=status, pods=pods)",
        "book.check(agents.logs, side)",
        "book.check(agents.recovery, status=status, side=side)",
    )
    begun = [one.step for one in plan.to_begin(checks)]
    assert not checks[2].asks_a_source  # but the logs build on it
    assert begun == [agents.status, platform.pods, agents.side_by_side, agents.logs]


def test_the_notebook_is_the_one_that_runs_else_the_procedures_own(tmp_path: Path) -> None:
    copy = tmp_path / "copy.ipynb"
    copy.write_text("{}")
    assert plan.notebook_of("AgentDown", None, str(copy)) == copy
    own = plan.notebook_of("AgentDown", None, str(tmp_path / "gone.ipynb"), "kernel-1234")
    assert own is not None
    assert own.name == "AgentDown.ipynb"
    assert plan.notebook_of("NoSuchProcedure") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}'])
def test_a_notebook_that_cannot_be_read_has_no_cells(tmp_path: Path, text: str) -> None:
    damaged = tmp_path / "damaged.ipynb"
    damaged.write_text(text)
    assert plan.cells_of(damaged) == ()
    assert plan.cells_of(tmp_path / "missing.ipynb") == ()


def test_a_saved_notebook_that_differs_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In JupyterLab cells are edited and not saved: what the file plans is begun, what the cells ask is answered."""
    cells = [OPENING, 'book.check(platform.logs, app="bifrost")']
    notebook = {"cells": [{"cell_type": "code", "source": cell} for cell in cells]}
    saved = tmp_path / "edited.ipynb"
    saved.write_text(json.dumps(notebook))
    monkeypatch.setenv("JPY_SESSION_NAME", str(saved))
    book = Runbook.open("AgentDown", NAMESPACE | {"as_of": "2026-01-15T14:10:00Z"})
    assert [one.arguments for one in book.plan] == [{"app": "bifrost"}]
    found = book.check(platform.logs, app="nats")
    assert found.id == "platform.logs.nats"
    assert "KUBECONFIG" in found.detail
