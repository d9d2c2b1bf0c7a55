"""The platform's Kubernetes objects during an incident, as an API server returns them (plain JSON)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cryptofunk_demo.incident import Incident, PodState, Rollout
from cryptofunk_demo.moment import AS_OF, MOMENT, SESSION_START, identity
from cryptofunk_demo.workloads import BY_NAME, MEBI, WORKLOADS, Workload

NAMESPACE = "cryptofunk"
PART_OF = "cryptofunk-trading-system"
Object = dict[str, Any]
CREATED = SESSION_START - timedelta(days=41)
STARTED = SESSION_START - timedelta(minutes=4)


def every(incident: Incident) -> dict[str, list[Object]]:
    """All objects, by resource name ("pods", "deployments", …; "pods.metrics.k8s.io" for usage)."""
    states = {state.workload: state for state in incident.pods}
    rolled = {rollout.workload: rollout for rollout in incident.rollouts}
    objects: dict[str, list[Object]] = {
        "namespaces": [_object("v1", "Namespace", NAMESPACE, CREATED, {}, namespaced=False)],
        "pods": [],
        "services": [],
        "deployments": [],
        "replicasets": [],
        "statefulsets": [],
        "pods.metrics.k8s.io": [],
        "events": [],
        "configmaps": [_configuration(incident)],
        "persistentvolumeclaims": [_claim(incident.volume)],
    }
    for number, workload in enumerate(WORKLOADS):
        state = states.get(workload.name, PodState(workload.name))
        objects["pods"].append(_pod(workload, state, number, rolled.get(workload.name)))
        objects["deployments"].append(_deployment(workload, state, rolled.get(workload.name)))
        objects["replicasets"].append(_replica_set(workload, state, rolled.get(workload.name)))
        if workload.service:
            objects["services"].append(_service(workload, number))
        if state.ready:
            objects["pods.metrics.k8s.io"].append(_usage(workload, incident))
    objects["events"] = _events(incident)
    return objects


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(
    version: str,
    kind: str,
    name: str,
    created: datetime,
    labels: dict[str, str],
    *,
    namespaced: bool = True,
    **parts: Any,
) -> Object:
    metadata = {
        "name": name,
        **({"namespace": NAMESPACE} if namespaced else {}),
        "uid": str(identity(kind, name)),
        "resourceVersion": str(410_000 + identity(kind, name).int % 9_000),
        "creationTimestamp": stamp(created),
        **({"labels": labels} if labels else {}),
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **parts}


def labels(workload: Workload) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": workload.name,
        "app.kubernetes.io/component": workload.component,
        "app.kubernetes.io/part-of": PART_OF,
    }


def _container(workload: Workload, rollout: Rollout | None = None) -> Object:
    return {
        "name": workload.name,
        "image": (rollout.image if rollout else "") or workload.image_name,
        "ports": [{"name": "main", "containerPort": workload.port, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": f"{workload.cpu_request}m", "memory": _binary(workload.memory_request)},
            "limits": {"cpu": _cores(workload.cpu_limit), "memory": _binary(workload.memory_limit)},
        },
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }


def _template(workload: Workload, rollout: Rollout | None = None, **marks: str) -> Object:
    return {
        "metadata": {"labels": {**labels(workload), **marks}},
        "spec": {
            "containers": [_container(workload, rollout)],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
        },
    }


def _pod(workload: Workload, state: PodState, number: int, rollout: Rollout | None) -> Object:
    owner = f"{workload.name}-{workload.replica_set_hash}"
    changed = MOMENT + timedelta(minutes=state.minute)
    started = MOMENT + timedelta(minutes=rollout.minute) if rollout else STARTED
    pod = _object(
        "v1",
        "Pod",
        workload.pod,
        started,
        {**labels(workload), "pod-template-hash": workload.replica_set_hash},
        spec={
            **_template(workload, rollout)["spec"],
            "nodeName": f"node-{1 + number % 3}",
            "serviceAccountName": workload.name,
            "serviceAccount": workload.name,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        status={
            "phase": "Running" if not state.waiting or state.restarts else "Pending",
            "conditions": _pod_conditions(workload, state, changed),
            "hostIP": f"10.0.0.{11 + number % 3}",
            "podIP": f"10.42.{number % 3}.{20 + number}",
            "podIPs": [{"ip": f"10.42.{number % 3}.{20 + number}"}],
            "startTime": stamp(started),
            "qosClass": "Burstable",
            "containerStatuses": [_container_status(workload, state, changed, rollout)],
        },
    )
    pod["metadata"]["generateName"] = f"{owner}-"
    pod["metadata"]["ownerReferences"] = [_owner("ReplicaSet", owner)]
    return pod


def _pod_conditions(workload: Workload, state: PodState, changed: datetime) -> list[Object]:
    why = {
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{workload.name}]",
    }
    lacking: Object = {} if state.ready else why
    since = STARTED if state.ready else changed
    return [
        _condition("Initialized", True, STARTED),
        _condition("Ready", state.ready, since) | lacking,
        _condition("ContainersReady", state.ready, since) | lacking,
        _condition("PodScheduled", True, STARTED),
    ]


def _container_status(workload: Workload, state: PodState, changed: datetime, rollout: Rollout | None) -> Object:
    identifier = f"containerd://{identity('container', workload.name).hex * 2}"
    last: Object = {}
    if state.terminated:
        last = {
            "terminated": {
                "exitCode": state.exit_code,
                "reason": state.terminated,
                "startedAt": stamp(STARTED),
                "finishedAt": stamp(changed),
                "containerID": identifier,
                **({"message": state.message} if state.message else {}),
            }
        }
    if state.waiting:
        now: Object = {
            "waiting": {"reason": state.waiting, "message": state.message or f"{state.waiting}: {workload.name}"}
        }
    else:
        now = {"running": {"startedAt": stamp(changed + timedelta(seconds=3) if state.restarts else STARTED)}}
    return {
        "name": workload.name,
        "image": _container(workload, rollout)["image"],
        "imageID": f"sha256:{identity('image', workload.name).hex * 2}",
        "containerID": identifier,
        "ready": state.ready,
        "started": not state.waiting,
        "restartCount": state.restarts,
        "state": now,
        "lastState": last,
    }


def _deployment(workload: Workload, state: PodState, rollout: Rollout | None) -> Object:
    ready = int(state.ready)
    changed = STARTED if state.ready else MOMENT + timedelta(minutes=state.minute)
    rolled = MOMENT + timedelta(minutes=rollout.minute) if rollout else STARTED
    return _object(
        "apps/v1",
        "Deployment",
        workload.name,
        CREATED,
        labels(workload),
        spec={
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": workload.name}},
            "template": _template(workload, rollout),
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        },
        status={
            "observedGeneration": 7,
            "replicas": 1,
            "updatedReplicas": 1,
            **({"readyReplicas": 1, "availableReplicas": 1} if ready else {"unavailableReplicas": 1}),
            "conditions": [
                {
                    **_condition("Available", bool(ready), changed),
                    "lastUpdateTime": stamp(changed),
                    "reason": "MinimumReplicasAvailable" if ready else "MinimumReplicasUnavailable",
                },
                {
                    **_condition("Progressing", True, rolled),
                    "lastUpdateTime": stamp(rolled),
                    "reason": "NewReplicaSetAvailable",
                },
            ],
        },
    ) | {"metadata": _with_revision(workload, rollout)}


def _with_revision(workload: Workload, rollout: Rollout | None) -> Object:
    metadata: Object = _object("apps/v1", "Deployment", workload.name, CREATED, labels(workload))["metadata"]
    return {**metadata, "generation": 7, "annotations": {"deployment.kubernetes.io/revision": _revision(rollout)}}


def _replica_set(workload: Workload, state: PodState, rollout: Rollout | None) -> Object:
    name = f"{workload.name}-{workload.replica_set_hash}"
    mark = {"pod-template-hash": workload.replica_set_hash}
    marks = {"app.kubernetes.io/name": workload.name, **mark}
    item = _object(
        "apps/v1",
        "ReplicaSet",
        name,
        STARTED,
        {**labels(workload), **mark},
        spec={"replicas": 1, "selector": {"matchLabels": marks}, "template": _template(workload, rollout, **mark)},
        status={
            "replicas": 1,
            "fullyLabeledReplicas": 1,
            "observedGeneration": 1,
            **({"readyReplicas": 1, "availableReplicas": 1} if state.ready else {}),
        },
    )
    item["metadata"]["ownerReferences"] = [_owner("Deployment", workload.name)]
    item["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": _revision(rollout)}
    return item


def _revision(rollout: Rollout | None) -> str:
    return "8" if rollout else "7"


def _service(workload: Workload, number: int) -> Object:
    ports = [
        {
            "name": "main",
            "port": 80 if workload.name == "api" else workload.port,
            "protocol": "TCP",
            "targetPort": workload.port,
        }
    ]
    if workload.name == "nats":
        ports.append({"name": "monitor", "port": 8222, "protocol": "TCP", "targetPort": 8222})
    selector = {"app.kubernetes.io/name": workload.name}
    spec = {
        "ports": ports,
        "selector": selector,
        "clusterIP": f"10.43.0.{20 + number}",
        "type": "ClusterIP",
        "sessionAffinity": "None",
    }
    return _object("v1", "Service", workload.service, CREATED, labels(workload), spec=spec, status={"loadBalancer": {}})


def _claim(volume: str) -> Object:
    size = {"storage": volume}
    return _object(
        "v1",
        "PersistentVolumeClaim",
        "postgres-pvc",
        CREATED,
        labels(BY_NAME["postgres"]),
        spec={
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": size},
            "storageClassName": "standard",
            "volumeMode": "Filesystem",
            "volumeName": f"pvc-{identity('volume', 'postgres')}",
        },
        status={"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": size},
    )


def _configuration(incident: Incident) -> Object:
    limits = incident.limits
    text = (
        f"trading:\n  initial_capital: 10000\n  max_positions: {limits.max_positions}\n"
        f"risk:\n  max_position_size: {limits.max_position_size}\n  max_daily_loss: {limits.max_daily_loss}\n"
        f"  max_drawdown: {limits.max_drawdown}\n  default_stop_loss: 0.02\n  default_take_profit: 0.05\n"
        "  min_confidence: 0.7\n"
    )
    marks = {"app.kubernetes.io/part-of": PART_OF}
    return _object("v1", "ConfigMap", "cryptofunk-config", CREATED, marks, data={"config.yaml": text})


def _usage(workload: Workload, incident: Incident) -> Object:
    """What metrics-server says: the usual, or what an override that still holds makes of it."""
    cores, size = workload.cpu_used / 1000, float(workload.memory_used * MEBI)
    for override in incident.overrides:
        if override.labels.get("pod") == workload.pod and override.value is not None and override.end_minute > 8:
            cores = override.value / 60 if override.metric == "container_cpu_usage_seconds_total" else cores
            size = override.value if override.metric == "container_memory_working_set_bytes" else size
    usage = {"cpu": f"{cores * 1e9:.0f}n", "memory": f"{size / 1024:.0f}Ki"}
    return _object(
        "metrics.k8s.io/v1beta1",
        "PodMetrics",
        workload.pod,
        AS_OF,
        labels(workload),
        timestamp=stamp(AS_OF),
        window="15s",
        containers=[{"name": workload.name, "usage": usage}],
    )


def _events(incident: Incident) -> list[Object]:
    items = []
    for number, event in enumerate(incident.events):
        workload = BY_NAME[event.workload]
        name = workload.pod if event.kind == "Pod" else workload.name
        when = stamp(MOMENT + timedelta(minutes=event.minute))
        items.append(
            _object(
                "v1",
                "Event",
                f"{name}.{identity('event', number).hex[:16]}",
                MOMENT + timedelta(minutes=event.minute),
                {},
                involvedObject={
                    "kind": event.kind,
                    "namespace": NAMESPACE,
                    "name": name,
                    "apiVersion": "v1" if event.kind == "Pod" else "apps/v1",
                    "uid": str(identity(event.kind, name)),
                },
                reason=event.reason,
                message=event.message,
                type=event.type,
                count=event.count,
                firstTimestamp=when,
                lastTimestamp=when,
                source={"component": "kubelet"},
                reportingComponent="kubelet",
                reportingInstance="node-1",
            )
        )
    return items


def _owner(kind: str, name: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": name,
        "uid": str(identity(kind, name)),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _condition(kind: str, holds: bool, since: datetime) -> Object:
    return {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": stamp(since)}


def _binary(mebibytes: int) -> str:
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"


def _cores(millicores: int) -> str:
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"
