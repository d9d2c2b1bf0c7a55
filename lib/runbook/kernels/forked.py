"""What a fork does to become a process of its own: a kernel, or a call. Nothing of the parent stays with it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from runbook.kernels import wire

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_RUN_ID = "RUNBOOK_RUN_ID"
_PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


def separate(parent: int) -> None:
    """Make this fork a session of its own, with the ordinary signals, that dies with `parent`."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def settle(environment: Mapping[str, str], folder: str) -> None:
    """Take over a request's environment and folder, and draw new random seeds."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ.clear()
    os.environ.update(environment)
    _show_in_proc(environment)
    _move_pythonpath(before, environment.get("PYTHONPATH", ""))
    os.chdir(folder)
    time.tzset()
    tempfile.tempdir = None  # TMPDIR may be another
    reseed()


def reseed() -> None:
    """New seeds for `random` and, where it is loaded, numpy's global generator."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def end(code: int) -> NoReturn:
    """Leave: exit functions and output buffers, not the slow taking apart of every module."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def ended(work: Callable[[], Any]) -> NoReturn:
    """Do `work`, then leave with the code an ordinary Python would leave with."""
    code = 0
    try:
        work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if not isinstance(stop.code, int | None):
            os.write(2, f"{stop.code}\n".encode())
    finally:  # the outermost frame of a process: whatever was raised ends here
        kind, error, trace = sys.exc_info()
        if kind is not None and error is not None:
            traceback.print_exception(kind, error, trace, file=sys.__stderr__)
            code = 1
        end(code)


def call(request: Mapping[str, Any], files: tuple[int, ...]) -> NoReturn:
    """Become the function `request["call"]` ("module:name"), its standard streams and files those of the request.

    In its arguments "{0}" stands for the descriptor of the first file after the three streams.
    """
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    rest = files[3:]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    module, name = str(request["call"]).split(":")
    sys.argv = [module, *(str(argument).format(*rest) for argument in request["arguments"])]

    def work() -> None:
        settle(request["environment"], request["folder"])
        getattr(importlib.import_module(module), name)()

    ended(work)


def kernel(control: socket.socket, folder: Path, number: int, connection: Mapping[str, Any] | None) -> NoReturn:
    """Become a kernel that listens, tells `control` how to reach it, and waits there for its environment."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    def work() -> None:
        file = folder / f"kernel-{number}.json"
        told = dict(connection) if connection else _new_connection(folder, number)
        file.touch(mode=0o600)
        file.write_text(json.dumps(told), encoding="ascii")
        atexit.register(_remove, file, told)
        os.environ["IPYTHONDIR"] = str(folder / "ipython")
        _serve(file, control, told)

    ended(work)


def _serve(file: Path, control: socket.socket, connection: Mapping[str, Any]) -> None:
    from ipykernel.kernelapp import IPKernelApp
    from tornado.ioloop import IOLoop

    reseed()  # before anything of a notebook; again once a request takes this kernel
    app = IPKernelApp.instance()
    # No history file; 1: no poller and no greeting, the zygote ends this process when its owner is gone.
    app.initialize(["-f", str(file), "--HistoryManager.enabled=False", "--IPKernelApp.parent_handle=1"])
    loop = IOLoop.current()

    def told(*_: object) -> None:
        message, _files = wire.receive(control)
        if message is None:
            os._exit(1)
        if message.get("ping"):
            wire.send(control, {"pong": True})
            return
        loop.remove_handler(control)
        backend = os.environ.get("MPLBACKEND")
        settle(message["environment"], message["folder"])
        if backend:
            os.environ.setdefault("MPLBACKEND", backend)
        wire.send(control, {"active": True})
        control.close()

    loop.add_handler(control, told, IOLoop.READ)
    wire.send(control, {"listening": dict(connection)})
    app.start()


def _new_connection(folder: Path, number: int) -> dict[str, Any]:
    """Sockets with names of their own in the zygote's private folder: no port is chosen, so none is raced for."""
    import secrets

    ports = dict(zip(_PORTS, range(1, 6), strict=True))
    return {
        "transport": "ipc",
        "ip": str(folder / f"k{number}"),
        "key": secrets.token_hex(32),
        "signature_scheme": "hmac-sha256",
        "kernel_name": "",
        **ports,
    }


def _remove(file: Path, connection: Mapping[str, Any]) -> None:
    file.unlink(missing_ok=True)
    if connection["transport"] == "ipc":
        for port in _PORTS:
            Path(f"{connection['ip']}-{connection[port]}").unlink(missing_ok=True)


def _move_pythonpath(before: str, now: str) -> None:
    if before != now:
        old = {part for part in before.split(os.pathsep) if part}
        new = [part for part in now.split(os.pathsep) if part]
        sys.path[:] = [*new, *(part for part in sys.path if part not in old and part not in new)]


def _show_in_proc(environment: Mapping[str, str]) -> None:
    """Let /proc/PID/environ say this fork's run and nothing of the zygote's environment.

    The runner finds what a run left behind by that variable, as it does for processes that were
    executed. The block is the one this program was started with; no `os.environ` points into it any more.
    """
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, stop = int(fields[47]), int(fields[48])
    run_id = environment.get(_RUN_ID)
    line = f"{_RUN_ID}={run_id}".encode() + b"\0" if run_id else b""
    if 0 < start < stop and len(line) < stop - start:
        ctypes.memset(start, 0, stop - start)
        ctypes.memmove(start, line, len(line))
