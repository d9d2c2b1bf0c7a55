"""Clusters as they are in life: replicas, sidecars, leftovers, many pods, a proxy that reaches nothing.

Each function changes what the platform's Kubernetes double serves, and leaves objects as the API server accepts them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cryptofunk_demo.logs import Line, zerolog_json
from cryptofunk_demo.moment import AS_OF, MOMENT, identity
from cryptofunk_demo.objects import stamp
from cryptofunk_demo.platform import Platform
from cryptofunk_demo.refusals import Refusal
from cryptofunk_demo.state import Answer, State

Object = dict[str, Any]
REPLICAS = {"trading-agent": 2, "mcp-server": 2, "llm-gateway": 2, "api-server": 3}
"""Component -> how many pods each of its deployments has; the others have one."""
LOOPING = "trend-agent"
"""Whose second replica crash-loops in the world "replicas", killed for its memory."""
LOST = "api"
"""One of whose replicas stands on a node that is lost."""
PODS = 546
EVENTS = 3_000


def replicas(platform: Platform) -> None:
    """Two of each agent, MCP server and of Bifrost, three of the API; one crash-loops, one stands on a lost node."""

    def change(state: State) -> None:
        for pod in list(state.objects["pods"]):
            count = REPLICAS.get(pod["metadata"]["labels"]["app.kubernetes.io/component"], 1)
            copies = [_copy(pod, number) for number in range(2, count + 1)]
            _scale(state, pod, copies)
        _crash(_of(state, LOOPING)[0], "OOMKilled", 137)
        _lose(_of(state, LOST)[-1])
        _count_ready(state)

    _with_cluster(platform, change)


def sidecars(platform: Platform) -> None:
    """A proxy comes first in each pod, with small limits and a log of its own."""

    def change(state: State) -> None:
        for pod in state.objects["pods"]:
            pod["spec"]["containers"].insert(0, _proxy(pod["spec"]["containers"][0]))
            pod["status"]["containerStatuses"].insert(0, _proxy_status(pod))
        for usage in state.objects["pods.metrics.k8s.io"]:
            usage["containers"].insert(0, {"name": "proxy", "usage": {"cpu": "4000000n", "memory": "19456Ki"}})
        for kind in ("deployments", "replicasets"):
            for owner in state.objects[kind]:
                several = owner["spec"]["template"]["spec"]["containers"]
                several.insert(0, _proxy(several[0]))
        for app in {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in state.objects["pods"]}:
            state.logs[f"{app}/proxy"] = [
                Line(at, zerolog_json(at, "info", "access log", {"code": 200}))
                for at in (AS_OF - timedelta(minutes=minute) for minute in range(30, 0, -5))
            ]

    _with_cluster(platform, change)


def leftovers(platform: Platform) -> None:
    """Evicted, shut down, terminating and completed pods beside those that serve, and a job that failed once."""

    def change(state: State) -> None:
        add = state.objects["pods"].append
        add(_over(_copy(_of(state, "api")[0], 2), "Failed", "Evicted", "The node was low on resource: memory."))
        add(_over(_copy(_of(state, "redis")[0], 2), "Failed", "Terminated", "Pod was terminated: node shutdown."))
        leaving = _copy(_of(state, "bifrost")[0], 2)
        leaving["metadata"] |= {"deletionTimestamp": stamp(AS_OF), "deletionGracePeriodSeconds": 30}
        add(leaving)
        add(_job_pod(_of(state, "postgres")[0], 1, exit_code=1))
        add(_job_pod(_of(state, "postgres")[0], 2, exit_code=0))
        state.objects["pods"].sort(key=_name)

    _with_cluster(platform, change)


def many_pods(platform: Platform) -> None:
    """546 pods, most of them of the API, and 3,000 events, of which the last by name alone is a warning."""

    def change(state: State) -> None:
        own = _of(state, "api")[0]
        _scale(state, own, [_copy(own, number) for number in range(2, PODS - len(state.objects["pods"]) + 2)])
        _count_ready(state)
        state.objects["events"] = [_event(own, number) for number in range(EVENTS - 1)]
        state.objects["events"].append(_event(own, EVENTS, type="Warning", reason="Unhealthy"))

    _with_cluster(platform, change)


def barred(platform: Platform) -> None:
    """Network policies keep the API server's proxy from every pod: it answers in their place."""

    def refuse(path: str, query: dict[str, str]) -> Answer:
        raise Refusal(503, "error trying to reach service: dial tcp 10.42.0.9:8080: i/o timeout")

    def change(state: State) -> None:
        state.proxies = {(app, port, "*"): refuse for app, port, _ in state.proxies}

    _with_cluster(platform, change)


