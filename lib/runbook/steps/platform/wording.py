"""What is said of the platform: titles and reasons from figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from runbook.steps.platform.figures import ConfigChanges, Logs, Pods, Restart, Rollout, Rollouts
from runbook.steps.shared.replicas import app_of, is_leaving, left_over_line, tally_of, with_shares
from runbook.words import capitalised, counted, moment, names, plural

_REASONS_MAX = 6
_UNTOLD = ("Unschedulable", "SchedulingGated")
"""Reasons that say nothing without their message."""


def logs_title(log: Logs) -> str:
    errors = f"{counted(log.errors, 'error line')} in {log.lines:,}"
    if not log.errors:
        return f"{log.app}: {errors}, nothing worse than a warning"
    return f"{log.app}: {errors}, most severe “{log.worst[:90]}” ({log.worst_lines}×)"


def logs_detail(log: Logs) -> str:
    if not log.errors:
        return ""
    sentences = [f"The first error was at {moment(log.first_error_at)}."]
    if log.errors_by_container:
        counts = [f"{container} {count:,}" for container, count in log.errors_by_container.items()]
        sentences.append(f"Error lines by container: {names(counts)}.")
    return " ".join(sentences)


def pods_title(pods: Pods) -> str:
    title = _readiness(pods)
    if pods.of and not pods.not_ready:
        title += f" ({pods.of})"
    if pods.restarted:
        title += f"; restarted in the window: {names(pods.restarted)}"
    if pods.failed:
        title += f"; failed: {names(pods.failed)}"
    return title


def _readiness(pods: Pods) -> str:
    gone = [app for app, together in pods.replicas.items() if together.is_gone]
    short = [app for app in pods.not_ready if app not in gone]
    parts = []
    if short:
        parts.append(_not_ready(pods, short))
    if gone:
        states = [state for app in gone for state in pods.replicas[app].left_over]
        parts.append(f"no pod of {names(gone)} serves any more ({tally_of(states)})")
    if parts:
        return capitalised("; ".join(parts))
    if not pods.running:
        return f"Nothing serves: {counted(pods.total, 'pod')}, all of work that ended"
    return "The only pod is ready" if pods.running == 1 else f"All {pods.running} pods are ready"


def _not_ready(pods: Pods, apps: Sequence[str]) -> str:
    if pods.running == 1:
        return f"the only pod is not ready: {names(apps)}"
    of_each = with_shares(apps, pods.replicas)
    if apps == [pods.of]:  # then the share is that of all
        of_each = names(apps)
    return f"{pods.down} of {pods.running} pods {plural(pods.down, 'is', 'are')} not ready: {of_each}"


def pods_detail(pods: Pods, ended: pd.DataFrame) -> str:
    """What pods wait for or lack, how containers ended, and what is left over."""
    reasons = [*_waits(pods), *_ends(ended)]
    sentences = [f"{'; '.join(reasons[:_REASONS_MAX])}."] if reasons else []
    return " ".join((*sentences, left_over_line(pods.replicas))).strip()


def _waits(pods: Pods) -> Iterator[str]:
    """Of each deployment what keeps its pods from being ready, once, and in how many of them."""
    held_up: dict[tuple[str, str], int] = {}
    for row in pods.rows.itertuples(index=False):
        if is_leaving(row) or row.ready:
            continue
        why = _why(str(row.waiting or ""), str(row.message or ""), str(row.containers_ready or ""))
        key = (app_of(row.app, row.name), why)
        held_up[key] = held_up.get(key, 0) + 1
    for (app, why), count in held_up.items():
        together = pods.replicas[app]
        share = f" ({count} of {together.serving})" if together.serving > 1 else ""
        yield f"{app}{share} {why}"


def _why(waiting: str, message: str, containers_ready: str) -> str:
    if not waiting and message:
        return f"is not ready: {message}"
    if not waiting:
        ready, _, total = containers_ready.partition("/")
        although = ", although its containers are, as on a lost node" if ready and ready == total else ""
        return f"is not ready{although}"
    return f"waits: {waiting} ({message})" if message and waiting in _UNTOLD else f"waits: {waiting}"


def _ends(ended: pd.DataFrame) -> Iterator[str]:
    several = ended.groupby("app")["pod"].nunique() if len(ended) else {}
    for row in ended.itertuples(index=False):
        who = row.pod if several[row.app] > 1 else row.app
        in_which = in_container(ended_by(row.last_exit, row.last_exit_code), row.container, row.kind == "main")
        yield f"{who} ended {moment(row.last_exit_at)} by {in_which}"


def ended_by(reason: object, code: object) -> str:
    """How a container ended: "OOMKilled (exit code 137)"; empty where nothing is known of it."""
    known = str(reason or "")
    has_code = isinstance(code, float) and code == code
    return f"{known} (exit code {code:.0f})" if known and has_code else known


def in_container(ended: str, container: object, main: object) -> str:
    """How a container ended, with its name where it is not the app itself: `main` says so, or is the name of that."""
    is_named = ended and container and main is not True and container != main
    return f"{ended} in {container}" if is_named else ended


def rolled_out(rollout: Rollout) -> str:
    return f"rolled out, revision {rollout.revision or 'unknown'}"


def restarted(restart: Restart) -> str:
    return f"restarted ({restart.restarts}×), ended by {in_container(restart.ended_by, restart.container, '')}"


def rollouts_title(found: Rollouts) -> str:
    if not found.rollouts and not found.restarts:
        return "Nothing was rolled out and nothing restarted in the window"
    rolled = f"rolled out: {names(found.rolled_out)}" if found.rollouts else "nothing was rolled out"
    again = f"; restarted: {names(found.restarted)}" if found.restarts else ""
    return f"{capitalised(rolled)}{again} in the window"


def rollouts_detail(found: Rollouts) -> str:
    sentences = []
    if found.rollouts or found.restarts:
        sentences.append("A rollout shortly before trouble is a suspect, not a proof.")
    if found.unavailable:
        sentences.append(f"Not fully available: {names(found.unavailable)}.")
    return " ".join(sentences)


def changes_title(found: ConfigChanges) -> str:
    last = found.last
    if last is None:
        return "No configuration change; only starts, stops and pauses"
    return f"Last change {moment(last.at)} by {last.by or 'unknown'}: {last.action or 'unknown'}"


def changes_detail(found: ConfigChanges) -> str:
    count = len(found.updates)
    changes = counted(count, "configuration change") if count else "No configuration change"
    return f"{changes} since a day before the window began. A change shortly before trouble is a suspect, not a proof."
