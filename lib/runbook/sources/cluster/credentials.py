"""Credentials that a plugin prints. What it says beside them is quoted where it fails, and goes nowhere else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from typing import Any

import kubernetes.client
import kubernetes.config
from kubernetes.config.config_exception import ConfigException

from runbook.errors import NotConfigured, SourceUnavailable
from runbook.sources.cluster.json_paths import line
from runbook.sources.cluster.kubeconfig import Access, Plugin, User

_NOT_GIVEN = "cluster cannot be asked: the credential plugin of KUBECONFIG"


def with_credentials(access: Access, limit_seconds: float) -> Access:
    """`access` with what its user's plugin gives. Raises SourceUnavailable with why it gives none."""
    user = access.user
    if user.plugin is not None:
        return replace(access, user=_from_plugin(user, user.plugin, limit_seconds))
    if user.provider is not None and not user.token:
        return replace(access, user=_from_provider(user, access))
    return access


def _from_plugin(user: User, plugin: Plugin, limit_seconds: float) -> User:
    if plugin.needs_terminal:
        raise SourceUnavailable(f"{_NOT_GIVEN}, {plugin.command}, needs a terminal; give it another interactiveMode")
    status = _status_of(plugin, _run(plugin, limit_seconds))
    found = replace(
        user,
        token=str(status.get("token") or user.token),
        certificate=str(status.get("clientCertificateData") or user.certificate),
        key=str(status.get("clientKeyData") or user.key),
    )
    if not (found.token or found.certificate):
        raise SourceUnavailable(f"{_NOT_GIVEN}, {plugin.command}, gave neither a token nor a certificate")
    return found


def _run(plugin: Plugin, limit_seconds: float) -> str:
    """What the plugin prints."""
    about = {"interactive": False} | ({"cluster": dict(plugin.cluster)} if plugin.cluster else {})
    told = json.dumps({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": about})
    try:
        process = subprocess.Popen(
            [plugin.command, *plugin.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **plugin.environment, "KUBERNETES_EXEC_INFO": told},
            start_new_session=True,
        )
    except OSError as error:
        hint = f"; {line(plugin.hint)}" if plugin.hint else ""
        raise SourceUnavailable(f"{_NOT_GIVEN}, {plugin.command}, cannot be run: {error.strerror}{hint}") from None
    try:
        printed, complaint = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise SourceUnavailable(f"{_NOT_GIVEN}, {plugin.command}, did not end in {limit_seconds:.3g} s") from None
    if process.returncode:
        said = line(complaint.decode("utf-8", "replace")) or "it said nothing"
        raise SourceUnavailable(f"{_NOT_GIVEN}, {plugin.command}, failed ({process.returncode}): {said}")
    return printed.decode("utf-8", "replace")


def _status_of(plugin: Plugin, printed: str) -> dict[str, Any]:
    try:
        content = json.loads(printed)
        version, status = content["apiVersion"], content["status"]
    except (ValueError, KeyError, TypeError):
        raise SourceUnavailable(f"{_NOT_GIVEN}, {plugin.command}, printed no ExecCredential") from None
    if version != plugin.api_version or not isinstance(status, dict):
        told = f"answered in version {line(version, 60)}, KUBECONFIG has {plugin.api_version}"
        raise SourceUnavailable(f"{_NOT_GIVEN}, {plugin.command}, {told}")
    return status


def _from_provider(user: User, access: Access) -> User:
    """The token of an auth-provider of old, renewed by the client where it is over."""
    provider = dict(user.provider or {})
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": access.server}}],
        "users": [{"name": "u", "user": {"auth-provider": provider}}],
    }
    found = kubernetes.client.Configuration()
    try:
        kubernetes.config.load_kube_config_from_dict(content, client_configuration=found)
    except (ConfigException, ValueError, KeyError, TypeError, AttributeError, OSError):
        found.api_key = {}
    bearer = str(found.api_key.get("BearerToken", ""))
    if not bearer:
        name = line(provider.get("name"), 40)
        raise NotConfigured(
            f"cluster is not configured: KUBECONFIG's auth-provider {name} gives no token; "
            "renew it, or use a plugin (exec)"
        )
    return replace(user, token=bearer.removeprefix("Bearer "))
