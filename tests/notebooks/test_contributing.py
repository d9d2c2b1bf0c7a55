"""CONTRIBUTING's walked example: a notebook, a parameters file and a catalog line are a procedure."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import nbformat
import pytest

from cryptofunk_demo.platform import Platform
from runbook import settings as settings_module
from runbook.parameters import Folders
from runbook.runner import Request, RunStatus, run
from tests.notebooks.conftest import FOLDERS, ROOT

NAME = "RedisLowHitRate"


def blocks() -> list[tuple[str, str]]:
    """(language, text) of each fenced block of the section."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## Add a procedure") : text.index("## House rules")]
    found = re.findall(r"^ +```(\w+)\n(.*?)^ +```$", section, re.MULTILINE | re.DOTALL)
    return [(language, textwrap.dedent(body).rstrip("\n")) for language, body in found]


def walked(folder: Path) -> Folders:
    """notebooks/ and parameters/ in `folder`, made as the section says."""
    shutil.copytree(FOLDERS.parameters, folder / "parameters")
    (folder / "notebooks").mkdir()
    kernel = {"name": "runbook", "display_name": "Runbook", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    yamls: list[str] = []
    for language, text in blocks():
        if language == "yaml":
            yamls.append(text)
        elif language == "markdown":
            notebook.cells.append(nbformat.v4.new_markdown_cell(text))
        else:
            tags = ["parameters"] if text.startswith("alertname") else []
            notebook.cells.append(nbformat.v4.new_code_cell(text, metadata={"tags": tags} if tags else {}))
    nbformat.write(notebook, folder / "notebooks" / f"{NAME}.ipynb")
    values, line = yamls
    (folder / "parameters" / f"{NAME}.yaml").write_text(values + "\n")
    with (folder / "parameters" / "catalog.yaml").open("a") as catalog:
        catalog.write(textwrap.indent(line, "  ") + "\n")
    return Folders(folder / "notebooks", folder / "parameters")


@pytest.mark.slow
def test_the_walked_example_runs(tmp_path: Path, platforms: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow: a kernel starts. The alert finds its new notebook, and the page is complete."""
    platform: Platform = platforms("flash-crash")  # type: ignore[operator]
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    result = run(Request(NAME), tmp_path / "reports", folders=walked(tmp_path), settings=settings_module.load())
    assert result.outcome["procedure"] == NAME
    assert result.status is RunStatus.COMPLETE, result.outcome
    assert {one["id"] for one in result.outcome["findings"]} >= {"alerting.firing", "alerting.history"}
