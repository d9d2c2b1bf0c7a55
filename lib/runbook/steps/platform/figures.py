"""What the checks of the platform find, as figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from runbook.steps.shared.quotas import Limits

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Logs:
    """What one deployment logged in the window. `worst`: its most severe pattern; empty where there is no error.

    `unlevelled` lines tell no level that is known: they are neither errors nor fine.
    """

    app: str
    lines: int = 0
    errors: int = 0
    panics: int = 0
    first_error_at: datetime | None = None
    worst: str = ""
    worst_lines: int = 0
    unlevelled: int = 0


@dataclass(frozen=True, slots=True)
class MergedLog:
    """What several deployments logged: their errors together, and the worst pattern of the worst of them."""

    apps: tuple[str, ...] = ()
    errors: int = 0
    worst: str = ""
    unlevelled: int = 0


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of an app or a component (`of`), or all of them.

    `not_ready`, `restarted` and `oom_killed` name apps, the latter two those that ended within the window; `waiting`
    are reasons. `running` and `down` count pods; those of finished jobs do not run. `rows` are those of the cluster.
    """

    of: str
    rows: pd.DataFrame
    total: int = 0
    running: int = 0
    down: int = 0
    not_ready: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    oom_killed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    restarts: int = 0
    last_exit_at: datetime | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)


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
    """A pod that ended, in all `restarts` times. `app` is the pod's own name where it has no label."""

    at: datetime
    app: str
    restarts: int
    ended_by: str = ""


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
