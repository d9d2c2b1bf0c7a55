"""The process that kernels are forked from: it has imported everything, has one thread, and serves a socket.

`python -m runbook.kernels.zygote FOLDER WANTED`: FOLDER is private to the owner and holds the socket `zygote`;
WANTED is how many idle kernels to keep. Its standard input is held by the owner: at its end, it ends.

One connection is one fork: {"make": "kernel"} or {"make": "call"}, answered with its pid, later with
{"exit": code}. {"signal": number} signals the fork. When the connection ends, the fork is killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runbook.kernels import forked, preload, size, wire

_BOOT_SECONDS = 20.0
_ACTIVATE_SECONDS = 3.0
_PING_SECONDS = 10.0
_PONG_SECONDS = 5.0
_TICK_SECONDS = 0.25
_QUIET_SECONDS = 0.4
"""Idle kernels are replaced once nothing was asked for this long: the run that just began comes first."""


class Become(BaseException):
    """Raised in a fork, up to `main`: the zygote's frames are left before the fork becomes something else."""

    def __init__(self, job: Callable[[], Any]) -> None:
        self.job = job


@dataclass(slots=True, eq=False)
class Forked:
    """A process forked here. States: booting, idle, activating, used; `since` when it got there."""

    pid: int
    state: str
    since: float
    control: socket.socket | None = None
    owner: socket.socket | None = None
    connection: dict[str, Any] | None = None
    request: dict[str, Any] = field(default_factory=dict)
    pinged: float | None = None


