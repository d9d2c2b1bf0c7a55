"""Steps asked ahead: all under way at once, each waiting for another's finding only where it looks into it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from runbook.errors import InputError
from runbook.outcome import Finding

Step = Callable[..., Finding]
Item = Step | tuple[Step | Mapping[str, Any], ...]
THREADS_MAX = 16


class NotKnown(Exception):
    """A step looked into a finding that it needs and that says nothing."""


class Run(Protocol):
    """Runs one step on findings that may still be under way."""

    def __call__(self, step: Step, needs: Sequence[Any], arguments: Mapping[str, Any]) -> Finding: ...


class Coming:
    """Stands for a finding that is under way: whoever reads one of its attributes waits for it.

    So a step puts its own questions before it looks at what it builds on, and a chain of steps costs
    a slow source's delay once instead of once a step. `is_needed`: without it the step says nothing.
    """

    __slots__ = ("_future", "_is_needed")

    def __init__(self, future: Future[Finding], *, is_needed: bool) -> None:
        self._future = future
        self._is_needed = is_needed

    def finding(self) -> Finding:
        """The finding itself, waited for."""
        return self._future.result()

    def __getattr__(self, name: str) -> Any:
        found = self.finding()
        if self._is_needed and not found.is_known:
            raise NotKnown
        return getattr(found, name)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A step under way, and what it was given: `needs` in order, `named` by their parameter."""

    step: Step
    needs: tuple[Coming, ...]
    named: Mapping[str, Coming]
    arguments: Mapping[str, Any]
    future: Future[Finding] = field(default_factory=Future)

    def was_given(self, needs: Sequence[Finding], named: Mapping[str, Finding]) -> bool:
        """Whether it built on these very findings: a cell run again may have made others since."""
        mine, yours = [*self.needs, *self.named.values()], [*needs, *(named.get(name) for name in self.named)]
        return (
            len(needs) == len(self.needs)
            and named.keys() == self.named.keys()
            and all(one.finding() is other for one, other in zip(mine, yours, strict=True))
        )


class Ahead:
    """The steps of one investigation that are under way, until they are taken."""

    def __init__(self) -> None:
        self._begun: dict[tuple[Step, str], _Begun] = {}

    def begin(self, items: Sequence[Item], run: Run) -> None:
        """Starts `items` by `run`, written as `check` will be called: a step, or (step, needs …, {name: argument}).

        What a step builds on is named by the step that finds it, listed before: the last one before, where
        it is listed with several arguments. Raises InputError where it is not listed before.
        """
        begun: list[_Begun] = []
        for item in items:
            begun.append(_read(item, begun))
        self._begun |= {_key(one.step, one.arguments): one for one in begun}
        # In the order of the list a step finds those it waits for begun before it: no two wait for each other.
        with_threads = ThreadPoolExecutor(min(max(len(begun), 1), THREADS_MAX), thread_name_prefix="ahead")
        for one in begun:
            with_threads.submit(_finish, one, run)
        with_threads.shutdown(wait=False)

    def take(self, step: Step, needs: Sequence[Finding], arguments: Mapping[str, Any]) -> Finding | None:
        """The finding of a step begun before, waited for; None where it was not, or with other findings or arguments.

        It is given once: a cell that is run again asks again. Raises what the step raised.
        """
        named = {name: value for name, value in arguments.items() if isinstance(value, Finding)}
        own = {name: value for name, value in arguments.items() if name not in named}
        begun = self._begun.pop(_key(step, own), None)
        if begun is None:
            return None
        found = begun.future.result()
        return found if begun.was_given(needs, named) else None


def _finish(begun: _Begun, run: Run) -> None:
    try:
        begun.future.set_result(run(begun.step, begun.needs, {**begun.named, **begun.arguments}))
    except BaseException as error:  # noqa: BLE001 - raised in the cell that takes it, whatever it is
        begun.future.set_exception(error)


def _read(item: Item, before: Sequence[_Begun]) -> _Begun:
    step, *rest = item if isinstance(item, tuple) else (item,)
    needs = [one for one in rest if not isinstance(one, Mapping)]
    given = {name: value for one in rest if isinstance(one, Mapping) for name, value in one.items()}
    named = {name: value for name, value in given.items() if inspect.isfunction(value)}
    return _Begun(
        step,  # type: ignore[arg-type]
        tuple(_coming(need, before, is_needed=True) for need in needs),
        {name: _coming(need, before, is_needed=False) for name, need in named.items()},
        {name: value for name, value in given.items() if name not in named},
    )


def _coming(step: Step, before: Sequence[_Begun], *, is_needed: bool) -> Coming:
    for one in reversed(before):
        if one.step is step:
            return Coming(one.future, is_needed=is_needed)
    raise InputError(f"ask_ahead: {getattr(step, '__name__', step)} is built on but not listed before; list it first")


def _key(step: Step, arguments: Mapping[str, Any]) -> tuple[Step, str]:
    return step, repr(sorted(arguments.items()))
