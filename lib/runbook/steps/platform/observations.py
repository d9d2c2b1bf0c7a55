"""The platform around trading: log patterns, pods and events, whatever the procedure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.errors import QueryFailed
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.overlap import at_once
from runbook.steps.shared.log_patterns import PATTERNS_MAX, pattern_of, patterns
from runbook.steps.shared.quotas import limits_of
from runbook.words import moment, names


def logs(cluster: Cluster, window: Window, app: str = "") -> Finding:
    """Log patterns: a deployment's lines in the window grouped by what they say, worst first."""
    frame = cluster.logs(app, window.start, window.as_of, tail=1000).frame
    name = f"platform.logs.{app}"
    if frame.empty:
        return Finding(name, Status.OK, f"{app} logged nothing in the window", "", {"lines": 0, "errors": 0})
    grouped = patterns(frame)
    bad = frame["level"].isin(["panic", "fatal", "error"])
    worst = grouped.iloc[0]
    panics = int((frame["level"] == "panic").sum())
    errors = int(bad.sum())
    first = frame.loc[bad, "time"].min() if errors else None
    return Finding(
        name,
        Status.CRITICAL if panics else Status.WARNING if errors else Status.OK,
        f"{app}: {errors} error {'line' if errors == 1 else 'lines'} in {len(frame):,}"
        + (
            f", most severe “{worst['pattern'][:90]}” ({worst['lines']}×)"
            if errors
            else ", nothing worse than a warning"
        ),
        f"The first error was at {moment(first)}." if errors else "",
        {
            "lines": len(frame),
            "errors": errors,
            "panics": panics,
            "first_error_at": first,
            "worst": str(worst["pattern"]) if errors else "",
        },
        (
            Table(
                f"What {app} logged, by pattern (# stands for what varies)",
                grouped,
                {"lines": "", "first": "time", "last": "time"},
            ),
        ),
    )


def logs_of(cluster: Cluster, window: Window, apps: Sequence[str], name: str) -> Finding:
    """Log patterns of several deployments as one finding called `name`, the worst first; one without a pod is told apart."""

    def read(app: str) -> Finding | str:
        try:
            return logs(cluster, window, app=app)
        except QueryFailed as error:
            return f"{app}: {error}."

    found = at_once(*(partial(read, app) for app in apps))
    parts = [one for one in found if isinstance(one, Finding)]
    missing = [one for one in found if isinstance(one, str)]
    if not parts:
        return Finding(name, Status.UNKNOWN, f"What {' and '.join(apps)} log is not known", " ".join(missing))
    parts.sort(key=lambda one: (one.status is not Status.CRITICAL, one.status is not Status.WARNING))
    return Finding(
        name,
        parts[0].status if not missing or parts[0].status is not Status.OK else Status.UNKNOWN,
        "; ".join(one.title for one in parts),
        " ".join([*(one.detail for one in parts), *missing]).strip(),
        {
            "errors": sum(one.figures["errors"] for one in parts),
            "worst": next((one.figures["worst"] for one in parts if one.figures.get("worst")), ""),
            "apps": ", ".join(apps),
        },
        tuple(table for one in parts for table in one.tables),
    )


def config_changes(database: Database, window: Window) -> Finding:
    """What changed: configuration updates, starts, stops and pauses in audit_logs, from a day before the alert."""
    frame = database.ask("platform/changes", since=window.start - pd.Timedelta(hours=24), as_of=window.as_of).frame
    if frame.empty:
        return Finding(
            "platform.config_changes",
            Status.OK,
            "Nothing was changed since a day before the window",
            "",
            {"count": 0, "last": ""},
        )
    updates = frame[frame["event_type"] == "CONFIG_UPDATED"]
    last = updates.iloc[0] if len(updates) else None
    title = (
        f"Last change {moment(last['at'])} by {_word(last['user_id'])}: {_word(last['action'])}"
        if last is not None
        else "No configuration change; only starts, stops and pauses"
    )
    return Finding(
        "platform.config_changes",
        Status.WARNING if last is not None else Status.OK,
        title,
        f"{len(updates) or 'No'} configuration {'change' if len(updates) < 2 else 'changes'} since a day before the window began. A change shortly before trouble is a suspect, not a proof.",
        {"count": len(updates), "last": _word(last["action"]) if last is not None else "", "last_at": last["at"] if last is not None else None,
         "last_by": _word(last["user_id"]) if last is not None else ""},
        (Table("Changes, newest first", frame, {"at": "time"}),),
    )  # fmt: skip


