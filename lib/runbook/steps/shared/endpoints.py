"""What a service answers at a health endpoint, and who says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runbook.errors import SourceError
from runbook.sources.cluster import Cluster
from runbook.words import one_line

_WELL = ("ok", "healthy", "up", "pass", "ready", "alive")
_TEXT_MAX = 160


class Health(StrEnum):
    """Whether a service is well by its own word; unknown: it was not reached this way, or says nothing of it."""

    WELL = "well"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back, in a line. `error`: why the service could not be asked, where it could not."""

    health: Health
    text: str
    code: int | None = None
    error: SourceError | None = None


def heard(cluster: Cluster, service: str, port: int, path: str) -> Heard:
    """What `service` answers at `path` through the API server's proxy.

    Only an answer of its own counts: what the API server or a proxy says in its place leaves it unknown. That no ready
    pod stands behind it is known by Kubernetes.
    """
    try:
        answer = cluster.health(service, port, path).data
    except SourceError as error:
        return Heard(Health.UNKNOWN, one_line(str(error), _TEXT_MAX), error=error)
    code, body = int(answer["code"]), str(answer.get("body", ""))
    if answer.get("by"):
        return Heard(Health.DOWN, "no ready pod stands behind it, as Kubernetes says", code)
    health = _health(code, body)
    text = f"{code} {_said(body)}".strip()
    if health is Health.UNKNOWN:
        text += f", which says nothing of its health: is {path} right?"
    return Heard(health, one_line(text, _TEXT_MAX), code)


def _health(code: int, body: str) -> Health:
    if code >= 500:
        return Health.DOWN
    if not 200 <= code < 300:
        return Health.UNKNOWN
    word = _content(body).get("status", "ok")
    return Health.WELL if str(word).lower() in _WELL else Health.DOWN


def _said(body: str) -> str:
    """What an answer says: of a JSON object with a message that, else the text."""
    return " ".join(str(_content(body).get("message") or body).split())


def _content(body: str) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
