"""Why agents are down: the four common causes of the written runbook, each tested, and what repairs them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.errors import SourceError
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Action, Status
from runbook.sources.cluster import Cluster
from runbook.sources.metrics import Metrics, quote, quote_pattern, selector
from runbook.sources.overlap import at_once
from runbook.steps.shared.fleet import MCP_SERVERS, workload_of
from runbook.steps.shared.quotas import Limits, raise_limit
from runbook.steps.shared.values import number
from runbook.steps.shared.verdicts import figures_of, kubectl
from runbook.words import amount, names

_ERRORS_PER_MINUTE = 1.0
_POOL = 10
UNNAMED = "an MCP server"
"""The culprit where tool calls fail and it is not known on which server."""


def mcp_servers(cluster: Cluster) -> Finding:
    """MCP servers: what each answers at /health, through the API server's proxy."""

    def ask(item: tuple[str, int]) -> dict[str, Any]:
        server, port = item
        try:
            answer = cluster.health(server, port, "/health").data
            code, body = int(answer["code"]), said(str(answer["body"]))
            return {
                "server": server,
                "port": str(port),
                "state": "well" if code < 300 else "down",
                "answer": f"{code} {body}",
            }
        except SourceError as error:
            return {"server": server, "port": str(port), "state": "unknown", "answer": str(error), "error": error}

    # Side by side: four servers that hang must not take four time limits.
    rows = at_once(*(partial(ask, item) for item in MCP_SERVERS.items()))
    unknown = [row for row in rows if row["state"] == "unknown"]
    if len(unknown) == len(rows):
        raise unknown[0]["error"]
    down = [row["server"] for row in rows if row["state"] == "down"]
    table = pd.DataFrame(rows)[["server", "port", "state", "answer"]]
    return Finding(
        "agents.mcp_servers",
        Status.CRITICAL if down else Status.UNKNOWN if unknown else Status.OK,
        f"{len(down)} of {len(rows)} MCP servers {'does' if len(down) == 1 else 'do'} not answer: {names(down)}" if down
        else f"Not known of {names([row['server'] for row in unknown])}; the others answer" if unknown else f"All {len(rows)} MCP servers answer /health",
        "; ".join(f"{row['server']}: {row['answer'][:120]}" for row in rows if row["state"] != "well"),
        {"down": ", ".join(down), "unknown": ", ".join(row["server"] for row in unknown)},
        (Table("MCP servers", table),),
    )  # fmt: skip


def llm(metrics: Metrics, window: Window) -> Finding:
    """LLM: errors, breaker and latency of the gateway, now and before the alert."""
    return _cause("agents.llm", "LLM", metrics, window, "llm", "cryptofunk_llm_request_duration_ms", 10_000.0)


def tools(metrics: Metrics, window: Window) -> Finding:
    """MCP tools: errors and latency of tool calls, now and before the alert."""
    return _cause("agents.tools", "MCP tools", metrics, window, "mcp", "cryptofunk_mcp_tool_call_duration_ms", 2_500.0)


def store(metrics: Metrics, window: Window) -> Finding:
    """Database connections: errors, breaker, pool and query latency, now and before the alert."""
    return _cause(
        "agents.store", "Database", metrics, window, "database", "cryptofunk_database_query_duration_ms", 500.0
    )


def resources(side: Finding, metrics: Metrics, cluster: Cluster, window: Window) -> Finding:
    """Resources: memory against its limit, CPU throttling and OOM kills of the affected agents' pods."""
    apps = [one for one in str(side.figures["affected"]).split(", ") if one] or [
        one for one in (str(side.figures["first"]),) if one
    ]
    minutes = max(10, round(window.seconds / 60))
    expression = resources_expression(apps[:7], cluster.namespace, minutes)
    frame = metrics.instant(expression, window.as_of).frame.dropna(subset=["value"])
    killed = str(side.figures["oom_killed"])
    if frame.empty or "pod" not in frame:
        if not killed:
            return Finding("agents.resources", Status.UNKNOWN, "Resources: no usable sample", "Is cAdvisor scraped?")
        frame = pd.DataFrame(columns=["pod", "part", "value"])
    table = (
        frame.pivot_table(index="pod", columns="part", values="value", aggfunc="max")
        .reindex(columns=["memory", "throttled", "restarts"])
        .reset_index()
    )
    high = [workload_of(str(pod)) for pod in table.loc[table["memory"] >= 0.9, "pod"]]
    held = [workload_of(str(pod)) for pod in table.loc[table["throttled"] >= 0.25, "pod"]]
    said = [f"OOM-killed: {killed}"] if killed else []
    said += [f"memory at 90 % of its limit or more: {names(high)}"] if high else []
    said += [f"CPU throttled: {names(held)}"] if held else []
    return Finding(
        "agents.resources",
        Status.CRITICAL if killed else Status.WARNING if said else Status.OK,
        ("; ".join(said)[0].upper() + "; ".join(said)[1:]) if said else f"Memory and CPU are not the matter: memory at most {amount(table['memory'].max(), '%')} of its limit",
        f"Looked at: {names(apps) if apps else 'all agents'}; memory is the highest of the window.",
        {"oom_killed": killed, "memory_high": ", ".join(high), "throttled": ", ".join(held), "memory_share": number(table["memory"].max())},
        (Table("Resources of the affected pods", table, {"memory": "%", "throttled": "%", "restarts": "ratio"}),) if len(table) else (),
    )  # fmt: skip


