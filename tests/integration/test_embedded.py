"""The embedded PostgreSQL under kills, races and unusable places. Every server here is a real one."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from runbook import embedded
from runbook.embedded import binaries, locks
from runbook.errors import EmbeddedError

IS_ROOT = os.geteuid() == 0
# A process that owns the server of a folder, says where it is and stays.
OWNER = """
import json, sys, time
from pathlib import Path
from runbook import embedded
server = embedded.start(Path(sys.argv[1]))
print(json.dumps({"port": server.port, "url": server.url()}), flush=True)
"""
STAY = "time.sleep(600)\n"


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen in 60 s"
        time.sleep(0.02)


def answers(url: str, statement: str = "SELECT 1") -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            connection.execute(statement)
    except psycopg.OperationalError:
        return False
    return True


def value(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchone()[0]


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))


def is_stopped(folder: Path) -> bool:
    return not locks.has_supervisor(folder) and not (folder / "data" / "postmaster.pid").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for one server, which must have stopped in the end."""
    yield tmp_path / "state"
    if (tmp_path / "state").is_dir():
        wait_until(lambda: not locks.has_supervisor(tmp_path / "state"), "the end of the server")


@pytest.fixture
def own(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that runs an owner of `folder` in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str = OWNER + STAY) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(folder)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> dict[str, object]:
    return json.loads(process.stdout.readline())


def test_a_server_is_durable_and_preloads_statistics(folder: Path) -> None:
    with embedded.start(folder) as server:
        assert value(server.url(), "SHOW fsync") == "on"
        assert value(server.url(), "SHOW shared_preload_libraries") == "pg_stat_statements"
        assert value(server.url(), "SHOW TimeZone") == "UTC"
    assert is_stopped(folder)
    assert not answers(server.url())


def test_only_loopback_and_only_with_the_password(folder: Path) -> None:
    with embedded.start(folder) as server:
        listening = [c.laddr for c in postmaster(folder).net_connections() if c.status == psutil.CONN_LISTEN]
        assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", server.port)]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url(password="wrong"))
        for path in (folder, *folder.iterdir()):
            if path.name != "server.json":
                assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    with embedded.start(folder) as server, psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded.start(folder) as server:
        assert value(server.url(), "SELECT answer FROM kept") == 42


def test_two_handles_in_one_process(folder: Path) -> None:
    first, second = embedded.start(folder), embedded.start(folder)
    assert first.port == second.port
    first.stop()
    first.stop()
    assert answers(second.url())
    second.stop()
    assert is_stopped(folder)


def test_starting_at_once_makes_one_server(folder: Path, own: Callable[..., subprocess.Popen[str]]) -> None:
    owners = [own() for _ in range(4)]
    ports = {told(process)["port"] for process in owners}
    assert len(ports) == 1


def test_another_owner_keeps_it_running(folder: Path, own: Callable[..., subprocess.Popen[str]]) -> None:
    other = own()
    told(other)
    with embedded.start(folder) as server:
        pass
    assert answers(server.url())
    other.kill()
    wait_until(lambda: is_stopped(folder), "the stop after the last owner")


def test_it_stops_when_its_owner_is_killed(folder: Path, own: Callable[..., subprocess.Popen[str]]) -> None:
    owner = own()
    url = str(told(owner)["url"])
    assert answers(url)
    owner.kill()
    wait_until(lambda: is_stopped(folder), "the stop after the kill")


def test_a_forked_child_is_no_owner(folder: Path, own: Callable[..., subprocess.Popen[str]]) -> None:
    owner = own(
        OWNER + "import os\nif (child := os.fork()) == 0:\n    time.sleep(600)\nprint(child, flush=True)\n" + STAY
    )
    told(owner)
    child = psutil.Process(int(owner.stdout.readline()))
    try:
        owner.kill()
        wait_until(lambda: is_stopped(folder), "the stop although a child of the owner lives")
        assert child.is_running()
    finally:
        child.kill()


def test_a_killed_postgres_comes_back_under_the_same_address(folder: Path) -> None:
    with embedded.start(folder) as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        killed = postmaster(folder)
        killed.kill()
        wait_until(lambda: not killed.is_running() and answers(server.url()), "the return of the server")
        assert value(server.url(), "SELECT answer FROM kept") == 42


def test_start_recovers_when_all_was_killed(folder: Path) -> None:
    """As after a power cut: nobody cleaned up, the pid file is stale."""
    server = embedded.start(folder)
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    process = postmaster(folder)
    process.parent().kill()
    process.kill()
    wait_until(lambda: not locks.has_supervisor(folder), "the end of the supervisor")
    with embedded.start(folder) as again:
        assert value(again.url(), "SELECT answer FROM kept") == 42
    server.stop()


def test_it_ends_with_its_supervisor(folder: Path) -> None:
    with embedded.start(folder):
        process = postmaster(folder)
        process.parent().kill()
        wait_until(lambda: not process.is_running(), "the end of PostgreSQL")
        with embedded.start(folder) as again:
            assert answers(again.url())


