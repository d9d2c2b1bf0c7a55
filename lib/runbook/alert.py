"""Alertmanager's webhook message (version 4) -> Alert and AlertGroup. All of it is hostile text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook.errors import InputError, PayloadError
from runbook.words import known_severity, severity_rank, severity_text

LABELS_MAX = 100
TEXT_MAX = 4_000
ALERTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: its labels and annotations (text, cut at 4,000 characters), and when it began, UTC.

    `usual_severity` is what it counts as where its label names no severity that we know: the catalog's.
    """

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime | None = None
    status: str = "firing"
    generator_url: str = ""
    fingerprint: str = ""
    usual_severity: str = field(default="warning", compare=False)

    @property
    def severity(self) -> str:
        """critical, warning or info: what it carries counts, else its usual one."""
        return known_severity(self.labels.get("severity"), self.usual_severity) or "warning"

    @property
    def severity_text(self) -> str:
        """Its severity for people, with the original of one that we do not know: "P1, treated as warning"."""
        return severity_text(self.labels.get("severity", ""), self.severity)

    def to_json(self) -> dict[str, Any]:
        """The alert in Alertmanager's own shape."""
        return {
            "status": self.status,
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": self.starts_at.isoformat(),
            "endsAt": self.ends_at.isoformat() if self.ends_at else "",
            "generatorURL": self.generator_url,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """What one webhook message says: a group's key, status, common labels and its alerts."""

    key: str
    status: str
    receiver: str
    alerts: tuple[Alert, ...]
    group_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""
    truncated: int = 0

    @property
    def firing(self) -> tuple[Alert, ...]:
        return tuple(alert for alert in self.alerts if alert.status == "firing")

    @property
    def subject(self) -> Alert:
        """The alert a report is about: firing first, then the most severe, then the oldest."""
        return subject_of(self.firing or self.alerts)


def subject_of(alerts: Sequence[Alert]) -> Alert:
    """The most severe of `alerts`, then the oldest. Raises InputError when there are none."""
    if not alerts:
        raise InputError("There is no alert to report on.")
    return min(alerts, key=lambda a: (severity_rank(a.severity), a.starts_at, a.fingerprint))


def parse_time(text: str, name: str = "time") -> datetime:
    """An ISO 8601 time with its zone -> datetime in UTC. Raises InputError naming `name`."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, AttributeError):
        raise InputError(f"{name} is not a time with a zone, as in 2026-01-15T14:02:00Z.") from None


def alert_from_json(data: Any) -> Alert:
    """One alert in Alertmanager's shape -> Alert. Raises PayloadError with the field at fault."""
    if not isinstance(data, Mapping):
        raise PayloadError("An alert in the payload is not an object.")
    labels = _texts(data.get("labels"), "labels")
    annotations = _texts(data.get("annotations"), "annotations")
    try:
        starts_at = parse_time(_text(data, "startsAt"), "startsAt")
        ends = _text(data, "endsAt")
        ends_at = parse_time(ends, "endsAt") if ends and not ends.startswith("0001-") else None
    except InputError as error:
        raise PayloadError(str(error)) from None
    status = _text(data, "status") or "firing"
    if status not in ("firing", "resolved"):
        raise PayloadError("An alert's status is neither firing nor resolved.")
    return Alert(
        name=labels.get("alertname", ""),
        labels=labels,
        annotations=annotations,
        starts_at=starts_at,
        ends_at=ends_at,
        status=status,
        generator_url=_text(data, "generatorURL"),
        fingerprint=_text(data, "fingerprint") or fingerprint(labels),
    )


def group_from_json(data: Any) -> AlertGroup:
    """A webhook message -> AlertGroup. Raises PayloadError saying what is wrong with it."""
    if not isinstance(data, Mapping):
        raise PayloadError("The payload is not a JSON object.")
    if str(data.get("version", "")) != "4":
        raise PayloadError("The payload's version is not 4, the one Alertmanager sends.")
    alerts = data.get("alerts")
    if not isinstance(alerts, list) or not alerts:
        raise PayloadError("The payload holds no alerts.")
    if len(alerts) > ALERTS_MAX:
        raise PayloadError(f"The payload holds over {ALERTS_MAX:,} alerts. Set max_alerts in the receiver.")
    status = _text(data, "status")
    if status not in ("firing", "resolved"):
        raise PayloadError("The payload's status is neither firing nor resolved.")
    truncated = data.get("truncatedAlerts") or 0
    if isinstance(truncated, bool) or not isinstance(truncated, int) or truncated < 0:
        raise PayloadError("truncatedAlerts is not a whole number.")
    return AlertGroup(
        key=_text(data, "groupKey"),
        status=status,
        receiver=_text(data, "receiver"),
        alerts=tuple(alert_from_json(alert) for alert in alerts),
        group_labels=_texts(data.get("groupLabels"), "groupLabels"),
        external_url=_text(data, "externalURL"),
        truncated=truncated,
    )


def fingerprint(labels: Mapping[str, str]) -> str:
    """A stable identity of a label set, for senders that leave Alertmanager's own out (16 hex digits)."""
    canonical = json.dumps(sorted(labels.items()), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PayloadError(f"{name} is not text.")
    return _clean(value)


def _texts(value: Any, name: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > LABELS_MAX:
        raise PayloadError(f"{name} is not an object of at most {LABELS_MAX} texts.")
    if not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise PayloadError(f"{name} holds something that is not text.")
    return {_clean(k): _clean(v) for k, v in value.items()}


def _clean(text: str) -> str:
    """`text` without NUL and lone surrogates (PostgreSQL and UTF-8 refuse them), cut at 4,000 characters."""
    return text[:TEXT_MAX].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Window:
    """The time an investigation looks at: [start, as_of], all UTC, with the alert's moment inside or before it."""

    start: datetime
    starts_at: datetime
    as_of: datetime

    @property
    def seconds(self) -> float:
        return (self.as_of - self.start).total_seconds()


def window_of(starts_at: datetime, as_of: datetime, lookback_hours: float) -> Window:
    """[starts_at − lookback, as_of]. An alert dated after as_of (a clock ahead of ours) moves as_of to it."""
    if not 0 < lookback_hours <= 24 * 90:
        raise InputError("lookback_hours is not between 0 and 2160 (90 days).")
    return Window(starts_at - timedelta(hours=lookback_hours), starts_at, max(as_of, starts_at))