def cause_of(findings: Mapping[str, Finding]) -> tuple[str, str]:
    """(kind, culprit) of agents that are down: "mcp", "resources", "database", "llm", "crash" or "" for none known.

    What they depend on comes before how they ended: an agent that exits because a server is away looks like a crash.
    """
    down = str(figures_of(findings, "agents.mcp_servers").get("down", ""))
    words = " ".join(
        str(figures_of(findings, name).get(key, ""))
        for name, key in (
            ("agents.last_words", "words"),
            ("agents.logs", "worst"),
            ("sessions.last_words", "words"),
            ("platform.logs.orchestrator", "worst"),
        )
    ).lower()
    resource = figures_of(findings, "agents.resources")
    side = figures_of(findings, "agents.side_by_side")
    stores, gateway, rows = (
        figures_of(findings, "agents.store"),
        figures_of(findings, "agents.llm"),
        figures_of(findings, "agents.tools"),
    )
    if resource.get("oom_killed") or side.get("oom_killed"):
        return "resources", str(resource.get("oom_killed") or side.get("oom_killed"))
    if down:
        return "mcp", down
    if stores.get("bad") or re.search(r"postgres|database|connection pool|too many clients|sql", words):
        return "database", "postgres"
    if gateway.get("bad") or re.search(r"bifrost|llm|completion|api key", words):
        return "llm", "bifrost"
    if rows.get("bad") or "mcp" in words:
        said_of = [one for one in MCP_SERVERS if one in words]
        return "mcp", ", ".join(said_of) or UNNAMED
    if resource.get("throttled"):
        return "resources", str(resource["throttled"])
    if figures_of(findings, "agents.last_words").get("panics") or side.get("restarted"):
        return "crash", str(side.get("restarted", ""))
    return "", ""


def repair(
    kind: str,
    culprit: str,
    rolled: Sequence[str],
    namespace: str,
    limits: Mapping[str, Limits],
    resource: str = "memory",
) -> Iterator[Action]:
    """The commands that look into and repair what agents or the orchestrator depend on.

    `limits` are those of known_limits; `resource` ("memory" or "cpu") is the one that ran out, where one did.
    """
    match kind:
        case "mcp":
            if culprit == UNNAMED:
                yield Action(
                    "See which MCP server is down",
                    kubectl(namespace, "get", "pods", "-l", "app.kubernetes.io/component=mcp-server"),
                )
            for server in [one for one in culprit.split(", ") if one in MCP_SERVERS]:
                yield Action(
                    f"See why {server} is down",
                    kubectl(namespace, "describe", "pod", "-l", f"app.kubernetes.io/name={server}"),
                    "Waiting reason, last exit and events.",
                )
                if server in rolled:
                    yield Action(
                        f"Take the last rollout of {server} back",
                        kubectl(namespace, "rollout", "undo", f"deployment/{server}"),
                        "It was rolled out in the window.",
                        changes=True,
                    )
                yield Action(
                    f"Restart {server}",
                    kubectl(namespace, "rollout", "restart", f"deployment/{server}"),
                    "Only when its own log shows no lasting reason.",
                    changes=True,
                )
        case "database":
            yield Action("Read postgres' log", kubectl(namespace, "logs", "deployment/postgres", "--tail=100"))
        case "llm":
            yield Action(
                "Read Bifrost's log",
                kubectl(namespace, "logs", "deployment/bifrost", "--tail=100"),
                "Key invalid, rate limit, or provider down?",
            )
        case "resources":
            for deployment in [one for one in culprit.split(", ") if one][:3]:
                note = "Look for the reason of the growth as well." if resource == "memory" else ""
                yield from raise_limit(deployment, resource, limits, namespace, note)


