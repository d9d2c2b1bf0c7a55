"""Pods as kubectl's columns say them, and what a row tells of all their containers."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from runbook.sources.cluster import CONTAINER_COLUMNS, POD_COLUMNS, containers_of
from runbook.sources.cluster.pods import pods, upgraded
from runbook.sources.codec import decode, encode

RUNNING = {"running": {"startedAt": "2026-01-15T10:00:00Z"}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-15T10:00:00Z"}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, reason: str = "Error", at: str = "2026-01-15T13:50:00Z") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}}


def pod(
    *states: dict[str, Any],
    phase: str = "Running",
    ready: bool = True,
    init: tuple[dict[str, Any], ...] = (),
    init_specs: tuple[dict[str, Any], ...] = (),
    deleted: bool = False,
    **status: Any,
) -> dict[str, Any]:
    """A pod of as many containers as there are states; `init` are the states of those that prepare it."""
    names = [f"c{number}" for number in range(len(states))]
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Initialized", "status": str(not init or ready)},
        {"type": "Ready", "status": str(ready)},
    ]
    return {
        "metadata": {"name": "api-1", "labels": {}}
        | ({"deletionTimestamp": "2026-01-15T14:00:00Z"} if deleted else {}),
        "spec": {
            "containers": [{"name": name} for name in names],
            "initContainers": [
                {"name": f"i{number}", **spec} for number, spec in enumerate(init_specs or [{}] * len(init))
            ],
        },
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [
                {"name": name, "restartCount": 0, "ready": "running" in state, "state": state}
                for name, state in zip(names, states, strict=True)
            ],
            "initContainerStatuses": [
                {"name": f"i{number}", "restartCount": 0, "state": state} for number, state in enumerate(init)
            ],
            **status,
        },
    }


UNSCHEDULED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient cpu.",
}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("item", "status", "share", "ready"),
    [
        (pod(RUNNING), "Running", "1/1", True),
        (pod(RUNNING, RUNNING, ready=False), "Running", "2/2", False),  # a lost node, or a readiness gate
        (pod(waiting("CrashLoopBackOff"), RUNNING, ready=False), "CrashLoopBackOff", "1/2", False),
        (pod(RUNNING, waiting("ImagePullBackOff"), ready=False), "ImagePullBackOff", "1/2", False),
        (pod(waiting("ContainerCreating"), phase="Pending", ready=False), "ContainerCreating", "0/1", False),
        (pod(ended(137, "OOMKilled"), ready=False), "OOMKilled", "0/1", False),
        (pod({"terminated": {"exitCode": 3}}, ready=False), "ExitCode:3", "0/1", False),
        (pod({"terminated": {"exitCode": 0, "signal": 9}}, ready=False), "Signal:9", "0/1", False),
        (pod(DONE, phase="Succeeded", ready=False), "Completed", "0/1", False),
        (pod(ended(1), phase="Failed", ready=False), "Error", "0/1", False),
        (pod(DONE, RUNNING), "Running", "1/2", True),
        (pod(DONE, RUNNING, ready=False), "NotReady", "1/2", False),
        (pod(phase="Failed", ready=False, reason="Evicted"), "Evicted", "0/0", False),
        (pod(RUNNING, deleted=True), "Terminating", "1/1", False),
        (pod(RUNNING, deleted=True, reason="NodeLost"), "Unknown", "1/1", False),
        (pod(DONE, phase="Succeeded", ready=False, deleted=True), "Completed", "0/1", False),
        (pod(waiting("PodInitializing"), phase="Pending", ready=False, init=(RUNNING,)), "Init:0/1", "0/1", False),
        (
            pod(waiting("PodInitializing"), phase="Pending", ready=False, init=(DONE, waiting("PodInitializing"))),
            "Init:1/2",
            "0/1",
            False,
        ),
        (
            pod(waiting("PodInitializing"), phase="Pending", ready=False, init=(waiting("CrashLoopBackOff"),)),
            "Init:CrashLoopBackOff",
            "0/1",
            False,
        ),
        (pod(waiting("PodInitializing"), phase="Pending", ready=False, init=(ended(2),)), "Init:Error", "0/1", False),
        (
            pod(
                waiting("PodInitializing"),
                phase="Pending",
                ready=False,
                init=({"terminated": {"exitCode": 2}},),
            ),
            "Init:ExitCode:2",
            "0/1",
            False,
        ),
        (pod(RUNNING, init=(DONE,)), "Running", "1/1", True),
        (pod(phase="Pending", ready=False, conditions=[UNSCHEDULED]), "Pending", "0/0", False),
        (pod(phase="Pending", ready=False, conditions=[GATED]), "SchedulingGated", "0/0", False),
    ],
)
def test_a_pod_is_as_kubectl_says_it(item: dict[str, Any], status: str, share: str, ready: bool) -> None:
    row = pods([item]).iloc[0]
    assert (row["status"], row["containers_ready"], bool(row["ready"])) == (status, share, ready)


def test_a_sidecar_that_starts_first_counts_as_a_container() -> None:
    item = pod(RUNNING, init=(RUNNING,), init_specs=(SIDECAR,))
    item["status"]["initContainerStatuses"][0] |= {"started": True, "ready": True}
    row = pods([item]).iloc[0]
    assert (row["status"], row["containers_ready"]) == ("Running", "2/2")


@pytest.mark.parametrize(
    ("item", "leaving"),
    [
        (pod(RUNNING), False),
        (pod(waiting("CrashLoopBackOff"), ready=False), False),
        (pod(RUNNING, deleted=True), True),
        (pod(phase="Failed", ready=False, reason="Evicted"), True),
        (pod(DONE, phase="Succeeded", ready=False), True),
    ],
)
def test_what_is_over_or_on_its_way_out_is_not_meant_to_serve(item: dict[str, Any], leaving: bool) -> None:
    assert bool(pods([item]).iloc[0]["leaving"]) is leaving


@pytest.mark.parametrize(
    ("item", "held_up", "message"),
    [
        (pod(RUNNING), "", ""),
        (
            pod(waiting("CrashLoopBackOff", "back-off 5m0s"), ready=False),
            "CrashLoopBackOff",
            "back-off 5m0s",
        ),
        (
            pod(phase="Pending", ready=False, conditions=[UNSCHEDULED]),
            "Unschedulable",
            "0/3 nodes are available: 3 Insufficient cpu.",
        ),
        (
            pod(
                waiting("PodInitializing"),
                phase="Pending",
                ready=False,
                init=(waiting("ErrImagePull", "no such image"),),
            ),
            "Init:ErrImagePull",
            "no such image",
        ),
        (
            pod(
                RUNNING,
                ready=False,
                conditions=[
                    {
                        "type": "Ready",
                        "status": "False",
                        "reason": "ReadinessGatesNotReady",
                        "message": "gate x is not true",
                    }
                ],
            ),
            "",
            "ReadinessGatesNotReady: gate x is not true",
        ),
        (pod(phase="Failed", ready=False, reason="Evicted", message="low on memory"), "", "low on memory"),
    ],
)
def test_what_holds_a_pod_up(item: dict[str, Any], held_up: str, message: str) -> None:
    row = pods([item]).iloc[0]
    assert (row["waiting"], row["message"]) == (held_up, message)


def spec(name: str, memory: str) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", "resources": {"limits": {"memory": memory}}}


def sidecar_first() -> dict[str, Any]:
    item = pod(RUNNING, RUNNING)
    item["metadata"]["labels"] = {"app.kubernetes.io/name": "api"}
    item["spec"]["containers"] = [spec("proxy", "128Mi"), spec("api", "512Mi")]
    proxy, api = item["status"]["containerStatuses"]
    proxy |= {"name": "proxy", "restartCount": 1, "lastState": ended(0, "Completed", "2026-01-15T13:55:00Z")}
    api |= {"name": "api", "restartCount": 4, "lastState": ended(137, "OOMKilled")}
    return item


def test_the_container_of_the_app_is_meant_wherever_it_stands() -> None:
    row = pods([sidecar_first()]).iloc[0]
    assert (row["container"], row["memory_limit"], row["image"]) == ("api", 512 * 2**20, "api:1")
    assert row["restarts"] == 5


def test_kubectls_default_container_is_meant_where_none_has_the_apps_name() -> None:
    item = sidecar_first()
    item["spec"]["containers"][1]["name"] = item["status"]["containerStatuses"][1]["name"] = "server"
    assert pods([item]).iloc[0]["container"] == "proxy"
    item["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "server"}
    assert pods([item]).iloc[0]["container"] == "server"


def test_every_container_is_known_and_none_hides_how_another_ended() -> None:
    frame = containers_of(decode(encode(pods([sidecar_first(), pod(RUNNING)]))))
    assert list(frame.columns) == CONTAINER_COLUMNS
    assert list(frame["container"]) == ["proxy", "api", "c0"]
    assert list(frame["kind"]) == ["sidecar", "main", "main"]
    assert list(frame["last_exit"]) == ["Completed", "OOMKilled", ""]
    assert frame["last_exit_at"][1] == pd.Timestamp("2026-01-15T13:50:00Z")
    assert frame["memory_limit"][1] == 512 * 2**20
    assert math.isnan(frame["memory_limit"][2])


def test_an_init_container_that_did_its_work_did_not_end_in_any_way_worth_telling() -> None:
    row = pods([pod(RUNNING, init=(DONE,))]).iloc[0]
    assert (row["last_exit"], row["restarts"], row["last_exit_container"]) == ("", 0, "")
    assert pods([pod(waiting("PodInitializing"), init=(ended(2),), ready=False)]).iloc[0]["last_exit"] == "Error"


def test_pods_that_were_recorded_before_are_read_still() -> None:
    old = [
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
    ]
    old += ["last_exit_at", "node", "container", "cpu_request", "cpu_limit", "memory_request", "memory_limit", "image"]
    frame = pods([sidecar_first(), pod(DONE, phase="Succeeded", ready=False)])[old]
    new = upgraded(frame)
    assert list(new.columns) == POD_COLUMNS
    assert list(new["status"]) == ["Running", "Completed"]
    assert list(new["leaving"]) == [False, True]
    known = containers_of(new)
    assert list(known["container"]) == ["api", "c0"]
    assert known["memory_limit"][0] == 512 * 2**20
