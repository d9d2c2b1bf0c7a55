"""The way to the API server: one GET at a time, and in words of its own why there was no answer."""

from __future__ import annotations

import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import kubernetes.client
import kubernetes.config
import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from runbook.errors import NotConfigured, SourceError
from runbook.sources.cluster import credentials, kubeconfig
from runbook.sources.cluster.deadline import Deadline
from runbook.sources.cluster.failures import unreached
from runbook.sources.cluster.json_paths import line
from runbook.sources.cluster.kubeconfig import Access
from runbook.sources.cluster.replies import Reply, retry_after_seconds
from runbook.sources.evidence import TooSlow

_CONNECTIONS_MAX = 64
"""As many as are ever asked at once: above that urllib3 complains in the log."""
_RENEWED_SECONDS = 5.0
"""Credentials younger than that are not renewed when they are refused."""
_REMEMBERED_SECONDS = 30.0
"""For so long a connection that cannot be made is not tried again: its plugin would be run for each question."""


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
        began = time.monotonic()
        reply = self._once(path, query, deadline)
        if reply.status == 401 and self._is_renewed(began):
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
            raise unreached(error, deadline, client.configuration.host) from None

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

    def _is_renewed(self, began: float) -> bool:
        """Whether the next question goes with credentials that were read since `began`."""
        with self._lock:
            if self._made_at <= began < self._made_at + _RENEWED_SECONDS:
                return False
            if self._made_at <= began:
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


def _client_of(access: Access, configuration: kubernetes.client.Configuration) -> kubernetes.client.ApiClient:
    user = access.user
    configuration.host = access.server
    configuration.verify_ssl = access.is_verified
    configuration.ca_cert_data = access.authority or None
    configuration.tls_server_name = access.server_name or None
    if access.proxy:
        _go_through(access.proxy, configuration)
    if user.token:
        configuration.api_key["BearerToken"] = f"Bearer {user.token}"
    elif user.username:
        basic = urllib3.util.make_headers(basic_auth=f"{user.username}:{user.password}")
        configuration.api_key["BearerToken"] = basic["authorization"]
    if not access.is_verified:  # as KUBECONFIG wants it: no warning at each question
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    try:
        client = kubernetes.client.ApiClient(configuration)
    except ImportError:
        raise NotConfigured("cluster is not configured: a proxy-url of socks5 needs the package PySocks") from None
    for name, value in user.impersonate.items():
        client.set_default_header(name, value)
    if user.certificate:
        client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = _identified(access)
    return client


def _go_through(proxy: str, configuration: kubernetes.client.Configuration) -> None:
    configuration.proxy = proxy
    configuration.no_proxy = None
    parts = urlsplit(proxy)
    if parts.username:
        known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        configuration.proxy_headers = urllib3.util.make_headers(proxy_basic_auth=known)


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
            what = "KUBECONFIG's client-certificate and client-key cannot be used"
            raise NotConfigured(f"cluster is not configured: {what}: {line(error)}") from None
    return context