def said(body: str) -> str:
    """What an answer says on one line: of a Kubernetes Status its message, else the text, at most 160 characters."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    message = content.get("message") if isinstance(content, dict) and content.get("kind") == "Status" else None
    return " ".join(str(message or body).split())[:160]


def resources_expression(apps: Sequence[str], namespace: str, minutes: int) -> str:
    """PromQL: the highest memory as a share of its limit, CPU throttling and restarts by pod (label `part`); all agents without `apps`."""
    pattern = quote("|".join(f"{_literally(one)}-.*" for one in apps) or ".*-agent-.*")
    where = f'namespace={quote(namespace)},pod=~{pattern},container!=""'
    parts = {
        "memory": f"max by (pod) (max_over_time(container_memory_working_set_bytes{{{where}}}[{minutes}m])) / "
        f'max by (pod) (kube_pod_container_resource_limits{{{where},resource="memory"}})',
        "throttled": f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{{{where}}}[10m])) / "
        f"(sum by (pod) (rate(container_cpu_cfs_periods_total{{{where}}}[10m])) > 0)",
        "restarts": f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{where}}}[{minutes}m]))",
    }
    return " or ".join(f'label_replace({one}, "part", "{name}", "", "")' for name, one in parts.items())


def _literally(text: str) -> str:
    """`text` as a pattern that matches itself only, not yet quoted."""
    return str(json.loads(quote_pattern(text)))


def causes_expression(component: str, histogram: str, minutes: int) -> str:
    """PromQL: errors a minute, p95 in ms and breaker of `component`, each now and at its usual level (labels `part`, `at`)."""
    errors = f"sum(rate(cryptofunk_errors_total{selector(component=component)}"
    requests = f"histogram_quantile(0.95, sum by (le) (rate({histogram}_bucket"
    found = {
        ("errors", "now"): f"{errors}[5m])) * 60",
        ("errors", "before"): f"{errors}[{minutes}m] offset 30m)) * 60",
        ("p95", "now"): f"{requests}[5m])))",
        ("p95", "before"): f"{requests}[{minutes}m] offset 30m)))",
    }
    if component != "mcp":
        found["breaker", "now"] = f"max(circuit_breaker_state{selector(service=component)})"
    if component == "database":
        found["active", "now"] = "max(cryptofunk_database_connections_active)"
        found["idle", "now"] = "max(cryptofunk_database_connections_idle)"
    return " or ".join(f'label_replace(label_replace({one}, "part", "{part}", "", ""), "at", "{at}", "", "")' for (part, at), one in found.items())  # fmt: skip


def _rate(a_minute: float) -> str:
    return amount(round(a_minute, 2), "ratio") if math.isfinite(a_minute) else amount(a_minute)


def _cause(
    name: str, subject: str, metrics: Metrics, window: Window, component: str, histogram: str, slow_ms: float
) -> Finding:
    minutes = max(30, round((window.starts_at - window.start).total_seconds() / 60) - 30)
    frame = metrics.instant(causes_expression(component, histogram, minutes), window.as_of).frame
    read = (
        {(str(row["part"]), str(row["at"])): float(row["value"]) for row in frame.to_dict("records")}
        if "part" in frame
        else {}
    )
    read = {key: value for key, value in read.items() if math.isfinite(value)}
    if ("errors", "now") not in read and ("p95", "now") not in read:
        return Finding(name, Status.UNKNOWN, f"{subject}: no usable sample", f"Neither cryptofunk_errors_total of {component} nor {histogram} has samples at the report's moment.")  # fmt: skip
    nan = math.nan
    errors, errors_before = read.get(("errors", "now"), nan), read.get(("errors", "before"), nan)
    p95, p95_before = read.get(("p95", "now"), nan), read.get(("p95", "before"), nan)
    breaker = read.get(("breaker", "now"), nan)
    bad = []
    if errors >= _ERRORS_PER_MINUTE and not errors <= 3 * errors_before:
        bad.append(f"{_rate(errors)} errors a minute, {_rate(errors_before)} before")
    if p95 >= slow_ms and not p95 <= 1.5 * p95_before:
        bad.append(f"p95 {amount(p95, 'ms')}, {amount(p95_before, 'ms')} before")
    if breaker >= 1:
        bad.append(f"its circuit breaker is {'open' if breaker == 1 else 'half-open'}")
    active, idle = read.get(("active", "now"), nan), read.get(("idle", "now"), nan)
    if active >= _POOL * 0.95 and not idle >= 1:
        bad.append(f"the connection pool is exhausted ({amount(active, 'ratio')} of {_POOL} in use)")
    pool = f"; {amount(active, 'ratio')} of {_POOL} connections in use" if math.isfinite(active) else ""
    return Finding(
        name,
        Status.WARNING if bad else Status.OK,
        f"{subject} in trouble: {'; '.join(bad)}" if bad else f"{subject}: {_rate(errors)} errors a minute, p95 {amount(p95, 'ms')}{pool}",
        f"Before the alert: {_rate(errors_before)} errors a minute, p95 {amount(p95_before, 'ms')}.",
        {"bad": "; ".join(bad), "errors_per_minute": errors, "errors_before": errors_before, "p95_ms": p95, "p95_before_ms": p95_before, "breaker": breaker},
    )  # fmt: skip
