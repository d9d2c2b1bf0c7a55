"""Reports in a real S3 store: kept, read back, removed; a store that refuses or is away loses none.

Slow because the S3 server takes some seconds to start.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from service_bucket import S3Server
from service_kit import Process, Web, alert, message, query, resolved, wait_for

from runbook.alert import group_from_json
from runbook.errors import StorageError
from runbook.history import archive, listing
from runbook.runner import RunResult
from runbook.service import app as application
from runbook.service import intake, messages
from runbook.service.auth import gate_for
from runbook.service.context import Context
from runbook.service.tasks import Sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FILES = ["notebook.ipynb", "outcome.json", "report.html"]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, answering, and its key in this process's environment."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    yield running
    if running.gateway is None:
        running.open()


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.make_bucket()


@pytest.fixture
def stored(url: str, tmp_path: Path, bucket: str) -> Iterator[Context]:
    """The service's parts, with their reports in the bucket."""
    with kit.context(url, tmp_path, runbook_artifacts=f"s3://{bucket}/nights/x") as opened:
        yield opened


class Recorded(kit.Fake):
    """A run that leaves evidence too."""

    def __call__(self, request: Any, folder: Path, **options: Any) -> RunResult:
        result = super().__call__(request, folder, **options)
        (result.folder / "evidence").mkdir()
        (result.folder / "evidence" / "manifest.json").write_text('{"answers": []}')
        (result.folder / "evidence" / "e01-database.json").write_text('{"rows": 1}')
        return result


def keys(run_id: str) -> list[str]:
    names = ["evidence/e01-database.json", "evidence/manifest.json", *FILES]
    return [f"nights/x/{run_id}/{name}" for name in names]


def do_one(made: Context, execute: kit.Fake | None = None) -> dict[str, Any]:
    intake.accept(made, group_from_json(message(alert())))
    kit.do_all(made, execute or Recorded())
    (run,) = query(made, "SELECT * FROM runbook.runs")
    return run


def shown(made: Context, run_id: str) -> str:
    with Web(application.build(made, gate_for(made.settings, "127.0.0.1"), contextlib.nullcontext)) as web:
        page = web.get(f"/reports/{run_id}")
        assert page.status_code == 200
        return page.text


