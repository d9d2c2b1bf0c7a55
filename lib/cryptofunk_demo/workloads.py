"""The platform's deployments as Kubernetes runs them."""

from __future__ import annotations

from dataclasses import dataclass

from cryptofunk_demo.agents import AGENTS
from cryptofunk_demo.moment import identity

MEBI = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Workload:
    """A deployment with one pod: requests and limits in millicores and MiB, and what it usually uses."""

    name: str
    component: str
    port: int
    cpu_request: int = 100
    cpu_limit: int = 500
    memory_request: int = 256
    memory_limit: int = 512
    cpu_used: int = 60
    memory_used: int = 170
    image: str = ""
    service: str = ""

    @property
    def pod(self) -> str:
        """The pod's name as a replica set makes it: deployment, template hash, five characters."""
        code = identity("pod", self.name).hex
        return f"{self.name}-{self.replica_set_hash}-{code[:5]}"

    @property
    def replica_set_hash(self) -> str:
        return identity("replicaset", self.name).hex[:9]

    @property
    def image_name(self) -> str:
        return self.image or f"cryptofunk/{self.name}:1.8.3"


def _mcp(name: str, port: int, memory: int) -> Workload:
    return Workload(name, "mcp-server", port, memory_used=memory, service=name)


def _agent(name: str, port: int) -> Workload:
    return Workload(name, "trading-agent", port, memory_used=150 + port % 7 * 9, cpu_used=40 + port % 5 * 12)


WORKLOADS = (
    Workload("postgres", "database", 5432, 500, 2000, 1024, 4096, 420, 1890,
             "timescale/timescaledb:2.14.2-pg17", "postgres-service"),
    Workload("redis", "cache", 6379, 50, 250, 64, 256, 12, 61, "redis:7.2-alpine", "redis-service"),
    Workload("nats", "messaging", 4222, 50, 250, 64, 256, 18, 48, "nats:2.10-alpine", "nats-service"),
    Workload("bifrost", "llm-gateway", 8080, 200, 1000, 512, 2048, 160, 640,
             "maximhq/bifrost:1.2.9", "bifrost-service"),
    Workload("orchestrator", "mcp-coordinator", 8081, 200, 1000, 512, 2048, 180, 520, service="orchestrator-service"),
    Workload("api", "api-server", 8080, 100, 500, 256, 512, 70, 190, service="api-service"),
    _mcp("market-data-server", 9201, 210),
    _mcp("technical-indicators-server", 9202, 240),
    _mcp("risk-analyzer-server", 9203, 190),
    _mcp("order-executor-server", 9204, 180),
    *(_agent(agent.workload, agent.port) for agent in AGENTS),
    _agent("arbitrage-agent", 9107),
    Workload("prometheus", "monitoring", 9090, 200, 1000, 512, 2048, 140, 880,
             "prom/prometheus:v2.53.1", "prometheus-service"),
    Workload("alertmanager", "monitoring", 9093, 50, 200, 64, 256, 8, 44,
             "prom/alertmanager:v0.27.0", "alertmanager-service"),
    Workload("grafana", "monitoring", 3000, 100, 500, 128, 512, 20, 150, "grafana/grafana:11.1.0", "grafana-service"),
)  # fmt: skip
BY_NAME = {workload.name: workload for workload in WORKLOADS}