def pods(cluster: Cluster, window: Window, app: str = "", component: str = "") -> Finding:
    """Pods: readiness, restarts, what they wait for and how they last ended, of an app, a component or all."""
    frame = cluster.pods(app or None, component or None).frame
    name, whose = ".".join(part for part in ("platform.pods", app or component) if part), app or component
    if frame.empty and not whose:
        return Finding(name, Status.UNKNOWN, "Pods: the namespace holds none",
                       "Is KUBE_NAMESPACE right, and may this role list pods?", {"total": 0})  # fmt: skip
    if frame.empty:
        return Finding(name, Status.CRITICAL, f"There is no pod of {whose}",
                       "Not deployed, or scaled to 0: nothing of it runs.", {"total": 0, "not_ready": whose})  # fmt: skip
    # A pod that has finished its work (a job's) is not one that is down.
    running = frame[frame["phase"] != "Succeeded"]
    down = running[~running["ready"].astype(bool)]
    ended = frame[frame["last_exit_at"].between(pd.Timestamp(window.start), pd.Timestamp(window.as_of))]
    killed = ended[ended["last_exit"] == "OOMKilled"]
    shown = pd.DataFrame({
        "pod": frame["name"], "ready": ["yes" if one else "NO" for one in frame["ready"]],
        "restarts": frame["restarts"], "waits for": frame["waiting"],
        "last ended by": [_ended(*pair) for pair in zip(frame["last_exit"], frame["last_exit_code"], strict=True)],
        "ended at": frame["last_exit_at"],
    })  # fmt: skip
    order = frame["ready"].astype(int) * 1_000_000 - frame["restarts"].clip(upper=999_999)
    shown = shown.iloc[order.argsort(kind="stable")].reset_index(drop=True)
    title = (
        (
            f"The only pod is not ready: {names(_apps(down))}"
            if len(running) == 1
            else f"{len(down)} of {len(running)} pods {'is' if len(down) == 1 else 'are'} not ready: {names(_apps(down))}"
        )
        if len(down)
        else f"{'The only pod is' if len(running) == 1 else f'All {len(running)} pods are'} ready"
    )
    title += f" ({whose})" if whose and not len(down) else ""
    title += f"; restarted in the window: {names(_apps(ended))}" if len(ended) else ""
    reasons = [f"{app} waits: {why}" for app, why in zip(frame["app"], frame["waiting"], strict=True) if why]
    reasons += [
        f"{row.app} ended {moment(row.last_exit_at)} by {_ended(row.last_exit, row.last_exit_code)}"
        for row in ended.itertuples()
    ]
    return Finding(
        name,
        Status.CRITICAL if len(down) else Status.WARNING if len(ended) else Status.OK,
        title,
        ("; ".join(reasons[:6]) + ".") if reasons else "",
        {
            "total": len(frame),
            "limits": limits_of(frame),
            "not_ready": ", ".join(_apps(down)),
            "restarted": ", ".join(_apps(ended)),
            "oom_killed": ", ".join(_apps(killed)),
            "waiting": ", ".join(sorted({str(one) for one in frame["waiting"] if one})),
            "restarts": int(frame["restarts"].sum()),
            "last_exit_at": ended["last_exit_at"].max() if len(ended) else None,
        },
        (Table(f"Pods{' of ' + whose if whose else ''}, those in trouble first", shown,
               {"restarts": "", "ended at": "time"}),),
        series={"pods": frame},
    )  # fmt: skip


def events(cluster: Cluster, window: Window, app: str = "") -> Finding:
    """Warning events: what Kubernetes warned of in the window, grouped, those that happened most often first."""
    frame = cluster.events(window.start).frame
    frame = frame[(frame["type"] == "Warning") & (frame["time"] <= window.as_of)]
    if app:
        kinds = frame["object"].str.split("/", n=1)
        frame = frame[[pair[-1] == app or pair[-1].startswith(f"{app}-") for pair in kinds]]
    name = f"platform.events.{app}" if app else "platform.events"
    about = f" about {app}" if app else ""
    if frame.empty:
        return Finding(name, Status.OK, f"Kubernetes holds no warning event{about} in the window",
                       "It keeps events for an hour by default: older ones may be gone.", {"count": 0, "reasons": ""})  # fmt: skip
    keyed = frame.assign(message=[pattern_of(str(one)) for one in frame["message"]])
    grouped = (
        keyed.groupby(["reason", "object", "message"], as_index=False, sort=False)
        .agg(count=("count", "sum"), last=("time", "max"))
        .sort_values(["count", "last"], ascending=False, ignore_index=True)
        .head(PATTERNS_MAX)
    )
    worst = grouped.iloc[0]
    reasons = list(dict.fromkeys(map(str, grouped["reason"])))
    return Finding(
        name,
        Status.WARNING,
        f"Kubernetes warned{about} {int(frame['count'].sum()):,} times: {names(reasons)}",
        f"Most often about {worst['object']}: {worst['message']}",
        {"count": int(frame["count"].sum()), "reasons": ", ".join(reasons), "objects": ", ".join(dict.fromkeys(map(str, grouped["object"])))},
        (Table("Warning events (# stands for what varies)", grouped, {"count": "", "last": "time"}),),
    )  # fmt: skip


