"""Every notebook has the shape that the others have: it tells, the library works."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from typing import Any

import pytest
import yaml

import runbook
from runbook import parameters, plan
from runbook.findings import step_id
from tests.notebooks.conftest import CATALOG, FOLDERS, NOTEBOOKS

COMMON = ("alertname", "severity", "starts_at", "as_of", "lookback_hours", "labels", "alerts")
STATEMENTS_MAX = 5
# Not of this shape: it looks back at an incident that is over.
WITHOUT_ACTIONS = {"PostMortem"}
FORBIDDEN = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.Try,
    ast.For,
    ast.While,
    ast.With,
    ast.If,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.Import,
    ast.Global,
    ast.Delete,
    ast.Raise,
    ast.Assert,
)

pytestmark = pytest.mark.parametrize("name", NOTEBOOKS)


def notebook(name: str) -> dict[str, Any]:
    return json.loads(FOLDERS.notebook(name).read_text(encoding="utf-8"))


def cells(name: str, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in notebook(name)["cells"] if cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def headings(name: str) -> list[str]:
    text = "\n".join(source(cell) for cell in cells(name, "markdown"))
    return re.findall(r"^(#{1,2} .+)$", text, re.MULTILINE)


def tagged(name: str) -> list[int]:
    """The places of the cells tagged "parameters" among the code cells."""
    return [n for n, cell in enumerate(cells(name, "code")) if "parameters" in cell["metadata"].get("tags", [])]


def statements(tree: ast.AST) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))


def test_its_title_is_its_name(name: str) -> None:
    found = headings(name)
    assert found[0] == f"# {name}"
    assert sum(one.startswith("# ") for one in found) == 1


def test_its_sections_are_in_order(name: str) -> None:
    found = [one.removeprefix("## ") for one in headings(name)[1:]]
    assert found[0] == "Meaning and impact"
    steps = [one for one in found[1:] if re.match(r"\d+\. ", one)]
    numbers = [int(one.split(".")[0]) for one in steps]  # the written runbook's own, which may skip one
    assert numbers == sorted(set(numbers))
    assert steps
    order = [found.index("Meaning and impact"), *(found.index(one) for one in steps), found.index("Conclusion")]
    if name not in WITHOUT_ACTIONS:
        order.append(found.index("Next actions"))
    assert order == sorted(order)


def test_it_begins_with_parameters_then_set_up(name: str) -> None:
    assert tagged(name) == [0]
    setup = ast.parse(source(cells(name, "code")[1])).body
    assert isinstance(setup[0], ast.ImportFrom)
    assert [ast.unparse(statement) for statement in setup[1:]] == [f"book = Runbook.open({name!r}, globals())"]


def test_its_parameters_are_literals_with_comments(name: str) -> None:
    text = source(cells(name, "code")[0])
    tree = ast.parse(text)
    commented = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    for statement in tree.body:
        assert isinstance(statement, ast.Assign), ast.unparse(statement)
        ast.literal_eval(statement.value)
        assert commented & set(range(statement.lineno, (statement.end_lineno or 0) + 1)), ast.unparse(statement)
    names = [ast.unparse(statement.targets[0]) for statement in tree.body if isinstance(statement, ast.Assign)]
    assert tuple(names[: len(COMMON)]) == COMMON


def test_its_parameters_file_matches_its_parameters_cell(name: str) -> None:
    declared = {one.name: one for one in parameters.declared(FOLDERS.notebook(name))}
    path = FOLDERS.values(name)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(values) == list(declared)
    parameters.resolve(declared.values(), values)
    for key, value in values.items():
        if key != "severity":
            assert type(value) is type(declared[key].default), key
    assert path.read_text(encoding="utf-8").startswith("#")


def test_the_catalogs_labels_are_its_parameters(name: str) -> None:
    declared = {one.name for one in parameters.declared(FOLDERS.notebook(name))}
    assert set(CATALOG.procedures[name].labels.values()) <= declared


def test_every_cell_is_short_and_plain(name: str) -> None:
    for cell in cells(name, "code")[1:]:
        tree = ast.parse(source(cell))
        assert 1 <= len(tree.body) <= STATEMENTS_MAX, source(cell)
        for node in ast.walk(tree):
            assert not isinstance(node, FORBIDDEN), f"{type(node).__name__} in:\n{source(cell)}"
            if isinstance(node, ast.ImportFrom):
                assert node.module == "runbook"
                assert {alias.name for alias in node.names} <= set(runbook.__all__)


def test_imports_stand_in_the_setup_cell_and_are_used(name: str) -> None:
    code = [ast.parse(source(cell)) for cell in cells(name, "code")]
    imports = [(n, node) for n, tree in enumerate(code) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [n for n, _ in imports] == [1]
    used = {node.id for tree in code for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {alias.name for alias in imports[0][1].names} <= used


def planned(name: str) -> tuple[plan.Check, ...]:
    """The plan that the notebook's own set-up cell will read."""
    namespace: dict[str, Any] = {step: getattr(runbook, step) for step in runbook.__all__}
    namespace |= {one.name: one.default for one in parameters.declared(FOLDERS.notebook(name))}
    return plan.read(plan.cells_of(FOLDERS.notebook(name)), namespace)


def checked(name: str) -> list[str]:
    """The step of each `book.check`, as the notebook calls it."""
    calls = [
        node for cell in cells(name, "code") for node in ast.walk(ast.parse(source(cell))) if isinstance(node, ast.Call)
    ]
    return [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == "book.check"]


def test_the_plan_is_all_that_it_checks(name: str) -> None:
    assert len(planned(name)) == len(checked(name))


def test_every_step_that_asks_a_source_begins_early(name: str) -> None:
    checks = planned(name)
    begun = plan.to_begin(checks)
    assert [step_id(one.step) for one in checks if one.asks_a_source and one not in begun] == []


def test_a_findings_id_is_the_name_by_which_its_step_is_called(name: str) -> None:
    assert [step_id(one.step) for one in planned(name)] == checked(name)


def test_every_code_cell_follows_a_question(name: str) -> None:
    before = "markdown"
    for number, cell in enumerate(notebook(name)["cells"]):
        if cell["cell_type"] == "code" and number > 2:
            assert before == "markdown", source(cell)
        before = cell["cell_type"]


def test_it_concludes(name: str) -> None:
    code = "\n".join(source(cell) for cell in cells(name, "code"))
    assert code.count("book.conclude(") == 1
    if name not in WITHOUT_ACTIONS:
        assert code.rstrip().endswith("book.next_actions()")


def test_it_holds_no_outputs(name: str) -> None:
    for cell in cells(name, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_it_is_stripped(name: str) -> None:
    content = notebook(name)
    assert content["nbformat"] == 4
    assert content["metadata"]["kernelspec"]["name"] == "runbook"
    assert set(content["metadata"]) <= {"kernelspec", "language_info"}
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_catalogs_labels_name_parameters_it_has(name: str) -> None:
    names = {parameter.name for parameter in parameters.declared(FOLDERS.notebook(name))}
    assert set(CATALOG.procedures[name].labels.values()) <= names
