"""The way to the API server: one GET at a time, and in words of its own why there was no answer."""

from __future__ import annotations

import email.utils
import errno
import json
import os
import re
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes.client
import kubernetes.config
import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources.cluster import credentials, kubeconfig
from runbook.sources.cluster.json_paths import line
from runbook.sources.cluster.kubeconfig import Access
from runbook.sources.evidence import TooSlow

_CONNECTIONS_MAX = 64
"""As many as are ever asked at once: above that urllib3 complains in the log."""
_RENEWED_SECONDS = 5.0
"""Credentials younger than that are not renewed when they are refused."""
_REMEMBERED_SECONDS = 30.0
"""For so long a connection that cannot be made is not tried again: its plugin would be run for each question."""
_HTML = re.compile(rb"^\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>([^<]{1,120})", re.IGNORECASE)
_UNREACHED = re.compile(
    r"error trying to reach service|upstream connect error|no healthy upstream|upstream request timeout", re.IGNORECASE
)
"""What the API server's proxy, and proxies of the mesh, say of a service that they do not reach."""
_NO_ENDPOINTS = re.compile(r"^no endpoints available for service")


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when (time.monotonic) something has to be done, which may take so many seconds in all."""

    at: float
    limit_seconds: float

    @classmethod
    def of(cls, limit_seconds: float) -> Deadline:
        """A little before the limit, so that what was read until then can be told."""
        return cls(time.monotonic() + 0.9 * limit_seconds, limit_seconds)

    @property
    def left_seconds(self) -> float:
        return self.at - time.monotonic()


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


class Connection:
    """One API server, known by KUBECONFIG or from within the cluster. Safe to use from several threads."""

    def __init__(self, kubeconfig_setting: str | None, in_cluster: bool) -> None:
        self._setting = kubeconfig_setting
        self._in_cluster = in_cluster
        self._client: kubernetes.client.ApiClient | None = None
        self._made_at = 0.0
        self._lacks = ""
        self._failure: tuple[float, SourceError] | None = None
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, str], deadline: Deadline) -> Reply:
        """The reply to one GET, of whatever status. Credentials that are refused are renewed once.

        A server that is busy (429) is asked once more, after as long as it wants, where the time allows.
        Raises NotConfigured, SourceUnavailable and TooSlow.
        """
        reply = self._once(path, query, deadline)
        if reply.status == 401 and self._is_renewed():
            reply = self._once(path, query, deadline)
        if reply.status in (401, 403):
            return replace(reply, lacks=self._lacks)
        if reply.status != 429:
            return reply
        pause_seconds = retry_after_seconds(reply.headers)
        if pause_seconds >= deadline.left_seconds:
            return reply
        time.sleep(pause_seconds)
        return self._once(path, query, deadline)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _once(self, path: str, query: Mapping[str, str], deadline: Deadline) -> Reply:
        client = self._connected(deadline)
        try:
            try:
                return _reply(client, path, query, deadline)
            except urllib3.exceptions.ProtocolError:  # a connection that was kept, and closed by the other side
                return _reply(client, path, query, deadline)
        except (urllib3.exceptions.HTTPError, ApiException, ConfigException, OSError, ValueError) as error:
            raise _unreached(error, deadline, client.configuration.host) from None

    def _connected(self, deadline: Deadline) -> kubernetes.client.ApiClient:
        with self._lock:  # steps ask side by side, and a second client would never be closed
            if self._client is not None:
                return self._client
            if self._failure is not None and time.monotonic() < self._failure[0]:
                error = self._failure[1]
                raise type(error)(str(error))
            try:
                self._client = self._made(deadline)
            except SourceError as error:
                self._failure = (time.monotonic() + _REMEMBERED_SECONDS, error)
                raise
            self._made_at = time.monotonic()
            return self._client

    def _is_renewed(self) -> bool:
        """Whether the next question goes with credentials that were read anew."""
        with self._lock:
            if time.monotonic() - self._made_at < _RENEWED_SECONDS:
                return False
            self._client = None
        return True

    def _made(self, deadline: Deadline) -> kubernetes.client.ApiClient:
        configuration = kubernetes.client.Configuration(connection_pool_maxsize=_CONNECTIONS_MAX)
        configuration.retries = False
        if self._setting:
            access = kubeconfig.read(self._setting)
            access = credentials.with_credentials(access, max(deadline.left_seconds, 0.1))
            self._lacks = access.user.lacks
            return _client_of(access, configuration)
        if not self._in_cluster:
            raise NotConfigured("cluster is not configured: set KUBECONFIG, or run inside the cluster")
        try:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise NotConfigured(
                f"cluster is not configured: the pod's service account cannot be used: {line(error)}"
                " Set automountServiceAccountToken, or KUBECONFIG."
            ) from None
        return kubernetes.client.ApiClient(configuration)


def _reply(client: kubernetes.client.ApiClient, path: str, query: Mapping[str, str], deadline: Deadline) -> Reply:
    left_seconds = deadline.left_seconds
    if left_seconds <= 0:
        raise TooSlow(f"cluster did not answer in {deadline.limit_seconds:.3g} s")
    request = client.param_serialize(
        "GET",
        path,
        query_params=list(query.items()),
        header_params={"Accept": "application/json, */*"},
        auth_settings=["BearerToken"],
    )
    response = client.call_api(*request, _request_timeout=left_seconds)
    return Reply(response.status, response.read() or b"", response.headers)


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


def _client_of(access: Access, configuration: kubernetes.client.Configuration) -> kubernetes.client.ApiClient:
    user = access.user
    configuration.host = access.server
    configuration.verify_ssl = access.is_verified
    configuration.ca_cert_data = access.authority or None
    configuration.tls_server_name = access.server_name or None
    if access.proxy:
        configuration.proxy = access.proxy
        configuration.no_proxy = None
    if user.token:
        configuration.api_key["BearerToken"] = f"Bearer {user.token}"
    elif user.username:
        basic = urllib3.util.make_headers(basic_auth=f"{user.username}:{user.password}")
        configuration.api_key["BearerToken"] = basic["authorization"]
    if not access.is_verified:  # as KUBECONFIG wants it: no warning at each question
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    client = kubernetes.client.ApiClient(configuration)
    for name, value in user.impersonate.items():
        client.set_default_header(name, value)
    if user.certificate:
        client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = _identified(access)
    return client


def _identified(access: Access) -> ssl.SSLContext:
    """A context that shows the user's certificate. Its files are there only while it is read."""
    context = urllib3.util.ssl_.create_urllib3_context()
    if not access.authority:
        context.load_default_certs()
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        for path, text in ((certificate, access.user.certificate), (key, access.user.key)):
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
        try:
            context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise NotConfigured(
                f"cluster is not configured: KUBECONFIG's client-certificate and client-key cannot be used: {line(error)}"
            ) from None
    return context