WORLDS: dict[str, Callable[[Platform], None]] = {
    "replicas": replicas,
    "sidecars": sidecars,
    "leftovers": leftovers,
    "many-pods": many_pods,
    "barred": barred,
}


def _with_cluster(platform: Platform, change: Callable[[State], None]) -> None:
    state = platform.cluster_state
    if state is not None:
        with state.lock:
            change(state)


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _of(state: State, app: str) -> list[Object]:
    """The app's pods by name."""
    own = [pod for pod in state.objects["pods"] if pod["metadata"]["labels"].get("app.kubernetes.io/name") == app]
    return sorted(own, key=_name)


def _copy(pod: Object, number: int) -> Object:
    """Another pod of the same replica set."""
    made: Object = copy.deepcopy(pod)
    name = f"{pod['metadata']['generateName']}{identity('replica', number).hex[:5]}"
    made["metadata"] |= {"name": name, "uid": str(identity("Pod", name))}
    address = f"10.42.{number // 200}.{10 + number % 200}"
    made["status"] |= {"podIP": address, "podIPs": [{"ip": address}]}
    return made


def _scale(state: State, pod: Object, copies: list[Object]) -> None:
    """Adds `copies` of a pod, what they use, and their number where it is written down."""
    if not copies:
        return
    state.objects["pods"] = sorted([*state.objects["pods"], *copies], key=_name)
    usage = state.objects["pods.metrics.k8s.io"]
    own = next((item for item in usage if _name(item) == _name(pod)), None)
    for made in copies if own else ():
        usage.append(copy.deepcopy(own))
        usage[-1]["metadata"] |= {"name": _name(made), "uid": str(identity("PodMetrics", _name(made)))}
    app, owner = pod["metadata"]["labels"]["app.kubernetes.io/name"], pod["metadata"]["ownerReferences"][0]["name"]
    for item in state.objects["deployments"] + state.objects["replicasets"]:
        if _name(item) in (app, owner):
            item["spec"]["replicas"] = item["status"]["replicas"] = len(copies) + 1
            if "updatedReplicas" in item["status"]:
                item["status"]["updatedReplicas"] = len(copies) + 1


def _count_ready(state: State) -> None:
    """Writes into deployments and replica sets how many of their pods are ready."""
    for item in state.objects["deployments"] + state.objects["replicasets"]:
        pods = _of(state, item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"])
        ready = sum(
            {"type": "Ready", "status": "True"}.items() <= pod["status"]["conditions"][1].items() for pod in pods
        )
        status = item["status"]
        for name in ("readyReplicas", "availableReplicas", "unavailableReplicas"):
            status.pop(name, None)
        status |= {"readyReplicas": ready, "availableReplicas": ready} if ready else {}
        if item["kind"] == "Deployment" and ready < len(pods):
            status["unavailableReplicas"] = len(pods) - ready


def _not_ready(pod: Object, reason: str, message: str, since: datetime) -> None:
    for condition in pod["status"]["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition |= {"status": "False", "reason": reason, "message": message, "lastTransitionTime": stamp(since)}


def _crash(pod: Object, reason: str, exit_code: int) -> None:
    """The pod's container ended shortly before the alert, for the sixth time, and waits to be started again."""
    (status,) = pod["status"]["containerStatuses"]
    ended = MOMENT - timedelta(minutes=4)
    status |= {
        "ready": False,
        "started": False,
        "restartCount": 6,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}},
        "lastState": {
            "terminated": {
                "exitCode": exit_code,
                "reason": reason,
                "startedAt": stamp(ended - timedelta(minutes=1)),
                "finishedAt": stamp(ended),
                "containerID": status["containerID"],
            }
        },
    }
    _not_ready(pod, "ContainersNotReady", f"containers with unready status: [{status['name']}]", ended)


