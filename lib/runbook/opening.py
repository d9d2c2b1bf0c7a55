"""What an investigation is opened with: the alert it is about, the window, the evidence and the sources."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook import catalog, parameters, settings
from runbook.alert import Alert, Window, alert_from_json, parse_time, subject_of, window_of
from runbook.errors import ConfigurationError, InputError
from runbook.sources.alerts import Alerts
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.evidence import Evidence, Recording
from runbook.sources.metrics import Metrics
from runbook.words import known_severity


@dataclass(frozen=True, slots=True)
class Given:
    """What `Runbook.open` is given: a notebook's common parameters, see there."""

    alertname: str
    severity: str
    starts_at: str
    as_of: str
    lookback_hours: float
    labels: Mapping[str, str]
    alerts: Sequence[Mapping[str, Any]]

    def from_namespace(self, namespace: Mapping[str, Any]) -> Given:
        """The values that a notebook's globals hold under these names; those they do not hold as they are."""
        found = {part.name: namespace[part.name] for part in fields(self) if part.name in namespace}
        return replace(self, **found)


def evidence_of(config: settings.Settings) -> Evidence:
    return Evidence(
        record=Path(config.runbook_record) if config.runbook_record else None,
        replay=Recording(Path(config.runbook_evidence)) if config.runbook_evidence else None,
        secrets=config.secrets,
        limit_seconds=config.runbook_query_seconds,
    )


def require_procedure(procedure: str, *running: str | None) -> None:
    """Whether there is such a procedure: a notebook of that name, the one that is `running` among them.

    Raises InputError with the procedure that was probably meant. Away from the project's folders nothing is known.
    """
    if any(notebook and Path(notebook).stem == procedure for notebook in running):
        return
    try:
        folders = parameters.folders()
        if os.path.isfile(folders.notebook(procedure)):  # noqa: PTH113 (a name too long for a file is none)
            return
        known = catalog.load(folders.catalog)
    except (InputError, ConfigurationError):
        return
    near = known.nearest(procedure)
    meant = f" Did you mean {known.entry(near).procedure}?" if near else ""
    raise InputError(
        f"There is no procedure {procedure[:100]!a}.{meant} "
        f"For an alert without a procedure of its own, open {catalog.FALLBACK}."
    )


def situation_of(
    procedure: str, given: Given, evidence: Evidence, config: settings.Settings
) -> tuple[Alert, list[Alert], Window]:
    """The alert that the investigation is about, the others of its group, and the window to look at."""
    past = evidence.replay.context if evidence.replay else {}
    now = _first_time(given.as_of, past.get("as_of"), config.runbook_as_of) or datetime.now(UTC)
    firing = [alert_from_json(evidence.redact(dict(alert))) for alert in given.alerts]
    wanted_labels = evidence.redact(dict(given.labels))
    subject = _meant(firing, given.alertname, wanted_labels) if firing else None
    began = _first_time(
        given.starts_at, subject.starts_at if subject else past.get("starts_at"), config.runbook_starts_at
    )
    labels = {"alertname": given.alertname or procedure}
    labels |= subject.labels if subject else {}
    labels |= wanted_labels
    if given.severity:
        labels.setdefault("severity", given.severity)
    alert = Alert(
        name=labels["alertname"],
        labels=labels,
        annotations=subject.annotations if subject else {},
        starts_at=began or now,
        generator_url=subject.generator_url if subject else "",
        fingerprint=subject.fingerprint if subject else "",
        usual_severity=known_severity(labels.get("severity"), given.severity) or _usual_severity(labels["alertname"]),
    )
    others = [other for other in firing if other is not subject]
    return alert, others, window_of(began or now, now, given.lookback_hours)


def _meant(firing: Sequence[Alert], alertname: str, labels: Mapping[str, str]) -> Alert:
    """The one of the group that the name and labels given are of, so that its annotations and expression go with them.

    Of several, or where none has that name, the most severe, then the oldest.
    """
    named = [alert for alert in firing if alert.name == alertname] or list(firing)
    agreeing = [len(labels.items() & alert.labels.items()) for alert in named]
    closest = max(agreeing)
    return subject_of([alert for alert, agreed in zip(named, agreeing, strict=True) if agreed == closest])


def _usual_severity(alertname: str) -> str:
    """The catalog's severity of an alert that names none; warning where there is no catalog to read."""
    try:
        return catalog.load(parameters.folders().catalog).entry(alertname).severity
    except (InputError, ConfigurationError):
        return "warning"


def _first_time(*candidates: str | datetime | None) -> datetime | None:
    for candidate in candidates:
        if isinstance(candidate, datetime):
            return candidate.astimezone(UTC)
        if candidate:
            return parse_time(candidate)
    return None


def sources_of(config: settings.Settings, evidence: Evidence) -> dict[str, Any]:
    def plain_value(secret: Any) -> str | None:
        return secret.get_secret_value() if secret else None

    return {
        "database": Database(plain_value(config.database_url), evidence, namespace=config.kube_namespace),
        "metrics": Metrics(plain_value(config.prometheus_url), evidence),
        "cluster": Cluster(
            config.kubeconfig, config.kubernetes_service_host is not None, config.kube_namespace, evidence
        ),
        "alerts": Alerts(plain_value(config.alertmanager_url), evidence),
    }
