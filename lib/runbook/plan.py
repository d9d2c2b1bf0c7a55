"""What a notebook will check, read from its own cells, so that slow sources are asked before their cells run.

The plan is the notebook's `book.check(…)` calls in their order. What they build on, the parameters and the steps
are looked up by name, as the cells will. A plan is only a head start: `check` takes what is under way
where it was built on the same, and asks by itself otherwise. So whatever cannot be read (an unsaved cell, an
expression, a cell that is no Python) is left out, and never an error.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook import parameters
from runbook.errors import InputError

Step = Callable[..., Any]
SOURCES = frozenset(("database", "metrics", "cluster", "alerts"))
"""Parameters of a step by which it asks a source."""


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One planned `book.check`: the step, the checks whose findings it builds on, and its other arguments.

    `needs` are positional: without an answer of each the step is skipped. `named` are given by keyword.
    """

    step: Step
    needs: tuple[Check, ...] = ()
    named: Mapping[str, Check] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def builds_on(self) -> tuple[Check, ...]:
        return (*self.needs, *self.named.values())

    @property
    def asks_a_source(self) -> bool:
        return not SOURCES.isdisjoint(inspect.signature(self.step).parameters)


def cells_of(notebook: Path) -> tuple[str, ...]:
    """The code cells of a notebook file; none where it cannot be read."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def notebook_of(procedure: str, *candidates: str | None) -> Path | None:
    """The first of `candidates` that is a notebook file, else the procedure's own; None where there is none."""
    for candidate in candidates:
        if candidate and candidate.endswith(".ipynb") and Path(candidate).is_file():
            return Path(candidate)
    try:
        own = parameters.folders().notebook(procedure)
    except InputError:
        return None
    return own if own.is_file() else None


def read(cells: Iterable[str], namespace: Mapping[str, Any]) -> tuple[Check, ...]:
    """The checks that `cells` will make, in order; names are looked up in `namespace`, the notebook's globals."""
    reading = _Reading(namespace)
    for cell in cells:
        try:
            statements = ast.parse(cell).body
        except (SyntaxError, ValueError, MemoryError, RecursionError):  # a magic, an unfinished line, a NUL
            continue
        for statement in statements:
            reading.take(statement)
    return tuple(reading.checks)


def to_begin(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Those of `checks` worth a head start: they ask a source, or one that does builds on them. In the same order."""
    planned = tuple(checks)
    wanted: set[Check] = set()
    for check in reversed(planned):
        if check in wanted or check.asks_a_source:
            wanted.add(check)
            wanted.update(check.builds_on)
    return tuple(check for check in planned if check in wanted)


class _Unread(Exception):
    """An expression whose value is not known before the cell runs."""


class _Reading:
    """Reads statements in order: which variable holds the book, which hold findings, which are no longer known."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.checks: list[Check] = []
        self._namespace = namespace
        self._book = ""
        self._findings: dict[str, Check | None] = {}
        """Variables by the check whose finding they will hold; None: they will hold something else by then."""

    def take(self, statement: ast.stmt) -> None:
        target, value = _assignment(statement)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            owner = ast.unparse(value.func.value)
            if value.func.attr == "open" and owner == "Runbook":
                self._book = self._book or target
                return
            if value.func.attr == "check" and owner == self._book:
                self._bind(target, self._check(value))
                return
        if self._book:  # what was assigned before the book was opened is in the namespace as it is
            self._bind(target, None)

    def _bind(self, name: str, check: Check | None) -> None:
        if name:
            self._findings[name] = check

    def _check(self, call: ast.Call) -> Check | None:
        try:
            step, *needs = [self._value(argument) for argument in call.args]
            given = {_name_of(key): self._value(key.value) for key in call.keywords if key.arg != "chart"}
        except (_Unread, ValueError):
            return None
        if not _is_step(step) or not all(isinstance(need, Check) for need in needs):
            return None
        if not all(isinstance(value, Check) or _is_plain(value) for value in given.values()):
            return None
        check = Check(
            step,
            tuple(needs),
            {name: value for name, value in given.items() if isinstance(value, Check)},
            {name: value for name, value in given.items() if not isinstance(value, Check)},
        )
        self.checks.append(check)
        return check

    def _value(self, expression: ast.expr) -> Any:
        """What `expression` will be: a check (for its finding), a step, a parameter, a literal. Raises _Unread."""
        match expression:
            case ast.Name(name) if name in self._findings:
                check = self._findings[name]
                if check is None:
                    raise _Unread
                return check
            case ast.Name(name) if name in self._namespace:
                return self._namespace[name]
            case ast.Attribute(owner, name):
                holder = self._value(owner)
                if not inspect.ismodule(holder) or not hasattr(holder, name):  # anything else may run code
                    raise _Unread
                return getattr(holder, name)
        try:
            return ast.literal_eval(expression)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise _Unread from None


def _is_step(value: Any) -> bool:
    """Whether it is one of the library's steps: a function made in the notebook may be another when its cell runs."""
    return inspect.isfunction(value) and value.__module__.startswith("runbook.steps.")


def _is_plain(value: Any) -> bool:
    """Whether two such values are alike exactly where they read alike, as `Ahead` compares arguments."""
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _name_of(keyword: ast.keyword) -> str:
    if keyword.arg is None:  # **more
        raise _Unread
    return keyword.arg


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """(the variable, its value) of a statement; "" where the value is not kept in one."""
    match statement:
        case ast.Assign(targets=[ast.Name(name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(name), value=value):
            return name, value
        case ast.Expr(value=ast.NamedExpr(target=ast.Name(name), value=value)):
            return name, value
        case ast.Expr(value=value):
            return "", value
    return "", None
