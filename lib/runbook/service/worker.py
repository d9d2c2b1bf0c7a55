"""The worker process: the queue's workers, the sweep, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from runbook import kernels
from runbook.errors import StorageError
from runbook.history.runs import sign_of_life
from runbook.queue import Worker
from runbook.service.context import Context
from runbook.service.runs import Runs
from runbook.service.tasks import Sweep, work

_log = logging.getLogger(__name__)
_SWEEP_SECONDS = 3.0


@dataclass(slots=True)
class Background:
    """The queue's workers of this process with their sweep. Without runs it only sends and watches."""

    context: Context
    concurrency: int = 2
    does_runs: bool = True
    runs: Runs = field(init=False)
    worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        settings = self.context.settings
        name = f"{socket.gethostname()}:{os.getpid()}"
        self.runs = Runs(self.context, name)
        self.worker = Worker(
            url=self.context.url,
            work=work(self.context, self.runs),
            concurrency=self.concurrency,
            heartbeat_seconds=settings.runbook_heartbeat_seconds,
            stalled_seconds=settings.runbook_stalled_seconds,
            stop_seconds=settings.runbook_stop_seconds,
            name=name,
            does_runs=self.does_runs,
        )

    async def serve(self) -> None:
        """Work until `stop`."""
        loop = asyncio.get_running_loop()
        # Procrastinate runs tasks on the loop's own threads: enough of them that messages never wait for runs.
        loop.set_default_executor(ThreadPoolExecutor(self.concurrency + 12, thread_name_prefix="runbook"))
        await self._has_schema()
        sweeping = asyncio.create_task(self._sweep())
        try:
            await self.worker.serve()
        finally:
            sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeping
            if self.does_runs:
                with contextlib.suppress(StorageError):
                    self.context.database.commit(lambda c: sign_of_life(c, self.worker.name, 0))

    async def _has_schema(self) -> None:
        """Return when the schema is up to date, which is when the database has come, or when we are to stop."""
        while not self.worker.stopping.is_set():
            try:
                await asyncio.to_thread(self.context.migrate)
                return
            except StorageError as error:
                _log.warning("waiting for the queue's database: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.worker.stopping.wait(), 1.0)

    def stop(self) -> None:
        """Take nothing new; what runs gets its time, then it is given back to the queue. Call it in the loop."""
        if self.worker.stopping.is_set():
            self.runs.stop()
            return
        self.worker.stopping.set()
        asyncio.get_running_loop().call_later(self.context.settings.runbook_stop_seconds, self.runs.stop)

    async def _sweep(self) -> None:
        sweep = Sweep(self.context, self.worker.name if self.does_runs else "", self.concurrency)
        while True:
            await asyncio.to_thread(sweep.once)
            await asyncio.sleep(_SWEEP_SECONDS)


def run_worker(context: Context, concurrency: int, with_parent: bool = False) -> None:
    """Work until SIGTERM or SIGINT (a second one ends running reports at once).

    `with_parent`: also end, in order, when standard input ends, which it does when the starter is gone.
    """
    background = Background(context, concurrency)
    with contextlib.ExitStack() as stack:
        if kernels.available():
            background.runs.warm = stack.enter_context(kernels.Warm(concurrency))
        asyncio.run(_work(background, concurrency, with_parent))


async def _work(background: Background, concurrency: int, with_parent: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, background.stop)
    if with_parent:
        threading.Thread(target=_until_end_of_input, args=(loop, background), daemon=True).start()
    _log.info("worker %s takes up to %s reports at once", background.worker.name, concurrency)
    await background.serve()
    _log.info("worker %s has stopped", background.worker.name)


def _until_end_of_input(loop: asyncio.AbstractEventLoop, background: Background) -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread that waits in its lock breaks the interpreter's end
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(background.stop)