def rollouts(cluster: Cluster, window: Window) -> Finding:
    """Rollouts: deployments that were rolled out, and pods that restarted, within the window."""
    deployments, running = (answer.frame for answer in at_once(cluster.deployments, cluster.pods))
    if deployments.empty:
        return Finding("platform.rollouts", Status.UNKNOWN, "Rollouts: the namespace holds no deployment",
                       "Is KUBE_NAMESPACE right, and may this role list deployments?")  # fmt: skip
    span = (pd.Timestamp(window.start), pd.Timestamp(window.as_of))
    rolled = deployments[deployments["progressed_at"].between(*span)].sort_values("progressed_at", ascending=False)
    ended = running[running["last_exit_at"].between(*span)].sort_values("last_exit_at", ascending=False)
    stuck = deployments[(deployments["unavailable"] > 0) | (deployments["updated"] < deployments["desired"])]
    rows = [
        {"at": row.progressed_at, "deployment": row.name, "what": f"rolled out, revision {row.revision or 'unknown'}",
         "image": row.image, "ready": f"{row.ready} of {row.desired}"}
        for row in rolled.itertuples(index=False)
    ] + [
        {"at": row.last_exit_at, "deployment": row.app, "what": f"restarted ({row.restarts}×), ended by {_ended(row.last_exit, row.last_exit_code)}",
         "image": row.image, "ready": "yes" if row.ready else "NO"}
        for row in ended.itertuples(index=False)
    ]  # fmt: skip
    figures = {
        "rolled_out": ", ".join(map(str, rolled["name"])),
        "last_rollout": str(rolled["name"].iloc[0]) if len(rolled) else "",
        "last_rollout_at": rolled["progressed_at"].iloc[0] if len(rolled) else None,
        "last_image": str(rolled["image"].iloc[0]) if len(rolled) else "",
        "restarted": ", ".join(_apps(ended)),
        "unavailable": ", ".join(map(str, stuck["name"])),
    }
    if not rows:
        return Finding("platform.rollouts", Status.WARNING if len(stuck) else Status.OK, "Nothing was rolled out and nothing restarted in the window",
                       f"Not fully available: {names(list(map(str, stuck['name'])))}." if len(stuck) else "", figures)  # fmt: skip
    parts = [f"rolled out: {names(list(map(str, rolled['name'])))}"] if len(rolled) else ["nothing was rolled out"]
    parts += [f"restarted: {names(_apps(ended))}"] if len(ended) else []
    title = "; ".join(parts)
    table = pd.DataFrame(rows).sort_values("at", ascending=False, ignore_index=True)
    return Finding(
        "platform.rollouts",
        Status.WARNING,
        f"{title[0].upper()}{title[1:]} in the window",
        "A rollout shortly before trouble is a suspect, not a proof."
        + (f" Not fully available: {names(list(map(str, stuck['name'])))}." if len(stuck) else ""),
        figures,
        (Table("Rollouts and restarts, newest first", table, {"at": "time"}),),
    )  # fmt: skip


def _apps(frame: pd.DataFrame) -> list[str]:
    """The apps of pod rows, each once; a pod without the label goes by its own name."""
    return list(dict.fromkeys(str(app or name) for app, name in zip(frame["app"], frame["name"], strict=True)))


def _ended(reason: object, code: object) -> str:
    text = str(reason or "")
    return f"{text} (exit code {code:.0f})" if text and isinstance(code, float) and code == code else text


def _word(value: object, length: int = 160) -> str:
    return " ".join(str(value).split())[:length] if isinstance(value, str) and value.strip() else "unknown"
