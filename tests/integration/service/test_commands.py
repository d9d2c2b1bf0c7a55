"""serve, worker and reports as commands: refusals, lists, and the dead man with no worker anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import service_kit as kit
from service_kit import Process, alert, message, query, wait_for
from typer.testing import CliRunner

from runbook.alert import group_from_json
from runbook.cli import app
from runbook.errors import InputError
from runbook.service import intake
from runbook.service.context import Context


def runbook(folder: Path, url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    process = Process(folder, url, *arguments, **environment)
    return subprocess.run(
        [sys.executable, "-m", "runbook", *arguments],
        cwd=folder / "project",
        env=process.environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def two_reports(made: Context) -> Context:
    for name in ("MaxDrawdownExceeded", "AgentDown"):
        intake.accept(made, group_from_json(message(alert(name, name, "warning"), key=name)))
    kit.do_all(made)
    return made


def test_serve_refuses_to_lie_open(made: Context, url: str, tmp_path: Path) -> None:
    refused = runbook(tmp_path, url, "serve", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "RUNBOOK_WEBHOOK_TOKEN" in refused.stderr


def test_serve_names_a_port_it_cannot_have(made: Context, url: str, tmp_path: Path) -> None:
    with Process(tmp_path, url, "serve", "--no-worker") as web:
        refused = runbook(tmp_path, url, "serve", "--no-worker", "--port", str(web.port))
    assert refused.returncode == 2
    assert f"port {web.port} cannot be used" in refused.stderr
    assert refused.stderr.count("\n") == 1  # no token for a server that is not there


def test_reports_lists_finds_and_prunes(two_reports: Context, url: str, tmp_path: Path) -> None:
    listed = runbook(tmp_path, url, "reports", "agentdown", "--json")
    assert [json.loads(line)["alertname"] for line in listed.stdout.splitlines()] == ["AgentDown"]
    assert len(runbook(tmp_path, url, "reports", "--status", "critical").stdout.splitlines()) == 2
    assert runbook(tmp_path, url, "reports", "--status", "nonsense").returncode == 2
    assert runbook(tmp_path, url, "reports", "--open", "../../etc/passwd").returncode == 2
    pruned = runbook(tmp_path, url, "reports", "--prune")
    assert pruned.stdout == "Removed 0 incidents and 0 reports.\n"


def test_keeping_none_prunes_every_closed_report(two_reports: Context, url: str, tmp_path: Path) -> None:
    intake.accept(
        two_reports, group_from_json(kit.resolved(alert("AgentDown", "AgentDown", "warning"), key="AgentDown"))
    )
    assert runbook(tmp_path, url, "reports", "--prune").stdout == "Removed 0 incidents and 0 reports.\n"
    pruned = runbook(tmp_path, url, "reports", "--prune", "--keep-days", "0")
    assert pruned.stdout == "Removed 1 incident and 1 report.\n"
    assert len(runbook(tmp_path, url, "reports").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prune", "--keep-runs", "-1"], "--keep-runs is 0 to"),
        (["--prune", "--keep-days", "-1"], "--keep-days is 0 to"),
        (["--prune", "--keep-days", "nan"], "--keep-days is 0 to"),
        (["--keep-days", "1"], "Add --prune"),
        (["--keep-runs", "0"], "Add --prune"),
        (["drawdown", "--prune"], "takes no search"),
    ],
)
def test_options_that_would_do_something_else_are_refused(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")  # refused before it is asked
    done = CliRunner().invoke(app, ["reports", *arguments])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


@pytest.mark.parametrize(
    "address", ["mysql://u:secretword@h/x", "secretword", "postgresql://u:secretword%@h/x", "postgresql://h:sql/x"]
)
def test_an_address_that_can_never_work_ends_serve(address: str, made: Context, tmp_path: Path) -> None:
    failed = runbook(tmp_path, address, "serve", "--port", "0")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "RUNBOOK_DATABASE_URL" in failed.stderr
    assert "secretword" not in failed.stderr


def test_a_database_that_is_away_is_one_line(made: Context, tmp_path: Path) -> None:
    failed = runbook(tmp_path, "postgresql://u:secretword@127.0.0.1:1/none", "reports")
    assert failed.returncode == 4
    assert failed.stderr.count("\n") == 1
    assert "the connection is refused" in failed.stderr
    assert "secretword" not in failed.stderr


@pytest.mark.slow
def test_the_dead_man_speaks_with_no_worker_anywhere(made: Context, url: str, tmp_path: Path) -> None:
    """Waits for the time after which a report is missed."""
    with Process(tmp_path, url, "serve", "--no-worker", RUNBOOK_DEAD_MAN_SECONDS="1") as web:
        assert web.post(message(alert()))[0] == 202
        wait_for(lambda: query(made, "SELECT 1 FROM runbook.events WHERE kind = 'dead_man'"))
        assert "No report" in web.get("/incidents/1")[1].decode()
        assert "no worker is running" in web.get("/")[1].decode()
        with Process(tmp_path, url, "worker"):
            wait_for(lambda: b"runbook_workers 1.0" in web.get("/metrics")[1])
        assert b"runbook_workers 0.0" in web.get("/metrics")[1]
