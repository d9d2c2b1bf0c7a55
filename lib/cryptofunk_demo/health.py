"""What the platform's ports answer through the API server's proxy: health, liveness, readiness, metrics."""

from __future__ import annotations

import json

from cryptofunk_demo import heap
from cryptofunk_demo.simulation import Simulation
from cryptofunk_demo.state import Answer, Proxy
from cryptofunk_demo.workloads import WORKLOADS, Workload

_PATHS = {
    "orchestrator": ("/health", "/liveness", "/readiness"),
    "api": ("/api/v1/health",),
    "nats": ("/healthz",),
    "bifrost": ("/health",),
}


def proxies(simulation: Simulation) -> dict[tuple[str, str, str], Proxy]:
    """(workload, port, path) -> what answers there. A workload whose pod is not ready answers nothing."""
    down = {state.workload for state in simulation.incident.pods if not state.ready}
    found: dict[tuple[str, str, str], Proxy] = {}
    for workload in WORKLOADS:
        if workload.name in down:
            continue
        port = "8222" if workload.name == "nats" else str(workload.port)
        serves = workload.component in ("mcp-server", "trading-agent")
        for path in _PATHS.get(workload.name, ("/health",) if serves else ()):
            found[workload.name, port, path] = _health(workload, simulation)
        if serves or workload.name in ("orchestrator", "api"):
            found[workload.name, port, "/metrics"] = _metrics(workload)
            found[workload.name, "6060", "/debug/pprof/heap"] = heap.proxy(workload, simulation.incident)
    return found


def _health(workload: Workload, simulation: Simulation) -> Proxy:
    def answer(path: str, query: dict[str, str]) -> Answer:
        body: dict[str, object] = {"status": "healthy", "service": workload.name}
        if workload.name == "orchestrator":
            body["paused"] = simulation.is_halted
        return 200, "application/json", json.dumps(body).encode()

    return answer


def _metrics(workload: Workload) -> Proxy:
    def answer(path: str, query: dict[str, str]) -> Answer:
        text = f"process_resident_memory_bytes {workload.memory_used * 1024 * 1024}\ngo_goroutines 41\n"
        return 200, "text/plain; version=0.0.4", text.encode()

    return answer
