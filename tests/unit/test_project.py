"""The project's own files agree with each other."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rattler import MatchSpec

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]

# conda-forge's name of a package -> PyPI's, where they differ. (conda-forge's `kubernetes` is the Go server.)
CONDA_NAMES = {"matplotlib-base": "matplotlib", "playwright-python": "playwright", "python-kubernetes": "kubernetes"}
# What a conda environment needs besides the project's dependencies.
CONDA_ONLY = {"python", "pip"}


def declared() -> dict[str, str]:
    """pyproject.toml's dependencies with those of its `test` extra: name -> version specifier."""
    texts = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    requirements = [Requirement(text) for text in texts]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in requirements}


def conda_entries() -> list[str]:
    return [entry for entry in ENVIRONMENT if isinstance(entry, str)]


def pip_entries() -> list[str]:
    return [text for entry in ENVIRONMENT if isinstance(entry, dict) for text in entry["pip"]]


def pins() -> dict[str, str]:
    """constraints.txt: name -> version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("entry", conda_entries())
def test_environment_entry_is_a_match_spec(entry: str) -> None:
    spec = MatchSpec(entry, strict=True)
    assert spec.name is not None
    assert spec.version is not None or spec.name.normalized == "pip"


def test_environment_and_pyproject_list_the_same_dependencies() -> None:
    listed = {}
    for entry in conda_entries():
        name, specifier = re.fullmatch(r"([a-z0-9_.-]+)(.*)", entry).groups()
        if name not in CONDA_ONLY:
            listed[canonicalize_name(CONDA_NAMES.get(name, name))] = specifier
    for text in pip_entries():
        requirement = Requirement(text)
        listed[canonicalize_name(requirement.name)] = str(requirement.specifier)
    assert listed == declared()


def test_environment_python_is_the_project_s() -> None:
    assert f"python{PROJECT['requires-python']}" in conda_entries()


def test_constraints_are_names_and_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!]+", line), line


def test_every_dependency_is_pinned_within_its_range() -> None:
    versions = pins()
    for name, specifier in declared().items():
        assert name in versions, f"{name} has no line in constraints.txt"
        assert Requirement(f"{name}{specifier}").specifier.contains(versions[name]), name


def test_no_registry_address_is_recorded() -> None:
    for name in ("constraints.txt", "environment.yml", "pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "index-url" not in text, name
        assert not re.search(r"https?://", text), name


def test_make_alone_lists_every_documented_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert ".DEFAULT_GOAL := help" in text
    for target in ("demo", "test", "lab", "bench", "check", "clean"):
        assert re.search(rf"^{target}:.*## ", text, re.MULTILINE), target


def test_ci_ends_with_make_test() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert script[0].startswith("#!")
    assert "set -euo pipefail" in script
    assert script[-1] == "make test"


def test_pytest_finds_what_tests_import_wherever_it_is_called_from(pytestconfig: pytest.Config) -> None:
    """CONTRIBUTING says `.venv/bin/pytest`, which puts no folder on the path, unlike `python -m pytest`."""
    assert ROOT in [Path(folder) for folder in pytestconfig.getini("pythonpath")]


def imports(path: Path) -> set[str]:
    """Every module, and every name of a module, that the file at `path` imports, in full."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_what_the_package_imports_is_declared() -> None:
    """A package that is there only because another brings it may be gone with the next version of that other."""
    required = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    provided_by = packages_distributions()
    for path in sorted((ROOT / "lib").rglob("*.py")):
        for module in (
            {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"runbook", "cryptofunk_demo"}
        ):
            providers = {canonicalize_name(name) for name in provided_by.get(module, [])}
            assert providers & required, f"{path.name} imports {module}, which pyproject.toml does not list"
