"""What is run: every procedure there is, on the demo's incident for it, in three ways."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from cryptofunk_demo import incidents
from cryptofunk_demo.platform import Platform
from runbook import catalog, parameters
from runbook import settings as settings_module
from runbook.alert import alert_from_json
from runbook.kernels import Warm, fork_call
from runbook.runner import Request, RunResult, prepare, run

ROOT = Path(__file__).parents[1]
FOLDERS = parameters.Folders(ROOT / "notebooks", ROOT / "parameters")


@dataclass(frozen=True, slots=True)
class Case:
    """A procedure on a platform: the request for its alert, and a folder for what it leaves."""

    procedure: str
    request: Request
    folder: Path

    def warm(self, warm: Warm) -> RunResult:
        """The worker's way: alert to page."""
        return run(self.request, self.folder, folders=FOLDERS, warm=warm)

    def naive(self, number: int = 0) -> Path:
        """papermill's command, then nbconvert's; the page."""
        values, out = self.folder / "values.yaml", self.folder / f"naive-{number}.ipynb"
        values.write_text(yaml.safe_dump(self.parameters()), encoding="utf-8")
        notebook = FOLDERS.notebook(self.procedure)
        papermill = ["papermill", "-k", "python3", "--no-progress-bar", "-f", values, notebook, out]
        nbconvert = ["jupyter", "nbconvert", "--log-level=ERROR", "--to", "html", out]
        for command in (papermill, nbconvert):
            subprocess.run(
                [Path(sys.executable).with_name(str(command[0])), *command[1:]], check=True, capture_output=True
            )
        return out.with_suffix(".html")

    def floor(self, warm: Warm) -> None:
        """The same cells in a bare warm Python: a fork that executes their source, and shows nothing."""
        cells = json.loads(FOLDERS.notebook(self.procedure).read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = [f"{name} = {value!r}" for name, value in self.parameters().items()]
        script = self.folder / "floor.json"
        script.write_text(json.dumps([sources[0], "\n".join(lines), *sources[1:]]), encoding="utf-8")
        evidence = Path(tempfile.mkdtemp(dir=self.folder))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUNBOOK_RECORD": str(evidence)}
        with (self.folder / "floor.log").open("w+b") as log, Path(os.devnull).open("rb") as nothing:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            fork = fork_call(
                warm.address, "benchmarks.floor:main", [str(script)], environment, str(self.folder), streams
            )
            code = fork.wait(120)
            fork.close()
            if code:
                log.seek(0)
                raise RuntimeError(f"the bare cells failed: {log.read().decode()[-500:]}")

    def parameters(self) -> dict[str, object]:
        """The checked parameters that the runner would inject."""
        prepared = prepare(self.request, catalog.load(FOLDERS.catalog), FOLDERS, settings_module.load())
        return dict(prepared.parameters)


def procedures() -> list[str]:
    """Every notebook there is; the post-mortem apart, which reports on reports."""
    return sorted(path.stem for path in FOLDERS.notebooks.glob("*.ipynb") if path.stem != "PostMortem")


def incident_for(procedure: str) -> str:
    """The demo's first incident whose alert that procedure is for; else the default one."""
    known = catalog.load(FOLDERS.catalog)
    for name, incident in incidents.INCIDENTS.items():
        if name != "healthy" and known.entry(incident.alert.name).procedure == procedure:
            return name
    return incidents.DEFAULT


@contextlib.contextmanager
def case(procedure: str, folder: Path) -> Iterator[tuple[Case, Platform]]:
    """The case of one procedure, its platform running and this process's environment pointing at it."""
    name = incident_for(procedure)
    known = catalog.load(FOLDERS.catalog)
    with Platform.start(name, folder=folder / "platform") as platform, environment(platform.environment):
        own = known.entry(platform.incident.alert.name).procedure == procedure
        request = Request.of_alert(alert_from_json(platform.alert)) if own else Request(procedure)
        place = folder / procedure
        place.mkdir(parents=True, exist_ok=True)
        try:
            yield Case(procedure, request, place), platform
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """This process's environment with `values`, as it was afterwards."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