def test_a_run_goes_to_the_bucket_comes_back_and_is_removed(
    server: S3Server, bucket: str, url: str, tmp_path: Path
) -> None:
    """The real processes: webhook, worker with its kernel, pages, retention."""
    kit.project(tmp_path / "project")
    store = {"RUNBOOK_ARTIFACTS": f"s3://{bucket}/nights"}
    with Process(tmp_path, url, "serve", **store) as web, kit.context(url, tmp_path) as made:
        assert web.post(message(alert()))[0] == 202
        wait_for(lambda: query(made, "SELECT 1 FROM runbook.runs WHERE state = 'complete'"))
        (run,) = query(made, "SELECT * FROM runbook.runs")
        assert run["stored"] == "artifacts"
        names = server.names(bucket)
        assert {f"nights/{run['run_id']}/{name}" for name in FILES} <= set(names)
        assert list((tmp_path / "state" / "spool").iterdir()) == []
        status, page = web.get(f"/reports/{run['run_id']}")
        assert (status, page.startswith(b"<!")) == (200, True)
        for name in ("notebook.ipynb", "outcome.json"):
            status, content = web.get(f"/reports/{run['run_id']}/{name}")
            assert status == 200
            assert json.loads(content)
        assert web.post(resolved(alert()))[0] == 202
        query(made, "UPDATE runbook.incidents SET closed_at = now() - interval '100 days' RETURNING id")
        pruned = subprocess.run(
            [sys.executable, "-m", "runbook", "reports", "--prune"],
            cwd=tmp_path / "project",
            env=web.environment,
            capture_output=True,
            text=True,
        )
        assert pruned.stdout == "Removed 1 incident and 1 report.\n"
        assert server.names(bucket) == []
        assert web.get(f"/reports/{run['run_id']}")[0] == 404


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret-word", "Check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "NOBODYSKEY", "Check AWS_ACCESS_KEY_ID"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "does not answer"),
    ],
)
def test_a_store_that_refuses_is_told_in_one_line_and_the_report_is_there(
    server: S3Server,
    bucket: str,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
    reason: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with kit.context(url, tmp_path, runbook_artifacts=f"s3://{bucket}/nights/x") as made:
        run = do_one(made)
        assert run["state"] == "complete"
        assert run["stored"] == "database"
        assert "14.2" in shown(made, run["run_id"])
        with pytest.raises(StorageError) as failed:
            made.artifacts.save(made.artifacts.spool / run["run_id"])
        with pytest.raises(StorageError):
            made.artifacts.read("run", "report.html")
        with pytest.raises(StorageError):
            made.artifacts.delete("run")
    said = str(failed.value)
    assert reason in said
    assert f"s3://{bucket}/nights/x" in said
    assert said.count("\n") == 0
    assert reason in caplog.text
    assert "wrong-secret-word" not in caplog.text + said
    assert server.secret not in caplog.text + said
    assert server.names(bucket) == []


def test_a_bucket_that_is_missing_is_named(server: S3Server, url: str, tmp_path: Path) -> None:
    with kit.context(url, tmp_path, runbook_artifacts="s3://nobody-made-this") as made:
        run = do_one(made)
        assert run["stored"] == "database"
        with pytest.raises(StorageError, match=r"s3://nobody-made-this: there is no such bucket\. Make it"):
            made.artifacts.read("run", "report.html")
        assert "14.2" in shown(made, run["run_id"])


class NoStore(BaseHTTPRequestHandler):
    """A web server that is no S3 store: it knows no page."""

    def do_GET(self) -> None:
        self.send_error(404)

    do_PUT = do_GET  # noqa: N815 (http.server's names)

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_web_server_that_is_no_store_is_not_a_store_without_reports(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), NoStore) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        for name, value in S3Server(tmp_path, port=web.server_port).environment.items():
            monkeypatch.setenv(name, value)
        with kit.context(url, tmp_path, runbook_artifacts="s3://reports") as made:
            with pytest.raises(
                StorageError, match=r"s3://reports answers HTTP 404\. Check RUNBOOK_ARTIFACTS and the AWS"
            ):
                made.artifacts.read("run", "report.html")
            assert do_one(made)["stored"] == "database"
        web.shutdown()


def test_a_store_that_stops_as_a_run_ends_gets_its_report_when_it_is_back(
    server: S3Server, bucket: str, stored: Context
) -> None:
    run = do_one(stored, Recorded(meanwhile=server.close))
    run_id = run["run_id"]
    assert run["stored"] == "database"
    assert "14.2" in shown(stored, run_id)
    Sweep(stored).once()
    assert query(stored, "SELECT stored FROM runbook.runs") == [{"stored": "database"}]
    assert (stored.artifacts.spool / run_id / "evidence").is_dir()
    server.open()
    Sweep(stored).once()
    assert query(stored, "SELECT stored FROM runbook.runs") == [{"stored": "artifacts"}]
    assert query(stored, "SELECT 1 FROM runbook.copies") == []
    assert server.names(bucket) == keys(run_id)
    assert list(stored.artifacts.spool.iterdir()) == []
    assert "14.2" in shown(stored, run_id)


def test_a_machine_lost_while_the_store_is_away_takes_no_evidence_along(
    server: S3Server, bucket: str, stored: Context
) -> None:
    run_id = do_one(stored, Recorded(meanwhile=server.close))["run_id"]
    shutil.rmtree(stored.artifacts.spool)
    assert "14.2" in shown(stored, run_id)
    with stored.database.transaction() as connection:
        (attached,) = messages._attachments(connection, stored, listing.reported(connection, 1))
    assert b"14.2" in attached.content
    server.open()
    query(stored, "INSERT INTO runbook.workers (name, concurrency) VALUES ('test', 1) RETURNING name")
    Sweep(stored).once()
    assert server.names(bucket) == []  # its worker lives, and has more than the copies: it stores them itself
    query(stored, "DELETE FROM runbook.workers RETURNING name")
    Sweep(stored).once()
    assert server.names(bucket) == keys(run_id)
    assert server.bucket(bucket).get(keys(run_id)[0]).bytes() == b'{"rows": 1}'


