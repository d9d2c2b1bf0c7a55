"""(c) a storm: distinct alerts through the webhook to the last page, against naive runs two at a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import queueing
from benchmarks.cases import ROOT, case
from benchmarks.measure import Section, seconds, tell
from runbook import embedded

PROCEDURE = "MaxDrawdownExceeded"
ALERTS = 100
AT_ONCE = 2
_TOKEN = "of-the-benchmark"
_PATIENCE = 1200.0


def measure(folder: Path, quick: bool) -> Section:
    """Alerts through the webhook to the last page, and a part of the naive runs scaled to as many."""
    alerts, naive_runs = (20, 4) if quick else (ALERTS, 10)
    with case(PROCEDURE, folder) as (one, platform):
        with _service(folder) as (url, database):
            _post(url, platform.payload, 0)
            _wait(database, 1)  # the zygote is warm: a storm finds a worker that was there before it
            begun = time.monotonic()
            for number in range(1, alerts + 1):
                _post(url, platform.payload, number)
            accepted = time.monotonic() - begun
            states = _wait(database, alerts + 1)
            ours = time.monotonic() - begun
            service_seconds = _service_seconds(database)
        tell(f"storm: {alerts} alerts in {ours:.1f} s, {states}")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            part = seconds(lambda: list(pool.map(one.naive, range(naive_runs))))
    naive = part / naive_runs * alerts
    expected = queueing.drain_seconds(alerts, AT_ONCE, service_seconds)
    tell(f"naive: {naive_runs} in {part:.1f} s")
    section = Section(
        "c",
        "A storm through the webhook",
        f"{alerts} distinct alerts, posted one after the other to `runbook serve` with {AT_ONCE} reports at once, "
        f"until the last page is written; against papermill and nbconvert {AT_ONCE} at a time. "
        f"Wanted: at least 5×. Found: {naive / ours:.1f}×.",
        ("", "seconds", "a page every"),
        [
            ("papermill + nbconvert, two at a time", f"{naive:.0f}", f"{naive / alerts:.2f} s"),
            ("webhook to last page", f"**{ours:.1f}**", f"{ours / alerts:.2f} s"),
            ("webhook: all accepted", f"{accepted:.1f}", ""),
            ("the simulation of docs/scaling.md expects", f"{expected:.1f}", ""),
        ],
    )
    section.notes.append(f"The naive figure is of {naive_runs} runs, scaled to {alerts}.")
    section.notes.append(f"How the runs ended: {', '.join(f'{n} {state}' for state, n in sorted(states.items()))}.")
    return section


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[tuple[str, str]]:
    """`runbook serve` with a worker, and the address of its database."""
    with embedded.start(folder / "queue") as server:
        database = embedded.create_database(server, "storm")
        environment = {
            **os.environ,
            "RUNBOOK_DATABASE_URL": database,
            "RUNBOOK_ARTIFACTS": str(folder / "reports"),
            "RUNBOOK_STATE": str(folder / "state"),
            "RUNBOOK_WEBHOOK_TOKEN": _TOKEN,
            "RUNBOOK_STORM_RUNS": "100000",  # every alert its own page: folding a storm into one is what it does else
        }
        command = [sys.executable, "-m", "runbook", "serve", "--port", "0", "--concurrency", str(AT_ONCE)]
        with (folder / "serve.log").open("w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environment, cwd=ROOT, text=True
            )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if "http" not in line:
                raise RuntimeError(f"the service does not start: {(folder / 'serve.log').read_text()[-500:]}")
            yield line.split()[-1].rstrip("/"), database
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def _post(url: str, payload: dict[str, Any], number: int) -> None:
    """One more alert of its own: another instance, another group, another fingerprint."""
    told = json.loads(json.dumps(payload))
    told["groupKey"] = f"{{}}:{{instance={number}}}"
    alert = told["alerts"][0]
    alert["labels"]["instance"] = f"host-{number}"
    alert["fingerprint"] = f"{number:016x}"
    told["alerts"] = [alert]
    request = urllib.request.Request(
        f"{url}/webhook/alertmanager",
        data=json.dumps(told).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {_TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        if answer.status != 202:
            raise RuntimeError(f"the webhook answered {answer.status}")


def _wait(database: str, wanted: int) -> dict[str, int]:
    """Return when `wanted` runs have ended -> how many in which state."""
    until = time.monotonic() + _PATIENCE
    with psycopg.connect(database, autocommit=True) as connection:
        while time.monotonic() < until:
            rows = connection.execute("SELECT state, count(*) FROM runbook.runs GROUP BY state").fetchall()
            states = {str(state): int(number) for state, number in rows}
            if sum(n for state, n in states.items() if state not in ("queued", "running")) >= wanted:
                return states
            time.sleep(0.1)
    raise TimeoutError(f"the storm does not end: {states}")


def _service_seconds(database: str) -> list[float]:
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT seconds FROM runbook.runs WHERE seconds IS NOT NULL ORDER BY id").fetchall()
    return [float(seconds) for (seconds,) in rows][1:]
