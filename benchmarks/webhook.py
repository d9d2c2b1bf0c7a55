"""How fast the webhook answers while the workers are busy: `python -m benchmarks.webhook`."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_NAMES = ("MaxDrawdownExceeded", "AgentDown", "HighMemoryUsage", "HighErrorRate", "DiskSpaceWarning", "Unheard")


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured: answers, their median and 95th percentile in milliseconds, runs under way meanwhile."""

    answers: int
    median_ms: float
    p95_ms: float
    per_second: float
    busy: float


def measure(folder: Path, messages: int = 400, senders: int = 2, concurrency: int = 2) -> Latency:
    """Send `messages` distinct alerts to a fresh `runbook serve` with its worker, on the embedded database."""
    with _serving(folder, concurrency) as port:
        for number in range(8):  # something to do for the workers, before the clock runs
            _post(http.client.HTTPConnection("127.0.0.1", port), number, "first")
        _until_busy(port)
        took: list[float] = []
        begun = time.perf_counter()
        threads = [
            threading.Thread(target=_send, args=(port, range(start, messages, senders), took))
            for start in range(senders)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        span = time.perf_counter() - begun
        busy = _figure(port, 'runbook_queue_runs{severity="critical",state="running"}')
    took.sort()
    p95 = took[int(len(took) * 0.95)]
    return Latency(len(took), statistics.median(took) * 1e3, p95 * 1e3, len(took) / span, busy)


@contextmanager
def _serving(folder: Path, concurrency: int) -> Iterator[int]:
    own = {
        "RUNBOOK_STATE": str(folder / "state"),
        "RUNBOOK_ARTIFACTS": str(folder / "reports"),
        "RUNBOOK_STORM_RUNS": "50",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNBOOK_", "SLACK_", "SMTP_"))}
    command = [sys.executable, "-m", "runbook", "serve", "--port", "0", "--concurrency", str(concurrency)]
    with (folder / "serve.log").open("wb") as log:
        child = subprocess.Popen(command, env=kept | own, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert child.stdout
        yield int(child.stdout.readline().strip().rstrip("/").rpartition(":")[2])
    finally:
        child.terminate()
        child.wait()


def _send(port: int, numbers: range, took: list[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in numbers:
        begun = time.perf_counter()
        _post(connection, number, "measured")
        took.append(time.perf_counter() - begun)
    connection.close()


def _post(connection: http.client.HTTPConnection, number: int, series: str) -> None:
    labels = {"alertname": _NAMES[number % len(_NAMES)], "severity": "critical", "pod": f"pod-{number}"}
    alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": "2026-01-15T14:02:00Z"}
    message = {"version": "4", "groupKey": f"{series}-{number}", "status": "firing", "alerts": [alert]}
    alert["fingerprint"] = f"{series}-{number}"
    connection.request("POST", "/webhook/alertmanager", json.dumps(message))
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 202:
        raise RuntimeError(f"the webhook answered {answer.status}: {body!r}")


def _until_busy(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if _figure(port, 'runbook_queue_runs{severity="critical",state="running"}'):
            return
        time.sleep(0.1)
    raise RuntimeError("no run began in a minute")


def _figure(port: int, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)), 0.0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(measure(Path(made)))
