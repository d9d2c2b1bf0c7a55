"""JSON over HTTP as Prometheus and Alertmanager answer it, and who said what where it is none.

A load balancer, a login page or a proxy that answers in their place is told apart from them by what it sends.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable

_BYTES_MAX = 32 * 1024 * 1024
_QUOTED_MAX = 300
_RETRY_SECONDS = 1.0
"""Waited where Retry-After does not say for how long."""
_TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
_GATEWAYS = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


def client_of(url: str, limit_seconds: float) -> httpx.Client:
    """A client for `url`, which keeps its connections; certificates are checked where it speaks TLS.

    Where it does not, their authorities are not loaded (15 ms): a redirect to TLS is not followed.
    """
    has_tls = not url.lower().startswith("http:")
    return httpx.Client(timeout=limit_seconds, follow_redirects=False, trust_env=False, verify=has_tls)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back, by whoever answered."""

    status: int
    kind: str
    retry_after: str
    body: bytes

    @property
    def is_page(self) -> bool:
        return "html" in self.kind or self.body.lstrip()[:1] == b"<"

    def content(self) -> Any:
        """The JSON that it holds. Raises ValueError."""
        return json.loads(self.body)


def get_json(
    client: httpx.Client,
    url: str,
    parameters: Mapping[str, Any],
    source: str,
    variable: str,
    limit_seconds: float = 5.0,
) -> Any:
    """The JSON body of a GET, at most 32 MiB of it. Raises SourceError naming `source` and `variable`.

    Asked to wait (429) it does so once, where that fits into `limit_seconds`.
    """
    began = time.monotonic()
    reply = _get(client, url, parameters, source, variable)
    if reply.status == _TOO_MANY:
        wait_seconds = _wait_seconds(reply.retry_after)
        if wait_seconds < limit_seconds - (time.monotonic() - began):
            time.sleep(wait_seconds)
            reply = _get(client, url, parameters, source, variable)
    failure = _failure(reply, source, variable)
    if failure is not None:
        raise failure
    try:
        return reply.content()
    except ValueError:
        what = "an HTML page, not JSON, as a login page is" if reply.is_page else "something that is not JSON"
        raise SourceUnavailable(f"{source} answered {reply.status} with {what}; is {variable} right?") from None


def _get(client: httpx.Client, url: str, parameters: Mapping[str, Any], source: str, variable: str) -> _Reply:
    try:
        with client.stream("GET", url, params=dict(parameters)) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _BYTES_MAX:
                    raise QueryFailed(f"{source} sent over 32 MiB; ask a narrower question")
        headers = response.headers
        kind = headers.get("content-type", "").lower()
        return _Reply(response.status_code, kind, headers.get("retry-after", ""), bytes(body))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError):
        raise NotConfigured(f"{source}: {variable} is not an http address") from None
    except httpx.TimeoutException:
        raise SourceUnavailable(f"{source} did not answer in time") from None
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"{source} cannot be reached: {_why(error, variable)}") from None


def _failure(reply: _Reply, source: str, variable: str) -> SourceError | None:
    """What an answer comes to that is not one; None for one that may be."""
    status = reply.status
    if status == _TOO_MANY:
        seconds = _wait_seconds(reply.retry_after)
        return QueryFailed(f"{source} takes no more questions for now (429): it asks to wait {seconds:g} s")
    said = _said(reply)
    if said is not None:
        return QueryFailed(f"{source} refused the query: {said}")
    if status == HTTPStatus.UNAUTHORIZED:
        return SourceUnavailable(f"{source} refused access (401); {variable} needs credentials")
    if status == HTTPStatus.FORBIDDEN:
        return SourceUnavailable(f"{source} refused access (403); {variable} needs credentials that may ask")
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    return SourceUnavailable(f"{source} answered {_phrase(status)}{_meaning(reply, variable)}")


def _said(reply: _Reply) -> str | None:
    """Prometheus' own word why it refused the question; None where it did not, or somebody else speaks."""
    try:
        content = reply.content()
    except ValueError:
        return None
    if not isinstance(content, Mapping) or content.get("status") != "error":
        return None
    lines = str(content.get("error", "")).splitlines() or [""]
    return lines[0][:_QUOTED_MAX]


def _meaning(reply: _Reply, variable: str) -> str:
    if reply.status < HTTPStatus.BAD_REQUEST:
        return f", a redirect, as to a login page; is {variable} right?"
    if b"HTTP request to an HTTPS server" in reply.body[:1000]:
        return f": it speaks TLS; {variable} needs https://"
    if reply.status == HTTPStatus.NOT_FOUND:
        return f"; is the path in {variable} right?"
    if reply.status in _GATEWAYS and reply.is_page:
        return " with an HTML page: a proxy or load balancer says so, not the service itself"
    return ""


def _phrase(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _wait_seconds(retry_after: str) -> float:
    """What Retry-After asks for: seconds, or a moment."""
    text = retry_after.strip()
    if re.fullmatch(r"\d{1,6}", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return _RETRY_SECONDS
    until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _why(error: httpx.HTTPError, variable: str) -> str:
    """Why there is no connection, without the address."""
    text = str(error)
    untrusted = re.search(r"certificate verify failed: ([^,.('\"]*)", text)
    if untrusted:
        return f"its TLS certificate is not trusted ({untrusted[1].strip()})"
    for sign, meaning in _PROBLEMS.items():
        if sign in text:
            return f"{meaning}; is {variable} right?"
    return f"{type(error).__name__}; is {variable} right?"


_PROBLEMS = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS, which https:// asks for",
    "wrong version number": "it speaks no TLS, which https:// asks for",
    "record layer failure": "it speaks no TLS, which https:// asks for",
    "SSL": "the TLS connection failed",
    "Connection refused": "connection refused",
    "Name or service not known": "its host name is unknown",
    "Temporary failure in name resolution": "its host name cannot be looked up now",
    "No address associated": "its host name is unknown",
    "nodename nor servname": "its host name is unknown",
    "No route to host": "there is no route to it",
    "Network is unreachable": "there is no network to it",
    "illegal status line": "it speaks another protocol than http",
    "Server disconnected": "it hung up without an answer",
    "Connection reset": "the connection was cut",
}
