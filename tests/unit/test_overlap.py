"""Questions asked side by side: their order, their answers and their failures are as if asked one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from runbook.errors import QueryFailed, SourceUnavailable
from runbook.sources.evidence import Evidence, collecting
from runbook.sources.overlap import AT_ONCE_MAX, at_once


def asking(evidence: Evidence, name: str, fetch: Callable[[], object]) -> Callable[[], str]:
    return lambda: evidence.ask("database", name, {}, "", fetch).question


def test_all_are_under_way_at_once_and_come_back_in_order() -> None:
    evidence, together = Evidence(), threading.Barrier(4, timeout=10)
    last_first = threading.Event()

    def slow() -> str:
        together.wait()
        assert last_first.wait(10)
        return "a"

    def fast() -> str:
        together.wait()
        last_first.set()
        return "d"

    fetches = (slow, together.wait, together.wait, fast)
    with collecting() as answers:
        found = at_once(*(asking(evidence, name, fetch) for name, fetch in zip("abcd", fetches, strict=True)))
    assert found == list("abcd")
    assert [answer.question for answer in answers] == list("abcd")


def test_the_first_failure_in_their_order_is_raised_and_later_answers_belong_to_nobody() -> None:
    evidence, later_failed = Evidence(), threading.Event()
    begun = threading.Barrier(
        3, timeout=10
    )  # a source found away is not asked again: all are under way before one fails

    def refused() -> None:
        begun.wait()
        assert later_failed.wait(10)
        raise QueryFailed("the first")

    def away() -> None:
        begun.wait()
        later_failed.set()
        raise SourceUnavailable("the second")

    with collecting() as answers, pytest.raises(QueryFailed, match="the first"):
        at_once(*(asking(evidence, n, f) for n, f in (("a", begun.wait), ("b", refused), ("c", away))))
    assert [answer.question for answer in answers] == ["a", "b"]
    assert len(evidence.answers) == 3


def test_a_bug_is_raised_as_it_is() -> None:
    def buggy() -> None:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        at_once(lambda: 1, buggy)


def test_none_or_one_need_no_thread() -> None:
    assert at_once() == []
    assert at_once(threading.get_ident) == [threading.get_ident()]


def test_no_more_than_a_few_are_under_way() -> None:
    lock, counts = threading.Lock(), {"now": 0, "most": 0}
    full = threading.Event()

    def call() -> None:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        if counts["most"] >= AT_ONCE_MAX:
            full.set()
        assert full.wait(10)
        with lock:
            counts["now"] -= 1

    at_once(*[call] * (2 * AT_ONCE_MAX))
    assert counts["most"] == AT_ONCE_MAX
