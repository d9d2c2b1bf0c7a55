"""Trading agents: the names they go by, how they are, and why one is down."""

from __future__ import annotations

import contextvars
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pandas as pd

from runbook.alert import Alert, Window
from runbook.errors import SourceError
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, quote, quote_pattern, selector
from runbook.steps import platform
from runbook.steps.platform import names
from runbook.steps.values import age_seconds, number, text
from runbook.steps.verdicts import figures_of, kubectl, silence, unknown_reasons
from runbook.tables import amount, duration, moment

DEPLOYMENTS = {
    "technical-analyst": "technical-agent",
    "orderbook-analyst": "orderbook-agent",
    "sentiment-analyst": "sentiment-agent",
    "trend-follower": "trend-agent",
    "mean-reversion": "reversion-agent",
    "risk-manager": "risk-agent",
    "arbitrage": "arbitrage-agent",
}
"""agent_status.agent_name -> the Kubernetes deployment that runs it."""

MCP_SERVERS = {
    "market-data-server": 9201,
    "technical-indicators-server": 9202,
    "risk-analyzer-server": 9203,
    "order-executor-server": 9204,
}
"""MCP server -> the port that answers /health."""

RUNNING = frozenset({"RUNNING", "ACTIVE"})
"""What agent_status.status says of a working agent: today's word, and the written runbook's."""

HEARTBEAT_STALE_SECONDS = 120
_POD_SUFFIX = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}$")
_SIGNAL_GAPS = 3
_ERRORS_PER_MINUTE = 1.0
_POOL = 10


def deployment_of(name: str) -> str:
    """The deployment of an agent, from its name in agent_status, its type in metrics, or its own name."""
    found = DEPLOYMENTS.get(name)
    return found or (name if name.endswith(("-agent", "-server")) else f"{name}-agent")


def workload_of(pod: str) -> str:
    """The deployment that a pod's name begins with: "trend-agent" of "trend-agent-7d9c5b8f6-x2x9k"."""
    return _POD_SUFFIX.sub("", pod)


def status(database: Database, window: Window) -> Finding:
    """Agent status: what agent_status says of each agent, and the age of its heartbeat."""
    frame = database.ask("agents/status", as_of=window.as_of).frame
    if frame.empty:
        return Finding("agents.status", Status.UNKNOWN, "Agent status: agent_status has no row",
                       "No agent has ever reported, or the table was emptied.")  # fmt: skip
    ages = [
        max(age_seconds(value, window), 0.0) if not _missing(value) else math.nan for value in frame["last_heartbeat"]
    ]
    frame = frame.assign(age=ages)
    stopped = frame[~frame["status"].isin(RUNNING)]
    silent = frame[~(frame["age"] <= HEARTBEAT_STALE_SECONDS)]
    bad = frame[frame.index.isin({*stopped.index, *silent.index})]
    lines = [
        f"{row.agent_name}: {row.status}, heartbeat {_ago(row.age)}"
        + (f", {text(row.last_error)}" if not _missing(row.last_error) else "")
        for row in bad.head(6).itertuples()
    ]
    shown = frame.assign(deployment=[deployment_of(str(name)) for name in frame["agent_name"]])
    order = shown["age"].fillna(math.inf).sort_values(ascending=False).index
    shown = shown.loc[
        order,
        ["agent_name", "deployment", "status", "last_heartbeat", "age", "total_signals", "error_count", "last_error"],
    ]
    return Finding(
        "agents.status",
        Status.CRITICAL if len(bad) == len(frame) else Status.WARNING if len(bad) else Status.OK,
        f"{len(bad)} of {len(frame)} agents {'is' if len(bad) == 1 else 'are'} not well in agent_status: {names(list(map(str, bad['agent_name'])))}"
        if len(bad)
        else f"All {len(frame)} agents run and sent a heartbeat within {duration(HEARTBEAT_STALE_SECONDS)}",
        "; ".join(lines),
        {"total": len(frame), "bad": ", ".join(map(str, bad["agent_name"])), "silent": ", ".join(map(str, silent["agent_name"])),
         "stopped": ", ".join(map(str, stopped["agent_name"])), "oldest_heartbeat_seconds": max((a for a in ages if math.isfinite(a)), default=math.nan)},
        (Table("agent_status, the longest silent first", shown,
               {"last_heartbeat": "time", "age": "s", "total_signals": "", "error_count": ""}),),
        series={"agents": frame},
    )  # fmt: skip


