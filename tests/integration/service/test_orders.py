"""Database, web process and worker start and stop in every order: each comes up by itself when the others are there."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from service_kit import Process, alert, message, query, wait_for
from service_postgres import Early, Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Each order of starting goes with another order of stopping.
STARTS = list(itertools.permutations(("serve", "worker", "database")))
ORDERS = list(zip(STARTS, STARTS[3:] + STARTS[:3], strict=True))
THIRDS = [ORDERS[:2], ORDERS[2:4], ORDERS[4:]]


class Service:
    """The three parts, and what is seen from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kit.project(folder / "project")
        self.database = Postgres(folder / "postgres")
        self.parts = {
            "database": self.database,
            "serve": Early(folder, self.database.url, "serve", "--no-worker", RUNBOOK_DEAD_MAN_SECONDS="600"),
            "worker": Process(folder, self.database.url, "worker", "--concurrency", "1"),
        }
        self.up: set[str] = set()
        self.sent = 0
        self.accepted: list[str] = []

    @property
    def web(self) -> Process:
        part = self.parts["serve"]
        assert isinstance(part, Process)
        return part

    def start(self, name: str) -> None:
        self.parts[name].start()
        self.up.add(name)
        self.look()
        if "serve" in self.up and name != "worker":
            self.ask()

    def stop(self, name: str) -> None:
        # uvicorn ends in order, then dies of the signal it was sent, as a shell expects.
        assert self.parts[name].stop() in {"database": (None,), "serve": (-15,), "worker": (0,)}[name]
        self.up.remove(name)
        self.look()
        if "serve" in self.up and name != "worker":
            self.ask()

    def look(self) -> None:
        """What is there says the truth about itself, and nothing has given up."""
        for name in self.up - {"database"}:
            part = self.parts[name]
            assert isinstance(part, Process)
            assert part.child
            assert part.child.poll() is None, part.said()

    def ask(self) -> None:
        """Whether the web process says it is ready only where alerts are taken. Both at once: each waits a while."""
        is_there = "database" in self.up
        with ThreadPoolExecutor(1) as pool:
            ready = pool.submit(wait_for, lambda: self.web.get("/readyz")[0] == (200 if is_there else 503))
            if not is_there:
                self.send(503)
            ready.result()
        if is_there:
            self.send(202)
        assert self.web.get("/healthz")[0] == 200

    def send(self, wanted: int) -> None:
        self.sent += 1
        name = f"f{self.sent}"
        status, answer = self.web.post(message(alert(fingerprint=name, severity="warning"), key=name))
        assert status == wanted, answer
        if status == 202:
            self.accepted.append(name)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    for name in ("serve", "worker", "database"):
        made.parts[name].stop()


@pytest.mark.parametrize("orders", THIRDS, ids=["serve first", "worker first", "database first"])
def test_any_order_comes_up_and_loses_nothing(service: Service, orders: list[Any]) -> None:
    """All six orders of starting and of stopping, two on each database: processes take their time to miss it."""
    for starts, stops in orders:
        for name in starts:
            service.start(name)
        with kit.context(service.database.url, service.folder) as made:
            wait_for(lambda: not query(made, "SELECT 1 FROM runbook.runs WHERE state IN ('queued', 'running')"))
            reported = query(
                made,
                "SELECT a.fingerprint FROM runbook.alerts a JOIN runbook.run_alerts c USING (fingerprint, starts_at)"
                " JOIN runbook.runs r ON r.id = c.run AND r.state = 'complete'",
            )
        assert sorted(item["fingerprint"] for item in reported) == sorted(service.accepted)
        for name in stops:
            service.stop(name)
    print(
        f"\norders: {len(orders)}; {service.sent} alerts, {len(service.accepted)} accepted, all reported once",
        file=sys.stderr,
    )
    assert len(service.accepted) >= 2
    logs = "".join(path.read_text() for path in service.folder.glob("*.log"))
    assert "the queue's database" in logs
    assert service.database.password not in logs
