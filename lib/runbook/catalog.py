"""Alert name -> procedure, severity, response time, channels, escalation: parameters/catalog.yaml, checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from runbook import commands
from runbook.errors import ConfigurationError, InputError
from runbook.parameters import Folders
from runbook.words import SEVERITIES

Severity = Literal["critical", "warning", "info"]
FALLBACK = "AnyAlert"
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Response(_Strict):
    """How soon a severity is answered (minutes; none: best effort), and on which channels it is told."""

    response_minutes: Annotated[int, Field(gt=0)] | None
    response: str
    channels: list[str]


class Level(_Strict):
    """One level of escalation: minutes after the alert began, who joins, and what they do."""

    level: Annotated[int, Field(gt=0)]
    after_minutes: Annotated[int, Field(ge=0)]
    who: str
    contact: str
    does: str


class Procedure(_Strict):
    """One procedure: its category, its own channel, its alerts with their severity where none is sent.

    `labels` is the explicit list of alert labels that become parameters: {label: parameter}. `commands` are what to
    type first where there is no report; without any, those of the general procedure.
    """

    category: str
    channel: str
    alerts: dict[_Name, Severity] = Field(default_factory=dict)
    labels: dict[str, _Name] = Field(default_factory=dict)
    commands: Annotated[list[str], Field(max_length=6)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _typeable(self) -> Procedure:
        for command in self.commands:
            commands.require(command, self.labels)
        if self.commands and sum(not commands.asks_for_labels(command) for command in self.commands) < 2:
            raise ValueError("at least two of the commands have to do without the alert's labels")
        return self


class _File(_Strict):
    severities: dict[Severity, Response]
    escalation: list[Level]
    procedures: dict[_Name, Procedure]

    @model_validator(mode="after")
    def _consistent(self) -> _File:
        missing = set(SEVERITIES) - set(self.severities)
        if missing:
            raise ValueError(f"severities lacks {', '.join(sorted(missing))}")
        if FALLBACK not in self.procedures:
            raise ValueError(f"procedures lacks {FALLBACK}")
        minutes = [level.after_minutes for level in self.escalation]
        if not minutes or minutes != sorted(set(minutes)):
            raise ValueError("escalation has to rise from level to level")
        owner: dict[str, str] = {}
        for name, procedure in self.procedures.items():
            for alert in procedure.alerts:
                if owner.setdefault(alert, name) != name:
                    raise ValueError(f"{alert} belongs to both {owner[alert]} and {name}")
        return self


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalog says of one alert name. `is_known` is false for a name it does not list."""

    alertname: str
    procedure: str
    severity: Severity
    category: str
    channel: str
    labels: Mapping[str, str]
    is_known: bool

    @property
    def has_own_procedure(self) -> bool:
        """Whether somebody wrote a procedure for it, or it is asked for by the general one's own name."""
        return self.is_known and (self.procedure != FALLBACK or self.alertname == FALLBACK)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The catalog as loaded: `entry(alertname)` answers for every name, also one never seen before."""

    severities: Mapping[str, Response]
    escalation: tuple[Level, ...]
    procedures: Mapping[str, Procedure]

    def entry(self, alertname: str) -> Entry:
        """The entry of `alertname`; a procedure's own name is served too; all others go to AnyAlert."""
        for name, procedure in self.procedures.items():
            if alertname in procedure.alerts:
                return self._entry(alertname, name, procedure.alerts[alertname])
        if alertname in self.procedures:
            return self._entry(alertname, alertname, "warning")
        return self._entry(alertname, FALLBACK, "warning", is_known=False)

    def nearest(self, name: str) -> str:
        """The alert or procedure whose name is most like `name`; "" where none is much like it."""
        known = {one.lower(): one for one in self._names()}
        near = difflib.get_close_matches(name.lower(), known, n=1)
        return known[near[0]] if near else ""

    def _names(self) -> Iterator[str]:
        """Every alert and procedure; procedures last, so that their spelling wins."""
        for procedure in self.procedures.values():
            yield from procedure.alerts
        yield from self.procedures

    def _entry(self, alertname: str, name: str, severity: Severity, is_known: bool = True) -> Entry:
        procedure = self.procedures[name]
        return Entry(alertname, name, severity, procedure.category, procedure.channel, procedure.labels, is_known)

    def runnable(self, alertname: str, folders: Folders) -> Entry:
        """The entry whose notebook exists: the alert's own, else AnyAlert's. Raises InputError without either."""
        entry = self.entry(alertname)
        if folders.notebook(entry.procedure).is_file():
            return entry
        if folders.notebook(FALLBACK).is_file():
            return self._entry(alertname, FALLBACK, entry.severity, entry.is_known)
        raise InputError(
            f"There is no notebook {entry.procedure}.ipynb for this alert, and no {FALLBACK}.ipynb. "
            "`runbook list` shows the procedures there are."
        )

    def first_commands(self, procedure: str, labels: Mapping[str, str], namespace: str) -> tuple[str, ...]:
        """What to type first of `procedure`, for an alert with these labels: at most six lines for a shell."""
        chosen = self.procedures.get(procedure)
        if chosen is None or not chosen.commands:
            chosen = self.procedures[FALLBACK]
        words = {name: value for name, value in labels.items() if name in chosen.labels}
        return commands.filled(chosen.commands, {**words, commands.NAMESPACE: namespace})

    def channels(self, entry: Entry, severity: str) -> tuple[str, ...]:
        """Every channel that is told of this alert at this severity, without repeats."""
        return tuple(dict.fromkeys([*self.severities[severity].channels, entry.channel]))


def load(path: Path) -> Catalog:
    """The catalog in `path`. Raises ConfigurationError that names the place and what is wrong with it."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"The catalog {path.name} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"The catalog {path.name} is not valid YAML{where}.") from None
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "its top"
        what = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"The catalog {path.name} is wrong at {place}: {what}.") from None
    return Catalog(
        {str(name): response for name, response in file.severities.items()},
        tuple(file.escalation),
        dict(file.procedures),
    )