def side_by_side(window: Window, status: Finding, pods: Finding, agent_type: str = "", pod: str = "") -> Finding:
    """Agents and pods: each agent's row in agent_status beside its pod, whose names differ, and which are affected."""
    if not status.is_known and not pods.is_known:
        return Finding("agents.side_by_side", Status.UNKNOWN, "Agents and pods: neither is known",
                       "Neither agent_status nor the pods gave an answer.")  # fmt: skip
    known: dict[str, dict[str, Any]] = {}
    for row in status.series["agents"].to_dict("records") if status.is_known else ():
        name = str(row["agent_name"])
        known[deployment_of(name)] = {"agent": name, "agent_status": row["status"], "heartbeat": row["age"], "errors": row.get("error_count"), "last error": text(row["last_error"]) if not _missing(row["last_error"]) else ""}  # fmt: skip
    frame = pods.series.get("pods", pd.DataFrame()) if pods.is_known else pd.DataFrame()
    for row in frame.to_dict("records"):
        entry = known.setdefault(str(row["app"] or workload_of(str(row["name"]))), {})
        entry |= {"pod": row["name"], "ready": "yes" if row["ready"] else "NO", "restarts": row["restarts"], "waits for": row["waiting"],
                  "last ended by": row["last_exit"], "ended at": row["last_exit_at"]}  # fmt: skip
    rows = [
        {"deployment": name, "state": _state(one, window, status.is_known, pods.is_known), **one}
        for name, one in known.items()
    ]
    rows.sort(key=lambda row: ("down", "unhealthy", "unstable", "well", "not in agent_status").index(row["state"]))
    ill = [row["deployment"] for row in rows if row["state"] in ("down", "unhealthy", "unstable")]
    meant = _meant([row["deployment"] for row in rows], agent_type, pod)
    affected = list(dict.fromkeys([*(one for one in meant if one in ill), *ill]))
    half = (
        ""
        if status.is_known and pods.is_known
        else f" ({'pods' if pods.is_known else 'agent_status'} only; the other is not known)"
    )
    healthy = Status.OK if not half else Status.UNKNOWN
    named = (
        f" The alert names {names(meant)}{', which is well by both' if not set(meant) & set(ill) and not half else ''}."
        if meant
        else ""
    )
    return Finding(
        "agents.side_by_side",
        Status.CRITICAL if any(row["state"] == "down" for row in rows) else Status.WARNING if affected else healthy,
        (f"Affected: {names(affected)}" if affected else f"No agent of {len(rows)} is in trouble") + half,
        "; ".join(f"{row['deployment']} ({row.get('agent', 'no row in agent_status')}) is {row['state']}" for row in rows if row["deployment"] in affected[:6]) + ("." if affected else "") + named,
        {"affected": ", ".join(affected), "first": affected[0] if affected else (meant[0] if meant else ""), "named": ", ".join(meant),
         "restarted": ", ".join(row["deployment"] for row in rows if _recent(row.get("ended at"), window)),
         "oom_killed": ", ".join(row["deployment"] for row in rows if row.get("last ended by") == "OOMKilled" and _recent(row.get("ended at"), window)),
         "total": len(rows)},
        (Table("Agents and their pods, those in trouble first", pd.DataFrame(rows),
               {"heartbeat": "s", "errors": "", "restarts": "", "ended at": "time"}),),
    )  # fmt: skip