def test_what_another_machine_stored_first_leaves_this_one_too(server: S3Server, bucket: str, stored: Context) -> None:
    run_id = do_one(stored, Recorded(meanwhile=server.close))["run_id"]
    server.open()
    query(stored, "UPDATE runbook.runs SET stored = 'artifacts' RETURNING id")
    query(stored, "DELETE FROM runbook.copies RETURNING name")
    (stored.artifacts.spool / "under-way").mkdir()
    Sweep(stored).once()
    assert [path.name for path in stored.artifacts.spool.iterdir()] == ["under-way"]
    assert server.names(bucket) == keys(run_id)


def test_retention_forgets_nothing_that_it_could_not_remove(server: S3Server, bucket: str, stored: Context) -> None:
    run_id = do_one(stored)["run_id"]
    intake.accept(stored, group_from_json(resolved(alert())))
    query(stored, "UPDATE runbook.incidents SET closed_at = now() - interval '100 days' RETURNING id")
    sweep = Sweep(stored)
    sweep.pruned = float("-inf")
    server.close()
    sweep.once()
    assert len(query(stored, "SELECT 1 FROM runbook.runs")) == 1
    server.open()
    assert server.names(bucket) == keys(run_id)
    sweep.pruned = float("-inf")
    sweep.once()
    assert query(stored, "SELECT 1 FROM runbook.runs") == []
    assert server.names(bucket) == []


@pytest.mark.parametrize("run_id", ["..", ".", "", "a/../b", "/", "x\x00y", "..%2f", "a b", "*", "?prefix=", "é\n"])
def test_hostile_ids_reach_nothing_in_the_bucket(server: S3Server, bucket: str, stored: Context, run_id: str) -> None:
    others = server.bucket(bucket)
    for key in ("report.html", "nights/report.html", "nights/x/report.html", "nights/xy/report.html"):
        others.put(key, b"another's")
    before = server.names(bucket)
    assert stored.artifacts.read(run_id, "report.html") is None
    assert stored.artifacts.read("run", "../report.html") is None
    stored.artifacts.delete(run_id)
    stored.artifacts.delete("run")
    with pytest.raises(StorageError):
        stored.artifacts.restore(run_id, {"report.html": b"x"})
    assert server.names(bucket) == before


def runbook(folder: Path, bucket: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`runbook run` in a project of its own, with the bucket as its store."""
    process = Process(
        folder, None, "run", RUNBOOK_ARTIFACTS=f"s3://{bucket}/nights", RUNBOOK_RUN_SECONDS="60", **environment
    )
    return subprocess.run(
        [sys.executable, "-m", "runbook", "run", "MaxDrawdownExceeded"],
        cwd=folder / "project",
        env=process.environment,
        capture_output=True,
        text=True,
    )


def test_run_prints_the_address_in_the_store(server: S3Server, bucket: str, tmp_path: Path) -> None:
    kit.project(tmp_path / "project")
    ran = runbook(tmp_path, bucket)
    assert ran.returncode == 0
    address = ran.stdout.splitlines()[-1]
    assert address.startswith(f"s3://{bucket}/nights/")
    assert address.endswith("/report.html")
    assert address.removeprefix(f"s3://{bucket}/") in server.names(bucket)
    assert list((tmp_path / "state" / "spool").iterdir()) == []


def test_run_keeps_the_report_here_while_the_store_is_away(server: S3Server, bucket: str, tmp_path: Path) -> None:
    kit.project(tmp_path / "project")
    server.close()
    ran = runbook(tmp_path, bucket)
    assert ran.returncode == 0
    path = Path(ran.stdout.splitlines()[-1])
    assert path.read_text().startswith("<!")
    assert path.is_relative_to(tmp_path / "state")
    (told,) = [line for line in ran.stderr.splitlines() if line.startswith("runbook:")]
    assert "does not answer" in told
    assert server.secret not in ran.stderr + ran.stdout


def test_run_refuses_credentials_in_the_address(tmp_path: Path) -> None:
    kit.project(tmp_path / "project")
    ran = runbook(tmp_path, "key:secretword@bucket")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert "AWS_SECRET_ACCESS_KEY" in ran.stderr
    assert "secretword" not in ran.stderr


def test_evidence_over_the_limit_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "manifest.json").write_text("{}")
    assert archive.pack(tmp_path, limit=10) is None
    packed = archive.pack(tmp_path)
    assert packed is not None
    archive.unpack(packed, tmp_path / "other")
    assert (tmp_path / "other" / "evidence" / "manifest.json").read_text() == "{}"
    assert gzip.decompress(packed)
