"""The runner against real kernels: every way to end leaves a page that is true, and no process.

Each test starts a kernel, which takes a second or two: marked slow for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from runbook import report
from runbook.errors import InputError, ParameterError
from runbook.parameters import Folders
from runbook.runner import Progress, Request, RunResult, RunStatus, run
from runbook.settings import Settings

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = Folders(FIXTURES / "notebooks", FIXTURES / "parameters")
WAITING = "Waiting began"


def pids_of(folder: Path) -> dict[str, int]:
    """The processes that the notebook Children wrote down: kernel, executor, a child, one with no environment."""
    (written,) = folder.glob("*/evidence.pids")
    return dict(zip(("kernel", "executor", "child", "bare"), map(int, written.read_text().split()), strict=True))


def lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def left(run_id: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("RUNBOOK_RUN_ID") == run_id:
                found.append(process)
    return found


def execute(
    folder: Path,
    name: str,
    on_finding: Callable[[Progress], None] = lambda progress: None,
    cancelled: threading.Event | None = None,
    **options: Any,
) -> RunResult:
    """Run a fixture notebook; `on_finding` is called as each finding arrives, while its cell still runs."""

    def progress(moment: Progress) -> None:
        if moment.kind == "finding":
            on_finding(moment)

    request = Request(name, **options)
    return run(request, folder, folders=FOLDERS, settings=Settings(), on_progress=progress, cancelled=cancelled)


def written(result: RunResult) -> dict[str, Any]:
    """What stands in the run's outcome.json."""
    outcome: dict[str, Any] = json.loads((result.folder / "outcome.json").read_text())
    return outcome


def check_page(result: RunResult) -> str:
    """The files of a run agree with each other and nothing of it runs any more -> the page's text."""
    assert {path.name for path in result.folder.iterdir()} >= {"report.html", "notebook.ipynb", "outcome.json"}
    assert not [path for path in result.folder.iterdir() if path.name.endswith(".part")]
    outcome = written(result)
    assert outcome == result.outcome.to_json()
    assert (outcome["run_id"], outcome["status"]) == (result.run_id, result.status)
    states = [
        cell["metadata"]["runbook"]["state"]
        for cell in json.loads(result.notebook.read_text())["cells"]
        if cell["cell_type"] == "code" and "injected-parameters" not in cell["metadata"].get("tags", [])
    ]
    assert {state: states.count(state) for state in outcome["cells"]} == outcome["cells"]
    assert left(result.run_id) == []
    page = result.report.read_text()
    assert "The full page could not be rendered" not in page
    return page


def test_every_cell_runs(tmp_path: Path) -> None:
    kinds: list[str] = []
    request = Request("AllRuns", labels={"symbol": "BTCUSDT"})
    result = run(
        request, tmp_path, folders=FOLDERS, settings=Settings(), on_progress=lambda moment: kinds.append(moment.kind)
    )
    assert (result.status, result.exit_code) == (RunStatus.COMPLETE, 0)
    assert written(result)["cells"] == {"ran": 4, "failed": 0, "timed_out": 0, "not_run": 0}
    assert result.verdict == "The drawdown is real: 14.2 %."
    fixed = "run_id alertname procedure severity status verdict started_at finished_at as_of cells sources findings"
    assert set(written(result)) >= set(fixed.split())
    assert (kinds[0], kinds[-2:]) == ("started", ["reporting", "finished"])
    assert kinds.count("cell_started") == kinds.count("cell_finished") == 4
    page = check_page(result)
    assert "kubectl scale deployment/orchestrator" in page
    assert "metrics from recorded evidence, not live" in page


@pytest.mark.parametrize("name", ["Unknown", "NoConclusion"])
def test_something_unknown_is_degraded(tmp_path: Path, name: str) -> None:
    result = execute(tmp_path, name)
    assert (result.status, result.exit_code) == (RunStatus.DEGRADED, 3)
    check_page(result)


def test_a_cell_that_raises(tmp_path: Path) -> None:
    result = execute(tmp_path, "Raises")
    assert (result.status, result.exit_code) == (RunStatus.FAILED, 4)
    assert written(result)["cells"] == {"ran": 3, "failed": 1, "timed_out": 0, "not_run": 1}
    assert "in cell 4 (Is the market falling too?): ValueError: no <b>candles</b>" in result.verdict
    assert [finding["id"] for finding in written(result)["findings"]] == ["one.first"]
    page = check_page(result)
    assert "no &lt;b&gt;candles&lt;/b&gt;" in page
    assert "<b>candles" not in page


