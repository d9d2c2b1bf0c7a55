"""What notebooks may import from `runbook`, and that nothing heavy comes with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import runbook

DOMAINS = {path.parent.name for path in (Path(runbook.__file__).parent / "steps").glob("*/__init__.py")} - {"shared"}


def test_the_names_are_those_of_the_domains_of_steps() -> None:
    assert [*runbook.__all__] == ["Runbook", *sorted({"charts", *DOMAINS})]
    assert len(runbook.__all__) <= 20


@pytest.mark.parametrize("name", runbook.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    thing = getattr(runbook, name)
    assert thing.__doc__
    assert isinstance(thing, ModuleType) or name == "Runbook"


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        runbook.nothing  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, runbook; "
        "print([n for n in ('pandas','matplotlib','psycopg','kubernetes','IPython') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
