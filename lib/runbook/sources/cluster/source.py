"""The Kubernetes API of one namespace: what is asked of it, and in which words."""

from __future__ import annotations

import math
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd

from runbook.errors import QueryFailed
from runbook.sources.cluster import objects, pod_logs, pods
from runbook.sources.cluster.connection import Connection
from runbook.sources.cluster.deadline import Deadline
from runbook.sources.cluster.json_paths import APP, COMPONENT, label
from runbook.sources.cluster.lists import Listed, listed
from runbook.sources.cluster.pod_logs import LoggedPod, Read, Wanted
from runbook.sources.cluster.replies import Reply, refused
from runbook.sources.evidence import Answer, Evidence, Partial, Recording

NAME = "cluster"
_REMEMBERED_SECONDS = 10.0
"""How long a list of pods serves to find an app's logs: within a report, not between two looks."""
_BODY_BYTES_MAX = 2 * 1024 * 1024
_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
_CORE, _APPS, _METRICS = "/api/v1", "/apis/apps/v1", "/apis/metrics.k8s.io/v1beta1"


class Cluster:
    """Asks the Kubernetes API of one namespace, through the official client."""

    name = NAME

    def __init__(self, kubeconfig: str | None, in_cluster: bool, namespace: str, evidence: Evidence) -> None:
        self.namespace = namespace
        self._evidence = evidence
        self._recording = Recording.at(kubeconfig)
        self._connection = Connection(kubeconfig, in_cluster)
        self._pods_seen: dict[str, tuple[float, list[LoggedPod]]] = {}
        self._namespace_lock = threading.Lock()
        self._is_there: bool | None = None
        """Whether the namespace exists; None before it was seen."""

    def pods(self, app: str | None = None, component: str | None = None) -> Answer:
        """Pods, one row a pod: DataFrame with POD_COLUMNS, CPU in cores, memory in bytes."""
        labels = _labels(app, component)
        answer = self._ask(
            f"GET pods {labels}".strip(),
            {},
            self._kubectl("get", "pods", *(["-l", labels] if labels else [])),
            lambda deadline: _table(self._list_pods(labels, deadline), pods.pods),
        )
        return replace(answer, data=pods.upgraded(answer.frame))

    def deployments(self, app: str | None = None, component: str | None = None) -> Answer:
        """Deployments: DataFrame with DEPLOYMENT_COLUMNS; `progressed_at` is the last rollout's last progress."""
        labels = _labels(app, component)
        return self._ask(
            f"GET deployments {labels}".strip(),
            {},
            self._kubectl("get", "deployments", "-o", "wide", *(["-l", labels] if labels else [])),
            lambda deadline: _table(self._list("deployments", _APPS, deadline, labels), objects.deployments),
        )

    def events(self, since: datetime) -> Answer:
        """Events that are not normal, since `since` by their last time, newest first: DataFrame with EVENT_COLUMNS."""
        fields = "type!=Normal"
        return self._ask(
            f"GET events {fields}",
            {"since": since},
            self._kubectl("get", "events", f"--field-selector={fields}", "--sort-by=.lastTimestamp"),
            lambda deadline: _table(
                self._list("events", _CORE, deadline, fields=fields), lambda items: objects.events(items, since)
            ),
        )

    def usage(self) -> Answer:
        """What each container uses now: DataFrame with USAGE_COLUMNS (needs metrics-server)."""
        answer = self._ask(
            "GET pods.metrics.k8s.io",
            {},
            self._kubectl("top", "pods", "--containers"),
            lambda deadline: _table(self._list("pods", _METRICS, deadline), objects.usage),
        )
        return replace(answer, data=objects.usage_upgraded(answer.frame))

    def volumes(self) -> Answer:
        """PersistentVolumeClaims: DataFrame with VOLUME_COLUMNS."""
        return self._ask(
            "GET persistentvolumeclaims",
            {},
            self._kubectl("get", "pvc"),
            lambda deadline: _table(self._list("persistentvolumeclaims", _CORE, deadline), objects.volumes),
        )

    def logs(
        self, app: str, start: datetime, end: datetime, *, tail: int | None = None, previous: bool = False
    ) -> Answer:
        """The log lines of every container of `app`'s pods within [start, end], or the last `tail` of each.

        A DataFrame as logs.parse makes it, with the column container. Pods are found by app.kubernetes.io/name. At
        most five pods, 2,000 lines and 2 MiB a container: what that leaves out is missing, and so is a log that
        cannot be read; it does not lose the others.
        """
        lines = min(tail or pod_logs.LINES_MAX, pod_logs.LINES_MAX)
        wanted = Wanted(start.strftime("%Y-%m-%dT%H:%M:%SZ"), lines, previous, is_window=tail is None)
        command = self._kubectl(
            "logs",
            f"--selector={APP}={app}",
            "--all-containers",
            "--prefix",
            f"--tail={lines}",
            f"--since-time={start.isoformat()}",
            *(["--previous"] if previous else []),
        )
        return self._ask(
            f"GET log of deployment/{app}",
            {"start": start, "end": end, "tail": lines, "previous": previous},
            command,
            lambda deadline: self._logs(app, start, end, wanted, deadline),
            target=f"log of {app}",
        )

    def health(self, service: str, port: int, path: str) -> Answer:
        """What a service answers at `path`, through the API server's proxy: {"code": 200, "body": text}.

        Where no ready pod stands behind it, that is the answer: {"code": 503, "body": …, "by": "cluster"}. What else
        the API server or a proxy says in its place is no answer of the service: QueryFailed.
        """
        # The command for people is the written runbook's: from inside the cluster, past the API server's proxy.
        curl = ("curl", "-sS", "-m", "5", f"http://{service}:{port}{path}")
        exec_curl = self._kubectl("exec", "-it", "deployment/orchestrator", "--", *curl)
        raw = self._kubectl("get", "--raw", self._raw("services", f"{service}:{port}", path))
        return self._proxy("services", f"{service}:{port}", path, f"{exec_curl}\n# the same without exec: {raw}")

    def pod_port(self, pod: str, port: int, path: str) -> Answer:
        """What a pod answers on a port of its own, through the API server's proxy: {"code": …, "body": text}."""
        return self._proxy(
            "pods", f"{pod}:{port}", path, self._kubectl("get", "--raw", self._raw("pods", f"{pod}:{port}", path))
        )

    def close(self) -> None:
        self._connection.close()

    def _proxy(self, kind: str, target: str, path: str, command: str) -> Answer:
        def fetch(deadline: Deadline) -> dict[str, Any]:
            reply = self._connection.get(self._raw(kind, target, path), {}, deadline)
            content = {"code": reply.status, "body": reply.body[:_BODY_BYTES_MAX].decode("utf-8", "replace")}
            if reply.means_no_endpoint:
                return {**content, "body": reply.reason, "by": NAME}
            if not reply.is_of_the_service:
                raise self._not_reached(f"{kind}/{target}", reply, deadline)
            return content

        return self._ask(f"GET {kind}/{target}/proxy{path}", {}, command, fetch, target=f"{kind}/{target}")

    def _not_reached(self, target: str, reply: Reply, deadline: Deadline) -> Exception:
        if reply.status == 404:
            self._require_namespace(deadline)
        if reply.status >= 500 or reply.is_html:
            why = f"{reply.status}, which is not its own answer: {reply.reason}"
            return QueryFailed(f"cluster's proxy does not reach {target} ({why})")
        return refused(reply)

    def _raw(self, kind: str, target: str, path: str) -> str:
        return f"{_CORE}/namespaces/{self.namespace}/{kind}/{target}/proxy{path}"

    def _ask(
        self,
        question: str,
        parameters: Mapping[str, Any],
        command: str,
        fetch: Callable[[Deadline], Any],
        target: str = "",
    ) -> Answer:
        return self._evidence.ask(
            NAME,
            question,
            {"namespace": self.namespace, **parameters},
            command,
            lambda: fetch(Deadline.of(self._evidence.limit_seconds)),
            replay=self._recording,
            target=target,
        )

    def _kubectl(self, verb: str, *arguments: str) -> str:
        return shlex.join(["kubectl", verb, "-n", self.namespace, *arguments])

    def _list(self, plural: str, group: str, deadline: Deadline, labels: str = "", fields: str = "") -> Listed:
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        given = {name: value for name, value in selectors.items() if value}
        found = listed(self._connection, f"{group}/namespaces/{self.namespace}/{plural}", given, plural, deadline)
        if found.items:
            self._is_there = True
        else:
            self._require_namespace(deadline)
        return found

    def _require_namespace(self, deadline: Deadline) -> None:
        """Raises QueryFailed where there is no such namespace: its lists are empty then, not refused."""
        with self._namespace_lock:
            if self._is_there is None:
                reply = self._connection.get(f"{_CORE}/namespaces/{self.namespace}", {}, deadline)
                # A role that may not look is told 403: it is taken to be there.
                self._is_there = {200: True, 403: True, 404: False}.get(reply.status)
        if self._is_there is False:
            raise QueryFailed(f"cluster has no namespace {self.namespace}; set KUBE_NAMESPACE")

    def _list_pods(self, labels: str, deadline: Deadline) -> Listed:
        """The pods, which are remembered by app: a log is asked for by its pod and container."""
        found = self._list("pods", _CORE, deadline, labels)
        if found.missing:
            return found
        seen: dict[str, list[LoggedPod]] = {}
        for item in found.items:  # all there are of each app
            seen.setdefault(label(item, APP), []).append(LoggedPod.of(item))
        self._pods_seen |= {app: (time.monotonic(), of_app) for app, of_app in seen.items()}
        return found

    def _logs(self, app: str, start: datetime, end: datetime, wanted: Wanted, deadline: Deadline) -> Partial:
        if not _NAME.match(app):
            raise QueryFailed(f"cluster: {app[:60]!r} is not the name of a deployment")
        seen_at, known = self._pods_seen.get(app, (-math.inf, []))
        missing: tuple[str, ...] = ()
        if not known or time.monotonic() - seen_at > _REMEMBERED_SECONDS:
            known, missing = self._pods_of(app, deadline)
        found = self._read(app, known, wanted, deadline)
        if found.gone:  # since they were listed: others may have come
            known, missing = self._pods_of(app, deadline)
            found = self._read(app, known, wanted, deadline)
            missing = (*missing, *(f"the log of {pod}, which is gone" for pod in found.gone))
        if found.count == 0:
            raise QueryFailed(f"cluster has no log of {app}: its pods are gone")
        rows = found.rows
        within = rows["time"].isna() | ((rows["time"] >= start) & (rows["time"] <= end))
        return Partial(rows[within].reset_index(drop=True), "; ".join((*missing, *found.missing)))

    def _pods_of(self, app: str, deadline: Deadline) -> tuple[list[LoggedPod], tuple[str, ...]]:
        found = self._list_pods(_labels(app, None), deadline)
        if not found.items:
            raise QueryFailed(f"cluster has no pod of {app} to read logs from")
        return [LoggedPod.of(item) for item in found.items], (found.missing,) if found.missing else ()

    def _read(self, app: str, known: list[LoggedPod], wanted: Wanted, deadline: Deadline) -> Read:
        return pod_logs.read(
            self._connection, f"{_CORE}/namespaces/{self.namespace}/pods", app, known, wanted, deadline
        )


def _table(found: Listed, rows_of: Callable[[list[Any]], pd.DataFrame]) -> Partial:
    return Partial(rows_of(found.items), found.missing)


def _labels(app: str | None, component: str | None) -> str:
    for value in (app, component):
        if value and not _NAME.match(value):
            raise QueryFailed(f"cluster: {value[:60]!r} cannot be a label of a deployment")
    pairs = ((APP, app), (COMPONENT, component))
    return ",".join(f"{key}={value}" for key, value in pairs if value)
