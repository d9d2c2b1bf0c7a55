"""CONTRIBUTING's walk, done to its last line on a copy of the repository: one's own procedure, step and incident."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.conftest import ROOT

COPIED = ("benchmarks", "deploy", "docs", "lib", "notebooks", "parameters", "tests")
FILES = (
    "CONTRIBUTING.md",
    "README.md",
    "CHANGELOG.md",
    "Makefile",
    "constraints.txt",
    "environment.yml",
    "pyproject.toml",
)
NOTEBOOK = "notebooks/RedisLowHitRate.ipynb"
BIN = Path(sys.executable).parent
_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml|toml|ipynb|md))`")
_FENCE = re.compile(r" *```(\w*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the file that the text before it names last."""

    language: str
    text: str
    path: str


def blocks() -> Iterator[Block]:
    """The blocks of the walk, in order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## Add a procedure") : text.index("### A source of its own")]
    path, language, lines = "", "", None
    for line in section.splitlines(keepends=True):
        fence = _FENCE.match(line.rstrip("\n"))
        if lines is None and fence:
            language, lines = fence[1], []
        elif lines is not None and fence:
            yield Block(language, textwrap.dedent("".join(lines)), path)
            lines = None
        elif lines is not None:
            lines.append(line)
        else:
            for name in _FILE.findall(line):
                path = name if "/" in name or name == "pyproject.toml" else f"notebooks/{name}"


class Walk:
    """A copy of the repository in which the walk is done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in COPIED:
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".ipynb_checkpoints")
            shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
        for name in FILES:
            shutil.copyfile(ROOT / name, root / name)

    def take(self, block: Block) -> None:
        """Do what one block says."""
        match block.language:
            case "sh":
                for command in block.text.splitlines():
                    self.run(command)
            case "diff":
                self.change(block)
            case _ if block.path == NOTEBOOK:
                self.add_cell(block)
            case _:
                target = self.root / block.path
                target.parent.mkdir(exist_ok=True)
                target.write_text(block.text, encoding="utf-8")

    def add_cell(self, block: Block) -> None:
        path = self.root / NOTEBOOK
        kernel = {"name": "runbook", "display_name": "Runbook", "language": "python"}
        empty = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        notebook = nbformat.read(path, 4) if path.exists() else empty
        source = block.text.rstrip("\n")
        if block.language == "markdown":
            notebook.cells.append(nbformat.v4.new_markdown_cell(source))
        else:
            metadata = {"tags": ["parameters"]} if source.startswith("alertname") else {}
            notebook.cells.append(nbformat.v4.new_code_cell(source, metadata=metadata))
        nbformat.write(notebook, path)

    def change(self, block: Block) -> None:
        lines = block.text.splitlines()
        before = "\n".join(line[1:] for line in lines if line[:1] in (" ", "-"))
        after = "\n".join(line[1:] for line in lines if line[:1] in (" ", "+"))
        path = self.root / block.path
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, 4)
            (cell,) = [cell for cell in notebook.cells if before in cell.source]
            cell.source = cell.source.replace(before, after)
            nbformat.write(notebook, path)
            return
        text = path.read_text(encoding="utf-8")
        told = f"CONTRIBUTING's diff no longer fits {block.path}, which does not hold once:\n{before}"
        assert text.count(f"{before}\n") == 1, told
        path.write_text(text.replace(f"{before}\n", f"{after}\n"), encoding="utf-8")

    def run(self, command: str) -> None:
        """Run one command line as a contributor would, on the copy's code with this repository's installation."""
        lines = self.checks() if command == "make check" else [command.replace(".venv/bin", str(BIN))]
        environment = os.environ | {"PYTHONPATH": str(self.root / "lib")}
        for line in lines:
            done = subprocess.run(
                line, shell=True, cwd=self.root, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"$ {line}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"

    def checks(self) -> list[str]:
        """The commands of `make check`; make itself would set up a virtual environment for the copy."""
        makefile = (self.root / "Makefile").read_text(encoding="utf-8")
        recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
        assert recipe
        return [line.strip().removeprefix("@").replace("$(BIN)", str(BIN)) for line in recipe[1].splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_walk_ends_well(tmp_path: Path) -> None:
    """Slow: checks the whole copy twice, and runs the new notebook in every world."""
    walk = Walk(tmp_path)
    walked = list(blocks())
    assert [block.language for block in walked].count("sh") == 2
    for block in walked:
        walk.take(block)
    recorded = tmp_path / "lib" / "cryptofunk_demo" / "recorded" / "flushed-cache" / "manifest.json"
    assert json.loads(recorded.read_text(encoding="utf-8"))["answers"]
