"""Kubernetes, read only: pods, deployments, events, logs, usage, and health through the API server's proxy."""

from __future__ import annotations

import json
import math
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import kubernetes.client
import kubernetes.config
import pandas as pd
import urllib3
import yaml
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from runbook.errors import NotConfigured, QueryFailed, SourceUnavailable
from runbook.sources import logs
from runbook.sources.evidence import Answer, Evidence, Recording
from runbook.sources.overlap import at_once

NAME = "cluster"
ITEMS_MAX = 500
_REMEMBERED_SECONDS = 10.0
"""How long the names in a list of pods serve to find an app's log: within a report, not between two looks."""
LOG_LINES_MAX = 2_000
LOG_BYTES_MAX = 2 * 1024 * 1024
_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")

POD_COLUMNS = [
    "name",
    "app",
    "component",
    "phase",
    "ready",
    "restarts",
    "started_at",
    "waiting",
    "last_exit",
    "last_exit_code",
    "last_exit_at",
    "node",
    "container",
    "cpu_request",
    "cpu_limit",
    "memory_request",
    "memory_limit",
    "image",
]
DEPLOYMENT_COLUMNS = [
    "name",
    "component",
    "desired",
    "ready",
    "updated",
    "unavailable",
    "revision",
    "created_at",
    "progressed_at",
    "image",
]
EVENT_COLUMNS = ["time", "type", "reason", "object", "message", "count"]


