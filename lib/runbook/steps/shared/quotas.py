"""Limits of memory and CPU: which a container has, the next one up, and the commands that set it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from runbook.outcome import Action
from runbook.steps.shared.fleet import workload_of
from runbook.steps.shared.values import number
from runbook.steps.shared.verdicts import kubectl

_TARGET = 0.7
_MEBI = 1024 * 1024
# Steps between which a limit is chosen: a power of two, and half as much again.
_LADDER = tuple(step * 2**power for power in range(16) for step in (1.0, 1.5))


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a container: `memory` in bytes, `cpu` in cores; NaN for none."""

    container: str
    memory: float
    cpu: float

    def of(self, kind: str) -> float:
        """That of "memory" or "cpu"."""
        return self.memory if kind == "memory" else self.cpu


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


def patch_body(container: str, kind: str, text: str) -> str:
    """The strategic merge patch that sets one limit of one container, as compact JSON."""
    body = {
        "spec": {"template": {"spec": {"containers": [{"name": container, "resources": {"limits": {kind: text}}}]}}}
    }
    return json.dumps(body, separators=(",", ":"))


def limits_of(pods: pd.DataFrame) -> dict[str, Limits]:
    """The limits of each pod's container by deployment, of a frame of pods."""
    if not {"name", "app", "container", "memory_limit", "cpu_limit"} <= set(pods.columns):
        return {}
    return {
        str(row["app"] or workload_of(str(row["name"]))): Limits(
            str(row["container"]), number(row["memory_limit"]), number(row["cpu_limit"])
        )
        for row in pods.to_dict("records")
    }


def raise_limit(
    deployment: str, kind: str, limits: Mapping[str, Limits], namespace: str, note: str = ""
) -> Iterator[Action]:
    """The action that raises one limit ("memory" or "cpu") of `deployment` a step above the one it has.

    A container that was killed or throttled has filled its limit, so that is the peak the new one has to hold. Where
    the limit is not known, the action only shows it: a guess could lower it.
    """
    own = limits.get(deployment)
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
    yield Action(
        f"Raise the {word} limit of {deployment} from {now} to {new}",
        kubectl(namespace, "patch", f"deployment/{deployment}", "-p", patch_body(own.container, kind, new)),
        f"{why} {note}" if note else why,
        changes=True,
    )
