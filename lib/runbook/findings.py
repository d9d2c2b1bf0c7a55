"""What checks found: a Finding with figures of its own type, and the Findings of an investigation, read by type.

    drawn = findings.get(drawdown.Gauge)      # its figures, None where they are not known
    findings.title(drawdown.gauge)            # what that step says, whatever it found

Figures are frozen dataclasses, a class a step, so that who makes a figure and who reads it are joined by
a type. Prose is made from them and never read back; their JSON is derived here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from runbook.errors import RunbookError
from runbook.outcome import Status
from runbook.words import one_line

if TYPE_CHECKING:
    import pandas as pd

    from runbook.sources.evidence import Answer

TITLE_MAX = 400
Figures = TypeVar("Figures")
_CURVES = frozenset(("DataFrame", "Series", "Index"))
"""pandas' classes: what charts draw and steps build on, too much for JSON. Named, as pandas need not be imported."""


class NotKnown(RunbookError):
    """A step looked into a finding that it needs and that says nothing. The session skips the step."""

    def __init__(self, missing: Finding[Any]) -> None:
        super().__init__(f"{missing.id or missing.title} gave no answer.")
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to show: a caption, a DataFrame (one row a line) and the unit of each numeric column.

    `units` maps a column to a unit: "USDT", "USD", "%" (the value is a ratio, shown times 100), "s", "ms",
    "bytes", "time", "ratio" (three digits are enough), or "" for a plain number. Columns that are not
    named are shown as they are.
    """

    caption: str
    frame: pd.DataFrame
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)  # without slots: Finding[Gauge](…) notes its type argument on the object
class Finding(Generic[Figures]):
    """What one check found.

    `title` is one line that states the result with its figures; `detail` says how it follows and what it
    means. `figures` is the step's own dataclass: numbers with their units in the names, enums, tuples, and
    the series (DataFrames) that charts draw; None where nothing is known. `tables` are shown.

    The session fills in `id`, the name by which the notebook calls the step ("drawdown.gauge", and
    "platform.logs.bifrost" where a step is asked of several), and `answers`, the source answers it rests on.
    """

    status: Status
    title: str
    detail: str = ""
    figures: Figures | None = None
    tables: tuple[Table, ...] = ()
    id: str = ""
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        # Labels and messages find their way into titles: one line, no control characters, not endless.
        object.__setattr__(self, "title", one_line(self.title, TITLE_MAX))

    @property
    def is_known(self) -> bool:
        return self.status.is_known

    @property
    def known(self) -> Figures:
        """The figures of a finding that a step builds on. Raises NotKnown where it says nothing."""
        if not self.is_known or self.figures is None:
            raise NotKnown(self)
        return self.figures

    @property
    def frame(self) -> pd.DataFrame | None:
        """The rows of its first table, for digging in JupyterLab; None where it has none."""
        return self.tables[0].frame if self.tables else None

    def named(self, identity: str) -> Finding[Figures]:
        """The same finding under its id."""
        return replace(self, id=identity)

    def with_answers(self, answers: tuple[Answer, ...]) -> Finding[Figures]:
        """The same finding with the source answers it rests on."""
        return replace(self, answers=answers)

    def _ipython_display_(self) -> None:
        """Shows nothing: the session has shown it, and a notebook's last line would show it again."""


class Findings:
    """The findings of an investigation in the order of its checks, the latest of each id. Read by type."""

    def __init__(self, found: Iterable[Finding[Any]] = ()) -> None:
        self._by_id: dict[str, Finding[Any]] = {}
        for finding in found:
            self.add(finding)

    def add(self, finding: Finding[Any]) -> None:
        """Puts in `finding`; it takes the place of an earlier one of the same id, as when a cell is run again."""
        self._by_id[finding.id or f"#{len(self._by_id)}"] = finding

    def get(self, figures: type[Figures]) -> Figures | None:
        """The figures of that type; None where no check made them or the check has no answer.

        Where several checks made some (the log of several apps), those of the first; see `every`.
        """
        return next(iter(self.every(figures)), None)

    def every(self, figures: type[Figures]) -> tuple[Figures, ...]:
        """All figures of that type that are known, in the order of the checks."""
        return tuple(found.figures for found in self if found.is_known and isinstance(found.figures, figures))

    def of(self, step: Callable[..., Finding[Figures]], about: str = "") -> Finding[Figures] | None:
        """What that step found (`about` an app or component), known or not; None where it was not checked."""
        return self._by_id.get(step_id(step, about))

    def title(self, step: Callable[..., Finding[Any]], about: str = "") -> str:
        """What that step says in a line; "not checked" where it was not."""
        found = self.of(step, about)
        return found.title if found is not None else "not checked"

    def known(self, steps: Iterable[Callable[..., Finding[Any]]]) -> tuple[Finding[Any], ...]:
        """Those findings of `steps` that have an answer, in the order of `steps`, each with all it was asked about."""
        return tuple(found for step in steps for found in self._all_of(step) if found.is_known)

    @property
    def unknown(self) -> tuple[Finding[Any], ...]:
        """Those without an answer: unknown and skipped ones."""
        return tuple(found for found in self if not found.is_known)

    def with_status(self, status: Status) -> tuple[Finding[Any], ...]:
        return tuple(found for found in self if found.status is status)

    def _all_of(self, step: Callable[..., Finding[Any]]) -> Iterator[Finding[Any]]:
        name = step_id(step)
        return (found for key, found in self._by_id.items() if key == name or key.startswith(f"{name}."))

    def __iter__(self) -> Iterator[Finding[Any]]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)


def step_id(step: Callable[..., Any], about: str = "") -> str:
    """The name by which notebooks call a step: "drawdown.gauge" for gauge in any module of runbook.steps.drawdown.

    `about` is the app or component where a step is asked of several: "platform.logs.bifrost".
    """
    inside = step.__module__.partition("runbook.steps.")[2]
    domain = inside.split(".", 1)[0] if inside else step.__module__.rsplit(".", 1)[-1]
    name = f"{domain}.{step.__name__}"
    return f"{name}.{about}" if about else name


def figures_json(figures: Any) -> dict[str, Any]:
    """The figures of a finding as JSON-ready data: finite numbers, text, null; enums by value; no series."""
    if figures is None:
        return {}
    fields = ((part.name, getattr(figures, part.name)) for part in dataclasses.fields(figures))
    return {name: plain(value) for name, value in fields if not _is_curve(value)}


def plain(value: Any) -> Any:
    """`value` as JSON holds it: numbers finite or null, times ISO 8601, enums by their value, all else text."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return figures_json(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if not _is_curve(item)}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value if not _is_curve(item)]
    if hasattr(value, "isoformat"):
        text = value.isoformat()
        return None if text == "NaT" else text
    if hasattr(value, "item"):  # numpy's own numbers and booleans
        return plain(value.item())
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and isinstance(value, int) else number


def _is_curve(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(_is_curve(part) for part in value.values())
    return type(value).__name__ in _CURVES
