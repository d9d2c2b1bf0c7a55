"""Trading agents: how they are by their own word, by their pods, by their metric and by their signals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps import platform
from runbook.steps.agents.habits import SIGNAL_GAPS, SILENT_SECONDS, signal_habits
from runbook.steps.agents.state import (
    HEARTBEAT_STALE_SECONDS,
    RUNNING,
    is_missing,
    is_recent,
    meant_by,
    shown_row,
    state_of,
)
from runbook.steps.shared.fleet import deployment_of, workload_of
from runbook.steps.shared.values import age_seconds, text
from runbook.words import ago, duration, moment, names


def status(database: Database, window: Window) -> Finding:
    """Agent status: what agent_status says of each agent, and the age of its heartbeat."""
    frame = database.ask("agents/status", as_of=window.as_of).frame
    if frame.empty:
        return Finding("agents.status", Status.UNKNOWN, "Agent status: agent_status has no row",
                       "No agent has ever reported, or the table was emptied.")  # fmt: skip
    ages = [
        max(age_seconds(value, window), 0.0) if not is_missing(value) else math.nan for value in frame["last_heartbeat"]
    ]
    frame = frame.assign(age=ages)
    stopped = frame[~frame["status"].isin(RUNNING)]
    silent = frame[~(frame["age"] <= HEARTBEAT_STALE_SECONDS)]
    bad = frame[frame.index.isin({*stopped.index, *silent.index})]
    lines = [
        f"{row.agent_name}: {row.status}, heartbeat {ago(row.age)}"
        + (f", {text(row.last_error)}" if not is_missing(row.last_error) else "")
        for row in bad.head(6).itertuples()
    ]
    order = frame["age"].fillna(math.inf).sort_values(ascending=False).index
    shown = frame.loc[order, ["agent_name", "status", "last_heartbeat", "age", "error_count", "last_error"]]
    shown = shown.assign(last_error=["" if is_missing(one) else text(one) for one in shown["last_error"]])
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
               {"last_heartbeat": "time", "age": "s", "error_count": ""}),),
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
        known[deployment_of(name)] = {"agent": name, "agent_status": row["status"], "heartbeat": row["age"], "errors": row.get("error_count"), "last error": text(row["last_error"]) if not is_missing(row["last_error"]) else ""}  # fmt: skip
    frame = pods.series.get("pods", pd.DataFrame()) if pods.is_known else pd.DataFrame()
    for row in frame.to_dict("records"):
        entry = known.setdefault(str(row["app"] or workload_of(str(row["name"]))), {})
        entry |= {"pod": row["name"], "ready": "yes" if row["ready"] else "NO", "restarts": row["restarts"], "waits for": row["waiting"],
                  "last ended by": row["last_exit"], "ended at": row["last_exit_at"]}  # fmt: skip
    rows = [
        {"deployment": name, "state": state_of(one, window, status.is_known, pods.is_known), **one}
        for name, one in known.items()
    ]
    rows.sort(key=lambda row: ("down", "unhealthy", "unstable", "well", "not in agent_status").index(row["state"]))
    ill = [row["deployment"] for row in rows if row["state"] in ("down", "unhealthy", "unstable")]
    meant = meant_by([row["deployment"] for row in rows], agent_type, pod)
    affected = list(dict.fromkeys([*(one for one in meant if one in ill), *ill]))
    half = (
        ""
        if status.is_known and pods.is_known
        else f" ({'pods' if pods.is_known else 'agent_status'} only; the other is not known)"
    )
    missing = (
        f" {'agent_status' if pods.is_known else 'The pods'} gave no answer, so half of each agent is not known."
        if half
        else ""
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
        "; ".join(f"{row['deployment']} ({row.get('agent', 'no row in agent_status')}) is {row['state']}" for row in rows if row["deployment"] in affected[:6]) + ("." if affected else "") + named + missing,
        {"affected": ", ".join(affected), "first": affected[0] if affected else (meant[0] if meant else ""), "named": ", ".join(meant),
         "restarted": ", ".join(row["deployment"] for row in rows if is_recent(row.get("ended at"), window)),
         "oom_killed": ", ".join(row["deployment"] for row in rows if row.get("last ended by") == "OOMKilled" and is_recent(row.get("ended at"), window)),
         "total": len(rows), "pods_known": pods.is_known},
        (Table("Agents and their pods, those in trouble first", pd.DataFrame([shown_row(row) for row in rows]), {"heartbeat": "s", "restarts": ""}),),
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
    """Signals: how many each agent made over the window, and who fell silent against its own habit before the alert."""
    width = max(300, math.ceil(window.seconds / 40 / 300) * 300)
    # The habit is measured before the alert: afterwards an agent may be down.
    made, gaps = at_once(
        lambda: database.ask("agents/signals", start=window.start, as_of=window.as_of, seconds=width),
        lambda: database.ask("agents/gaps", since=window.start - timedelta(days=1), before=window.starts_at),
    )
    frame = made.frame
    if frame.empty:
        return Finding("agents.signals", Status.WARNING, "No agent made a signal in the window",
                       "agent_signals has no row in the window: no decision rests on anything.", {"count": 0, "silent": "all"})  # fmt: skip
    table = signal_habits(frame, gaps.frame, window)
    silent = [str(one) for one in table.loc[table["state"] == "silent", "agent"]]
    quiet = [f"{row['agent']} ({duration(row['age'])}, p95 {duration(row['p95 gap'])})" for row in table[table["state"] == "quiet"].to_dict("records")]  # fmt: skip
    grid = frame.pivot_table(index="agent_name", columns="bucket", values="signals", aggfunc="sum")
    full = pd.date_range(frame["bucket"].min(), pd.Timestamp(window.as_of), freq=f"{width}s")
    grid = grid.reindex(columns=full).fillna(0.0)
    return Finding(
        "agents.signals",
        Status.CRITICAL if len(silent) == len(table) else Status.WARNING if silent or quiet else Status.OK,
        (f"{len(silent)} of {len(table)} agents fell silent: {names(silent)}" if silent
         else f"No agent of {len(table)} is silent, but {'one is' if len(quiet) == 1 else f'{len(quiet)} are'} quiet for longer than usual: {names(quiet)}" if quiet
         else f"All {len(table)} agents that make signals do so as usual"),
        f"The longest without a signal: {table['agent'].iloc[0]}, {duration(table['age'].iloc[0])}. "
        + (f"Quiet for longer than 95 % of their gaps: {names(quiet)}. " if silent and quiet else "")
        + f"Silent: over {SIGNAL_GAPS} times the gap that 95 % of its gaps before the alert stayed within, and over {duration(SILENT_SECONDS)}.",
        {"silent": ", ".join(silent), "quiet": ", ".join(map(str, table.loc[table["state"] == "quiet", "agent"])), "count": int(frame["signals"].sum()), "last_at": table["last signal"].max()},
        (Table("Signals by agent, the longest without one first", table, {"signals": "", "last signal": "time", "age": "s", "median gap": "s", "p95 gap": "s"}),),
        series={"grid": grid},
    )  # fmt: skip


def logs(side: Finding, cluster: Cluster, window: Window) -> Finding:
    """Agent logs: the affected agent's log lines in the window by pattern, worst first."""
    return _about_affected("agents.logs", side, lambda app: platform.logs(cluster, window, app))