def online(metrics: Metrics, window: Window) -> Finding:
    """Agents online: cryptofunk_agent_status of each agent over the window, 1 online and 0 not."""
    frame = metrics.range("min by (agent_type) (cryptofunk_agent_status)", window.start, window.as_of, series=7).frame
    frame = frame.dropna(subset=["value"])
    if frame.empty:
        return Finding("agents.online", Status.UNKNOWN, "Agents online: no usable sample", "cryptofunk_agent_status has no sample in the window.")  # fmt: skip
    lanes = {
        str(kind): one[["time", "value"]].reset_index(drop=True)
        for kind, one in frame.groupby(frame.get("agent_type", pd.Series("all", index=frame.index)))
    }
    since = {kind: _since(one) for kind, one in lanes.items()}
    stale = {
        kind for kind, one in lanes.items() if one["time"].iloc[-1] < pd.Timestamp(window.as_of - timedelta(minutes=10))
    }
    off = [kind for kind, one in lanes.items() if one["value"].iloc[-1] < 1 or kind in stale]
    said = "; ".join(
        f"{kind} since {moment(since[kind])}" + (" (its samples end there)" if kind in stale else "") for kind in off
    )
    first = min((since[kind] for kind in off), default=None)
    return Finding(
        "agents.online",
        Status.CRITICAL if len(off) == len(lanes) else Status.WARNING if off else Status.OK,
        f"{len(off)} of {len(lanes)} agents {'is' if len(off) == 1 else 'are'} offline by their own metric: {names(off)}" if off else f"All {len(lanes)} agents are online by their own metric",
        f"Offline: {said}." if off else "",
        {"offline": ", ".join(off), "first_offline_at": first, "total": len(lanes)},
        series={"online": lanes},
    )  # fmt: skip


def signals(database: Database, window: Window) -> Finding:
    """Signals: how many each agent made over the window, and who fell silent against its own habit."""
    width = max(300, math.ceil(window.seconds / 40 / 300) * 300)
    frame = database.ask("agents/signals", start=window.start, as_of=window.as_of, seconds=width).frame
    if frame.empty:
        return Finding("agents.signals", Status.WARNING, "No agent made a signal in the window",
                       "agent_signals has no row in the window: no decision rests on anything.", {"count": 0, "silent": "all"})  # fmt: skip
    last = frame.groupby("agent_name")["last"].max()
    # The habit is measured before the alert: afterwards an agent may be down.
    usual = frame[frame["last"] < pd.Timestamp(window.starts_at)].groupby("agent_name")["bucket"].nunique()
    buckets = max((window.starts_at - window.start).total_seconds() / width, 1.0)
    rows = []
    for name in last.index:
        gap = width * buckets / max(int(usual.get(name, 0)), 1)
        age = age_seconds(last[name], window)
        rows.append({"agent": str(name), "signals": int(frame.loc[frame["agent_name"] == name, "signals"].sum()), "last signal": last[name], "age": age,
                     "usual gap": gap, "silent": "yes" if age > max(_SIGNAL_GAPS * gap, 900) else "no"})  # fmt: skip
    table = pd.DataFrame(rows).sort_values("age", ascending=False, ignore_index=True)
    silent = [str(one) for one in table.loc[table["silent"] == "yes", "agent"]]
    grid = frame.pivot_table(index="agent_name", columns="bucket", values="signals", aggfunc="sum")
    full = pd.date_range(frame["bucket"].min(), pd.Timestamp(window.as_of), freq=f"{width}s")
    grid = grid.reindex(columns=full).fillna(0.0)
    return Finding(
        "agents.signals",
        Status.CRITICAL if len(silent) == len(table) else Status.WARNING if silent else Status.OK,
        f"{len(silent)} of {len(table)} agents fell silent: {names(silent)}" if silent else f"All {len(table)} agents that make signals do so as usual",
        f"The longest without a signal: {table['agent'].iloc[0]}, {duration(table['age'].iloc[0])}. Silent: {_SIGNAL_GAPS} times its usual gap, and over 15 minutes.",
        {"silent": ", ".join(silent), "count": int(frame["signals"].sum()), "last_at": last.max()},
        (Table("Signals by agent, the longest silent first", table, {"signals": "", "last signal": "time", "age": "s", "usual gap": "s"}),),
        series={"grid": grid},
    )  # fmt: skip


