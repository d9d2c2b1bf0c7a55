"""Limits of memory and CPU: which a container has, the next one up, and the commands that set it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from runbook.outcome import Action
from runbook.sources.cluster import containers_of
from runbook.steps.shared.replicas import app_of
from runbook.steps.shared.values import number
from runbook.steps.shared.verdicts import kubectl

_TARGET = 0.7
_MEBI = 1024 * 1024
# Steps between which a limit is chosen: a power of two, and half as much again.
_LADDER = tuple(step * 2**power for power in range(16) for step in (1.0, 1.5))


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a container: `memory` in bytes, `cpu` in cores; NaN for none.

    `was_killed`: for its memory, when it last ended, in any of the pods.
    """

    container: str
    memory: float
    cpu: float
    was_killed: bool = False

    def of(self, kind: str) -> float:
        """That of "memory" or "cpu"."""
        return self.memory if kind == "memory" else self.cpu


Quotas = Mapping[str, tuple[Limits, ...]]
"""The limits of a deployment's containers, the app's own first."""


def next_limit(peak: float, kind: str) -> float:
    """The smallest limit of a power of two (or 1.5 of one) MiB or 125 millicores that `peak` fills to 70 % at most."""
    unit = _MEBI if kind == "memory" else 0.125
    return float(next((unit * step for step in _LADDER if unit * step * _TARGET >= peak), unit * _LADDER[-1]))


def quantity_text(value: float, kind: str) -> str:
    """`value` as a Kubernetes quantity: 768Mi, 2Gi, 750m, 2."""
    if not math.isfinite(value):
        return ""
    if kind == "memory":
        mebi = math.ceil(value / _MEBI)
        gibi, rest = divmod(mebi, 1024)
        return f"{mebi}Mi" if rest else f"{gibi}Gi"
    milli = math.ceil(round(value * 1000, 6))
    cores, rest = divmod(milli, 1000)
    return f"{milli}m" if rest else f"{cores}"


def _in_question(several: Sequence[Limits], kind: str, container: str) -> Limits | None:
    if container:
        return next((limits for limits in several if limits.container == container), None)
    killed = (limits for limits in several if limits.was_killed and kind == "memory")
    return next(killed, None) or next(iter(several), None)


def patch_body(container: str, kind: str, text: str) -> str:
    """The strategic merge patch that sets one limit of one container, as compact JSON."""
    body = {
        "spec": {"template": {"spec": {"containers": [{"name": container, "resources": {"limits": {kind: text}}}]}}}
    }
    return json.dumps(body, separators=(",", ":"))


def limits_of(pods: pd.DataFrame) -> dict[str, tuple[Limits, ...]]:
    """The limits of every container by deployment, as the newest of the pods has them: the app's own first."""
    rows = pods.sort_values("started_at", na_position="first", kind="stable") if len(pods) else pods
    found: dict[str, dict[str, Limits]] = {}
    for container in containers_of(rows).itertuples(index=False):
        name, of_app = str(container.container), found.setdefault(app_of(container.app, container.pod), {})
        was_killed = container.last_exit == "OOMKilled" or (name in of_app and of_app[name].was_killed)
        of_app[name] = Limits(name, number(container.memory_limit), number(container.cpu_limit), was_killed)
    main = {app_of(row.app, row.name): str(row.container) for row in rows.itertuples(index=False)}
    return {app: tuple(_first(main[app], limits.values())) for app, limits in found.items()}


def _first(name: str, several: Iterable[Limits]) -> list[Limits]:
    return sorted(several, key=lambda limits: limits.container != name)


def raise_limit(
    deployment: str, kind: str, quotas: Quotas, namespace: str, note: str = "", container: str = ""
) -> Iterator[Action]:
    """The action that raises one limit ("memory" or "cpu") of `deployment` a step above the one it has.

    It is that of `container`; where none is named, of memory that of one that was killed for it, else the app's own. A
    container that was killed or throttled has filled its limit, so that is the peak the new one has to hold. Where the
    limit is not known, the action only shows it: a guess could lower it.
    """
    several = quotas.get(deployment, ())
    own = _in_question(several, kind, container)
    word = "memory" if kind == "memory" else "CPU"
    if own is None or not own.of(kind) > 0:
        shown = ("-o", "jsonpath={.spec.template.spec.containers[*].resources}")
        yield Action(
            f"See which limits {deployment} has",
            kubectl(namespace, "get", f"deployment/{deployment}", *shown),
            f"Its {word} limit is not known here; raise it by half.",
        )
        return
    now = quantity_text(own.of(kind), kind)
    new = quantity_text(next_limit(own.of(kind), kind), kind)
    why = "The next step up; it restarts the pod."
    whose = f"{deployment}'s container {own.container}" if len(several) > 1 else deployment
    yield Action(
        f"Raise the {word} limit of {whose} from {now} to {new}",
        kubectl(namespace, "patch", f"deployment/{deployment}", "-p", patch_body(own.container, kind, new)),
        f"{why} {note}" if note else why,
        changes=True,
    )