def test_a_stale_pid_file_that_names_a_living_stranger(folder: Path) -> None:
    with embedded.start(folder):
        copy = (folder / "data" / "postmaster.pid").read_text()
    lines = copy.splitlines(keepends=True)
    (folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n" + "".join(lines[1:]))
    with embedded.start(folder) as server:
        assert answers(server.url())


def test_what_a_cut_short_first_start_left_is_swept(folder: Path) -> None:
    (folder / "data.new" / "base").mkdir(parents=True)
    with embedded.start(folder) as server:
        assert answers(server.url())
    assert not (folder / "data.new").exists()


def test_the_callers_postgres_variables_do_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGPASSWORD", "LC_ALL"):
        monkeypatch.setenv(name, "1")
    with embedded.start(folder) as server:
        assert answers(server.url())


def test_databases_from_a_template(postgres: embedded.Server, database: Callable[..., str]) -> None:
    template = database()
    with psycopg.connect(template) as connection:
        connection.execute("CREATE TABLE filled AS SELECT 7 AS seven")
    name = template.rsplit("/", 1)[1]
    copy = database(name)
    assert value(copy, "SELECT seven FROM filled") == 7
    with psycopg.connect(copy) as connected:
        embedded.drop_database(postgres, copy.rsplit("/", 1)[1])
        with pytest.raises(psycopg.OperationalError):
            connected.execute("SELECT 1")
    embedded.drop_database(postgres, "never there")


def test_a_database_that_exists_is_not_made_again(postgres: embedded.Server, database: Callable[..., str]) -> None:
    name = database().rsplit("/", 1)[1]
    with pytest.raises(EmbeddedError, match=rf"{name} cannot be made .* already exists") as caught:
        embedded.create_database(postgres, name)
    assert postgres.password not in str(caught.value)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(EmbeddedError, match=r"state cannot hold a PostgreSQL.*RUNBOOK_STATE"):
        embedded.start(tmp_path / "state")


def test_a_cluster_of_another_version(folder: Path) -> None:
    with embedded.start(folder):
        pass
    (folder / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 12.*RUNBOOK_POSTGRES_BIN"):
        embedded.start(folder)


def test_a_damaged_cluster_says_what_postgres_said(folder: Path) -> None:
    with embedded.start(folder):
        pass
    (folder / "data" / "postgresql.conf").write_text("no such = setting\n")
    with pytest.raises(EmbeddedError, match=r"does not start: .*configuration file"):
        embedded.start(folder)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root, outside a sandbox, can mount a small disk")
    try:
        with pytest.raises(EmbeddedError, match=r"disk that holds .* is full"):
            embedded.start(place / "state")
        wait_until(lambda: not locks.has_supervisor(place / "state"), "the end of the supervisor")
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(not IS_ROOT, reason="only root runs PostgreSQL as somebody else")
def test_root_reaches_what_the_other_user_cannot(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and binaries below a folder of mode 0700, as in a checkout below /root. No mode is opened."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = embedded.find_binaries().parents[1]
    for source in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, closed / source.name, symlinks=True)
    named = closed / package.name / "pginstall" / "bin"
    monkeypatch.setenv("RUNBOOK_POSTGRES_BIN", str(named))
    copy = None
    try:
        with embedded.start(closed / "state") as server:
            assert answers(server.url())
            assert server.bin_dir == named
            process = postmaster(closed / "state")
            assert process.username() != "root"
            copy = Path(process.exe()).parents[3]
            assert copy.name.startswith("runbook-postgresql-")
            assert copy.stat().st_uid == 0
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert stat.S_IMODE((closed / "state").stat().st_mode) == 0o700
    finally:
        if copy and copy.name.startswith("runbook-postgresql-"):
            shutil.rmtree(copy)


@pytest.mark.skipif(not IS_ROOT, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user(tmp_path: Path) -> None:
    account = pwd.getpwnam("nobody")
    python = runnable_python(account)
    place = Path("/var/tmp") / f"runbook-test-{os.getpid()}"
    place.mkdir(mode=0o700)
    os.chown(place, account.pw_uid, account.pw_gid)
    ask = "import psycopg\nwith psycopg.connect(server.url()) as c:\n    print(c.execute('SELECT 6').fetchone()[0])\n"
    try:
        done = subprocess.run(
            [python, "-c", f"{OWNER}{ask}server.stop()\n", str(place / "state")],
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "HOME": str(place)},
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            cwd=place,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "6"
        assert (place / "state" / "data").stat().st_uid == account.pw_uid
        assert not locks.has_supervisor(place / "state")
    finally:
        shutil.rmtree(place)


def runnable_python(account: pwd.struct_passwd) -> str:
    """A Python of our minor version that `account` can run our packages with."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        try:
            done = subprocess.run(
                [python, "-c", "import psycopg, runbook.embedded"],
                env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("no Python that an ordinary user can run with our packages: the checkout is out of its reach")


def test_binaries_that_are_named_but_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(EmbeddedError, match="RUNBOOK_POSTGRES_BIN names a folder without"):
        embedded.start(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_platform_without_binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_in_wheel", list)
    monkeypatch.setattr(binaries, "_on_machine", list)
    with pytest.raises(EmbeddedError, match=r"no PostgreSQL for this platform.*RUNBOOK_DATABASE_URL"):
        embedded.start(tmp_path / "state")


def test_the_supervisor_can_be_told_to_stop(folder: Path) -> None:
    with embedded.start(folder) as server:
        postmaster(folder).parent().send_signal(signal.SIGTERM)
        wait_until(lambda: is_stopped(folder), "the stop")
        with embedded.start(folder) as again:
            assert answers(again.url())
    assert not answers(server.url())


def test_a_template_is_filled_once(template_database: Callable[..., str], database: Callable[..., str]) -> None:
    filled: list[str] = []

    def fill(address: str) -> None:
        filled.append(address)
        with psycopg.connect(address) as connection:
            connection.execute("CREATE TABLE filled AS SELECT 7 AS seven")

    names = {template_database("template_filled_once", fill) for _ in range(2)}
    assert names == {"template_filled_once"}
    assert len(filled) == 1
    assert value(database(names.pop()), "SELECT seven FROM filled") == 7
