"""What is said of the platform: titles and reasons from figures."""

from __future__ import annotations

from runbook.steps.platform.figures import ConfigChanges, Logs, Pods, Restart, Rollout, Rollouts
from runbook.words import capitalised, counted, moment, names, plural


def logs_title(log: Logs) -> str:
    errors = f"{counted(log.errors, 'error line')} in {log.lines:,}"
    if log.unlevelled and not log.errors:
        return f"{log.app}: {errors}, but {log.unlevelled:,} of them {plural(log.unlevelled, 'tells', 'tell')} no level"
    if not log.errors:
        return f"{log.app}: {errors}, nothing worse than a warning"
    return f"{log.app}: {errors}, most severe “{log.worst[:90]}” ({log.worst_lines}×)"


def pods_title(pods: Pods) -> str:
    title = _readiness(pods)
    if pods.of and not pods.down:
        title += f" ({pods.of})"
    if pods.restarted:
        title += f"; restarted in the window: {names(pods.restarted)}"
    return title


def _readiness(pods: Pods) -> str:
    not_ready = names(pods.not_ready)
    if pods.running == 1:
        return f"The only pod is not ready: {not_ready}" if pods.down else "The only pod is ready"
    if pods.down:
        return f"{pods.down} of {pods.running} pods {plural(pods.down, 'is', 'are')} not ready: {not_ready}"
    return f"All {pods.running} pods are ready"


def ended_by(reason: object, code: object) -> str:
    """How a container ended: "OOMKilled (exit code 137)"; empty where nothing is known of it."""
    known = str(reason or "")
    has_code = isinstance(code, float) and code == code
    return f"{known} (exit code {code:.0f})" if known and has_code else known


def rolled_out(rollout: Rollout) -> str:
    return f"rolled out, revision {rollout.revision or 'unknown'}"


def restarted(restart: Restart) -> str:
    return f"restarted ({restart.restarts}×), ended by {restart.ended_by}"


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
