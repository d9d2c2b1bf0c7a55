"""The web process: the application on uvicorn, messages and watching beside it, a worker process below it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import uvicorn

from runbook.errors import ConfigurationError
from runbook.service import app as application
from runbook.service.auth import Gate
from runbook.service.connections import Connection
from runbook.service.context import Context
from runbook.service.worker import Background

_log = logging.getLogger(__name__)
_RESTART_SECONDS = 2.0


def serve(
    context: Context,
    gate: Gate,
    host: str,
    port: int,
    concurrency: int,
    tell: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT. `concurrency` 0: no worker here. `tell` gets the address once it is open.

    Raises ConfigurationError when the address cannot be had.
    """
    background = Background(context, does_runs=False)

    @contextlib.asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        tasks = [asyncio.create_task(background.serve())]
        if concurrency:
            tasks.append(asyncio.create_task(_keep_worker(concurrency, context.settings.runbook_stop_seconds)))
        try:
            yield
        finally:
            background.stop()
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    tell(f"http://{shown}:{listener.getsockname()[1]}/")
    config = uvicorn.Config(
        application.build(context, gate, beside),
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=30,
        forwarded_allow_ips="",
        proxy_headers=False,
        lifespan="on",
    )
    uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol named: asyncio only then turns Nagle's algorithm off, which would cost each answer 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"{host} port {port} cannot be used: {error.strerror}. Name another with --port."
        ) from None
    listener.listen(2_048)
    return listener


async def _keep_worker(concurrency: int, stop_seconds: float) -> None:
    """A worker process for as long as this one lives; a new one when it ends by itself."""
    while True:
        child = _start_worker(concurrency)
        try:
            await asyncio.to_thread(child.wait)
            _log.error("the worker process ended (%s); starting another", child.returncode)
            await asyncio.sleep(_RESTART_SECONDS)
        finally:
            await asyncio.to_thread(_end, child, stop_seconds + 15)


def _start_worker(concurrency: int) -> subprocess.Popen[bytes]:
    """Its standard input is a pipe from us: when we are gone, however, it ends, and the worker stops in order."""
    command = [sys.executable, "-m", "runbook", "worker", "--concurrency", str(concurrency), "--with-parent"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(os.environ), start_new_session=True)


def _end(child: subprocess.Popen[bytes], patience: float) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if child.poll() is None:
            child.kill()
    if child.stdin:
        child.stdin.close()
    child.wait()