def test_a_cell_over_its_time(tmp_path: Path) -> None:
    result = execute(tmp_path, "Hangs", cell_seconds=1)
    assert (result.status, result.exit_code) == (RunStatus.TIMED_OUT, 4)
    assert written(result)["cells"] == {"ran": 3, "failed": 0, "timed_out": 1, "not_run": 1}
    assert [finding["id"] for finding in written(result)["findings"]] == ["one.first", "two"]
    assert "time limit of one cell" in result.verdict
    page = check_page(result)
    assert "waiting" in page
    assert "timed out" in page


def test_a_run_stopped_before_the_first_cell_counts_all_as_not_run(tmp_path: Path) -> None:
    result = execute(tmp_path, "Hangs", limit_seconds=0.01)
    assert written(result)["cells"]["not_run"] > 0
    assert sum(written(result)["cells"].values()) == written(result)["cells"]["not_run"]
    assert "after 0 s" not in result.verdict
    check_page(result)


def test_the_parameters_of_a_run_are_kept_with_its_evidence(tmp_path: Path) -> None:
    def record(progress: Progress) -> None:
        if progress.kind != "started":
            return
        (folder,) = tmp_path.iterdir()
        (folder / "evidence").mkdir(exist_ok=True)
        (folder / "evidence" / "manifest.json").write_text('{"context": {}, "answers": []}')

    request = Request("EchoParameters", parameters={"lookback_hours": 12.0})
    first = run(request, tmp_path, folders=FOLDERS, settings=Settings(), on_progress=record)
    kept = json.loads((first.folder / "evidence" / "manifest.json").read_text())["context"]
    assert kept["parameters"]["lookback_hours"] == 12.0


def test_a_run_over_its_time(tmp_path: Path) -> None:
    result = execute(tmp_path, "Hangs", limit_seconds=5)
    assert (result.status, result.exit_code) == (RunStatus.TIMED_OUT, 4)
    assert "stopped at its time limit" in result.verdict
    check_page(result)


@pytest.mark.parametrize("victim", ["kernel", "executor"])
def test_a_process_killed(tmp_path: Path, victim: str) -> None:
    def kill(progress: Progress) -> None:
        if progress.title == WAITING:
            os.kill(pids_of(tmp_path)[victim], signal.SIGKILL)

    result = execute(tmp_path, "Children", kill)
    assert (result.status, result.exit_code) == (RunStatus.FAILED, 4)
    assert written(result)["cells"] == {"ran": 4, "failed": 1, "timed_out": 0, "not_run": 1}
    assert [finding["id"] for finding in written(result)["findings"]] == ["one.first", "two"]
    assert "died in cell 5 (Waiting)" in result.verdict
    assert not [name for name, pid in pids_of(tmp_path).items() if lives(pid)]
    check_page(result)


def test_processes_stopped(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.title == WAITING:
            for pid in pids_of(tmp_path).values():
                os.kill(pid, signal.SIGSTOP)

    result = execute(tmp_path, "Children", stop, cell_seconds=5)
    assert result.status is RunStatus.TIMED_OUT
    assert not [name for name, pid in pids_of(tmp_path).items() if lives(pid)]
    check_page(result)


def test_a_run_cancelled(tmp_path: Path) -> None:
    event = threading.Event()

    def cancel(progress: Progress) -> None:
        if progress.title == WAITING:
            event.set()

    result = execute(tmp_path, "Children", cancel, event)
    assert (result.status, result.exit_code) == (RunStatus.CANCELLED, 4)
    assert written(result)["cells"]["not_run"] == 1
    assert "cancelled" in result.verdict
    assert not [name for name, pid in pids_of(tmp_path).items() if lives(pid)]
    check_page(result)


def started(folder: Path) -> subprocess.Popen[str]:
    """`runbook run Children` as a process of its own, once its last cell waits."""
    command = [sys.executable, "-m", "runbook", "run", "Children", "--out", str(folder)]
    child = subprocess.Popen(command, cwd=FIXTURES, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    for line in child.stderr:
        if WAITING in line:
            return child
    raise AssertionError("the run ended before its last cell")


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_the_runner_is_asked_to_stop(tmp_path: Path, name: signal.Signals) -> None:
    with started(tmp_path) as child:
        child.send_signal(name)
        out, _ = child.communicate()
    assert child.returncode == 4
    path = Path(out.splitlines()[-1])
    assert path.name == "report.html"
    assert json.loads((path.parent / "outcome.json").read_text())["status"] == "cancelled"
    assert not [name for name, pid in pids_of(tmp_path).items() if lives(pid)]


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "executor stopped"])
def test_the_runner_is_killed(tmp_path: Path, stopped: bool) -> None:
    with started(tmp_path) as child:
        pids = pids_of(tmp_path)
        if stopped:
            os.kill(pids["executor"], signal.SIGSTOP)
        child.kill()
        child.communicate()
    until = time.monotonic() + 30
    while any(map(lives, pids.values())) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [name for name, pid in pids.items() if lives(pid)]


