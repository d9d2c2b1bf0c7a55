"""What kubectl's columns STATUS and READY say of a pod, and whether it is still meant to serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbook.sources.cluster.json_paths import at, condition

_TERMINAL = ("Succeeded", "Failed")


def status_word(item: Any) -> str:
    """kubectl's STATUS: Running, Init:0/1, CrashLoopBackOff, Completed, Evicted, Terminating …; empty for none."""
    word = str(at(item, "status", "reason") or at(item, "status", "phase") or "")
    if condition(item, "PodScheduled").get("reason") == "SchedulingGated":
        word = "SchedulingGated"
    initial = _initialising(item)
    if initial and condition(item, "Initialized").get("status") != "True":
        word = initial
    else:
        word = _of_containers(item, word)
    if not at(item, "metadata", "deletionTimestamp"):
        return word
    if at(item, "status", "reason") == "NodeLost":
        return "Unknown"
    return word if is_over(item) else "Terminating"


def is_ready(item: Any) -> bool:
    """Whether the pod's own condition says so: it knows of readiness gates, and of a node that is lost."""
    return condition(item, "Ready").get("status") == "True"


def is_over(item: Any) -> bool:
    """Whether it ended for good: completed, failed or evicted."""
    return at(item, "status", "phase") in _TERMINAL


def is_leaving(item: Any) -> bool:
    """Whether it is not meant to serve any more: it is over, or is being deleted."""
    return is_over(item) or bool(at(item, "metadata", "deletionTimestamp"))


def ready_share(item: Any) -> str:
    """kubectl's READY: "1/2" containers that are ready, those that start first and stay included."""
    lasting = {container.get("name") for container in init_containers(item) if is_lasting(container)}
    first = [status for status in init_statuses(item) if status.get("name") in lasting]
    ready = sum(bool(status.get("ready")) for status in (*first, *statuses(item)))
    return f"{ready}/{len(containers(item)) + len(lasting)}"


def containers(item: Any) -> list[dict[str, Any]]:
    return list(at(item, "spec", "containers") or [])


def init_containers(item: Any) -> list[dict[str, Any]]:
    return list(at(item, "spec", "initContainers") or [])


def is_lasting(container: Mapping[str, Any]) -> bool:
    """Whether an init container stays beside the others: a sidecar by its restart policy."""
    return container.get("restartPolicy") == "Always"


def statuses(item: Any) -> list[dict[str, Any]]:
    return list(at(item, "status", "containerStatuses") or [])


def init_statuses(item: Any) -> list[dict[str, Any]]:
    return list(at(item, "status", "initContainerStatuses") or [])


def _initialising(item: Any) -> str:
    """What the first init container that is not done yet does; empty where all are done."""
    lasting = {container.get("name") for container in init_containers(item) if is_lasting(container)}
    for number, status in enumerate(init_statuses(item)):
        ended = at(status, "state", "terminated")
        if ended is not None and int(ended.get("exitCode") or 0) == 0:
            continue
        if status.get("name") in lasting and status.get("started"):
            continue
        if ended is not None:
            return f"Init:{_ended_word(ended)}"
        reason = at(status, "state", "waiting", "reason")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{number}/{len(init_containers(item))}"
    return ""


def _of_containers(item: Any, word: str) -> str:
    """`word`, unless a container says more: of several the first in the list."""
    for said in _said(item):
        word = said
        break
    runs = any(status.get("ready") and at(status, "state", "running") is not None for status in statuses(item))
    if word != "Completed" or not runs:
        return word
    return "Running" if is_ready(item) else "NotReady"


def _said(item: Any) -> Iterator[str]:
    for status in statuses(item):
        waiting, ended = at(status, "state", "waiting", "reason"), at(status, "state", "terminated")
        if waiting:
            yield str(waiting)
        elif ended is not None:
            yield _ended_word(ended)


def _ended_word(ended: Mapping[str, Any]) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode', 0)}"
