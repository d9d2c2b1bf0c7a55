"""The logs of an app's pods, each container's for itself: one that cannot be read does not lose the others'."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from runbook.errors import NotConfigured, QueryFailed, SourceError
from runbook.sources import logs
from runbook.sources.cluster import pod_status
from runbook.sources.cluster.connection import Connection
from runbook.sources.cluster.deadline import Deadline
from runbook.sources.cluster.json_paths import at, line, name_of
from runbook.sources.cluster.replies import refused
from runbook.sources.evidence import TooSlow
from runbook.sources.overlap import at_once
from runbook.words import clock, counted

PODS_MAX = 5
LINES_MAX = 2_000
BYTES_MAX = 2 * 1024 * 1024
_COMPLAINTS_MAX = 3
_NO_PREVIOUS = re.compile(r"previous terminated container .* not found")


@dataclass(frozen=True, slots=True)
class LoggedPod:
    """A pod, the containers that may have logged, and which of them ended before ("previous")."""

    name: str
    containers: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    is_leaving: bool = False
    is_well: bool = True

    @classmethod
    def of(cls, item: Any) -> LoggedPod:
        initial = [status for status in pod_status.init_statuses(item) if _has_something_to_say(status)]
        regular = [str(container.get("name") or "") for container in pod_status.containers(item)]
        statuses = (*pod_status.statuses(item), *initial)
        return cls(
            name_of(item),
            tuple(dict.fromkeys((*regular, *(str(status.get("name") or "") for status in initial)))),
            tuple(str(status.get("name") or "") for status in statuses if status.get("restartCount")),
            pod_status.is_leaving(item),
            pod_status.is_ready(item),
        )


def _has_something_to_say(status: Mapping[str, Any]) -> bool:
    """Whether an init container runs, failed or was started again: not one that did its work, or waits for its turn."""
    if at(status, "state", "terminated", "exitCode") == 0:
        return False
    return at(status, "state", "waiting") is None or bool(status.get("restartCount"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: the last so many since a moment, of the container that runs or of the one before it.

    `is_window`: all since then are meant, and those that the number leaves out are missing.
    """

    since: str
    tail: int
    is_previous: bool
    is_window: bool


@dataclass(frozen=True, slots=True)
class Read:
    """The lines of so many logs, and in clauses what was not read. `gone`: pods that are not there any more."""

    rows: pd.DataFrame
    count: int
    missing: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    pod: str
    container: str
    is_alone: bool
    """Whether the pod has no other container."""

    @property
    def name(self) -> str:
        return self.pod if self.is_alone else f"{self.pod}/{self.container}"


@dataclass(frozen=True, slots=True)
class _Log:
    source: _Source
    rows: pd.DataFrame | None = None
    error: SourceError | None = None
    is_gone: bool = False
    has_no_previous: bool = False
    cut: str = ""


def read(
    connection: Connection, folder: str, app: str, pods: Sequence[LoggedPod], wanted: Wanted, deadline: Deadline
) -> Read:
    """The log of each container of at most five of `pods`, those in trouble first; `folder` is the path of pods.

    Raises SourceError where none of them could be read.
    """
    chosen, left_out = _chosen(app, pods, wanted)
    sources = [
        _Source(pod.name, container, len(pod.containers) < 2)
        for pod in chosen
        for container in (_previous_of(pod) if wanted.is_previous else pod.containers or ("",))
    ]
    until = deadline.with_time_to_tell
    found = at_once(*(partial(_log, connection, folder, source, wanted, until) for source in sources))
    _raise_where_nothing_was_read(found)
    frames = [log.rows for log in found if log.rows is not None]
    gone = tuple(dict.fromkeys(log.source.pod for log in found if log.is_gone))
    rows = pd.concat(frames, ignore_index=True) if frames else logs.frame_of([]).assign(container="")
    if len(frames) > 1:  # the last line is the latest of them all, not that of the last pod
        rows = rows.sort_values("time", kind="stable", na_position="first", ignore_index=True)
    missing = (*left_out, *_complaints(found), *(log.cut for log in found if log.cut))
    return Read(rows, len(frames), missing, gone)


def _previous_of(pod: LoggedPod) -> tuple[str, ...]:
    return pod.restarted or pod.containers or ("",)


def _chosen(app: str, pods: Sequence[LoggedPod], wanted: Wanted) -> tuple[list[LoggedPod], tuple[str, ...]]:
    """(the pods to read, what is said of those that are not). Leftovers only count where no other pod is left."""
    among = [pod for pod in pods if not pod.is_leaving] or list(pods)
    if wanted.is_previous:
        among = [pod for pod in among if pod.restarted] or among
    among.sort(key=lambda pod: (pod.is_well, not pod.restarted))
    if len(among) <= PODS_MAX:
        return among, ()
    return among[:PODS_MAX], (f"{PODS_MAX} of {counted(len(among), 'pod')} of {app} were read",)


def _log(connection: Connection, folder: str, source: _Source, wanted: Wanted, deadline: Deadline) -> _Log:
    query = {
        "tailLines": str(wanted.tail),
        "limitBytes": str(BYTES_MAX),
        "timestamps": "true",
        "sinceTime": wanted.since,
    }
    if source.container:
        query["container"] = source.container
    if wanted.is_previous:
        query["previous"] = "true"
    try:
        reply = connection.get(f"{folder}/{source.pod}/log", query, deadline)
    except NotConfigured:
        raise
    except SourceError as error:
        return _Log(source, error=error)
    if reply.status >= 300 or reply.is_html:  # a log begins with a timestamp
        is_gone = reply.status == 404
        has_no_previous = bool(_NO_PREVIOUS.search(reply.reason))
        return _Log(source, error=refused(reply), is_gone=is_gone, has_no_previous=has_no_previous)
    rows = logs.parse(reply.body.decode("utf-8", "replace"), source.pod).assign(container=source.container)
    return _Log(source, rows.astype({"container": "object"}), cut=_cut(source, rows, reply.body, wanted))


def _cut(source: _Source, rows: pd.DataFrame, body: bytes, wanted: Wanted) -> str:
    """What the limits left out of a log."""
    if len(body) >= BYTES_MAX:
        return f"the last lines of {source.name} (its log was cut at {BYTES_MAX // 1024**2} MiB)"
    first = rows["time"].min()
    if not wanted.is_window or body.count(b"\n") < wanted.tail or pd.isna(first) or first <= pd.Timestamp(wanted.since):
        return ""
    return f"what {source.name} logged before {clock(first)} (its last {wanted.tail:,} lines were read)"


def _raise_where_nothing_was_read(found: Sequence[_Log]) -> None:
    """Raises what speaks for all: that they hang, else that they are refused, else that there is none."""
    if not found or any(log.rows is not None for log in found):
        return
    errors = [log.error for log in found if log.error is not None and not (log.is_gone or log.has_no_previous)]
    slow = [error for error in errors if isinstance(error, TooSlow)]
    if errors:
        raise slow[0] if len(slow) == len(errors) else next(error for error in errors if error not in slow)
    if any(log.has_no_previous for log in found):
        raise QueryFailed(f"cluster has no log of a container before the present one: {found[0].source.name}")


def _complaints(found: Sequence[_Log]) -> list[str]:
    """Which logs could not be read, and why."""
    failed = [log for log in found if log.error is not None and not (log.is_gone or log.has_no_previous)]
    said = [f"the log of {log.source.name}: {line(log.error, 160)}" for log in failed[:_COMPLAINTS_MAX]]
    more = len(failed) - _COMPLAINTS_MAX
    return [*said, f"the logs of {more} more"] if more > 0 else said