def logs(side: Finding, cluster: Cluster, window: Window) -> Finding:
    """Agent logs: the affected agent's log lines in the window by pattern, worst first."""
    return _about_affected("agents.logs", side, lambda app: platform.logs(cluster, window, app))


def last_words(side: Finding, cluster: Cluster, window: Window) -> Finding:
    """Last words: the log of the container before the last restart of an affected agent."""
    app = str(side.figures["restarted"]).split(", ")[0]
    return words_before_restart("agents.last_words", app, cluster, window)


def words_before_restart(name: str, app: str, cluster: Cluster, window: Window) -> Finding:
    """A finding `name` with the last lines of `app`'s previous container; ok where nothing restarted."""
    if not app:
        return Finding(
            name, Status.OK, "Nothing restarted in the window, so there are no last words", "", {"words": ""}
        )
    frame = cluster.logs(app, window.start - timedelta(hours=18), window.as_of, tail=200, previous=True).frame
    if frame.empty:
        return Finding(name, Status.UNKNOWN, f"Last words: the previous container of {app} left no log", "It may have been cleaned up with its node.")  # fmt: skip
    bad = frame[frame["level"].isin(["panic", "fatal", "error"])]
    line = bad.iloc[-1] if len(bad) else frame.iloc[-1]
    fields = line["fields"] if isinstance(line["fields"], Mapping) else {}
    reason = str(fields.get("error", fields.get("err", "")))
    words = " ".join(
        f"{line['message']}{': ' + reason if reason and reason not in str(line['message']) else ''}".split()
    )[:200]
    shown = (
        frame.tail(15)[["time", "level", "message"]]
        .iloc[::-1]
        .assign(
            error=[
                str(one.get("error", "")) if isinstance(one, Mapping) else "" for one in frame.tail(15)["fields"][::-1]
            ]
        )
    )
    return Finding(
        name,
        Status.CRITICAL if len(bad) and bad["level"].isin(["panic", "fatal"]).any() else Status.WARNING,
        f"Before its restart {app} said “{words}”",
        "" if len(bad) else "Nothing worse than a warning came before the end: it was killed, or it ended by itself.",
        {"words": words, "app": app, "panics": int((frame["level"] == "panic").sum())},
        (Table(f"Last lines of {app}'s previous container, newest first", shown.reset_index(drop=True), {"time": "time"}),),
    )  # fmt: skip


