"""Jupyter's way in: a kernel provisioner that takes a warm kernel where there is one, else starts an ordinary one.

It is named by the kernelspec `runbook-warm`, and used by papermill, nbmake and JupyterLab alike. The zygote
is the one RUNBOOK_WARM names; a process that keeps starting kernels without one gets a zygote of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from runbook.kernels import owner
from runbook.kernels.owner import Fork, Warm, WarmUnavailable

_PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
_POLL_SECONDS = 0.005
_OWN_AFTER = 2
"""From this kernel on a process has its own zygote: one kernel alone would not repay it."""

_started = 0
_own: Warm | None = None


class WarmProvisioner(LocalProvisioner):
    """LocalProvisioner, its process a fork of the zygote where there is one."""

    _fork: Fork | None = None
    _launched = False

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Take a warm kernel first, so that the manager writes down where that one listens."""
        self._release()
        self._fork = await asyncio.to_thread(self._take, dict(kwargs.get("env") or os.environ), kwargs.get("cwd"))
        manager = self.parent
        if self._fork is not None and not self._launched and manager is not None:
            told = dict(self._fork.connection or {})
            manager.transport = told["transport"]
            manager.cache_ports = False
            manager.ip = told["ip"]
            for name in _PORTS:
                setattr(manager, name, told[name])
            manager.session.key = told["key"].encode()
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """The fork taken before, else a process of `cmd`."""
        self._launched = True
        if self._fork is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = self._fork  # type: ignore[assignment]
        self.pid = self._fork.pid
        self.pgid = None  # signals go through the zygote, which knows whether the process is still this one
        self.cwd = kwargs.get("cwd", Path.cwd())
        return self.connection_info

    async def wait(self) -> int | None:
        """The exit code once the kernel has ended."""
        if self._fork is None:
            return await super().wait()
        while (code := self._fork.poll()) is None:  # noqa: ASYNC110  (as Jupyter's own: any thread may ask)
            await asyncio.sleep(_POLL_SECONDS)
        self.process = None
        return code

    async def cleanup(self, restart: bool = False) -> None:
        """Let go of the fork."""
        if not restart:
            self._release()
        await super().cleanup(restart=restart)

    def _release(self) -> None:
        if self._fork is not None:
            self._fork.close()
            self._fork = None

    def _take(self, environment: dict[str, str], folder: str | None) -> Fork | None:
        """A warm kernel, or None: another Python is asked for, there is no zygote, or it does not answer."""
        command = self.kernel_spec.argv
        if not owner.available() or (command and command[0] not in ("python", "python3", sys.executable)):
            return None
        address = _address()
        if address is None:
            return None
        environment = {name: value for name, value in environment.items() if name != owner.ADDRESS}
        environment.update(self.kernel_spec.env)
        connection = dict(self.connection_info) if self._launched else None  # a restart: clients stay connected
        if connection is not None:
            connection = {n: v.decode() if isinstance(v, bytes) else v for n, v in connection.items()}
        with contextlib.suppress(WarmUnavailable):
            return owner.fork_kernel(address, environment, str(folder or Path.cwd()), connection)
        return None


def _address() -> str | None:
    """A zygote's socket: the one named in the environment, else this process's own once it is worth it."""
    global _started, _own
    named = os.environ.get(owner.ADDRESS)
    if named:
        return named
    _started += 1
    if _started < _OWN_AFTER:
        return None
    if _own is None:
        _own = Warm(kernels=1)
        atexit.register(_own.close)
        return None  # it is still importing: this kernel is an ordinary one
    _own.ensure()
    return _own.address
