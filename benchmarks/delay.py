"""(e) 200 ms more on every source call: proxies in front of database, metrics, cluster and Alertmanager."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from benchmarks.cases import Case, case, environment, procedures
from benchmarks.measure import Section, median, seconds, spread, tell
from runbook.kernels import Warm

DELAY = 0.2
_READY_FOR_QUERY = b"Z\x00\x00\x00\x05"


@dataclass(slots=True)
class Proxy:
    """A TCP proxy that passes on what the client says DELAY later; of PostgreSQL only what follows the login."""

    host: str
    port: int
    is_postgres: bool
    said: int = 0
    """How many times a client spoke and was held up."""

    async def serve(self) -> int:
        """Listen on a free port of this machine -> that port."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled at the end of a measurement
            upstream_reader, upstream_writer = await asyncio.open_connection(self.host, self.port)
            logged_in = asyncio.Event()
            if not self.is_postgres:
                logged_in.set()
            await asyncio.gather(
                self._delayed(reader, upstream_writer, logged_in), self._through(upstream_reader, writer, logged_in)
            )

    async def _delayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on: asyncio.Event) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def pass_on() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    break
                writer.write(data)
            writer.close()

        passing = asyncio.create_task(pass_on())
        data = b"begin"
        while data:
            data = await reader.read(65_536)
            held = DELAY if on.is_set() and data else 0.0
            self.said += bool(held)
            waiting.put_nowait((time.monotonic() + held, data))
        await passing

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on: asyncio.Event) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            if _READY_FOR_QUERY in data:
                on.set()
        writer.close()


@contextlib.contextmanager
def delayed(values: dict[str, str], folder: Path) -> Iterator[tuple[dict[str, str], list[Proxy]]]:
    """The environment `values` with every source behind a proxy of its own, and the proxies."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    proxies: list[Proxy] = []

    def through(address: str) -> str:
        parts = urlsplit(address)
        proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 80, parts.scheme.startswith("postgres"))
        proxies.append(proxy)
        port = asyncio.run_coroutine_threadsafe(proxy.serve(), loop).result(10)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"))

    try:
        yield _behind(values, folder, through), proxies
    finally:
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _behind(values: dict[str, str], folder: Path, through: Callable[[str], str]) -> dict[str, str]:
    changed = dict(values)
    for name in ("DATABASE_URL", "PROMETHEUS_URL", "ALERTMANAGER_URL"):
        if "://" in changed.get(name, ""):
            changed[name] = through(changed[name])
    if "KUBECONFIG" in changed:
        told = json.loads(Path(changed["KUBECONFIG"]).read_text(encoding="utf-8"))
        for cluster in told["clusters"]:
            cluster["cluster"]["server"] = through(cluster["cluster"]["server"])
        file = folder / "kubeconfig-delayed"
        file.write_text(json.dumps(told), encoding="utf-8")
        changed["KUBECONFIG"] = str(file)
    return changed


def measure(folder: Path, warm: Warm, quick: bool) -> Section:
    """Every procedure with and without the delay."""
    section = Section(
        "e", "200 ms more on every source call", "", ("procedure", "calls held up", "as it is", "delayed", "added")
    )
    added = []
    for procedure in procedures():
        with case(procedure, folder) as (one, platform):
            plain, slow, calls = _both(one, platform.environment, warm, rounds=2 if quick else 3)
        added.append(median(slow) - median(plain))
        section.rows.append((procedure, str(calls), spread(plain), spread(slow), f"**{added[-1] * 1000:.0f} ms**"))
        tell(f"{procedure}: {calls} calls, {median(plain):.2f} s -> {median(slow):.2f} s")
    reached = sum(one <= 3 * DELAY for one in added)
    section.says = (
        "Every message from a notebook to a source is passed on 200 ms later, by a proxy outside the product (HTTP "
        "requests; of PostgreSQL what follows the login). Wanted: at most 3 × 200 ms more. "
        f"Most: {max(added) * 1000:.0f} ms; {reached} of {len(added)} procedures reach it."
    )
    return section


def _both(one: Case, values: dict[str, str], warm: Warm, rounds: int) -> tuple[list[float], list[float], int]:
    plain, slow = [], []
    one.warm(warm)
    with delayed(values, one.folder) as (changed, proxies):
        for _ in range(rounds):
            time.sleep(0.5)
            plain.append(seconds(lambda: one.warm(warm)))
            with environment(changed):
                slow.append(seconds(lambda: one.warm(warm)))
        return plain, slow, round(sum(proxy.said for proxy in proxies) / rounds)
