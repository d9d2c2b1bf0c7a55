"""How pods are, and what Kubernetes warns of."""

from __future__ import annotations

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Findings, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.steps.platform.figures import Events, Pods
from runbook.steps.platform.wording import ended_by, in_container, pods_detail, pods_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.log_patterns import PATTERNS_MAX, pattern_of
from runbook.steps.shared.quotas import Limits, limits_of
from runbook.steps.shared.replicas import apps_of, ends_within, is_leaving, replicas_of, serving
from runbook.words import names

_YES_NO = {True: "yes", False: "NO"}


def pods(cluster: Cluster, window: Window, app: str = "", component: str = "") -> Finding[Pods]:
    """Pods: readiness, restarts, what they wait for and how they last ended, of an app, a component or all."""
    of = app or component
    rows = cluster.pods(app or None, component or None).frame
    if rows.empty and not of:
        return Finding(
            Status.UNKNOWN, "Pods: the namespace holds none", "Is KUBE_NAMESPACE right, and may this role list pods?"
        )
    if rows.empty:
        return Finding(
            Status.CRITICAL,
            f"There is no pod of {of}",
            "Not deployed, or scaled to 0: nothing of it runs.",
            Pods(of, rows, not_ready=(of,)),
        )
    ended = ends_within(rows, window)
    found = _pods(of, rows, ended)
    caption = f"Pods of {of}, those in trouble first" if of else "Pods, those in trouble first"
    return Finding(
        graded(found.not_ready, len(ended) or found.failed),
        pods_title(found),
        pods_detail(found, ended),
        found,
        (Table(caption, _shown(rows), {"restarts": "", "ended at": "time"}),),
    )


def known_limits(findings: Findings) -> dict[str, tuple[Limits, ...]]:
    """The limits of containers by deployment of all pods that were checked.

    A domain that learned more of them adds its own.
    """
    return {deployment: limits for pods in findings.every(Pods) for deployment, limits in pods.limits.items()}


def _pods(of: str, rows: pd.DataFrame, ended: pd.DataFrame) -> Pods:
    meant_to_serve, replicas = serving(rows), replicas_of(rows)
    down = meant_to_serve[~meant_to_serve["ready"].astype(bool)]
    gone = [app for app, together in replicas.items() if together.is_gone]
    return Pods(
        of,
        rows,
        total=len(rows),
        running=len(meant_to_serve),
        down=len(down),
        not_ready=tuple(dict.fromkeys((*apps_of(down), *gone))),
        restarted=apps_of(ended, "pod"),
        oom_killed=apps_of(ended[ended["last_exit"] == "OOMKilled"], "pod"),
        failed=tuple(app for app, together in replicas.items() if together.has_failed),
        waiting=tuple(sorted({str(reason) for reason in meant_to_serve["waiting"] if reason})),
        restarts=int(meant_to_serve["restarts"].sum()),
        last_exit_at=ended["last_exit_at"].max() if len(ended) else None,
        ended_at=ended.groupby("app")["last_exit_at"].max().to_dict(),
        limits=limits_of(rows),
        replicas=replicas,
    )


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    containers = zip(rows["last_exit_container"], rows["container"], strict=True)
    exits = zip(rows["last_exit"], rows["last_exit_code"], containers, strict=True)
    shown = pd.DataFrame(
        {
            "pod": rows["name"],
            "status": rows["status"],
            "ready": [
                share or _YES_NO[bool(ready)]
                for share, ready in zip(rows["containers_ready"], rows["ready"], strict=True)
            ],
            "restarts": rows["restarts"],
            "last ended by": [in_container(ended_by(reason, code), *which) for reason, code, which in exits],
            "ended at": rows["last_exit_at"],
        }
    )
    # Those that should be ready and are not come first, then those that restarted most; what is left over comes last.
    rank = [2 if is_leaving(row) else int(bool(row.ready)) for row in rows.itertuples(index=False)]
    order = pd.Series(rank, index=rows.index) * 1_000_000 - rows["restarts"].clip(upper=999_999)
    return shown.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def events(cluster: Cluster, window: Window, app: str = "") -> Finding[Events]:
    """Warning events: what Kubernetes warned of in the window, grouped, those that happened most often first."""
    warned = _warnings(cluster.events(window.start).frame, window, app)
    about = f" about {app}" if app else ""
    if warned.empty:
        return Finding(
            Status.OK,
            f"Kubernetes holds no warning event{about} in the window",
            "It keeps events for an hour by default: older ones may be gone.",
            Events(),
        )
    grouped = (
        warned.assign(message=[pattern_of(str(message)) for message in warned["message"]])
        .groupby(["reason", "object", "message"], as_index=False, sort=False)
        .agg(count=("count", "sum"), last=("time", "max"))
        .sort_values(["count", "last"], ascending=False, ignore_index=True)
        .head(PATTERNS_MAX)
    )
    worst = grouped.iloc[0]
    found = Events(
        int(warned["count"].sum()),
        reasons=tuple(dict.fromkeys(map(str, grouped["reason"]))),
        objects=tuple(dict.fromkeys(map(str, grouped["object"]))),
    )
    return Finding(
        Status.WARNING,
        f"Kubernetes warned{about} {found.count:,} times: {names(found.reasons)}",
        f"Most often about {worst['object']}: {worst['message']}",
        found,
        (Table("Warning events (# stands for what varies)", grouped, {"count": "", "last": "time"}),),
    )


def _warnings(events: pd.DataFrame, window: Window, app: str) -> pd.DataFrame:
    """The warnings among `events` up to the report's moment; those about `app` and its pods, where one is given."""
    warned = events[(events["type"] == "Warning") & (events["time"] <= window.as_of)]
    if not app:
        return warned
    subjects = [kind_and_name[-1] for kind_and_name in warned["object"].str.split("/", n=1)]
    return warned[[name == app or name.startswith(f"{app}-") for name in subjects]]
