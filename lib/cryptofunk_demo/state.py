"""What the Kubernetes double holds, and what it is asked: all that its parts share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptofunk_demo.logs import Line
from cryptofunk_demo.moment import AS_OF

Object = dict[str, Any]
Answer = tuple[int, str, bytes]
"""HTTP code, content type, body."""
Proxy = Callable[[str, dict[str, str]], Answer]
"""What a port answers to a path and a query."""


@dataclass
class State:
    """What the double serves; tests change it under `lock`. `denied` holds (verb, resource), "*" meaning any.

    Logs are those of "app", "pod", "app/container" or "pod/container", the narrowest first; without a container that
    of the app's own name is meant. A list that is begun at one `version` and gone on with at another has expired.
    """

    objects: dict[str, list[Object]]
    logs: dict[str, list[Line]] = field(default_factory=dict)
    previous: dict[str, list[Line]] = field(default_factory=dict)
    proxies: dict[tuple[str, str, str], Proxy] = field(default_factory=dict)
    denied: set[tuple[str, str]] = field(default_factory=set)
    now: datetime = AS_OF
    version: int = 420_017
    lock: threading.RLock = field(default_factory=threading.RLock)
    requests: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its path decoded."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    content_type: str
