"""What came back from the API server, and who said it: it, a proxy on the way, or the service behind it."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from runbook.errors import QueryFailed, SourceError, SourceUnavailable
from runbook.sources.cluster.json_paths import line

_HTML = re.compile(rb"^\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>([^<]{1,120})", re.IGNORECASE)
_UNREACHED = re.compile(
    r"error trying to reach service|upstream connect error|no healthy upstream|upstream request timeout", re.IGNORECASE
)
"""What the API server's proxy, and proxies of the mesh, say of a service that they do not reach."""
_NO_ENDPOINTS = re.compile(r"^no endpoints available for service")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whoever sent it. `lacks`: why it was asked for without credentials, if it was."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    lacks: str = ""

    @property
    def content(self) -> Any:
        """The body's JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def text(self) -> str:
        """The beginning of the body on one line."""
        return line(self.body[:4000].decode("utf-8", "replace"), 300)

    @property
    def is_html(self) -> bool:
        return bool(_HTML.match(self.body[:4000]))

    @property
    def refusal(self) -> Mapping[str, Any] | None:
        """The Status object with which the API server refuses; None where the body is another."""
        content = self.content
        is_status = isinstance(content, dict) and content.get("kind") == "Status" and content.get("status") != "Success"
        return content if is_status else None

    @property
    def reason(self) -> str:
        """Why it is no success, in the words of whoever says so."""
        content = self.content
        message = content.get("message") if isinstance(content, dict) else None
        if message:
            return line(message, 300)
        if self.is_html:
            title = _TITLE.search(self.body[:4000].decode("utf-8", "replace"))
            named = f" (“{line(title[1], 80)}”)" if title else ""
            return f"an HTML page{named}, as a proxy or load balancer before the API server sends it"
        return self.text or "no reason given"

    @property
    def means_no_endpoint(self) -> bool:
        """Whether Kubernetes says that no ready pod stands behind the service."""
        return bool(self.refusal and _NO_ENDPOINTS.match(str(self.refusal.get("message", ""))))

    @property
    def is_of_the_service(self) -> bool:
        """Whether the service behind the API server's proxy said this, not the API server nor a proxy on the way."""
        if self.is_html or self.refusal is not None:
            return False
        if self.status in (502, 504):
            return isinstance(self.content, dict)
        return not (self.status >= 500 and _UNREACHED.search(self.text))


def retry_after_seconds(headers: Mapping[str, str]) -> float:
    """How long a server wants to be left alone: seconds, or until a date; 1 where it does not say."""
    wanted = headers.get("Retry-After") or ""
    if wanted.isdigit():
        return float(wanted)
    try:
        return max(email.utils.parsedate_to_datetime(wanted).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return 1.0


def refused(reply: Reply) -> SourceError:
    """The error that says why the API server gave no answer, and what to do."""
    reason = reply.reason
    if reply.lacks:
        return SourceUnavailable(f"cluster was asked without credentials ({reply.status}): in KUBECONFIG {reply.lacks}")
    if reply.status == 401:
        return SourceUnavailable(
            f"cluster does not accept the credentials (401: {reason}); renew them in KUBECONFIG, or the plugin's login"
        )
    if reply.status == 403:
        stated = reason if reply.body else "see docs/kubernetes.md for the verbs it needs"
        return QueryFailed(f"cluster forbids this to the role (403): {stated}")
    if reply.status == 429:
        wanted = f"{retry_after_seconds(reply.headers):.3g} s"
        return QueryFailed(f"cluster is asked too much (429) and wants to be left alone for {wanted}: {reason}")
    if 300 <= reply.status < 400:
        where = urlsplit(reply.headers.get("Location") or "").hostname or "elsewhere"
        return QueryFailed(
            f"cluster sends us on to {where} ({reply.status}), as a login page does; is KUBECONFIG right?"
        )
    return QueryFailed(f"cluster answered {reply.status}: {reason}")
