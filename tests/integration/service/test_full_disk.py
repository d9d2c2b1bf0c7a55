"""A disk that cannot be written under the run folders, in the real processes: every alert gets its report, later.

A tiny filesystem without free blocks, one without free inodes (no folder can be made), one that is read-only, a file
where the folder was, and a limit that the kernel sets on the worker's files, which needs no right to mount. Slow: real
processes.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import service_kit as kit
from service_kit import Process, alert, message, query, wait_for

from runbook.service.context import Context

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FILES = ("report.html", "notebook.ipynb", "outcome.json")


@dataclass
class Disk:
    """The disk of the run folders. `fill` and `free` are given the service's process."""

    folder: Path
    fill: Callable[[psutil.Process], None]
    free: Callable[[psutil.Process], None]


def mounted(folder: Path, options: str) -> None:
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.strip()}")


def until_full(write: Callable[[], object]) -> None:
    def on_and_on() -> None:
        while True:
            write()

    with pytest.raises(OSError, match="No space left"):
        on_and_on()


def no_blocks(folder: Path) -> Disk:
    mounted(folder, "size=256k")
    filler = folder / "filler"

    def fill(process: psutil.Process) -> None:
        with filler.open("wb", buffering=0) as file:
            until_full(lambda: file.write(b"x" * 4096))

    return Disk(folder, fill, lambda process: filler.unlink())


def no_inodes(folder: Path) -> Disk:
    mounted(folder, "size=4m,nr_inodes=100")
    numbers = itertools.count()

    def free(process: psutil.Process) -> None:
        for path in folder.glob("filler-*"):
            path.unlink()

    def one_more() -> None:
        (folder / f"filler-{next(numbers)}").touch()

    return Disk(folder, lambda process: until_full(one_more), free)


def no_large_files(folder: Path) -> Disk:
    """1,000 bytes and no more in any file: enough for a kernel's connection file, not for a notebook."""

    def limit(process: psutil.Process, size: int) -> None:
        for one in process.children(recursive=True):
            one.rlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return Disk(folder, lambda process: limit(process, 1_000), lambda process: limit(process, resource.RLIM_INFINITY))


def read_only(folder: Path) -> Disk:
    """As Linux leaves a disk after an error of the device."""
    mounted(folder, "size=4m")

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)

    return Disk(folder, lambda process: remount("ro"), lambda process: remount("rw"))


def no_folder(folder: Path) -> Disk:
    """A file stands where the folder was, as after a mistake in a mount."""
    folder.mkdir()
    aside = folder.with_name("aside")

    def fill(process: psutil.Process) -> None:
        folder.rename(aside)
        folder.touch()

    def free(process: psutil.Process) -> None:
        folder.unlink()
        aside.rename(folder)

    return Disk(folder, fill, free)


@pytest.fixture(params=[no_blocks, no_inodes, no_large_files, read_only, no_folder])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "reports"
    yield request.param(folder)
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)


def run_of(made: Context, key: str) -> dict[str, Any] | None:
    found = query(
        made,
        "SELECT r.* FROM runbook.runs r JOIN runbook.run_alerts c ON c.run = r.id"
        " WHERE c.fingerprint = %s AND r.finished_at IS NOT NULL",
        key,
    )
    assert len(found) < 2
    return found[0] if found else None


