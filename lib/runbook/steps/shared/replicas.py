"""A deployment is all its pods: how they are together, so that none hides another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.sources.cluster import containers_of
from runbook.steps.shared.fleet import workload_of
from runbook.words import counted, names

_OVER = ("Succeeded", "Failed")
_JOBS = ("Job", "")
"""What owns pods that nothing replaces when they end."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """The pods of one deployment: those that are meant to serve, of them those that are ready, and what is left over.

    `waiting`: what keeps those that are not ready from starting, each reason once. `left_over` are the states of pods
    that ended or are on their way out: beside others they are no fault. `is_gone`: only such are left of something
    that serves; `has_failed`: of a job that did not succeed.
    """

    app: str
    serving: int
    ready: int
    left_over: tuple[str, ...] = ()
    is_gone: bool = False
    has_failed: bool = False
    waiting: tuple[str, ...] = ()

    @property
    def down(self) -> int:
        return self.serving - self.ready

    @property
    def share(self) -> str:
        """Which part of it is not ready: "1 of 3"; empty where it is a single pod."""
        return f"{self.down} of {self.serving}" if self.serving > 1 else ""


def replicas_of(rows: pd.DataFrame) -> dict[str, Replicas]:
    """The deployments that the pods in `rows` are of, in their order. A pod without the label goes by its name."""
    by_app: dict[str, list[Any]] = {}
    for row in rows.itertuples(index=False):
        by_app.setdefault(app_of(row.app, row.name), []).append(row)
    return {app: _together(app, pods) for app, pods in by_app.items()}


def app_of(app: Any, name: Any) -> str:
    """What a pod is of: its label, else what its name begins with."""
    return str(app or workload_of(str(name)))


def serving(rows: pd.DataFrame) -> pd.DataFrame:
    """The pods that are meant to serve: not those that ended or are being deleted."""
    return rows[pd.Series([not is_leaving(row) for row in rows.itertuples(index=False)], rows.index, dtype=bool)]


def is_leaving(row: Any) -> bool:
    return bool(row.leaving) or row.phase in _OVER


def ends_within(rows: pd.DataFrame, window: Window) -> pd.DataFrame:
    """How containers of the serving pods in `rows` ended within the window, a row each, in the order of the pods."""
    ended = containers_of(serving(rows))
    within = ended["last_exit_at"].between(pd.Timestamp(window.start), pd.Timestamp(window.as_of))
    found = ended[within].reset_index(drop=True)
    return found.assign(app=[app_of(app, pod) for app, pod in zip(found["app"], found["pod"], strict=True)])


def apps_of(rows: pd.DataFrame, name: str = "name") -> tuple[str, ...]:
    """What the rows are of, each once."""
    return tuple(dict.fromkeys(app_of(app, pod) for app, pod in zip(rows["app"], rows[name], strict=True)))


def with_shares(apps: Sequence[str], replicas: Mapping[str, Replicas]) -> str:
    """The deployments in words, each with how many of its pods are not ready where it has several: "api (1 of 3)"."""
    shares = ((app, replicas[app].share if app in replicas else "") for app in apps)
    return names([f"{app} ({share})" if share else app for app, share in shares])


def tally_of(states: Iterable[str]) -> str:
    """States in words, with how many: "2 Evicted, 1 Completed"."""
    return ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())


def left_over_line(replicas: Mapping[str, Replicas]) -> str:
    """What is left over beside pods that serve, in a sentence; empty for nothing."""
    states = [state for found in replicas.values() if not found.is_gone for state in found.left_over]
    return f"Left over, which is no fault: {counted(len(states), 'pod')} ({tally_of(states)})." if states else ""


def _together(app: str, pods: Sequence[Any]) -> Replicas:
    left = [pod for pod in pods if is_leaving(pod)]
    serving_pods = [pod for pod in pods if not is_leaving(pod)]
    is_job = all((pod.owner_kind or "") in _JOBS for pod in left)
    phases = {pod.phase for pod in left}
    return Replicas(
        app,
        serving=len(serving_pods),
        ready=sum(bool(pod.ready) for pod in serving_pods),
        left_over=tuple(str(pod.status or pod.phase) for pod in left),
        is_gone=not serving_pods and not is_job,
        has_failed=not serving_pods and is_job and "Failed" in phases and "Succeeded" not in phases,
        waiting=tuple(dict.fromkeys(str(pod.waiting) for pod in serving_pods if pod.waiting and not pod.ready)),
    )
