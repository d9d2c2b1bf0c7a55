"""The process between a server and its owners: `python -m runbook.embedded.supervisor FOLDER BIN`.

It says nothing on standard output and closes it when the server is ready, or when another supervisor was
first; else it says why the server cannot run. Then it goes on alone: it starts PostgreSQL again when it
dies, and stops it when no owner is left.

Root runs PostgreSQL as another user, who need not be able to reach the folder: it is handed over as the
working directory, and PostgreSQL is told /proc/self/cwd. So no mode of any folder above has to be opened.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from runbook.embedded.binaries import account_for, reachable
from runbook.embedded.locks import OWNERS, SUPERVISOR, open_lock, try_lock
from runbook.errors import EmbeddedError

USER = "postgres"
READY_SECONDS = 120.0
STOP_SECONDS = 20.0
# SIGINT first: SIGTERM would wait for every client to leave.
_STOPPING = ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_POLL_SECONDS = 0.1
_LOG_MAX_BYTES = 5_000_000
_ATTEMPTS = 5
# Sized for a laptop or a small pod. fsync stays on: the queue promises that an accepted alert is kept.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "jit": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """One folder's PostgreSQL; `account` is whom root runs it as, None where we run it ourselves."""

    folder: Path
    bin_dir: Path
    account: pwd.struct_passwd | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def popen(self, name: str, *arguments: str, data: Path, **options: Any) -> subprocess.Popen[str]:
        """A program of PostgreSQL on the folder `data`, with nothing of our environment."""
        if self.account:
            options |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        command = [str(self.bin_dir / name), "-D", "/proc/self/cwd" if self.account else str(data), *arguments]
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        return subprocess.Popen(command, cwd=data, env=environment, stdin=subprocess.DEVNULL, text=True, **options)

    def make(self) -> None:
        """Make `data` where there is none. It is renamed into place, so a cut-short initdb leaves no half cluster."""
        if self.data.exists():
            self._check_version()
            return
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password = self.folder / "password"
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(32) + "\n")
        descriptor = os.open(password, os.O_RDONLY)
        if self.account:
            os.chown(fresh, self.account.pw_uid, self.account.pw_gid)
            descriptor = _handed_over(password.read_bytes(), self.account, descriptor)
        arguments = (
            "-U",
            USER,
            "--auth=scram-sha-256",
            f"--pwfile=/dev/fd/{descriptor}",
            "--encoding=UTF8",
            "--no-locale",
        )
        try:
            process = self.popen(
                "initdb",
                *arguments,
                data=fresh,
                pass_fds=[descriptor],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            said = process.communicate()[0]
        finally:
            os.close(descriptor)
        if process.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            raise self.failure(said)
        fresh.rename(self.data)

    def _check_version(self) -> None:
        command = [str(self.bin_dir / "postgres"), "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if f" {made_by}." not in said:
            raise EmbeddedError(
                f"{self.folder} was made by PostgreSQL {made_by}; the one found here is {said.strip()}. "
                "Set RUNBOOK_POSTGRES_BIN to the bin folder of the former, or RUNBOOK_STATE to another folder."
            )

    def run(self, port: int) -> subprocess.Popen[str]:
        """PostgreSQL on `port`, ready or dead. Its own end is tied to ours where the system can do that."""
        self.clear()
        values = _SETTINGS | {"port": str(port)}
        libraries = (*self.bin_dir.parent.glob("lib/pg_stat*"), *self.bin_dir.parent.glob("lib/p*/pg_stat*"))
        if any(path.stem == "pg_stat_statements" for path in libraries):
            values["shared_preload_libraries"] = "pg_stat_statements"
        if self.log.exists() and self.log.stat().st_size > _LOG_MAX_BYTES:
            self.log.rename(self.folder / "log.1")
        arguments = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
        self.log.touch(mode=0o600)
        with self.log.open("a") as log:
            process = self.popen(
                "postgres", *arguments, data=self.data, stdout=log, stderr=log, preexec_fn=_end_with_parent()
            )
        deadline = time.monotonic() + READY_SECONDS
        while process.poll() is None and not self.is_ready(process.pid):
            if time.monotonic() > deadline:
                stop(process)
            time.sleep(0.01)
        return process

    def is_ready(self, pid: int) -> bool:
        with suppress(OSError):
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def clear(self) -> None:
        """End what a killed server left on the data (it ends by itself, or is made to) and its pid file.

        The pid file may name a process that is anybody's by now, so only the working directory tells.
        """
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        left = [process for process in psutil.process_iter() if _works_in(process, self.data)]
        for number, patience in _STOPPING:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            left = psutil.wait_procs(left, timeout=patience)[1]
        pid_file.unlink(missing_ok=True)

    def failure(self, said: str) -> EmbeddedError:
        """Why PostgreSQL does not run, from what it said last."""
        if "No space left on device" in said:
            return unusable(self.folder, OSError(errno.ENOSPC, ""))
        reasons = [line for line in said.splitlines() if "FATAL" in line or "error:" in line or "PANIC" in line]
        last = (reasons or said.strip().splitlines() or ["it said nothing"])[-1].strip()
        return EmbeddedError(f"PostgreSQL in {self.folder} does not start: {last}. Its log: {self.log}.")


def unusable(folder: Path, error: OSError) -> EmbeddedError:
    """The error for a folder that cannot hold a server."""
    if error.errno == errno.ENOSPC:
        return EmbeddedError(f"The disk that holds {folder} is full. Free some space there and run again.")
    said = error.strerror or type(error).__name__
    return EmbeddedError(f"{folder} cannot hold a PostgreSQL: {said}. Set RUNBOOK_STATE to a folder of your own.")


def stop(process: subprocess.Popen[str]) -> None:
    """Stop PostgreSQL, as gently as it lets us."""
    for number, patience in _STOPPING:
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _handed_over(content: bytes, account: pwd.struct_passwd, instead_of: int) -> int:
    """A descriptor of a nameless file that `account` may open again, which it may not a file of ours."""
    os.close(instead_of)
    if sys.platform != "linux":
        raise EmbeddedError("On this system root cannot run the embedded PostgreSQL. Run as an ordinary user.")
    descriptor = os.memfd_create("password")
    os.write(descriptor, content)
    os.fchmod(descriptor, 0o400)
    os.fchown(descriptor, account.pw_uid, account.pw_gid)
    return descriptor


def _end_with_parent() -> Callable[[], None] | None:
    """What a child runs first on Linux so that the system sends it SIGINT when this process dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1
    return lambda: prctl(set_parent_death_signal, int(signal.SIGINT))


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return folder.samefile(process.cwd())
    except (psutil.Error, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _first_run(cluster: Cluster) -> tuple[subprocess.Popen[str], int]:
    """A ready server and its port. Somebody may take the port before PostgreSQL does: then another is tried."""
    for _ in range(_ATTEMPTS):
        seen = cluster.log.stat().st_size if cluster.log.exists() else 0
        port = _free_port()
        process = cluster.run(port)
        if process.poll() is None:
            return process, port
        with cluster.log.open(errors="replace") as log:
            log.seek(min(seen, cluster.log.stat().st_size))
            said = log.read()
        if "could not bind" not in said:
            break
    raise cluster.failure(said)


def _supervise(cluster: Cluster, process: subprocess.Popen[str], port: int) -> None:
    """Return when no owner is left, we are told to stop, or PostgreSQL dies again and again."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    owners = open_lock(cluster.folder / OWNERS)
    deaths = 0
    while not told and deaths < _ATTEMPTS and not try_lock(owners, fcntl.LOCK_EX):
        if process.poll() is None:
            time.sleep(_POLL_SECONDS)
            continue
        process = cluster.run(port)
        deaths = deaths + 1 if process.poll() is not None else 0
        time.sleep(deaths)
    if process.poll() is None:
        stop(process)


def _has_lock(descriptor: int) -> bool:
    """Whether we are the supervisor. Others may look at the lock for a moment, so a few tries."""
    for _ in range(_ATTEMPTS):
        if try_lock(descriptor, fcntl.LOCK_EX):
            return True
        time.sleep(0.01)
    return False


def main(folder: Path, bin_dir: Path) -> None:
    """Be the supervisor of `folder`, unless there is one."""
    if not _has_lock(open_lock(folder / SUPERVISOR)):
        return
    address = folder / "server.json"
    try:
        address.unlink(missing_ok=True)
        account = account_for(folder / "data")
        cluster = Cluster(folder, reachable(bin_dir, account), account)
        cluster.make()
        process, port = _first_run(cluster)
        fresh = folder / "server.json.new"
        fresh.write_text(json.dumps({"port": port}))
        fresh.rename(address)
    except (EmbeddedError, OSError) as error:
        reason = unusable(folder, error) if isinstance(error, OSError) else error
        sys.stdout.write(f"{reason}\n")
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    _supervise(cluster, process, port)
    address.unlink(missing_ok=True)


if __name__ == "__main__":
    if os.fork():  # the starter is not our parent: it need not wait for us at the end
        os._exit(0)
    os.chdir("/")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
