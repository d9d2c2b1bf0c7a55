"""The import contracts in pyproject.toml: each breaks with the import that it forbids, and forgets no module."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(sys.argv[1:])"
# What both halves stand on, and what belongs to neither.
SHARED = {
    "alert",
    "catalog",
    "commands",
    "embedded",
    "errors",
    "outcome",
    "parameters",
    "redaction",
    "settings",
    "templates",
    "words",
}
NEITHER = {"__main__", "demo"}

DOWN = "imports-point-down"
INVESTIGATION, SERVICE = "investigation-without-service", "service-without-investigation"
FACADE = "facade-for-notebooks"
CIRCLES = "no-circles"
ONLY_THE_CLI, KNOWS_LITTLE = "demo-known-to-cli", "demo-knows-little"


def contracts() -> dict[str, dict[str, Any]]:
    """The contracts that have an id, by it."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    return {contract["id"]: contract for contract in tool["importlinter"]["contracts"] if "id" in contract}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of our modules and contracts alone, to be spoilt."""
    tree = tmp_path_factory.mktemp("contracts")
    not_modules = shutil.ignore_patterns("__pycache__", "*.egg-info", "recorded", "sql", "static")
    shutil.copytree(ROOT / "lib", tree / "lib", ignore=not_modules)
    shutil.copyfile(ROOT / "pyproject.toml", tree / "pyproject.toml")
    return tree


def lint(tree: Path, contract: str) -> str:
    """What import-linter says of the contract in `tree`."""
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-logo", "--cache-dir", str(tree / "cache"), "--contract", contract],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "lib")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    answer = done.stdout + done.stderr
    assert ("BROKEN" if done.returncode else "KEPT") in answer, answer
    return answer


@pytest.mark.parametrize("contract", [DOWN, INVESTIGATION, SERVICE, FACADE, CIRCLES, ONLY_THE_CLI, KNOWS_LITTLE])
def test_a_contract_is_kept(copied: Path, contract: str) -> None:
    assert f"{contracts()[contract]['name']} KEPT" in lint(copied, contract)


@pytest.mark.parametrize(
    ("contract", "module", "statement"),
    [
        (DOWN, "runbook.session", "from runbook import demo"),
        (INVESTIGATION, "runbook.session", "from runbook import runner"),
        (INVESTIGATION, "runbook.steps", "from runbook.history.database import row"),
        (
            INVESTIGATION,
            "runbook.charts",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import runbook.cli",
        ),
        (SERVICE, "runbook.runner.run", "from runbook import session"),
        (SERVICE, "runbook.service.messages", "import runbook.steps.agents"),
        (SERVICE, "runbook.report", "from runbook.sources import metrics"),
        (FACADE, "runbook.runner.run", "from runbook import Runbook"),
        (FACADE, "runbook.sources.metrics", "import runbook"),
        (CIRCLES, "runbook.runner.engine", "def late() -> None:\n    from runbook.runner import executor"),
        (CIRCLES, "cryptofunk_demo.moment", "from cryptofunk_demo import incident"),
        (ONLY_THE_CLI, "runbook.session", "from cryptofunk_demo import incidents"),
        (ONLY_THE_CLI, "runbook.sources.metrics", "from cryptofunk_demo.series import Series"),
        (ONLY_THE_CLI, "runbook.service.context", "import cryptofunk_demo"),
        (KNOWS_LITTLE, "cryptofunk_demo.platform", "from runbook import session"),
        (KNOWS_LITTLE, "cryptofunk_demo.logs", "from runbook.sources.metrics import Metrics"),
        (KNOWS_LITTLE, "cryptofunk_demo.database", "from runbook import outcome"),
    ],
)
def test_a_contract_breaks_with_what_it_forbids(copied: Path, contract: str, module: str, statement: str) -> None:
    path = file_of(copied / "lib", module)
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{statement}\n", encoding="utf-8")
    try:
        answer = lint(copied, contract)
    finally:
        path.write_text(before, encoding="utf-8")
    assert f"{contracts()[contract]['name']} BROKEN" in answer


def file_of(lib: Path, module: str) -> Path:
    """The file of a module, or of the package of that name."""
    path = lib.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_every_module_has_its_half() -> None:
    """Each module is of the investigation, of the service, or of what is shared; both contracts name the same ones."""
    one, other = contracts()[INVESTIGATION], contracts()[SERVICE]
    assert one["source_modules"] == other["forbidden_modules"]
    assert one["forbidden_modules"] == other["source_modules"]

    placed = {name.removeprefix("runbook.") for name in one["source_modules"] + one["forbidden_modules"]}
    modules = {path.stem for path in (ROOT / "lib" / "runbook").iterdir() if path.suffix == ".py" or is_package(path)}
    assert modules - {"__init__"} - placed <= SHARED | NEITHER
    assert not placed & (SHARED | NEITHER)


def is_package(path: Path) -> bool:
    return (path / "__init__.py").is_file()
