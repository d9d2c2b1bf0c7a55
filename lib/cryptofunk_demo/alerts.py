"""The incident's alerts in Alertmanager's shapes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from cryptofunk_demo.incident import AlertSpec
from cryptofunk_demo.moment import AS_OF, MOMENT
from cryptofunk_demo.simulation import Simulation
from runbook.alert import fingerprint

# Where the platform's own Prometheus would be; only its expression is read from it.
_GENERATOR = "http://prometheus-service:9090/graph?g0.expr="


def alert(simulation: Simulation, spec: AlertSpec | None = None) -> dict[str, Any]:
    """One alert as Alertmanager's webhook sends it; the incident's own where no other is named."""
    spec = spec or simulation.incident.alert
    facts = simulation.facts
    labels = {"alertname": spec.name, **spec.labels}
    starts = MOMENT + timedelta(minutes=spec.start_minute)
    ends = None if spec.firing else AS_OF - timedelta(minutes=2)
    return {
        "status": "firing" if spec.firing else "resolved",
        "labels": labels,
        "annotations": {name: text.format_map(facts) for name, text in spec.annotations.items()},
        "startsAt": _iso(starts),
        "endsAt": _iso(ends) if ends else "0001-01-01T00:00:00Z",
        "generatorURL": _GENERATOR + quote(spec.expression) + "&g0.tab=1",
        "fingerprint": fingerprint(labels),
    }


def payload(simulation: Simulation) -> dict[str, Any]:
    """The webhook message (version 4) about the incident's alert."""
    subject = alert(simulation)
    name = simulation.incident.alert.name
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{name}", cluster="", service=""}}',
        "truncatedAlerts": 0,
        "status": subject["status"],
        "receiver": "runbook",
        "groupLabels": {"alertname": name},
        "commonLabels": subject["labels"],
        "commonAnnotations": subject["annotations"],
        "externalURL": "http://alertmanager-service:9093",
        "alerts": [subject],
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
