"""Child processes that serve on loopback and die with their owner, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from runbook.errors import DemoError

READY_SECONDS = 30.0
_ATTEMPTS = 3

# PR_SET_PDEATHSIG (1): the kernel kills the child when the thread that started it ends. Linux only.
_WRAPPER = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


@dataclass(frozen=True, slots=True)
class Serving:
    """A server process: its address and its log file."""

    url: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Stop it; nothing happens where it is gone already."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


def serve(name: str, command: Callable[[int], Sequence[str]], ready_path: str, folder: Path) -> Serving:
    """The server that `command(port)` starts, once `ready_path` answers. Raises DemoError with its last words."""
    log = folder / f"{name}.log"
    for _ in range(_ATTEMPTS):
        port = free_port()
        process = _start(command(port), log)
        serving = Serving(f"http://127.0.0.1:{port}", process)
        try:
            if _becomes_ready(serving, ready_path):
                return serving
        except BaseException:
            serving.stop()
            raise
        serving.stop()
    words = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise DemoError(f"{name} did not start in {_ATTEMPTS} attempts: {words[0][:400]}. Its log is {log}.")


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """The process, started by a thread that lives as long as it does: its death signal follows that thread."""
    started = threading.Event()
    result: list[subprocess.Popen[bytes] | OSError] = []
    wrapped = list(command)
    if sys.platform == "linux":
        wrapped = [sys.executable, "-I", "-S", "-c", _WRAPPER, str(os.getpid()), *command]

    def keep() -> None:
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    wrapped, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            result.append(error)
            started.set()
            return
        result.append(process)
        started.set()
        process.wait()

    threading.Thread(target=keep, name=f"keeper of {Path(command[0]).name}", daemon=True).start()
    started.wait()
    if isinstance(result[0], OSError):
        raise DemoError(f"{command[0]} cannot be run: {result[0].strerror}.") from result[0]
    return result[0]


def _becomes_ready(serving: Serving, path: str) -> bool:
    """True once it answers; False when it ended before (its port was taken meanwhile, say)."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if serving.process.poll() is not None:
            return False
        with suppress(URLError, OSError), urlopen(serving.url + path, timeout=1):  # noqa: S310 - our own http address
            return True
        time.sleep(0.02)
    return False