def last_words(side: Finding, cluster: Cluster, window: Window) -> Finding:
    """Last words: the log of the container before the last restart of an affected agent."""
    if not side.figures["pods_known"]:
        return Finding("agents.last_words", Status.UNKNOWN, "Last words: not known", "Which pods restarted is not known without the cluster.")  # fmt: skip
    restarted = str(side.figures["restarted"]).split(", ")
    app = next((one for one in str(side.figures["affected"]).split(", ") if one in restarted), restarted[0])
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
    warned = frame[frame["level"].isin(["warn", "warning"])]
    if bad.empty and warned.empty:
        return Finding(name, Status.OK, f"Before its restart {app} logged neither an error nor a warning",
                       f"Its last line: {' '.join(str(frame['message'].iloc[-1]).split())[:160]}. It was killed, or it ended by itself.", {"words": "", "app": app, "panics": 0})  # fmt: skip
    line = (bad if len(bad) else warned).iloc[-1]
    fields = line["fields"] if isinstance(line["fields"], Mapping) else {}
    reason = str(fields.get("error", fields.get("err", "")))
    words = " ".join(
        f"{line['message']}{': ' + reason if reason and reason not in str(line['message']) else ''}".split()
    )[:200]
    shown = (
        frame.tail(8)[["time", "level", "message"]]
        .iloc[::-1]
        .assign(
            error=[
                str(one.get("error", "")) if isinstance(one, Mapping) else "" for one in frame.tail(8)["fields"][::-1]
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


def recovery(window: Window, status: Finding, signals: Finding, online: Finding, side: Finding) -> Finding:
    """Recovery: whether the agents run, are heard, and make signals again, and whether they failed repeatedly."""
    parts = {
        "agent_status": (status, "bad"),
        "signals": (signals, "silent"),
        "metric": (online, "offline"),
        "pods": (side, "affected"),
    }
    open_ends = [
        f"{name}: {found.figures.get(key) or found.figures['quiet']}"
        for name, (found, key) in parts.items()
        if found.is_known and (found.figures.get(key) or found.figures.get("quiet"))
    ]
    unknown = [name for name, (found, _) in parts.items() if not found.is_known]
    frame = side.tables[0].frame if side.tables else pd.DataFrame()
    restarts = (
        pd.to_numeric(frame["restarts"], errors="coerce") if "restarts" in frame else pd.Series(0.0, index=frame.index)
    )
    repeated = list(frame.loc[restarts >= 3, "deployment"]) if len(frame) else []
    return Finding(
        "agents.recovery",
        Status.WARNING if open_ends else Status.UNKNOWN if unknown else Status.OK,
        f"Not recovered yet: {'; '.join(open_ends)}" if open_ends else f"Not known to have recovered: {names(unknown)} gave no answer" if unknown
        else "Recovered: agent_status, metric, pods and signals all are as usual",
        f"Failed repeatedly (three restarts or more): {names(repeated)}." if repeated else f"Not known: {names(unknown)}." if unknown else "",
        {"recovered": not open_ends and not unknown, "repeated": ", ".join(repeated)},
    )  # fmt: skip


def _about_affected(name: str, side: Finding, read: Any) -> Finding:
    app = str(side.figures["first"])
    if not app:
        return Finding(
            name, Status.OK, "No agent is affected or named, so no log was read", "", {"errors": 0, "worst": ""}
        )
    found: Finding = read(app)
    return Finding(name, found.status, found.title, found.detail, {**found.figures, "app": app}, found.tables)


def _since(frame: pd.DataFrame) -> Any:
    """When the last run of equal values began."""
    changed = frame["value"].ne(frame["value"].shift())
    return frame.loc[changed, "time"].iloc[-1]
