"""What the history reads of a run's outcome, which is outcome.json as it was stored, and of its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: its id, its status (ok, warning, critical, unknown or skipped), a line and its detail."""

    id: str
    status: str
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Action:
    """A next step that a person may take: what for, and the command to copy."""

    title: str
    command: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. `level` is ok, warning, critical or unknown; `findings` are in the report's order."""

    level: str = ""
    findings: tuple[Finding, ...] = ()
    actions: tuple[Action, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Outcome:
        """The outcome in what outcome.json holds; what it lacks is "" or ()."""
        return cls(
            _text(data, "level"),
            tuple(
                Finding(_text(item, "id"), _text(item, "status"), _text(item, "title"), _text(item, "detail"))
                for item in data.get("findings") or ()
            ),
            tuple(Action(_text(item, "title"), _text(item, "command")) for item in data.get("actions") or ()),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of a run that is under way: cell_started, cell_finished, finding, reporting, …

    `cell` is the cell's place among the `cells` code cells, from 1; `status` a finding's, a cell's or the run's.
    """

    kind: str
    cell: int
    cells: int
    title: str
    status: str
    seconds: float


def _text(data: Mapping[str, Any], name: str) -> str:
    return str(data.get(name) or "")