class Zygote:
    """The server's state: its socket, its forks, and who waits for a kernel."""

    def __init__(self, folder: Path, wanted: int) -> None:
        self.folder = folder
        self.wanted = wanted
        self.pid = os.getpid()
        self.forks: dict[int, Forked] = {}
        self.number = 0
        self.replaced = 0
        self.asked = 0.0
        self.listener = wire.new_socket()
        before = os.umask(0o177)
        self.listener.bind(str(folder / "zygote"))
        os.umask(before)
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(0, selectors.EVENT_READ, self._owner_gone)
        self.woken, self.wake = socket.socketpair()
        self.woken.setblocking(False)
        self.wake.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(self.woken, selectors.EVENT_READ, self._reap)
        self.strangers: set[socket.socket] = set()

    def serve(self) -> None:
        """Serve for ever. Raises Become in every fork."""
        while True:
            self._keep_idle()
            for key, _ in self.selector.select(_TICK_SECONDS):
                if key.fd in self.selector.get_map():  # an earlier one of this round may have closed it
                    key.data()
            self._look_after(time.monotonic())

    def _accept(self) -> None:
        end, _ = self.listener.accept()
        if not wire.is_same_user(end):
            end.close()
            return
        end.setblocking(False)
        self.strangers.add(end)
        self.selector.register(end, selectors.EVENT_READ, partial(self._first_message, end))

    def _first_message(self, end: socket.socket) -> None:
        message, files = self._receive(end)
        if message is None:
            self._drop(end)
            return
        kind = message.get("make")
        if kind in ("kernel", "call"):
            self.asked = time.monotonic()
        try:
            if kind == "kernel":
                self._give_kernel(end, message)
            elif kind == "call":
                self._give_call(end, message, files)  # in the fork, Become goes up from here: its files stay open
            else:
                self._tell(end, self._status())
        except OSError as error:  # no process or no memory left
            self._tell(end, {"error": f"no fork: {error.strerror}"})
            self._drop(end)
        for file in files:
            os.close(file)

    def _give_kernel(self, end: socket.socket, message: dict[str, Any]) -> None:
        """An idle kernel, else one that boots, else a new one; a kernel with a given connection is always new."""
        free = [f for f in self.forks.values() if f.owner is None and f.state in ("idle", "booting")]
        free.sort(key=lambda one: one.state != "idle")
        fork = free[0] if free and not message.get("connection") else self._boot(message.get("connection"))
        self._own(end, fork)
        fork.request = message
        if fork.state == "idle":
            self._activate(fork)

    def _give_call(self, end: socket.socket, message: dict[str, Any], files: tuple[int, ...]) -> None:
        fork = self._fork("used", lambda _: forked.call(message, files))
        self._own(end, fork)
        self._tell(end, {"pid": fork.pid})

    def _own(self, end: socket.socket, fork: Forked) -> None:
        self.strangers.discard(end)
        fork.owner = end
        self.selector.modify(end, selectors.EVENT_READ, partial(self._owner_speaks, fork))

    def _activate(self, fork: Forked) -> None:
        fork.state, fork.since = "activating", time.monotonic()
        told = {name: fork.request[name] for name in ("environment", "folder")}
        if fork.control is None or not self._tell(fork.control, told):
            self._kill(fork)

    def _owner_speaks(self, fork: Forked) -> None:
        if fork.owner is None:
            return
        message, files = self._receive(fork.owner)
        for file in files:
            os.close(file)
        if message is None:
            self._drop(fork.owner)
            fork.owner = None
            self._kill(fork)
        elif isinstance(message.get("signal"), int):
            self._signal(fork, message["signal"])

    def _kernel_speaks(self, fork: Forked) -> None:
        if fork.control is None:
            return
        message, _ = self._receive(fork.control)
        if message is None:
            self._drop(fork.control)
            fork.control = None
            if fork.state != "used":
                self._kill(fork)
        elif "listening" in message:
            fork.connection = message["listening"]
            fork.state, fork.since = "idle", time.monotonic()
            if fork.owner is not None:
                self._activate(fork)
        elif "active" in message and fork.owner is not None:
            fork.state, fork.since = "used", time.monotonic()
            self._tell(fork.owner, {"pid": fork.pid, "connection": fork.connection})
        elif "pong" in message:
            fork.pinged, fork.since = None, time.monotonic()

    def _boot(self, connection: dict[str, Any] | None = None) -> Forked:
        self.number += 1
        number = self.number
        return self._fork(
            "booting", lambda control: forked.kernel(control, self.folder, number, connection), controlled=True
        )

    def _fork(
        self,
        state: str,
        job: Callable[[Any], Any],
        controlled: bool = False,
    ) -> Forked:
        """Fork. In the child every socket of the zygote is closed, and Become is raised. Raises OSError."""
        mine, theirs = wire.pair() if controlled else (None, None)
        pid = os.fork()
        if pid == 0:
            forked.separate(self.pid)
            self._close_everything()
            if mine is not None:
                mine.close()
            raise Become(partial(job, theirs))
        fork = Forked(pid, state, time.monotonic(), control=mine)
        self.forks[pid] = fork
        if mine is not None and theirs is not None:
            theirs.close()
            mine.setblocking(False)
            self.selector.register(mine, selectors.EVENT_READ, partial(self._kernel_speaks, fork))
        return fork

    def _close_everything(self) -> None:
        self.selector.close()
        self.listener.close()
        self.woken.close()
        self.wake.close()
        for end in self.strangers:
            end.close()
        for fork in self.forks.values():
            for held in (fork.control, fork.owner):
                if held is not None:
                    held.close()
        self.forks.clear()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, code: int) -> None:
        fork = self.forks.pop(pid, None)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # what it started, and left
        if fork is None:
            return
        if fork.control is not None:
            self._drop(fork.control)
        if fork.owner is None:
            self.replaced += fork.state != "used"
            return
        if fork.state == "used":
            self._tell(fork.owner, {"exit": code})
            self._drop(fork.owner)
            return
        # It died before it was handed over: its owner gets another, once.
        self.replaced += 1
        end, request = fork.owner, fork.request
        if request.pop("again", True) and not request.get("connection"):
            request["again"] = False
            self._give_kernel(end, request)
        else:
            self._tell(end, {"error": f"the kernel ended with {code} before it was ready"})
            self._drop(end)

    def _look_after(self, now: float) -> None:
        """Kill what does not get ready in time and idle kernels that do not answer; ask the idle ones."""
        for fork in list(self.forks.values()):
            late = {"booting": _BOOT_SECONDS, "activating": _ACTIVATE_SECONDS}.get(fork.state)
            if late is not None and now - fork.since > late:
                self._kill(fork)
            elif fork.state == "idle" and fork.control is not None:
                if fork.pinged is not None and now - fork.pinged > _PONG_SECONDS:
                    self._kill(fork)
                elif fork.pinged is None and now - fork.since > _PING_SECONDS:
                    fork.pinged = now
                    self._tell(fork.control, {"ping": True})

    def _keep_idle(self) -> None:
        """One kernel at a time towards the size that memory and load allow."""
        if time.monotonic() - self.asked < _QUIET_SECONDS:
            return
        waiting = [f for f in self.forks.values() if f.owner is None and f.state in ("booting", "idle")]
        if any(f.state == "booting" for f in waiting):
            return
        allowed = size.idle_kernels(self.wanted, size.machine())
        if len(waiting) < allowed:
            with contextlib.suppress(OSError):  # no process or no memory left: again at the next tick
                self._boot()
        elif len(waiting) > allowed:
            self._kill(waiting[0])

    def _status(self) -> dict[str, Any]:
        states = [fork.state for fork in self.forks.values()]
        return {
            "pid": self.pid,
            "replaced": self.replaced,
            "threads": threading.active_count(),
            "pids": {str(fork.pid): fork.state for fork in self.forks.values()},
            **{name: states.count(name) for name in ("booting", "idle", "activating", "used")},
        }

    def _kill(self, fork: Forked) -> None:
        self._signal(fork, signal.SIGKILL)

    def _signal(self, fork: Forked, number: int) -> None:
        """Signal the fork's group; it is not reaped yet, so the number is still its own."""
        if fork.pid in self.forks:
            with contextlib.suppress(ProcessLookupError, PermissionError, ValueError, OSError):
                os.killpg(fork.pid, number)

    def _receive(self, end: socket.socket) -> tuple[dict[str, Any] | None, tuple[int, ...]]:
        try:
            return wire.receive(end)
        except BlockingIOError:
            return {}, ()
        except OSError:
            return None, ()

    def _tell(self, end: socket.socket, message: dict[str, Any]) -> bool:
        try:
            wire.send(end, message)
        except OSError:
            return False
        return True

    def _drop(self, end: socket.socket) -> None:
        self.strangers.discard(end)
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(end)
        end.close()

    def _owner_gone(self) -> None:
        if os.read(0, 4096):
            return
        for fork in list(self.forks.values()):
            self._kill(fork)
        shutil.rmtree(self.folder, ignore_errors=True)  # the owner may have been killed
        raise SystemExit(0)


def main() -> None:
    """Import, then serve. Every fork comes out of `serve` as Become, with the zygote's frames gone."""
    folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
    preload.everything()
    gc.collect()
    gc.freeze()  # what is shared stays shared: no collection of a fork touches it
    job: Callable[[], Any] | None = None
    try:
        Zygote(folder, wanted).serve()
    except Become as become:
        job = become.job
    if job is not None:
        job()


if __name__ == "__main__":
    main()
