"""Alertmanager: which alerts fire now, and which are silenced."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pandas as pd

from runbook.errors import NotConfigured, SourceUnavailable
from runbook.sources.evidence import Answer, Evidence, Recording
from runbook.sources.http_json import client_of, get_json

NAME = "alertmanager"


class Alerts:
    """Asks Alertmanager's v2 API."""

    name = NAME

    def __init__(self, url: str | None, evidence: Evidence) -> None:
        self._url = url.rstrip("/") if url else None
        self._evidence = evidence
        self._recording = Recording.at(url)
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def active(self) -> Answer:
        """Every alert firing now: DataFrame name, severity, state, since (UTC), labels, annotations, silenced_by."""
        return self._evidence.ask(
            NAME,
            "/api/v2/alerts",
            {},
            'curl -s "$ALERTMANAGER_URL/api/v2/alerts"',
            lambda: _alerts(self._get("/api/v2/alerts")),
            replay=self._recording,
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _get(self, path: str) -> Any:
        if not self._url:
            raise NotConfigured("alertmanager is not configured: set ALERTMANAGER_URL")
        with self._lock:  # steps ask side by side, and a second client would never be closed
            if self._client is None:
                self._client = client_of(self._url, self._evidence.limit_seconds)
        return get_json(self._client, self._url + path, {}, NAME, "ALERTMANAGER_URL", self._evidence.limit_seconds)


def _alerts(content: Any) -> pd.DataFrame:
    try:
        rows = [
            {
                "name": one["labels"].get("alertname", ""),
                "severity": one["labels"].get("severity", ""),
                "state": one["status"]["state"],
                "since": one["startsAt"],
                "labels": one["labels"],
                "annotations": one.get("annotations", {}),
                "silenced_by": list(one["status"].get("silencedBy", [])),
            }
            for one in content
        ]
        columns = ["name", "severity", "state", "since", "labels", "annotations", "silenced_by"]
        frame = pd.DataFrame(rows, columns=columns)
        frame["since"] = pd.to_datetime(frame["since"], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
        return frame
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SourceUnavailable("alertmanager answered in a form of its own; is ALERTMANAGER_URL right?") from None
