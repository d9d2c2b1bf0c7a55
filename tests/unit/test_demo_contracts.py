"""The demo stays a package beside ours: import-linter finds what would tie the two together."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(sys.argv[1:])"

ONLY_THE_CLI = "demo-known-to-cli"
KNOWS_LITTLE = "demo-knows-little"


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """The two packages' modules and the contracts, to be spoilt."""
    not_modules = shutil.ignore_patterns("__pycache__", "*.egg-info", "recorded", "sql", "static", "templates")
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=not_modules)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def broken(tree: Path, contract: str) -> str:
    """What import-linter says of `tree` where the contract is broken; "" where it is kept."""
    command = [sys.executable, "-c", LINT, "--no-cache", "--contract", contract]
    done = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "lib")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 or "BROKEN" in done.stdout, done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


@pytest.mark.parametrize("contract", [ONLY_THE_CLI, KNOWS_LITTLE])
def test_the_contracts_are_kept(copied_tree: Path, contract: str) -> None:
    assert broken(copied_tree, contract) == ""


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        (ONLY_THE_CLI, "runbook/session.py", "from cryptofunk_demo import incidents"),
        (ONLY_THE_CLI, "runbook/sources/metrics.py", "from cryptofunk_demo.series import Series"),
        (ONLY_THE_CLI, "runbook/service/context.py", "import cryptofunk_demo"),
        (KNOWS_LITTLE, "cryptofunk_demo/platform.py", "from runbook import session"),
        (KNOWS_LITTLE, "cryptofunk_demo/logs.py", "from runbook.sources.metrics import Metrics"),
        (KNOWS_LITTLE, "cryptofunk_demo/database.py", "from runbook import outcome"),
    ],
)
def test_a_contract_breaks_with_the_import_it_forbids(copied_tree: Path, contract: str, module: str, line: str) -> None:
    path = copied_tree / "lib" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")

    importer = module.removesuffix(".py").replace("/", ".")
    assert f"{importer} -> " in broken(copied_tree, contract)


def test_none_of_ours_imports_the_demos_old_address(copied_tree: Path) -> None:
    path = copied_tree / "lib" / "runbook" / "session.py"
    path.write_text(f"{path.read_text(encoding='utf-8')}\nfrom runbook import demo\n", encoding="utf-8")

    assert "runbook.session -> runbook.demo" in broken(copied_tree, "imports-point-down")


def test_the_demos_modules_go_in_no_circle() -> None:
    """Not even for type checking, which import-linter leaves out."""
    imported: dict[str, set[str]] = {}
    for path in (ROOT / "lib" / "cryptofunk_demo").glob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        imported[path.stem] = {name.removeprefix("cryptofunk_demo.") for name in names}

    TopologicalSorter(imported).prepare()  # raises CycleError with the circle


def test_an_incident_written_for_the_old_address_still_loads() -> None:
    """Incidents written elsewhere import their data model from `runbook.demo`, where it was."""
    from cryptofunk_demo import incident, incidents, moment
    from cryptofunk_demo.simulation import simulate
    from runbook.demo import incidents as old
    from runbook.demo.incident import AlertSpec, Event, Incident, LogLine, Override, PodState
    from runbook.demo.market import Shock
    from runbook.demo.moment import MOMENT, SEED
    from runbook.demo.workloads import BY_NAME

    written = Incident(
        name="written-elsewhere",
        title="The agent's image has no such program",
        cause="image",
        alert=AlertSpec("AgentDown", {"severity": "warning"}, {"summary": "down"}, "cryptofunk_agent_status == 0"),
        shocks=(Shock(-20, -9, -0.01),),
        overrides=(Override("cryptofunk_agent_status", 0.0, labels={"agent_type": "trend"}, start_minute=-5),),
        logs=(LogLine("trend-agent", -5, "error", "cannot start"),),
        pods=(PodState("trend-agent", ready=False, waiting="CreateContainerError", minute=-5),),
        events=(Event("trend-agent", -1, "Failed", f"no such file in {BY_NAME['trend-agent'].pod}", count=14),),
    )

    assert type(written) is incident.Incident
    assert MOMENT is moment.MOMENT
    assert simulate(written, SEED).incident is written
    assert old is incidents