_UNREACHABLE = {
    errno.ECONNREFUSED: "nothing listens there, or the tunnel to it is closed",
    errno.EHOSTUNREACH: "there is no way to this host",
    errno.ENETUNREACH: "there is no way to this network; is the VPN up?",
    errno.ECONNRESET: "the connection was cut off",
}


def _unreached(error: Exception, deadline: Deadline, host: str) -> SourceError:
    """What kept the question from the API server, in our own words."""
    where = _address(host)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return SourceUnavailable(
            f"cluster cannot be reached: no connection to {where} in {deadline.limit_seconds:.3g} s"
        )
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return TooSlow(f"cluster did not answer in {deadline.limit_seconds:.3g} s")
    if isinstance(error, urllib3.exceptions.ProxyError):
        return SourceUnavailable("cluster cannot be reached: the proxy before it (proxy-url, HTTPS_PROXY) gives no way")
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return SourceUnavailable(f"cluster cannot be reached: the name in {where} is not known; is KUBECONFIG right?")
    if isinstance(error, ApiException | urllib3.exceptions.SSLError | ssl.SSLError):
        return SourceUnavailable(f"cluster cannot be reached by TLS at {where}: {_tls_reason(str(error))}")
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return NotConfigured(f"cluster is not configured: KUBECONFIG's server {where} is no address")
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return QueryFailed("cluster broke the connection off before its answer was whole")
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
