"""Steps begun ahead of their cells: all under way at once, each waiting for another's finding only where it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from runbook.findings import Finding, NotKnown
from runbook.plan import Check, Step

THREADS_MAX = 16


class Run(Protocol):
    """Runs one step on findings that may still be under way."""

    def __call__(self, step: Step, needs: Sequence[Any], arguments: Mapping[str, Any]) -> Finding[Any]: ...


class Coming:
    """Stands for a finding that is under way: whoever reads one of its attributes waits for it.

    So a step puts its own questions before it looks at what it builds on, and a chain of steps costs
    a slow source's delay once instead of once a step. `is_needed`: without it the step says nothing.
    """

    __slots__ = ("_future", "_is_needed")

    def __init__(self, future: Future[Finding[Any]], *, is_needed: bool) -> None:
        self._future = future
        self._is_needed = is_needed

    def is_finding(self, found: Finding[Any]) -> bool:
        """Whether it has become that very finding. Neither waits nor raises."""
        return self._future.done() and self._future.exception() is None and self._future.result() is found

    def finding(self) -> Finding[Any]:
        """The finding itself, waited for."""
        return self._future.result()

    def __getattr__(self, name: str) -> Any:
        found = self.finding()
        if self._is_needed and not found.is_known:
            raise NotKnown(found)
        return getattr(found, name)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A step under way, and what it was given: `needs` in order, `named` by their parameter."""

    step: Step
    needs: tuple[Coming, ...]
    named: Mapping[str, Coming]
    arguments: Mapping[str, Any]
    future: Future[Finding[Any]] = field(default_factory=Future)

    def was_given(self, needs: Sequence[Finding[Any]], named: Mapping[str, Finding[Any]]) -> bool:
        """Whether it built on these very findings: a cell run again may have made others since."""
        if len(needs) != len(self.needs) or named.keys() != self.named.keys():
            return False
        mine = [*self.needs, *self.named.values()]
        yours = [*needs, *(named[name] for name in self.named)]
        return all(coming.is_finding(found) for coming, found in zip(mine, yours, strict=True))


class Ahead:
    """The steps of one investigation that are under way, until they are taken."""

    def __init__(self) -> None:
        self._begun: dict[tuple[Step, str], _Begun] = {}

    def begin(self, checks: Sequence[Check], run: Run) -> None:
        """Starts `checks` by `run`. What they build on stands before them, as in a plan."""
        begun: dict[Check, _Begun] = {}
        for check in checks:
            begun[check] = _Begun(
                check.step,
                tuple(Coming(begun[need].future, is_needed=True) for need in check.needs),
                {name: Coming(begun[need].future, is_needed=False) for name, need in check.named.items()},
                check.arguments,
            )
        self._begun |= {_key(one.step, one.arguments): one for one in begun.values()}
        # In the order of the list a step finds those it waits for begun before it: no two wait for each other.
        threads = ThreadPoolExecutor(min(max(len(begun), 1), THREADS_MAX), thread_name_prefix="ahead")
        for under_way in begun.values():
            threads.submit(_finish, under_way, run)
        threads.shutdown(wait=False)

    def take(self, step: Step, needs: Sequence[Finding[Any]], arguments: Mapping[str, Any]) -> Finding[Any] | None:
        """The finding of a step begun before, waited for; None where it was not, or with other findings or arguments.

        It is given once: a cell that is run again asks again. Raises what the step raised.
        """
        named = {name: value for name, value in arguments.items() if isinstance(value, Finding)}
        own = {name: value for name, value in arguments.items() if name not in named}
        begun = self._begun.pop(_key(step, own), None)
        if begun is None or not begun.was_given(needs, named):
            return None
        return begun.future.result()


def _finish(begun: _Begun, run: Run) -> None:
    try:
        begun.future.set_result(run(begun.step, begun.needs, {**begun.named, **begun.arguments}))
    except BaseException as error:  # noqa: BLE001 - raised in the cell that takes it, whatever it is
        begun.future.set_exception(error)


def _key(step: Step, arguments: Mapping[str, Any]) -> tuple[Step, str]:
    return step, repr(sorted(arguments.items()))