def test_parameters_reach_the_notebook_exactly(tmp_path: Path) -> None:
    nasty = 'quote " \' \\ newline \n {braces} {{x}} %s $HOME \u2028 \U0001f600 """ # \t'
    labels = {"ratio": "0.25", "weird": nasty}
    result = execute(
        tmp_path, "EchoParameters", labels=labels, parameters={"agents": [nasty, {"a": None}], "dry": "no"}
    )
    (cell,) = [
        output["data"]["application/json"]
        for cell in json.loads(result.notebook.read_text())["cells"]
        for output in cell.get("outputs", [])
        if "application/json" in output.get("data", {})
    ]
    assert cell["labels"] == labels
    assert cell["agents"] == [nasty, {"a": None}]
    assert (cell["threshold"], cell["retries"], cell["dry"]) == (0.25, 5, False)
    assert cell["alerts"][0]["labels"]["alertname"] == "EchoParameters"
    assert cell["run_id"] == result.run_id
    assert cell["record"] == str(result.folder / "evidence")
    check_page(result)


@pytest.mark.parametrize(
    "parameters", [{"treshold": 1}, {"threshold": "much"}, {"retries": 1.5}, {"a b": 1}, {"x=1;import os": 1}]
)
def test_wrong_parameters_run_nothing(tmp_path: Path, parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        execute(tmp_path, "EchoParameters", parameters=parameters)
    assert list(tmp_path.iterdir()) == []


def test_secrets_and_endless_output_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://reader:s3cr3t-w0rd@db.example/x")
    monkeypatch.setenv("SMTP_PASSWORD", "mail-s3cr3t")
    result = execute(tmp_path, "Chatty")
    for path in (result.notebook, result.report, result.folder / "outcome.json"):
        assert "s3cr3t" not in path.read_text()
    assert "[redacted]" in result.notebook.read_text()
    assert "[cut: too much output]" in result.notebook.read_text()
    assert result.notebook.stat().st_size < 400_000
    check_page(result)


def test_what_libraries_print_passes_redaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # by it a kernel knows a test, and hears no child process
    result = execute(tmp_path, "Leaks")
    assert result.status is RunStatus.FAILED
    texts = {path.name: path.read_text() for path in (result.notebook, result.report, result.folder / "outcome.json")}
    leaks = {name: text.count("leakedleaked") for name, text in texts.items()}
    assert leaks == dict.fromkeys(texts, 0)
    outputs = [str(cell.get("outputs")) for cell in json.loads(texts["notebook.ipynb"])["cells"]]
    for said in ("refused [redacted]", "Authorization: Bearer [redacted]", "plugin: [redacted]", "token=[redacted]"):
        assert any(said in text for text in outputs), said
    assert "token=[redacted]" in result.verdict


def test_a_page_that_cannot_be_rendered_is_made_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> str:
        raise RuntimeError("a broken template")

    monkeypatch.setattr(report, "render", broken)
    result = execute(tmp_path, "AllRuns")
    assert result.status is RunStatus.COMPLETE
    page = result.report.read_text()
    assert "The full page could not be rendered" in page
    assert "The drawdown is real: 14.2 %." in page
    assert (result.folder / "outcome.json").is_file()


def test_two_runs_at_once_never_share_a_folder(tmp_path: Path) -> None:
    results: list[RunResult] = []
    threads = [threading.Thread(target=lambda: results.append(execute(tmp_path, "AllRuns"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.status for result in results] == [RunStatus.COMPLETE, RunStatus.COMPLETE]
    assert len({result.folder for result in results}) == 2


def test_a_folder_that_cannot_be_made_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        execute(tmp_path / "file", "AllRuns")