def mcp_servers(cluster: Cluster) -> Finding:
    """MCP servers: what each answers at /health, through the API server's proxy."""

    def ask(item: tuple[str, int]) -> dict[str, Any]:
        server, port = item
        try:
            answer = cluster.health(server, port, "/health").data
            code, body = int(answer["code"]), " ".join(str(answer["body"]).split())[:160]
            return {
                "server": server,
                "port": port,
                "state": "well" if code < 300 else "down",
                "answer": f"{code} {body}",
            }
        except SourceError as error:
            return {"server": server, "port": port, "state": "unknown", "answer": str(error), "error": error}

    # Side by side: four servers that hang must not take four time limits.
    with ThreadPoolExecutor(len(MCP_SERVERS)) as pool:
        rows = list(
            pool.map(
                lambda job: job[0].run(ask, job[1]),
                [(contextvars.copy_context(), item) for item in MCP_SERVERS.items()],
            )
        )
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
        (Table("MCP servers", table, {"port": ""}),),
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
    pattern = "|".join(quote_pattern(one)[1:-1] + "-.*" for one in apps[:7]) or ".*-agent-.*"
    where = f'{{namespace={quote(cluster.namespace)},pod=~"{pattern}",container!=""}}'
    before = f"[{max(10, round((window.as_of - window.start).total_seconds() / 60))}m]"
    parts = {
        "memory": f"max by (pod) (max_over_time(container_memory_working_set_bytes{where}{before})) / "
                  f"max by (pod) (kube_pod_container_resource_limits{where[:-1]},resource=\"memory\"}})",
        "throttled": f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{where}[10m])) / "
                     f"(sum by (pod) (rate(container_cpu_cfs_periods_total{where}[10m])) > 0)",
        "restarts": f"sum by (pod) (increase(kube_pod_container_status_restarts_total{where}{before}))",
    }  # fmt: skip
    expression = " or ".join(f'label_replace({one}, "part", "{name}", "", "")' for name, one in parts.items())
    frame = metrics.instant(expression, window.as_of).frame.dropna(subset=["value"])
    killed = str(side.figures["oom_killed"])
    if frame.empty or "pod" not in frame:
        if not killed:
            return Finding("agents.resources", Status.UNKNOWN, "Resources: no usable sample", "Is cAdvisor scraped?")
        frame = pd.DataFrame(columns=["pod", "part", "value"])
    table = (
        frame.pivot_table(index="pod", columns="part", values="value", aggfunc="max")
        .reindex(columns=list(parts))
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


def recovery(window: Window, status: Finding, signals: Finding, online: Finding, side: Finding) -> Finding:
    """Recovery: whether the agents run, are heard, and make signals again, and whether they failed repeatedly."""
    parts = {
        "agent_status": (status, "bad"),
        "signals": (signals, "silent"),
        "metric": (online, "offline"),
        "pods": (side, "affected"),
    }
    open_ends = [
        f"{name}: {found.figures[key]}"
        for name, (found, key) in parts.items()
        if found.is_known and found.figures.get(key)
    ]
    unknown = [name for name, (found, _) in parts.items() if not found.is_known]
    frame = side.tables[0].frame if side.tables else pd.DataFrame()
    restarts = pd.to_numeric(frame.get("restarts", pd.Series(dtype=float)), errors="coerce")
    repeated = list(frame.loc[restarts >= 3, "deployment"]) if len(frame) else []
    return Finding(
        "agents.recovery",
        Status.WARNING if open_ends else Status.UNKNOWN if unknown else Status.OK,
        f"Not recovered yet: {'; '.join(open_ends)}" if open_ends else f"Not known to have recovered: {names(unknown)} gave no answer" if unknown
        else "Recovered: agent_status, metric, pods and signals all are as usual",
        f"Failed repeatedly (three restarts or more): {names(repeated)}." if repeated else "",
        {"recovered": not open_ends and not unknown, "repeated": ", ".join(repeated)},
    )  # fmt: skip


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of AgentDown: restart the agent, or repair what it needs first, and why."""
    side, cause = figures_of(findings, "agents.side_by_side"), cause_of(findings)
    affected = [one for one in str(side.get("affected", "")).split(", ") if one]
    if not affected:
        stopped = {*figures_of(findings, "agents.status").get("bad", "").split(", "), *figures_of(findings, "agents.signals").get("silent", "").split(", "),
                   *figures_of(findings, "agents.online").get("offline", "").split(", ")} - {"", "all"}  # fmt: skip
        affected = sorted({deployment_of(one) for one in stopped})
    decision, summary, state = _choice(affected, cause, side, findings)
    return Verdict(
        decision,
        summary,
        state,
        (*_reasons(findings, cause), *unknown_reasons(findings)),
        tuple(_actions(affected, cause, findings, alert, namespace)),
        _checklist(findings),
    )


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
            ("sessions.logs", "worst"),
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
    if rows.get("bad") or re.search(r"mcp", words):
        return "mcp", "an MCP server"
    if resource.get("throttled"):
        return "resources", str(resource["throttled"])
    if figures_of(findings, "agents.last_words").get("panics") or side.get("restarted"):
        return "crash", str(side.get("restarted", ""))
    return "", ""


def _choice(
    affected: list[str], cause: tuple[str, str], side: Mapping[str, Any], findings: Mapping[str, Finding]
) -> tuple[str, str, Status]:
    known = [
        name for name in ("agents.status", "platform.pods.trading-agent", "agents.online") if figures_of(findings, name)
    ]
    if not affected and not known:
        return (
            "find out which agents run",
            "It is not known which agents run: neither database, cluster nor Prometheus gave an answer.",
            Status.UNKNOWN,
        )
    if not affected:
        return (
            "nothing to restart",
            "Healthy: no agent is down or silent"
            + (f"; {side['named']}, which the alert names, is well." if side.get("named") else "."),
            Status.OK,
        )
    kind, culprit = cause
    who = f"{names(affected)} {'is' if len(affected) == 1 else 'are'} affected"
    match kind:
        case "mcp":
            return (
                f"repair {culprit} first",
                f"{who} because {culprit} does not answer: a restart of the agents does not help.",
                Status.CRITICAL,
            )
        case "database":
            return "repair the database first", f"{who} because the database does not serve them.", Status.CRITICAL
        case "llm":
            return "repair the LLM gateway first", f"{who} because LLM requests fail.", Status.CRITICAL
        case "resources":
            killed = figures_of(findings, "agents.side_by_side").get("oom_killed") or figures_of(
                findings, "agents.resources"
            ).get("oom_killed")
            return (f"raise the {'memory' if killed else 'CPU'} limit of {culprit}",
                    f"{who}: {culprit} {'was killed for exceeding its memory limit' if killed else 'is held back by its CPU limit'}.", Status.CRITICAL)  # fmt: skip
        case "crash":
            return (
                f"restart {affected[0]}",
                f"{who}: {culprit or affected[0]} ended by itself; what it depends on is well.",
                Status.CRITICAL,
            )
    return f"restart {affected[0]}", f"{who}; none of the four common causes is known to be the reason.", Status.WARNING


def _reasons(findings: Mapping[str, Finding], cause: tuple[str, str]) -> Iterator[str]:
    order = (
        "agents.side_by_side",
        "agents.mcp_servers",
        "agents.last_words",
        "agents.logs",
        "agents.resources",
        "agents.llm",
        "agents.tools",
        "agents.store",
        "agents.signals",
        "platform.rollouts",
        "platform.config_changes",
    )
    for name in order:
        found = findings.get(name)
        if found is not None and found.is_known and (found.status is not Status.OK or name == "agents.side_by_side"):
            yield f"{found.title}."


def _actions(
    affected: Sequence[str], cause: tuple[str, str], findings: Mapping[str, Finding], alert: Alert, namespace: str
) -> Iterator[Action]:
    kind, culprit = cause if affected else ("", "")
    rolled = str(figures_of(findings, "platform.rollouts").get("rolled_out", "")).split(", ")
    yield from repair(kind, culprit, rolled, namespace)
    for deployment in list(affected)[:3]:
        if deployment in rolled and kind in ("crash", "resources"):
            yield Action(f"Take the last rollout of {deployment} back", kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
                         "It was rolled out in the window.", changes=True)  # fmt: skip
        later = " Only after the cause is repaired." if kind in ("mcp", "database", "llm") else ""
        yield Action(f"Restart {deployment}", kubectl(namespace, "rollout", "restart", f"deployment/{deployment}"),
                     f"A fresh pod reconnects to everything it needs.{later}", changes=True)  # fmt: skip
    if affected:
        yield Action(
            "Follow its log",
            kubectl(namespace, "logs", "-f", f"deployment/{affected[0]}"),
            "Heartbeats and signals should return within minutes.",
        )
    yield Action("See agent_status again", f"kubectl exec -i -n {namespace} deployment/postgres -- psql -U postgres -d cryptofunk <<'SQL'\n"
                 "SELECT agent_name, status, last_heartbeat FROM agent_status ORDER BY last_heartbeat DESC;\nSQL")  # fmt: skip
    yield silence(alert)


def repair(kind: str, culprit: str, rolled: Sequence[str], namespace: str) -> Iterator[Action]:
    """The commands that look into and repair what agents or the orchestrator depend on."""
    match kind:
        case "mcp":
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
                yield Action(f"Raise the limits of {deployment}", kubectl(namespace, "set", "resources", f"deployment/{deployment}", "--limits=cpu=1,memory=1Gi"),
                             "Twice the platform's usual limits (500m, 512Mi); look for the reason of the growth as well.", changes=True)  # fmt: skip


def _checklist(findings: Mapping[str, Finding]) -> tuple[tuple[str, str], ...]:
    def title(name: str) -> str:
        found = findings.get(name)
        return found.title if found is not None else "not checked"

    return (
        ("Which agents, since when?", f"{title('agents.side_by_side')}; {title('agents.online')}"),
        ("What did they say last?", f"{title('agents.last_words')}; {title('agents.logs')}"),
        ("LLM?", title("agents.llm")),
        ("MCP servers?", f"{title('agents.mcp_servers')}; {title('agents.tools')}"),
        ("Database?", title("agents.store")),
        ("Resources?", title("agents.resources")),
        ("What changed before?", f"{title('platform.rollouts')}; {title('platform.config_changes')}"),
        ("Has it recovered?", title("agents.recovery")),
    )


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
        bad.append(f"{amount(errors, 'ratio')} errors a minute, {amount(errors_before, 'ratio')} before")
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
        f"{subject} in trouble: {'; '.join(bad)}" if bad else f"{subject}: {amount(errors, 'ratio')} errors a minute, p95 {amount(p95, 'ms')}{pool}: as before",
        f"Before the alert: {amount(errors_before, 'ratio')} errors a minute, p95 {amount(p95_before, 'ms')}.",
        {"bad": "; ".join(bad), "errors_per_minute": errors, "errors_before": errors_before, "p95_ms": p95, "p95_before_ms": p95_before, "breaker": breaker},
    )  # fmt: skip


def _about_affected(name: str, side: Finding, read: Any) -> Finding:
    app = str(side.figures["first"])
    if not app:
        return Finding(
            name, Status.OK, "No agent is affected or named, so no log was read", "", {"errors": 0, "worst": ""}
        )
    found: Finding = read(app)
    return Finding(name, found.status, found.title, found.detail, {**found.figures, "app": app}, found.tables)


def _state(row: Mapping[str, Any], window: Window, has_status: bool, has_pods: bool) -> str:
    ready = row.get("ready")
    silent = "agent" in row and not number(row.get("heartbeat")) <= HEARTBEAT_STALE_SECONDS
    if ready == "NO" or (has_pods and "pod" not in row) or (silent and row.get("agent_status") not in RUNNING):
        return "down"
    if silent or ("agent" in row and row.get("agent_status") not in RUNNING):
        return "unhealthy"
    if _recent(row.get("ended at"), window):
        return "unstable"
    return "well" if "agent" in row or not has_status else "not in agent_status"


def _meant(deployments: Sequence[str], agent_type: str, pod: str) -> list[str]:
    """The deployments that the alert's labels name, as far as there are such."""
    wanted = {workload_of(pod), pod} if pod else set()
    wanted |= {deployment_of(agent_type), agent_type} if agent_type else set()
    return [one for one in deployments if one in wanted]


def _recent(value: Any, window: Window) -> bool:
    return not _missing(value) and window.start <= value <= window.as_of


def _missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def _since(frame: pd.DataFrame) -> Any:
    """When the last run of equal values began."""
    changed = frame["value"].ne(frame["value"].shift())
    return frame.loc[changed, "time"].iloc[-1]


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago" if math.isfinite(seconds) else "never"