def test_no_room_costs_no_report(disk: Disk, url: str, tmp_path: Path) -> None:
    kit.project(tmp_path / "project")
    with (
        kit.context(url, tmp_path) as made,
        Process(tmp_path, url, "serve", "--concurrency", "1") as web,
    ):
        assert web.child
        service = psutil.Process(web.child.pid)
        assert web.post(message(alert(fingerprint="before"), key="before"))[0] == 202
        before = wait_for(lambda: run_of(made, "before"))
        assert (before["state"], before["stored"]) == ("complete", "artifacts")
        workers = query(made, "SELECT name FROM runbook.workers")

        disk.fill(service)
        assert web.post(message(alert(fingerprint="full"), key="full"))[0] == 202
        run = wait_for(lambda: run_of(made, "full"))
        assert (run["state"], run["verdict"]) == ("complete", before["verdict"])
        assert run["stored"] == "database"
        status, page = web.get(f"/reports/{run['run_id']}")
        assert (status, page.startswith(b"<!"), before["verdict"].encode() in page) == (200, True, True)
        notebook = json.loads(web.get(f"/reports/{run['run_id']}/notebook.ipynb")[1])
        assert any(cell.get("outputs") for cell in notebook["cells"])
        assert "Reported" in web.get(f"/incidents/{run['incident_id']}")[1].decode()
        assert web.get("/healthz")[0] == 200

        disk.free(service)
        wait_for(lambda: query(made, "SELECT 1 FROM runbook.runs WHERE id = %s AND stored = 'artifacts'", run["id"]))
        assert query(made, "SELECT 1 FROM runbook.copies") == []
        assert all((disk.folder / run["run_id"] / name).stat().st_size for name in FILES)
        assert not [path for path in disk.folder.rglob(".*") if path.suffix == ".part"]
        assert web.post(message(alert(fingerprint="after"), key="after"))[0] == 202
        after = wait_for(lambda: run_of(made, "after"))
        assert (after["state"], after["stored"]) == ("complete", "artifacts")
        assert query(made, "SELECT name FROM runbook.workers") == workers
        assert {item["attempt"] for item in query(made, "SELECT attempt FROM runbook.runs")} == {1}
        assert web.said().count("Traceback") == 0


def test_no_room_for_temporary_files_either_is_a_run_that_failed_and_says_why(url: str, tmp_path: Path) -> None:
    kit.project(tmp_path / "project")
    disk = no_inodes(tmp_path / "reports")
    (disk.folder / "tmp").mkdir()
    try:
        with (
            kit.context(url, tmp_path) as made,
            Process(tmp_path, url, "serve", "--concurrency", "1", TMPDIR=str(disk.folder / "tmp")) as web,
        ):
            assert web.child
            service = psutil.Process(web.child.pid)
            assert web.post(message(alert(fingerprint="before"), key="before"))[0] == 202
            wait_for(lambda: run_of(made, "before"))
            workers = query(made, "SELECT name FROM runbook.workers")
            disk.fill(service)
            assert web.post(message(alert(fingerprint="full"), key="full"))[0] == 202
            run = wait_for(lambda: run_of(made, "full"))
            assert run["state"] == "failed"
            reason = "There is no folder for temporary files: No space left on device. Make room in"
            assert reason in run["verdict"]
            assert reason in web.get(f"/incidents/{run['incident_id']}")[1].decode()
            disk.free(service)
            assert web.post(message(alert(fingerprint="after"), key="after"))[0] == 202
            assert wait_for(lambda: run_of(made, "after"))["state"] == "complete"
            assert query(made, "SELECT name FROM runbook.workers") == workers
    finally:
        subprocess.run(["umount", "--lazy", disk.folder], check=True)


@pytest.mark.parametrize("size", ["size=64k,nr_inodes=3", "size=4k"])
def test_run_by_hand_brings_its_report_elsewhere(tmp_path: Path, size: str) -> None:
    kit.project(tmp_path / "project")
    mounted(tmp_path / "out", size)
    (tmp_path / "tmp").mkdir()
    try:
        process = Process(tmp_path, None, "run", TMPDIR=str(tmp_path / "tmp"))
        ran = subprocess.run(
            [sys.executable, "-m", "runbook", "run", "MaxDrawdownExceeded", "--out", str(tmp_path / "out")],
            cwd=tmp_path / "project",
            env=process.environment,
            capture_output=True,
            text=True,
        )
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "out"], check=True)
    assert ran.returncode == 0
    report = Path(ran.stdout.splitlines()[-1])
    assert report.is_relative_to(tmp_path / "tmp")
    assert report.read_text().startswith("<!")
    assert {path.name for path in report.parent.iterdir()} == set(FILES)
    assert f"There is no room in {tmp_path / 'out'}" in ran.stderr
