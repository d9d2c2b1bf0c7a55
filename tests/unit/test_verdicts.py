"""What verdicts share: the silence command names the alert, and no other of its name."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

import pytest

from runbook.alert import Alert
from runbook.steps.shared.verdicts import silence


def alert(name: str = "AgentDown", **labels: str) -> Alert:
    return Alert(name, {"alertname": name, "severity": "warning", **labels}, {}, datetime(2026, 1, 15, tzinfo=UTC))


def matchers(given: Alert) -> list[str]:
    words = shlex.split(silence(given).command)
    return words[3 : words.index("--duration=1h")]


def test_every_label_but_the_severity_is_matched() -> None:
    given = alert(agent_type="sentiment", x="y")
    assert matchers(given) == ["alertname=AgentDown", "agent_type=sentiment", "x=y"]
    assert "every AgentDown" not in silence(given).why


def test_a_label_too_long_to_read_is_left_out_and_that_is_said() -> None:
    given = alert(agent_type="sentiment", note="n" * 500)
    assert matchers(given) == ["alertname=AgentDown", "agent_type=sentiment"]
    assert "note" in silence(given).why


def test_without_another_label_it_says_what_else_it_silences() -> None:
    assert matchers(alert()) == ["alertname=AgentDown"]
    assert "every AgentDown" in silence(alert()).why


@pytest.mark.parametrize("hostile", ['x" --all', "x'; rm -rf /", "a\nb", "$(id)", "{a=b}", "\\"])
def test_hostile_labels_stay_one_word(hostile: str) -> None:
    found = matchers(alert(pod=hostile))
    assert len(found) == 2
    assert found[1].startswith('pod="')
