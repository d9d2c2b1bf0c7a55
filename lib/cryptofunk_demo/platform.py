"""The simulated platform, running: database, metrics, cluster and alerts of one incident.

    with Platform.start("flash-crash") as platform:
        os.environ.update(platform.environment)

All servers listen on loopback and stop with their owner. The first start of an incident simulates
and loads it; later ones copy what was kept under `folder`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from cryptofunk_demo import alertmanager as alerting
from cryptofunk_demo import alerts, database, health, incidents, logs, metrics, objects, prometheus
from cryptofunk_demo.cluster import Cluster
from cryptofunk_demo.moment import AS_OF, MOMENT, SEED
from cryptofunk_demo.processes import Serving
from cryptofunk_demo.series import Series
from cryptofunk_demo.simulation import Simulation, simulate
from cryptofunk_demo.state import State
from cryptofunk_demo.workloads import WORKLOADS
from runbook import embedded, settings

NAMESPACE = "cryptofunk"


class Platform:
    """A running simulated platform. `environment` is all that a notebook or the runner needs to know of it."""

    def __init__(self, incident: str, schema: str, seed: int, folder: Path) -> None:
        self.incident = incidents.named(incident)
        self.schema = schema
        self.seed = seed
        self.folder = folder
        self.environment: dict[str, str] = {
            "KUBE_NAMESPACE": NAMESPACE,
            "RUNBOOK_AS_OF": _iso(AS_OF),
            "RUNBOOK_STARTS_AT": _iso(MOMENT),
        }
        self._closing = ExitStack()
        self._prometheus: Serving | None = None
        self._cluster: Cluster | None = None

    @classmethod
    def start(
        cls,
        incident: str = incidents.DEFAULT,
        schema: str = "platform",
        folder: Path | None = None,
        *,
        metrics: bool = True,
        cluster: bool = True,
        alertmanager: bool = True,
        seed: int = SEED,
    ) -> Platform:
        """The platform of `incident`, started. Raises DemoError or EmbeddedError when a part cannot start."""
        platform = cls(incident, schema, seed, folder or default_folder())
        try:
            platform._remove_orphans()
            platform._start_database()
            if metrics:
                platform._start_metrics()
            if cluster:
                platform._start_cluster()
            if alertmanager:
                platform._start_alertmanager()
        except BaseException:
            platform.stop()
            raise
        return platform

    @cached_property
    def simulation(self) -> Simulation:
        """All that was simulated, in memory."""
        return simulate(self.incident, self.seed)

    @property
    def alert(self) -> dict[str, Any]:
        """The incident's alert in Alertmanager's shape."""
        return alerts.alert(self.simulation)

    @property
    def payload(self) -> dict[str, Any]:
        """The webhook message of version 4 about the incident's alert."""
        return alerts.payload(self.simulation)

    @property
    def admin_url(self) -> str:
        """The database as its owner, for tests that change the data. It holds a password: never show it."""
        return self._server.url(self._database)

    def stop(self) -> None:
        """Stop all that this platform started; calling it again does nothing."""
        self._closing.close()

    def _start_database(self) -> None:
        self._server = embedded.start(self.folder / "postgres")
        self._closing.callback(self._server.stop)
        self._database = database.create(
            self._server, self.schema, self.incident.name, self.seed, lambda: self.simulation
        )
        self._closing.callback(database.drop, self._server, self._database)
        self.environment["DATABASE_URL"] = database.reader_url(self._server, self._database)

    def replace_metrics(self, change: Callable[[Iterator[Series]], Iterator[Series]]) -> None:
        """Serve the series that `change` makes of the incident's from a new Prometheus; tests make worlds with it.

        Nothing happens where the platform has no Prometheus of its own.
        """
        if self._prometheus is None:
            return
        place = self._place("metrics")
        made = prometheus.make_blocks(place, change(metrics.every(self.simulation)))
        self._prometheus.stop()
        self._serve_metrics(made)

    @property
    def cluster_state(self) -> State | None:
        """What the Kubernetes double serves; tests change it under its lock. None without the double."""
        return self._cluster.state if self._cluster else None

    def _start_metrics(self) -> None:
        """A real Prometheus; else the recorded evidence of this incident; else metrics are not configured."""
        if prometheus.is_installed():
            self._serve_metrics(
                prometheus.blocks(self.folder / "metrics", self.incident.name, self.seed, lambda: self.simulation)
            )
        elif folder := prometheus.recorded(self.incident.name):
            self.environment["PROMETHEUS_URL"] = f"recorded:{folder}"

    def _serve_metrics(self, blocks: Path) -> None:
        self._prometheus = prometheus.start(self._place("prometheus"), blocks)
        self._closing.callback(self._prometheus.stop)
        self.environment["PROMETHEUS_URL"] = self._prometheus.url

    def _start_cluster(self) -> None:
        simulation, states = self.simulation, {s.workload: s for s in self.incident.pods if s.terminated}
        previous = {
            workload.name: logs.previous(states[workload.name], simulation, workload, number)
            for number, workload in enumerate(WORKLOADS)
            if workload.name in states
        }
        state = State(objects.every(self.incident), logs.every(simulation), previous, health.proxies(simulation))
        self._cluster = Cluster(state)
        self._closing.callback(self._cluster.stop)
        self.environment["KUBECONFIG"] = str(self._cluster.write_kubeconfig(self._place("cluster") / "kubeconfig"))

    def _start_alertmanager(self) -> None:
        """A real Alertmanager; else the recorded evidence of this incident; else it is not configured."""
        if command := alerting.program():
            serving = alerting.start(self._place("alertmanager"), command, self.simulation)
            self._closing.callback(serving.stop)
            self.environment["ALERTMANAGER_URL"] = serving.url
        elif folder := prometheus.recorded(self.incident.name):
            self.environment["ALERTMANAGER_URL"] = f"recorded:{folder}"

    def _remove_orphans(self) -> None:
        """Remove the working folders of platforms whose process was killed."""
        for place in self.folder.glob("run-*"):
            owner = place.name.split("-")[1]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(place, ignore_errors=True)

    def _place(self, name: str) -> Path:
        """A new working folder of this platform, removed when it stops."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=self.folder, prefix=f"run-{os.getpid()}-{name}-"))
        self._closing.callback(shutil.rmtree, place, ignore_errors=True)
        return place

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def default_folder() -> Path:
    """Where demo platforms keep their servers: RUNBOOK_STATE/demo, else .demo in the working directory."""
    state = settings.load().runbook_state
    return (Path(state) if state else Path(".demo")).expanduser().resolve() / ("demo" if state else "")


def _iso(moment: Any) -> str:
    return str(moment.isoformat()).replace("+00:00", "Z")
