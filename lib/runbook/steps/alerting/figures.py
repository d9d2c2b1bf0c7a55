"""The figures of alerting: what each of its steps knows about the alert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class Standing(StrEnum):
    """How the alert itself stands in Alertmanager."""

    FIRING = "firing"
    SILENCED = "silenced"
    NOT_FIRING = "not firing"


@dataclass(frozen=True, slots=True)
class Firing:
    """What else fires: how many other alerts, how many of them critical, and `names`, at most 20, sorted, each once."""

    others: int
    critical: int
    names: tuple[str, ...]
    this: Standing


@dataclass(frozen=True, slots=True)
class History:
    """How often the alert fired before, when last and for how long; None where it never did."""

    times: int
    last: datetime | None = None
    median_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """The expression an alert fires on, and its sides; `operator` and `limit` are "" where it compares nothing.

    `for_seconds` and `health` are of the rule of its name in Prometheus: None and "" where none is known. `linked`:
    the expression is from the alert's generatorURL. `differs`: that rule has another one now.
    """

    expression: str
    measured: str
    operator: str
    limit: str
    for_seconds: float | None
    health: str
    linked: bool
    differs: bool


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The alert's condition at the report's moment, by the `series` that fits its labels best.

    `threshold` is None where the expression compares nothing; `since` where it does not hold or always has.
    `values`: the series (time, value) to draw, by their labels. `capped_by`: the histogram at whose end the value
    stands, which may then be any more than that; "" for none.
    """

    now: float
    threshold: float | None
    operator: str
    holds: bool
    since: datetime | None
    series: str
    values: Mapping[str, pd.DataFrame]
    capped_by: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """The deployments and tables the alert names, and the deployment of each of their pods that is not ready."""

    apps: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tables:
    """How many of the tables the alert is about were looked at."""

    tables: int
