"""What notebooks may import from `runbook`, and that nothing heavy comes with it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import runbook

NAMES = [
    "Runbook",
    "agents",
    "alerting",
    "breakers",
    "charts",
    "dependencies",
    "disk",
    "drawdown",
    "error_rates",
    "exposure",
    "latency",
    "platform",
    "resources",
    "sessions",
    "system",
]


def test_the_names_are_pinned() -> None:
    assert sorted(runbook.__all__) == NAMES
    assert len(runbook.__all__) <= 15


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    thing = getattr(runbook, name)
    assert thing.__doc__
    assert isinstance(thing, ModuleType) or name == "Runbook"


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        runbook.nothing  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, runbook; print([n for n in ('pandas','matplotlib','psycopg','kubernetes','IPython') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