class Cluster:
    """Asks the Kubernetes API of one namespace, through the official client."""

    name = NAME

    def __init__(self, kubeconfig: str | None, in_cluster: bool, namespace: str, evidence: Evidence) -> None:
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._in_cluster = in_cluster
        self._evidence = evidence
        self._recording = Recording.at(kubeconfig)
        self._client: kubernetes.client.ApiClient | None = None
        self._lock = threading.Lock()
        self._pods_seen: dict[str, tuple[float, list[str]]] = {}

    def pods(self, app: str | None = None, component: str | None = None) -> Answer:
        """Pods, one row a pod (its first container): DataFrame with POD_COLUMNS, CPU in cores, memory in bytes."""
        labels = _labels(app, component)
        return self._ask(
            f"GET pods {labels}".strip(),
            {},
            self._kubectl("get", "pods", *(["-l", labels] if labels else [])),
            lambda: _pods(self._list_pods(labels)),
        )

    def deployments(self, app: str | None = None, component: str | None = None) -> Answer:
        """Deployments: DataFrame with DEPLOYMENT_COLUMNS; `progressed_at` is the last rollout's last progress."""
        labels = _labels(app, component)
        return self._ask(
            f"GET deployments {labels}".strip(),
            {},
            self._kubectl("get", "deployments", "-o", "wide", *(["-l", labels] if labels else [])),
            lambda: _deployments(self._list("deployments", "/apis/apps/v1", labels)),
        )

    def events(self, since: datetime) -> Answer:
        """Events that last happened at or after `since`, newest first: DataFrame with EVENT_COLUMNS."""
        return self._ask(
            "GET events",
            {"since": since},
            self._kubectl("get", "events", "--sort-by=.lastTimestamp"),
            lambda: _events(self._list("events", "/api/v1", ""), since),
        )

    def usage(self) -> Answer:
        """What each pod uses now: DataFrame pod, cpu_cores, memory_bytes (needs metrics-server)."""
        return self._ask(
            "GET pods.metrics.k8s.io",
            {},
            self._kubectl("top", "pods"),
            lambda: _usage(self._list("pods", "/apis/metrics.k8s.io/v1beta1", "")),
        )

    def volumes(self) -> Answer:
        """PersistentVolumeClaims: DataFrame name, phase, capacity_bytes, storage_class."""
        return self._ask(
            "GET persistentvolumeclaims",
            {},
            self._kubectl("get", "pvc"),
            lambda: _volumes(self._list("persistentvolumeclaims", "/api/v1", "")),
        )

    def logs(self, app: str, start: datetime, end: datetime, *, tail: int = 500, previous: bool = False) -> Answer:
        """The last `tail` log lines of every pod of `app` within [start, end]: DataFrame as logs.parse makes it.

        Pods are found by app.kubernetes.io/name. At most five pods, 2,000 lines and 2 MiB each.
        """
        tail = min(tail, LOG_LINES_MAX)
        return self._ask(
            f"GET log of deployment/{app}",
            {"start": start, "end": end, "tail": tail, "previous": previous},
            self._kubectl(
                "logs",
                f"deployment/{app}",
                f"--tail={tail}",
                f"--since-time={start.isoformat()}",
                *(["--previous"] if previous else []),
            ),
            lambda: self._logs(app, start, end, tail, previous),
        )

    def health(self, service: str, port: int, path: str) -> Answer:
        """What a service answers at `path`, through the API server's proxy: {"code": 200, "body": text}."""
        # The command for people is the written runbook's: from inside the cluster, past the API server's proxy.
        exec_curl = self._kubectl(
            "exec", "-it", "deployment/orchestrator", "--", "curl", "-sS", "-m", "5", f"http://{service}:{port}{path}"
        )
        raw = self._kubectl("get", "--raw", self._raw("services", f"{service}:{port}", path))
        return self._proxy("services", f"{service}:{port}", path, f"{exec_curl}\n# the same without exec: {raw}")

    def pod_port(self, pod: str, port: int, path: str) -> Answer:
        """What a pod answers on a port of its own, through the API server's proxy: {"code": …, "body": text}."""
        return self._proxy(
            "pods", f"{pod}:{port}", path, self._kubectl("get", "--raw", self._raw("pods", f"{pod}:{port}", path))
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _proxy(self, kind: str, target: str, path: str, command: str) -> Answer:
        def fetch() -> dict[str, Any]:
            status, body = self._get(self._raw(kind, target, path), {}, accept_failure=True)
            return {"code": status, "body": body[:LOG_BYTES_MAX].decode("utf-8", "replace")}

        return self._ask(f"GET {kind}/{target}/proxy{path}", {}, command, fetch)

    def _raw(self, kind: str, target: str, path: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}/{target}/proxy{path}"

    def _ask(self, question: str, parameters: Mapping[str, Any], command: str, fetch: Callable[[], Any]) -> Answer:
        parameters = {"namespace": self.namespace, **parameters}
        return self._evidence.ask(NAME, question, parameters, command, fetch, replay=self._recording)

    def _kubectl(self, verb: str, *arguments: str) -> str:
        return shlex.join(["kubectl", verb, "-n", self.namespace, *arguments])

    def _list(self, plural: str, group: str, labels: str) -> list[Any]:
        query = {"limit": str(ITEMS_MAX), **({"labelSelector": labels} if labels else {})}
        _, body = self._get(f"{group}/namespaces/{self.namespace}/{plural}", query)
        try:
            return list(json.loads(body)["items"])
        except (ValueError, KeyError, TypeError):
            raise SourceUnavailable(
                "cluster answered in a form that Kubernetes does not use; is KUBECONFIG right?"
            ) from None

    def _list_pods(self, labels: str) -> list[Any]:
        """The pods, whose names are remembered by app: a log is asked for by its pod."""
        items = self._list("pods", "/api/v1", labels)
        names: dict[str, list[str]] = {}
        if len(items) < ITEMS_MAX:  # all there are of each app
            for item in items:
                app = (_at(item, "metadata", "labels") or {}).get("app.kubernetes.io/name", "")
                names.setdefault(app, []).append(_name(item))
        self._pods_seen |= {app: (time.monotonic(), found) for app, found in names.items()}
        return items

    def _logs(self, app: str, start: datetime, end: datetime, tail: int, previous: bool) -> pd.DataFrame:
        if not _NAME.match(app):
            raise QueryFailed(f"cluster: {app[:60]!r} is not the name of a deployment")
        query = {
            "tailLines": str(tail),
            "limitBytes": str(LOG_BYTES_MAX),
            "timestamps": "true",
            "sinceTime": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **({"previous": "true"} if previous else {}),
        }
        seen_at, names = self._pods_seen.get(app, (-math.inf, []))
        if time.monotonic() - seen_at < _REMEMBERED_SECONDS:
            try:
                return self._logs_of(names, query, start, end)
            except QueryFailed as error:
                if "answered 404" not in str(error):
                    raise  # else a pod is gone since: look again which there are
        names = [_name(item) for item in self._list_pods(_labels(app, None))]
        if not names:
            raise QueryFailed(f"cluster has no pod of {app} to read logs from")
        return self._logs_of(names, query, start, end)

    def _logs_of(self, names: list[str], query: Mapping[str, str], start: datetime, end: datetime) -> pd.DataFrame:
        def log_of(name: str) -> pd.DataFrame:
            _, body = self._get(f"/api/v1/namespaces/{self.namespace}/pods/{name}/log", query)
            return logs.parse(body.decode("utf-8", "replace"), name)

        frames = at_once(*(partial(log_of, name) for name in names[:5]))
        rows = pd.concat(frames, ignore_index=True)
        within = rows["time"].isna() | ((rows["time"] >= start) & (rows["time"] <= end))
        return rows[within].reset_index(drop=True)

    def _get(self, path: str, query: Mapping[str, str], *, accept_failure: bool = False) -> tuple[int, bytes]:
        """(status, body) of one GET. Raises SourceError; with `accept_failure` a 5xx of a proxied pod is an answer."""
        with self._lock:  # steps ask side by side, and a second client would never be closed
            client = self._connected()
        try:
            request = client.param_serialize(
                "GET",
                path,
                query_params=list(query.items()),
                header_params={"Accept": "application/json, */*"},
                auth_settings=["BearerToken"],
            )
            response = client.call_api(*request, _request_timeout=self._evidence.limit_seconds)
            body: bytes = response.read()
        except urllib3.exceptions.TimeoutError:
            raise SourceUnavailable("cluster did not answer in time") from None
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise SourceUnavailable(
                f"cluster cannot be reached ({type(error).__name__}); is KUBECONFIG right?"
            ) from None
        if response.status < 300 or (accept_failure and response.status >= 500):
            return response.status, body or b""
        raise _refusal(response.status, body or b"")

    def _connected(self) -> kubernetes.client.ApiClient:
        if self._client is None:
            configuration = kubernetes.client.Configuration()
            configuration.retries = False
            try:
                if self._kubeconfig:
                    kubernetes.config.load_kube_config(self._kubeconfig, client_configuration=configuration)
                elif self._in_cluster:
                    kubernetes.config.load_incluster_config(client_configuration=configuration)
                else:
                    raise NotConfigured("cluster is not configured: set KUBECONFIG, or run inside the cluster")
            except (ConfigException, yaml.YAMLError, OSError, TypeError, ValueError):
                raise NotConfigured("cluster is not configured: KUBECONFIG cannot be read as a kubeconfig") from None
            self._client = kubernetes.client.ApiClient(configuration)
        return self._client


def _refusal(status: int, body: bytes) -> QueryFailed | SourceUnavailable:
    try:
        message = str(json.loads(body).get("message", ""))[:300]
    except (ValueError, AttributeError):
        message = ""
    if status == 401:
        return SourceUnavailable("cluster does not accept the credentials (401); renew them in KUBECONFIG")
    if status == 403:
        return QueryFailed(
            f"cluster forbids this to the role (403): {message or 'see docs/kubernetes.md for the verbs it needs'}"
        )
    return QueryFailed(f"cluster answered {status}: {message or 'no reason given'}")


def _name(item: Any) -> str:
    return str(_at(item, "metadata", "name") or "")


def _labels(app: str | None, component: str | None) -> str:
    for value in (app, component):
        if value and not _NAME.match(value):
            raise QueryFailed(f"cluster: {value[:60]!r} cannot be a label of a deployment")
    pairs = (("app.kubernetes.io/name", app), ("app.kubernetes.io/component", component))
    return ",".join(f"{key}={value}" for key, value in pairs if value)


def _pods(items: list[Any]) -> pd.DataFrame:
    return _typed(pd.DataFrame([_pod(item) for item in items], columns=POD_COLUMNS), "started_at", "last_exit_at")


def _pod(item: Any) -> dict[str, Any]:
    labels, spec, status = _at(item, "metadata", "labels") or {}, _at(item, "spec") or {}, _at(item, "status") or {}
    container = (spec.get("containers") or [{}])[0]
    states = status.get("containerStatuses") or []
    ended = max(
        (_at(one, "lastState", "terminated") or _at(one, "state", "terminated") or {} for one in states),
        key=lambda one: str(one.get("finishedAt", "")),
        default={},
    )
    waiting = next((reason for one in states if (reason := _at(one, "state", "waiting", "reason"))), "")
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    return {
        "name": _at(item, "metadata", "name"),
        "app": labels.get("app.kubernetes.io/name", ""),
        "component": labels.get("app.kubernetes.io/component", ""),
        "phase": status.get("phase", ""),
        "ready": bool(states) and all(one.get("ready") for one in states),
        "restarts": sum(int(one.get("restartCount") or 0) for one in states),
        "started_at": status.get("startTime"),
        "waiting": waiting,
        "last_exit": ended.get("reason", ""),
        "last_exit_code": float(ended["exitCode"]) if "exitCode" in ended else float("nan"),
        "last_exit_at": ended.get("finishedAt"),
        "node": spec.get("nodeName", ""),
        "container": container.get("name", ""),
        "cpu_request": quantity(requests.get("cpu")),
        "cpu_limit": quantity(limits.get("cpu")),
        "memory_request": quantity(requests.get("memory")),
        "memory_limit": quantity(limits.get("memory")),
        "image": container.get("image", ""),
    }


def _deployments(items: list[Any]) -> pd.DataFrame:
    rows = []
    for item in items:
        status = _at(item, "status") or {}
        progressing: Any = next((one for one in status.get("conditions") or [] if one.get("type") == "Progressing"), {})
        containers = _at(item, "spec", "template", "spec", "containers") or [{}]
        rows.append(
            {
                "name": _at(item, "metadata", "name"),
                "component": (_at(item, "metadata", "labels") or {}).get("app.kubernetes.io/component", ""),
                "desired": int(_at(item, "spec", "replicas") or 0),
                "ready": int(status.get("readyReplicas") or 0),
                "updated": int(status.get("updatedReplicas") or 0),
                "unavailable": int(status.get("unavailableReplicas") or 0),
                "revision": (_at(item, "metadata", "annotations") or {}).get("deployment.kubernetes.io/revision", ""),
                "created_at": _at(item, "metadata", "creationTimestamp"),
                "progressed_at": progressing.get("lastUpdateTime"),
                "image": containers[0].get("image", ""),
            }
        )
    return _typed(pd.DataFrame(rows, columns=DEPLOYMENT_COLUMNS), "created_at", "progressed_at")


def _events(items: list[Any], since: datetime) -> pd.DataFrame:
    rows = [
        {
            "time": item.get("lastTimestamp")
            or _at(item, "series", "lastObservedTime")
            or item.get("eventTime")
            or item.get("firstTimestamp"),
            "type": item.get("type", ""),
            "reason": item.get("reason", ""),
            "object": f"{_at(item, 'involvedObject', 'kind') or ''}/{_at(item, 'involvedObject', 'name') or ''}",
            "message": str(item.get("message", ""))[:500],
            "count": int(item.get("count") or _at(item, "series", "count") or 1),
        }
        for item in items
    ]
    frame = _typed(pd.DataFrame(rows, columns=EVENT_COLUMNS), "time")
    return frame[frame["time"] >= since].sort_values("time", ascending=False, ignore_index=True)


def _usage(items: list[Any]) -> pd.DataFrame:
    rows = [
        {
            "pod": _at(item, "metadata", "name"),
            "cpu_cores": sum(quantity(_at(one, "usage", "cpu")) for one in item.get("containers") or []),
            "memory_bytes": sum(quantity(_at(one, "usage", "memory")) for one in item.get("containers") or []),
        }
        for item in items
    ]
    return _typed(pd.DataFrame(rows, columns=["pod", "cpu_cores", "memory_bytes"]))


def _volumes(items: list[Any]) -> pd.DataFrame:
    rows = [
        {
            "name": _at(item, "metadata", "name"),
            "phase": _at(item, "status", "phase") or "",
            "capacity_bytes": quantity(
                _at(item, "status", "capacity", "storage") or _at(item, "spec", "resources", "requests", "storage")
            ),
            "storage_class": _at(item, "spec", "storageClassName") or "",
        }
        for item in items
    ]
    return _typed(pd.DataFrame(rows, columns=["name", "phase", "capacity_bytes", "storage_class"]))


def _typed(frame: pd.DataFrame, *times: str) -> pd.DataFrame:
    """`frame` with `times` as UTC and text columns as object, whether or not it has rows."""
    for name in times:
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601", errors="coerce").astype(
            "datetime64[us, UTC]"
        )
    textual = [name for name in frame.columns if str(frame[name].dtype) == "str"]
    return frame.astype(dict.fromkeys(textual, "object"))


def _at(item: Any, *path: str) -> Any:
    """The value at `path` of nested objects; None where any part is missing."""
    for name in path:
        item = item.get(name) if isinstance(item, Mapping) else None
    return item


_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "E": Decimal(10**18),
    "Ei": Decimal(2**60),
}


def quantity(text: Any) -> float:
    """A Kubernetes quantity ("500m", "2Gi") as a plain number (cores, bytes); NaN for none or nonsense."""
    match = (
        re.fullmatch(r"([0-9.eE+-]+?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?", str(text)) if text is not None else None
    )
    try:
        return float(Decimal(match[1]) * _SUFFIXES.get(match[2] or "", Decimal(1))) if match else float("nan")
    except InvalidOperation:
        return float("nan")
