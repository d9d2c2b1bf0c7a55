"""What the checks of the platform find, as figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from runbook.steps.shared.quotas import Quotas
from runbook.steps.shared.replicas import Replicas

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Logs:
    """What one deployment logged in the window. `worst`: its most severe pattern; empty where there is no error.

    `errors_by_container`: of pods of several containers, those that logged errors.
    """

    app: str
    lines: int = 0
    errors: int = 0
    panics: int = 0
    first_error_at: datetime | None = None
    worst: str = ""
    worst_lines: int = 0
    errors_by_container: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MergedLog:
    """What several deployments logged: their errors together, and the worst pattern of the worst of them."""

    apps: tuple[str, ...] = ()
    errors: int = 0
    worst: str = ""


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of an app or a component (`of`), or all of them.

    `not_ready`, `restarted` and `oom_killed` name apps, the latter two those that ended within the window, and
    `ended_at` when; `failed` names jobs; `waiting` are reasons. `running` counts the pods that are meant to serve,
    `down` those of them that are not ready: what is left over beside them is neither. `rows` are those of the cluster,
    `limits` the limits of each container by app.
    """

    of: str
    rows: pd.DataFrame
    total: int = 0
    running: int = 0
    down: int = 0
    not_ready: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    oom_killed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    restarts: int = 0
    last_exit_at: datetime | None = None
    ended_at: Mapping[str, datetime] = field(default_factory=dict)
    limits: Quotas = field(default_factory=dict)
    replicas: Mapping[str, Replicas] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Events:
    """What Kubernetes warned of in the window, those that happened most often first."""

    count: int = 0
    reasons: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollout:
    """A deployment that was rolled out. `revision` is empty where it is not known."""

    at: datetime
    deployment: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """A container that ended, in all `restarts` times; `container` is named where it is not the app itself."""

    at: datetime
    app: str
    restarts: int
    ended_by: str = ""
    container: str = ""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What was rolled out and what restarted within the window, newest first; which deployments lack pods now."""

    rollouts: tuple[Rollout, ...] = ()
    restarts: tuple[Restart, ...] = ()
    unavailable: tuple[str, ...] = ()

    @property
    def rolled_out(self) -> tuple[str, ...]:
        """The deployments that were rolled out."""
        return tuple(rollout.deployment for rollout in self.rollouts)

    @property
    def restarted(self) -> tuple[str, ...]:
        """The apps that restarted, each once."""
        return tuple(dict.fromkeys(restart.app for restart in self.restarts))


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A configuration update. What it did and who did it are empty where that was not recorded."""

    at: datetime
    action: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class ConfigChanges:
    """The configuration updates since a day before the window, newest first. Starts, stops and pauses are none."""

    updates: tuple[ConfigChange, ...] = ()

    @property
    def last(self) -> ConfigChange | None:
        return self.updates[0] if self.updates else None
