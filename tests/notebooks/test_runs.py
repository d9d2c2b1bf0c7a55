"""Some worlds again, through what runs notebooks in earnest: the runner, papermill alone, nbmake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from cryptofunk_demo.platform import Platform
from runbook import settings as settings_module
from runbook.alert import alert_from_json
from runbook.outcome import OUTCOME_MIME
from runbook.runner import Request, RunStatus, run
from runbook.settings import Settings
from tests import worlds
from tests.notebooks.conftest import FOLDERS, NOTEBOOKS, ROOT, alert_of, incidents_of

MODEL = "MaxDrawdownExceeded"


def clean(environment: dict[str, str]) -> dict[str, str]:
    """This process's environment without any of our settings, and `environment`."""
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in ours} | environment


@pytest.fixture
def in_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    def enter(environment: dict[str, str]) -> None:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return enter


@pytest.mark.parametrize("procedure", sorted({MODEL, *({"AnyAlert"} & set(NOTEBOOKS))}))
@pytest.mark.slow
def test_runner(
    in_environment: Callable[[dict[str, str]], None],
    platforms: Callable[..., Platform],
    tmp_path: Path,
    procedure: str,
) -> None:
    """Slow: a kernel starts. The alert's own world: complete, evidence beside the page, the cause in outcome.json."""
    incident = next(iter(incidents_of(procedure)), "healthy")
    platform = platforms(incident)
    in_environment(platform.environment)
    own = alert_of(platform, procedure)
    request = Request.of_alert(alert_from_json(own)) if own else Request(procedure)

    result = run(request, tmp_path, folders=FOLDERS, settings=settings_module.load())

    assert result.status is RunStatus.COMPLETE, result.outcome
    assert result.exit_code == 0
    if incidents_of(procedure):
        assert platform.incident.cause.lower() in json.dumps(result.outcome.to_json(), ensure_ascii=False).lower()
    assert (result.folder / "evidence" / "manifest.json").is_file()
    assert result.report.stat().st_size > 10_000


@pytest.mark.slow
def test_runner_with_everything_down(in_environment: Callable[[dict[str, str]], None], tmp_path: Path) -> None:
    """Slow: a kernel starts. Degraded, exit 3, and the page says why."""
    in_environment(
        {
            "DATABASE_URL": f"{worlds.dead_url('postgresql')}/x",
            "PROMETHEUS_URL": worlds.dead_url(),
            "ALERTMANAGER_URL": worlds.dead_url(),
        }
    )
    result = run(Request(MODEL), tmp_path, folders=FOLDERS, settings=settings_module.load())
    assert result.status is RunStatus.DEGRADED
    assert result.exit_code == 3
    assert "connection refused" in result.report.read_text()


@pytest.mark.slow
def test_runner_with_hostile_text(
    in_environment: Callable[[dict[str, str]], None], platforms: Callable[..., Platform], tmp_path: Path
) -> None:
    """Slow: a kernel starts. Hostile labels and rows end inert in the page, and the run is complete."""
    platform = platforms(world="hostile")
    in_environment(platform.environment)
    alert = alert_from_json(worlds.hostile_alert(platform))

    result = run(Request.of_alert(alert), tmp_path, folders=FOLDERS, settings=settings_module.load())

    page = result.report.read_text()
    assert result.status in (RunStatus.COMPLETE, RunStatus.DEGRADED)
    assert "&lt;script&gt;alert(1)" in page
    for raw in ("<script", "<img src=x", "<h1>broken", 'href="javascript:', "\x1b[", "\u202e"):
        assert raw not in page


@pytest.mark.slow
def test_papermill_alone(platforms: Callable[..., Platform], tmp_path: Path) -> None:
    """Slow: papermill's own command starts a kernel. As README says, with nothing of the service half."""
    platform, output = platforms(), tmp_path / "out.ipynb"
    papermill = str(Path(sys.executable).parent / "papermill")
    options = ["-f", f"parameters/{MODEL}.yaml", "--no-progress-bar"]
    command = [papermill, f"notebooks/{MODEL}.ipynb", str(output), *options]
    done = subprocess.run(
        command, cwd=ROOT, env=clean(platform.environment), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]

    executed = nbformat.read(output, as_version=4)
    outputs = [one for cell in executed.cells if cell.cell_type == "code" for one in cell.outputs]
    (outcome,) = [one.data[OUTCOME_MIME] for one in outputs if OUTCOME_MIME in one.get("data", {})]
    assert platform.incident.cause in json.dumps(outcome).lower()
    assert not [one for one in outputs if one.output_type in ("stream", "error")]


@pytest.mark.slow
def test_nbmake(platforms: Callable[..., Platform]) -> None:
    """Slow: nbmake starts a kernel. It runs the model notebook untouched, as a reader's Run All would."""
    alone = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", "-W", "ignore"]
    command = [sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=60", *alone, f"notebooks/{MODEL}.ipynb"]
    done = subprocess.run(
        command, cwd=ROOT, env=clean(platforms().environment), capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout
