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
    Workload(
        "postgres",
        "database",
        5432,
        cpu_request=500,
        cpu_limit=2000,
        memory_request=1024,
        memory_limit=4096,
        cpu_used=420,
        memory_used=1890,
        image="timescale/timescaledb:2.14.2-pg17",
        service="postgres-service",
    ),
    Workload(
        "redis",
        "cache",
        6379,
        cpu_request=50,
        cpu_limit=250,
        memory_request=64,
        memory_limit=256,
        cpu_used=12,
        memory_used=61,
        image="redis:7.2-alpine",
        service="redis-service",
    ),
    Workload(
        "nats",
        "messaging",
        4222,
        cpu_request=50,
        cpu_limit=250,
        memory_request=64,
        memory_limit=256,
        cpu_used=18,
        memory_used=48,
        image="nats:2.10-alpine",
        service="nats-service",
    ),
    Workload(
        "bifrost",
        "llm-gateway",
        8080,
        cpu_request=200,
        cpu_limit=1000,
        memory_request=512,
        memory_limit=2048,
        cpu_used=160,
        memory_used=640,
        image="maximhq/bifrost:1.2.9",
        service="bifrost-service",
    ),
    Workload(
        "orchestrator",
        "mcp-coordinator",
        8081,
        cpu_request=200,
        cpu_limit=1000,
        memory_request=512,
        memory_limit=2048,
        cpu_used=180,
        memory_used=520,
        service="orchestrator-service",
    ),
    Workload(
        "api",
        "api-server",
        8080,
        cpu_request=100,
        cpu_limit=500,
        memory_request=256,
        memory_limit=512,
        cpu_used=70,
        memory_used=190,
        service="api-service",
    ),
    _mcp("market-data-server", 9201, 210),
    _mcp("technical-indicators-server", 9202, 240),
    _mcp("risk-analyzer-server", 9203, 190),
    _mcp("order-executor-server", 9204, 180),
    *(_agent(agent.workload, agent.port) for agent in AGENTS),
    _agent("arbitrage-agent", 9107),
    Workload(
        "prometheus",
        "monitoring",
        9090,
        cpu_request=200,
        cpu_limit=1000,
        memory_request=512,
        memory_limit=2048,
        cpu_used=140,
        memory_used=880,
        image="prom/prometheus:v2.53.1",
        service="prometheus-service",
    ),
    Workload(
        "alertmanager",
        "monitoring",
        9093,
        cpu_request=50,
        cpu_limit=200,
        memory_request=64,
        memory_limit=256,
        cpu_used=8,
        memory_used=44,
        image="prom/alertmanager:v0.27.0",
        service="alertmanager-service",
    ),
    Workload(
        "grafana",
        "monitoring",
        3000,
        cpu_request=100,
        cpu_limit=500,
        memory_request=128,
        memory_limit=512,
        cpu_used=20,
        memory_used=150,
        image="grafana/grafana:11.1.0",
        service="grafana-service",
    ),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