def _lose(pod: Object) -> None:
    """The node was lost: its containers read as when it was last heard of."""
    for condition in pod["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition |= {"status": "False", "lastTransitionTime": stamp(MOMENT)}


def _proxy(container: Object) -> Object:
    made: Object = copy.deepcopy(container)
    made |= {"name": "proxy", "image": "envoyproxy/envoy:v1.31.2", "ports": []}
    requests = {"cpu": "10m", "memory": "32Mi"}
    return made | {"resources": {"requests": requests, "limits": {"cpu": "100m", "memory": "64Mi"}}}


def _proxy_status(pod: Object) -> Object:
    identifier = f"containerd://{identity('proxy', _name(pod)).hex * 2}"
    return {
        "name": "proxy",
        "image": "envoyproxy/envoy:v1.31.2",
        "imageID": f"sha256:{identity('image', 'proxy').hex * 2}",
        "containerID": identifier,
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": pod["status"]["startTime"]}},
        "lastState": {},
    }


def _over(pod: Object, phase: str, reason: str, message: str) -> Object:
    """The pod ended for good, as what evicts it leaves it behind."""
    for name in ("containerStatuses", "podIP", "podIPs"):
        pod["status"].pop(name, None)
    pod["status"] |= {"phase": phase, "reason": reason, "message": message}
    _not_ready(pod, "PodFailed", "", MOMENT)
    return pod


def _job_pod(pod: Object, number: int, exit_code: int) -> Object:
    """A pod of the job that migrates the database, which ended in the window."""
    made: Object = copy.deepcopy(pod)
    name = f"migrate-28931-{identity('job', number).hex[:5]}"
    labels = {"app.kubernetes.io/name": "migrate", "app.kubernetes.io/component": "job", "job-name": "migrate-28931"}
    made["metadata"] |= {"name": name, "uid": str(identity("Pod", name)), "labels": labels}
    made["metadata"] |= {"generateName": "migrate-28931-"}
    made["metadata"]["ownerReferences"][0] |= {"apiVersion": "batch/v1", "kind": "Job", "name": "migrate-28931"}
    made["spec"] |= {"restartPolicy": "Never"}
    made["spec"]["containers"][0]["name"] = "migrate"
    ended = MOMENT - timedelta(minutes=30 - number)
    (status,) = made["status"]["containerStatuses"]
    reason = "Error" if exit_code else "Completed"
    stages = {"startedAt": stamp(ended - timedelta(seconds=20)), "finishedAt": stamp(ended)}
    state = {"terminated": {"exitCode": exit_code, "reason": reason, "containerID": status["containerID"], **stages}}
    status |= {"name": "migrate", "ready": False, "started": False, "state": state, "lastState": {}}
    made["status"]["phase"] = "Failed" if exit_code else "Succeeded"
    _not_ready(made, "PodFailed" if exit_code else "PodCompleted", "", ended)
    return made


def _event(pod: Object, number: int, **changes: str) -> Object:
    when = MOMENT - timedelta(seconds=number % 600)
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{_name(pod)}.{number:016x}",
            "namespace": pod["metadata"]["namespace"],
            "uid": str(identity("Event", number)),
            "resourceVersion": str(410_000 + number),
            "creationTimestamp": stamp(when),
        },
        "involvedObject": {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": _name(pod),
            "apiVersion": "v1",
            "uid": pod["metadata"]["uid"],
        },
        "reason": "Pulled",
        "message": "Readiness probe failed" if changes else "Container image already present on machine",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": stamp(when),
        "lastTimestamp": stamp(when),
        "source": {"component": "kubelet"},
        "reportingComponent": "kubelet",
        "reportingInstance": "node-1",
    }
    return event | changes
