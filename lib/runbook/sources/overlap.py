"""Questions that do not wait for each other, asked side by side: a slow source then costs its delay once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from runbook.errors import SourceError
from runbook.sources.evidence import Answer, collect, collecting

AT_ONCE_MAX = 6
T = TypeVar("T")


def at_once(*calls: Callable[[], T]) -> list[T]:
    """What each of `calls` returns, in their order, at most six of them under way at a time.

    Raises the SourceError of the first one, in their order, that failed. Answers are collected in that
    order too, up to that failure, as if the calls had been made one after the other.
    """
    if len(calls) < 2:
        return [call() for call in calls]
    with ThreadPoolExecutor(min(len(calls), AT_ONCE_MAX) - 1, thread_name_prefix="at-once") as pool:
        others = [pool.submit(_asked, call) for call in calls[1:]]
        outcomes = [_asked(calls[0]), *(other.result() for other in others)]
    found: list[T] = []
    for value, error, answers in outcomes:
        collect(answers)
        if error is not None:
            raise error
        found.extend(value)
    return found


def _asked(call: Callable[[], T]) -> tuple[list[T], SourceError | None, list[Answer]]:
    """What the call returned, alone in a list; else that it failed; and the answers it was given."""
    with collecting() as answers:
        try:
            return [call()], None, answers
        except SourceError as error:
            return [], error, answers
