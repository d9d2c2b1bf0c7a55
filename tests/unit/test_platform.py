"""The platform around trading: pods in words, several logs as one, and which changes are suspects."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from runbook.alert import Window
from runbook.errors import QueryFailed
from runbook.findings import Finding, Findings, figures_json
from runbook.outcome import Status
from runbook.sources.logs import parse
from runbook.steps import platform
from runbook.steps.platform import ConfigChange, ConfigChanges, Pods, Restart, Rollout, Rollouts
from runbook.steps.platform.suspects import Suspect, suspects
from runbook.steps.shared.quotas import limits_of, raise_limit
from tests.pod_objects import Container, pod, rows

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
STAMP = "2026-01-15T14:00:00Z"


class Cluster:
    """Pods and logs by app; an app without a log has no pod."""

    def __init__(self, pods: pd.DataFrame | None = None, **logs: str) -> None:
        self.frame = pods
        self._logs = logs

    def pods(self, *_: Any) -> Cluster:
        return self

    def logs(self, app: str, *_: Any, **__: Any) -> Cluster:
        if app not in self._logs:
            raise QueryFailed(f"cluster: {app} has no pod")
        lines = self._logs[app].splitlines()
        return Cluster(parse("\n".join(f"{STAMP} {line}" for line in lines), "pod-1"))


def ended(at: datetime = MOMENT, by: str = "OOMKilled", **more: Any) -> Container:
    return Container(ended=by, at=at, **more)


def pods(*items: dict[str, Any], app: str = "") -> Finding[Pods]:
    return platform.pods(Cluster(rows(*items)), WINDOW, app=app)  # type: ignore[arg-type]


LOOP = Container(waiting="CrashLoopBackOff", restarts=7)
JOB = {"ready": False, "owner": "Job"}
EVICTED = pod("api", code="left1", phase="Failed", reason="Evicted")
TERMINATING = pod("api", code="left2", deleted=True)


@pytest.mark.parametrize(
    ("items", "app", "status", "title"),
    [
        ([pod("nats")], "", Status.OK, "The only pod is ready"),
        ([pod("nats")], "nats", Status.OK, "The only pod is ready (nats)"),
        ([pod("nats"), pod("api")], "", Status.OK, "All 2 pods are ready"),
        ([pod("nats", ready=False)], "", Status.CRITICAL, "The only pod is not ready: nats"),
        ([pod("nats", ready=False), pod("api")], "", Status.CRITICAL, "1 of 2 pods is not ready: nats"),
        (
            [pod("nats", ended()), pod("api")],
            "",
            Status.WARNING,
            "All 2 pods are ready; restarted in the window: nats",
        ),
        ([], "", Status.UNKNOWN, "Pods: the namespace holds none"),
        ([], "nats", Status.CRITICAL, "There is no pod of nats"),
        # One of many is not all: whichever of them comes last.
        (
            [pod("api", LOOP, code="aaaaa", ready=False), pod("api", code="bbbbb"), pod("nats")],
            "",
            Status.CRITICAL,
            "1 of 3 pods is not ready: api (1 of 2)",
        ),
        (
            [pod("api", LOOP, code="aaaaa", ready=False), pod("api", code="bbbbb")],
            "api",
            Status.CRITICAL,
            "1 of 2 pods is not ready: api",
        ),
        # What is left over beside pods that serve is no fault.
        ([pod("api"), EVICTED, TERMINATING], "", Status.OK, "The only pod is ready"),
        ([pod("job", phase="Succeeded", **JOB), pod("api")], "", Status.OK, "The only pod is ready"),
        (
            [pod("job", phase="Succeeded", **JOB)],
            "job",
            Status.OK,
            "Nothing serves: 1 pod, all of work that ended (job)",
        ),
        # And where nothing else is left it is one.
        (
            [EVICTED, pod("nats")],
            "",
            Status.CRITICAL,
            "No pod of api serves any more (1 Evicted)",
        ),
        ([TERMINATING], "api", Status.CRITICAL, "No pod of api serves any more (1 Terminating)"),
        # A job that failed and then succeeded is fine, one that only failed is not.
        (
            [pod("job", phase="Failed", **JOB), pod("job", code="again", phase="Succeeded", **JOB), pod("api")],
            "",
            Status.OK,
            "The only pod is ready",
        ),
        (
            [pod("job", phase="Failed", **JOB), pod("api")],
            "",
            Status.WARNING,
            "The only pod is ready; failed: job",
        ),
        ([pod("shell", owner="", deleted=True), pod("api")], "", Status.OK, "The only pod is ready"),
    ],
)
def test_pods_in_words(items: list[dict[str, Any]], app: str, status: Status, title: str) -> None:
    found = pods(*items, app=app)
    assert (found.status, found.title) == (status, title)


def test_what_holds_pods_up_is_told_once_with_their_share_and_leftovers_apart() -> None:
    unscheduled = pod("bifrost", ready=False, phase="Pending")
    unscheduled["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available."}
    ]
    lost = pod("nats", ready=False, reason="NodeLost", message="Node node-2 which was running it is unresponsive")
    found = pods(
        *(pod("api", LOOP, code=code, ready=False) for code in ("aaaaa", "bbbbb")),
        pod("api", code="ccccc"),
        unscheduled,
        lost,
        EVICTED,
        TERMINATING,
    )
    assert found.detail == (
        "api (2 of 3) waits: CrashLoopBackOff; bifrost waits: Unschedulable (0/3 nodes are available.); nats is not "
        "ready: Node node-2 which was running it is unresponsive. Left over, which is no fault: 2 pods (1 Evicted, 1 "
        "Terminating)."
    )
    table = found.tables[0].frame
    assert list(table["status"][:2]) == ["CrashLoopBackOff", "CrashLoopBackOff"]
    assert list(table["status"][-2:]) == ["Evicted", "Terminating"]


def test_a_kill_is_not_lost_beside_a_healthy_replica_nor_behind_a_sidecar_that_ended_later() -> None:
    killed = ended(MOMENT - timedelta(minutes=9), name="api")
    later = ended(MOMENT, "Completed", name="proxy")
    found = pods(pod("api", later, killed, code="aaaaa"), pod("api", code="bbbbb"))
    assert found.known.oom_killed == found.known.restarted == ("api",)
    assert found.detail.startswith("api-7d9c5b8f6-aaaaa ended") is False, "only one of its pods restarted"
    assert "api ended 2026-01-15 14:02:00Z by Completed (exit code 0) in proxy" in found.detail
    assert "api ended 2026-01-15 13:53:00Z by OOMKilled (exit code 137)" in found.detail


def test_the_ends_of_pods_that_are_over_are_no_restarts() -> None:
    done = pod("job", phase="Succeeded", **JOB)
    done["status"]["containerStatuses"] = [
        {"name": "main", "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": STAMP}}}
    ]
    assert pods(done, pod("api")).status is Status.OK


def test_pods_name_what_was_killed_and_what_its_limits_are() -> None:
    found = pods(
        pod("nats", ended(), code="aaaaa"),
        pod("api", ended(MOMENT - timedelta(days=1), "Error"), Container("proxy", memory="64Mi")),
    )
    assert found.known.oom_killed == ("nats",)
    main, proxy = platform.known_limits(Findings([found]))["api"]
    assert (main.memory, proxy.memory) == (512 * 2**20, 64 * 2**20)
    assert figures_json(found.figures)["limits"]["nats"] == [
        {"container": "main", "memory": 512 * 2**20, "cpu": 0.5, "was_killed": True}
    ]


@pytest.mark.parametrize(
    ("containers", "kind", "named", "raised"),
    [
        ((Container("proxy"), ended(name="api", memory="1Gi")), "memory", "", "api from 1Gi to 1536Mi"),
        ((ended(name="proxy", memory="64Mi"), Container("api")), "memory", "", "proxy from 64Mi to 96Mi"),
        ((ended(name="proxy"), Container("api", cpu="1")), "cpu", "", "api from 1 to 1500m"),
        ((Container("proxy", cpu="250m"), Container("api")), "cpu", "proxy", "proxy from 250m to 375m"),
    ],
)
def test_the_limit_of_the_container_in_question_is_raised(
    containers: tuple[Container, ...], kind: str, named: str, raised: str
) -> None:
    limits = limits_of(rows(pod("api", *containers, code="aaaaa"), pod("api", *map(healed, containers), code="bbbbb")))
    (action,) = raise_limit("api", kind, limits, "cryptofunk", container=named)
    container, _, _, _, new = raised.split()
    assert action.title.endswith(f"limit of api's container {raised}")
    assert f'{{"name":"{container}","resources":{{"limits":{{"{kind}":"{new}"}}}}}}' in action.command


def healed(container: Container) -> Container:
    return replace(container, ended="", at=None)


def test_deployments_without_any_pod_are_rolled_out_too() -> None:
    columns = ["name", "component", "desired", "ready", "updated", "unavailable", "revision", "created_at"]
    deployments = pd.DataFrame([("api", "", 3, 0, 0, 3, "7", MOMENT)], columns=columns)
    deployments = deployments.assign(progressed_at=pd.to_datetime([MOMENT]), image="api:1")
    cluster: Any = SimpleNamespace(
        pods=lambda: SimpleNamespace(frame=rows()), deployments=lambda: SimpleNamespace(frame=deployments)
    )
    found = platform.rollouts(cluster, WINDOW)
    assert (found.known.rolled_out, found.known.restarts, found.known.unavailable) == (("api",), (), ("api",))


def test_restarts_are_told_by_pod_and_by_container() -> None:
    columns = ["name", "component", "desired", "ready", "updated", "unavailable", "revision", "created_at"]
    deployments = pd.DataFrame([("api", "", 2, 1, 2, 1, "7", MOMENT)], columns=columns)
    deployments = deployments.assign(progressed_at=pd.to_datetime([MOMENT - timedelta(days=2)]), image="api:1")
    looping = pod("api", ended(name="api"), ended(MOMENT, "Error", name="proxy"), code="aaaaa", ready=False)
    over = pod("api", code="left1", phase="Failed", reason="Evicted")
    frame = rows(looping, pod("api", Container("api"), code="bbbbb"), over)
    cluster: Any = SimpleNamespace(
        pods=lambda: SimpleNamespace(frame=frame), deployments=lambda: SimpleNamespace(frame=deployments)
    )
    found = platform.rollouts(cluster, WINDOW)
    assert found.known.restarted == ("api",)
    assert [(restart.ended_by, restart.container) for restart in found.known.restarts] == [
        ("OOMKilled (exit code 137)", ""),
        ("Error (exit code 1)", "proxy"),
    ]
    assert list(found.tables[0].frame["ready"]) == ["1 of 2", "1 of 2"]


def merged(*apps: str, **logs: str) -> Finding[platform.MergedLog]:
    return platform.logs_of(Cluster(**logs), WINDOW, apps)  # type: ignore[arg-type]


def test_several_logs_are_told_the_worst_first() -> None:
    found = merged("api", "nats", api='{"level":"info","message":"fine"}', nats='{"level":"error","message":"lost 1"}')
    assert found.status is Status.WARNING
    assert found.title.startswith("nats: 1 error line in 1, most severe “lost #” (1×); api: 0 error lines in 1")
    assert found.known == platform.MergedLog(("api", "nats"), 1, "lost #")


def test_a_log_that_is_not_there_is_neither_fine_nor_hides_the_others() -> None:
    fine, bad = '{"level":"info","message":"fine"}', '{"level":"error","message":"lost"}'
    assert merged("api", "nats", api=fine).status is Status.UNKNOWN
    assert merged("api", "nats", api=bad).status is Status.WARNING
    assert merged("api", "nats", api=bad).detail.endswith("nats: cluster: nats has no pod.")
    assert merged("api", "nats").title == "What api and nats log is not known"


def changed(minutes: float) -> ConfigChanges:
    return ConfigChanges((ConfigChange(MOMENT + timedelta(minutes=minutes), "max_positions 3 -> 9"),))


ROLLED = Rollouts(
    (Rollout(MOMENT - timedelta(minutes=9), "api", "5"), Rollout(MOMENT - timedelta(minutes=90), "bifrost", "2")),
    (Restart(MOMENT - timedelta(minutes=2), "nats", 3, "OOMKilled (exit code 137)"),),
)


def test_changes_shortly_before_are_suspects_the_nearest_first() -> None:
    findings = Findings([Finding(Status.WARNING, "", figures=figures) for figures in (ROLLED, changed(-5))])
    near = suspects(findings, MOMENT)
    assert [suspect.text for suspect in near] == [
        "nats restarted (3×), ended by OOMKilled (exit code 137) at 14:00 UTC",
        "max_positions 3 -> 9 by not recorded at 13:57 UTC",
        "api rolled out, revision 5 at 13:53 UTC",
    ]
    assert near[-1] == Suspect(MOMENT - timedelta(minutes=9), near[-1].text, deployment="api", subject="api")
    assert not near[0].deployment, "a restart is nothing to roll back"


def test_restarts_of_replicas_are_one_suspect() -> None:
    restarts = tuple(Restart(MOMENT - timedelta(minutes=minutes), "api", 1, "Error") for minutes in (1, 2, 3, 4))
    rolled = Rollouts((Rollout(MOMENT - timedelta(minutes=9), "api", "5"),), restarts)
    near = suspects(Findings([Finding(Status.WARNING, "", figures=rolled)]), MOMENT)
    assert [suspect.text for suspect in near] == [
        "api restarted (1×), ended by Error at 14:01 UTC, and 3 more of it",
        "api rolled out, revision 5 at 13:53 UTC",
    ]


@pytest.mark.parametrize(("minutes", "count"), [(-31, 0), (-30, 1), (1, 1), (3, 0)])
def test_a_change_long_before_or_after_is_no_suspect(minutes: float, count: int) -> None:
    findings = Findings([Finding(Status.WARNING, "", figures=changed(minutes))])
    assert len(suspects(findings, MOMENT)) == count


def test_nothing_is_suspected_where_changes_are_not_known() -> None:
    assert suspects(Findings([Finding[Rollouts](Status.UNKNOWN, "")]), MOMENT) == ()
