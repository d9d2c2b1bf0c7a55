"""Why the API server could not be asked at all, in our own words."""

from __future__ import annotations

import errno
import os
import re
import ssl
from urllib.parse import urlsplit

import urllib3
from kubernetes.client.exceptions import ApiException

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources.cluster.deadline import Deadline
from runbook.sources.cluster.json_paths import line
from runbook.sources.evidence import TooSlow

_UNREACHABLE = {
    errno.ECONNREFUSED: "nothing listens there, or the tunnel to it is closed",
    errno.EHOSTUNREACH: "there is no way to this host",
    errno.ENETUNREACH: "there is no way to this network; is the VPN up?",
    errno.ECONNRESET: "the connection was cut off",
}


def unreached(error: Exception, deadline: Deadline, host: str) -> SourceError:
    """What kept the question from the API server, in our own words."""
    where = _address(host)
    if isinstance(error, urllib3.exceptions.ProxyError):
        return SourceUnavailable("cluster cannot be reached: the proxy before it (proxy-url, HTTPS_PROXY) gives no way")
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return SourceUnavailable(f"cluster cannot be reached: the name in {where} is not known; is KUBECONFIG right?")
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # in the library's eyes a timeout too
        return _no_connection(error, where)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return SourceUnavailable(
            f"cluster cannot be reached: no connection to {where} in {deadline.limit_seconds:.3g} s"
        )
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return TooSlow(f"cluster did not answer in {deadline.limit_seconds:.3g} s")
    if isinstance(error, ApiException | urllib3.exceptions.SSLError | ssl.SSLError):
        return SourceUnavailable(f"cluster cannot be reached by TLS at {where}: {_tls_reason(str(error))}")
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return NotConfigured(f"cluster is not configured: KUBECONFIG's server {where} is no address")
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return QueryFailed("cluster broke the connection off before its answer was whole")
    return _no_connection(error, where)


def _no_connection(error: Exception, where: str) -> SourceError:
    number = _errno_of(error)
    why = _UNREACHABLE.get(number or 0) or (os.strerror(number) if number else type(error).__name__)
    return SourceUnavailable(f"cluster cannot be reached at {where} ({why}); is KUBECONFIG right?")


def _address(host: str) -> str:
    """The API server's address, without what a user may have put before the @."""
    parts = urlsplit(host)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else line(host, 80)


def _errno_of(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _tls_reason(text: str) -> str:
    found = re.search(r"certificate verify failed: ([^(\n]+)", text)
    if found:
        hint = "is certificate-authority in KUBECONFIG right?"
        return f"its certificate is not accepted ({found[1].strip()}); {hint}"
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return "it speaks no TLS; is the server in KUBECONFIG http:// then?"
    short = line(re.sub(r"^SSLError\s*|\(_ssl\.c:\d+\)", "", text), 160)
    return short or "the handshake failed"
