"""Alertmanager's payload: read strictly, hostile text kept as text, the subject chosen."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.alert import (
    Alert,
    alert_from_json,
    fingerprint,
    group_from_json,
    parse_time,
    subject_of,
    window_of,
)
from runbook.errors import InputError, PayloadError

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
ONE: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "MaxDrawdownExceeded", "severity": "critical"},
    "annotations": {"summary": "s"},
    "startsAt": "2026-01-15T14:02:00.5Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus/graph",
    "fingerprint": "abc",
}
GROUP: dict[str, Any] = {
    "version": "4",
    "groupKey": "{}:{}",
    "status": "firing",
    "receiver": "runbook",
    "groupLabels": {"alertname": "MaxDrawdownExceeded"},
    "truncatedAlerts": 0,
    "externalURL": "http://alertmanager",
    "alerts": [ONE],
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def test_a_group_is_read() -> None:
    group = group_from_json(GROUP)
    (alert,) = group.alerts
    assert (group.key, group.status, group.receiver, group.truncated) == ("{}:{}", "firing", "runbook", 0)
    assert (alert.name, alert.severity, alert.fingerprint, alert.ends_at) == (
        "MaxDrawdownExceeded",
        "critical",
        "abc",
        None,
    )
    assert alert.starts_at == datetime(2026, 1, 15, 14, 2, 0, 500_000, tzinfo=UTC)


def test_an_alert_survives_its_own_json() -> None:
    alert = alert_from_json(ONE)
    assert alert_from_json(json.loads(json.dumps(alert.to_json()))) == alert
    ended = alert_from_json({**ONE, "status": "resolved", "endsAt": "2026-01-15T15:02:00+01:00"})
    assert alert_from_json(ended.to_json()) == ended


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "3"),
        ("version", None),
        ("alerts", []),
        ("alerts", {}),
        ("alerts", None),
        ("alerts", [1]),
        ("status", "pending"),
        ("status", 1),
        ("groupKey", 7),
        ("groupLabels", ["a"]),
        ("groupLabels", {"a": 1}),
        ("truncatedAlerts", -1),
        ("truncatedAlerts", "2"),
        ("truncatedAlerts", True),
        ("receiver", {}),
    ],
)
def test_a_group_that_is_none_is_refused_with_the_field(field: str, value: Any) -> None:
    with pytest.raises(PayloadError) as caught:
        group_from_json({**GROUP, field: value})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", {"a": 1}),
        ("labels", []),
        ("labels", {f"l{n}": "x" for n in range(101)}),
        ("annotations", 5),
        ("startsAt", ""),
        ("startsAt", None),
        ("startsAt", "2026-01-15T14:02:00"),
        ("startsAt", "9999999"),
        ("endsAt", "soon"),
        ("status", "maybe"),
        ("generatorURL", 1),
    ],
)
def test_an_alert_that_is_none_is_refused(field: str, value: Any) -> None:
    with pytest.raises(PayloadError):
        alert_from_json({**ONE, field: value})


@given(ANY_JSON)
def test_any_json_is_read_or_refused(data: Any) -> None:
    for change in (
        data,
        {**GROUP, "alerts": data},
        {**GROUP, "alerts": [data]},
        {**GROUP, "alerts": [{**ONE, "labels": data}]},
    ):
        try:
            group_from_json(copy.deepcopy(change))
        except PayloadError as error:
            assert str(error)  # noqa: PT017


def test_hostile_text_is_cut_and_kept_as_text() -> None:
    alert = alert_from_json({**ONE, "labels": {"alertname": "a\x00b\ud800", "x": "y" * 10_000}})
    assert alert.name == "a\ufffdb?"
    assert len(alert.labels["x"]) == 4_000


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("critical", "critical"), ("CRITICAL", "critical"), ("page", "warning"), ("", "warning"), ("info", "info")],
)
def test_severity(severity: str, expected: str) -> None:
    assert Alert("a", {"severity": severity}, {}, NOON).severity == expected


@pytest.mark.parametrize(
    ("labels", "usual", "expected"),
    [
        ({"severity": "P1"}, "warning", "P1, treated as warning"),
        ({"severity": "page"}, "critical", "page, treated as critical"),
        ({"severity": "CRITICAL"}, "warning", "critical"),
        ({"severity": "info"}, "critical", "info"),
        ({"severity": "a\nb\u202e"}, "info", "a b, treated as info"),
        ({}, "critical", "critical"),
        ({}, "loud", "warning"),
    ],
)
def test_an_unknown_severity_is_kept_and_counts_as_the_usual_one(
    labels: dict[str, str], usual: str, expected: str
) -> None:
    assert Alert("a", labels, {}, NOON, usual_severity=usual).severity_text == expected


def test_the_subject_is_the_most_severe_then_the_oldest_that_fires() -> None:
    def one(name: str, severity: str, minutes: int, status: str = "firing") -> dict[str, Any]:
        return {
            **ONE,
            "status": status,
            "labels": {"alertname": name, "severity": severity},
            "startsAt": (NOON + timedelta(minutes=minutes)).isoformat(),
        }

    alerts = [
        one("w", "warning", 0),
        one("late", "critical", 9),
        one("early", "critical", 5),
        one("gone", "critical", 1, "resolved"),
    ]
    assert group_from_json({**GROUP, "alerts": alerts}).subject.name == "early"
    assert group_from_json({**GROUP, "alerts": alerts[3:]}).subject.name == "gone"
    with pytest.raises(InputError):
        subject_of([])


def test_a_fingerprint_is_of_the_labels_alone() -> None:
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    assert fingerprint({"a": "1"}) != fingerprint({"a": "2"})


@pytest.mark.parametrize(
    "text", ["2026-01-15T12:00:00Z", "2026-01-15T13:00:00+01:00", " 2026-01-15T12:00Z ", "20260115T120000Z"]
)
def test_times(text: str) -> None:
    assert parse_time(text) == NOON


@pytest.mark.parametrize("text", ["", "now", "2026-01-15", "2026-01-15T12:00:00", "0001-01-01T00:00:00+14:00", None, 5])
def test_what_is_no_time(text: Any) -> None:
    with pytest.raises(InputError, match="as_of is not a time with a zone"):
        parse_time(text, "as_of")


def test_the_window() -> None:
    window = window_of(NOON, NOON + timedelta(minutes=8), 6)
    assert window.seconds == 6 * 3600 + 8 * 60
    assert window_of(NOON, NOON - timedelta(hours=1), 6).as_of == NOON


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf"), 2161])
def test_a_window_that_is_none(hours: float) -> None:
    with pytest.raises(InputError, match="lookback_hours"):
        window_of(NOON, NOON, hours)
