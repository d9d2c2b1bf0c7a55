"""The owner's side: start a zygote, ask it for kernels and calls, and hold what comes of it."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from runbook.kernels import wire

ADDRESS = "RUNBOOK_WARM"
"""Environment variable naming a zygote's socket, for the provisioner."""

_OF_A_RUN = (ADDRESS, "RUNBOOK_RUN_ID", "RUNBOOK_RECORD", "RUNBOOK_EVIDENCE", "RUNBOOK_NOTEBOOK")
_ANSWER_SECONDS = 10.0
_STOP_SECONDS = 5.0
_ROOM = "x" * 300  # in the zygote's environment: where forks write their run's id (forked._show_in_proc)


class WarmUnavailable(OSError):
    """No fork to be had: not Linux, or the zygote is gone or does not answer. Start an ordinary process."""


def available() -> bool:
    """Whether this system can fork warm processes: Linux, whose /proc and parent-death signal this is built on."""
    return sys.platform == "linux"


class Fork:
    """A process forked by the zygote, with the methods of subprocess.Popen that Jupyter and the runner use.

    It ends when this handle is closed, or its owner dies.
    """

    stdin = stdout = stderr = None

    def __init__(self, end: socket.socket, pid: int, connection: Mapping[str, Any] | None) -> None:
        self._end = end
        self.pid = pid
        self.connection = connection
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs. -9 when the zygote is gone, and the fork with it."""
        return self._read(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if self._read(left) is None and left == 0.0:
                raise subprocess.TimeoutExpired("fork", timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal the fork's process group; nothing once it has ended."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                wire.send(self._end, {"signal": int(number)})

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Let go of it: it is killed if it still runs."""
        self._end.close()

    def _read(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            try:
                if _readable(self._end, timeout):
                    message, _ = wire.receive(self._end)
                    self.returncode = -signal.SIGKILL if message is None else int(message.get("exit", -signal.SIGKILL))
            except (OSError, ValueError):  # closed here, or reset there
                self.returncode = -signal.SIGKILL
        return self.returncode


class Warm:
    """A zygote and its owner. `with Warm(kernels=2) as warm:` starts it; it may be used from several threads.

    A zygote that has died is started again by the next `ensure`.
    """

    def __init__(self, kernels: int = 2) -> None:
        if not available():
            raise WarmUnavailable("warm kernels need Linux")
        self._kernels = kernels
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self.folder = Path(tempfile.mkdtemp(prefix="runbook-warm-"))
        self.ensure()

    @property
    def address(self) -> str:
        """The socket's path, for RUNBOOK_WARM and the functions below."""
        return str(self.folder / "zygote")

    @property
    def pid(self) -> int:
        """The zygote's process."""
        if self._process is None:
            raise WarmUnavailable("the zygote is closed")
        return self._process.pid

    def ensure(self) -> None:
        """Start the zygote if it does not run. It serves once it has imported everything (`wait_ready`)."""
        with self._starting:
            if self._process is None or self._process.poll() is not None:
                self._start()

    def _start(self) -> None:
        if self._process is not None and self._process.stdin:
            self._process.stdin.close()
        Path(self.address).unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in _OF_A_RUN}
        environment["RUNBOOK_ROOM"] = _ROOM
        with (self.folder / "zygote.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runbook.kernels.zygote", str(self.folder), str(self._kernels)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_ready(self, seconds: float = 30.0, idle: int = 0) -> None:
        """Return once it serves and keeps `idle` kernels. Raises WarmUnavailable, with the log's last line."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(WarmUnavailable):
                if status(self.address)["idle"] >= idle:
                    return
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise WarmUnavailable(f"the zygote does not serve: {self._last_line()}")

    def close(self) -> None:
        """End the zygote and all its forks; remove its folder."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _last_line(self) -> str:
        log = self.folder / "zygote.log"
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1][:300] if lines else "it said nothing"


def fork_kernel(
    address: str, environment: Mapping[str, str], folder: str, connection: Mapping[str, Any] | None = None
) -> Fork:
    """A kernel that listens, with this environment and working folder. Its `connection` says how to reach it.

    With `connection` it listens there (a restart); else where it already does. Raises WarmUnavailable.
    """
    message = {"make": "kernel", "environment": dict(environment), "folder": folder}
    return _ask(address, {**message, "connection": dict(connection)} if connection else message)


def fork_call(
    address: str,
    call: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    streams: tuple[int, int, int],
    files: Sequence[int] = (),
) -> Fork:
    """A process that calls the function `call` ("module:name") and ends. Raises WarmUnavailable.

    `streams` become its standard streams; "{0}" in `arguments` stands for the first of `files`, as it is there.
    """
    message = {
        "make": "call",
        "call": call,
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": folder,
    }
    return _ask(address, message, (*streams, *files))


def status(address: str) -> dict[str, Any]:
    """Counts of forks by state (booting, idle, activating, used), `replaced`, and pids. Raises WarmUnavailable."""
    with _connect(address) as end:
        return _exchange(end, {"make": "status"}, ())


def _ask(address: str, message: dict[str, Any], files: tuple[int, ...] = ()) -> Fork:
    end = _connect(address)
    try:
        answer = _exchange(end, message, files)
        if "pid" not in answer:
            raise WarmUnavailable(str(answer.get("error", "no fork")))
    except WarmUnavailable:
        end.close()
        raise
    return Fork(end, answer["pid"], answer.get("connection"))


def _connect(address: str) -> socket.socket:
    end = None
    try:
        end = wire.new_socket()
        end.connect(address)
    except OSError as error:
        if end is not None:
            end.close()
        raise WarmUnavailable(f"no zygote at its socket: {error.strerror}") from None
    return end


def _exchange(end: socket.socket, message: dict[str, Any], files: tuple[int, ...]) -> dict[str, Any]:
    end.settimeout(_ANSWER_SECONDS)
    try:
        wire.send(end, message, files)
        answer, _ = wire.receive(end)
    except OSError as error:
        raise WarmUnavailable(f"the zygote does not answer: {error}") from None
    finally:
        end.settimeout(None)
    if answer is None:
        raise WarmUnavailable("the zygote has ended")
    return answer


def _readable(end: socket.socket, timeout: float | None) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        return bool(selector.select(timeout))
