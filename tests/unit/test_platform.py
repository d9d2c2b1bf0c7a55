"""The platform around trading: pods in words, several logs as one, and which changes are suspects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from runbook.alert import Window
from runbook.errors import QueryFailed
from runbook.findings import Finding, Findings, figures_json
from runbook.outcome import Status
from runbook.sources.cluster import POD_COLUMNS
from runbook.sources.logs import parse
from runbook.steps import platform
from runbook.steps.platform import ConfigChange, ConfigChanges, Pods, Restart, Rollout, Rollouts
from runbook.steps.platform.suspects import Suspect, suspects

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


def pod(app: str, *, ready: bool = True, ended: datetime | None = None, phase: str = "Running") -> dict[str, Any]:
    values = {
        "name": f"{app}-7d9c5b8f6-x2x9k",
        "app": app,
        "phase": phase,
        "ready": ready,
        "restarts": 0,
        "waiting": "",
    }
    container = {"container": "main", "memory_limit": 512.0 * 2**20, "cpu_limit": float("nan")}
    exit_ = {"last_exit": "OOMKilled" if ended else "", "last_exit_code": 137.0 if ended else float("nan")}
    return {**dict.fromkeys(POD_COLUMNS), **values, **container, **exit_, "last_exit_at": ended}


def pods(*rows: dict[str, Any], app: str = "") -> Finding[Pods]:
    frame = pd.DataFrame(rows, columns=POD_COLUMNS)
    frame["last_exit_at"] = pd.to_datetime(frame["last_exit_at"], utc=True)
    return platform.pods(Cluster(frame), WINDOW, app=app)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "app", "status", "title"),
    [
        ([pod("nats")], "", Status.OK, "The only pod is ready"),
        ([pod("nats")], "nats", Status.OK, "The only pod is ready (nats)"),
        ([pod("nats"), pod("api")], "", Status.OK, "All 2 pods are ready"),
        ([pod("nats", ready=False)], "", Status.CRITICAL, "The only pod is not ready: nats"),
        ([pod("nats", ready=False), pod("api")], "", Status.CRITICAL, "1 of 2 pods is not ready: nats"),
        ([pod("job", ready=False, phase="Succeeded"), pod("api")], "", Status.OK, "The only pod is ready"),
        (
            [pod("nats", ended=MOMENT), pod("api")],
            "",
            Status.WARNING,
            "All 2 pods are ready; restarted in the window: nats",
        ),
        ([], "", Status.UNKNOWN, "Pods: the namespace holds none"),
        ([], "nats", Status.CRITICAL, "There is no pod of nats"),
    ],
)
def test_pods_in_words(rows: list[dict[str, Any]], app: str, status: Status, title: str) -> None:
    found = pods(*rows, app=app)
    assert (found.status, found.title) == (status, title)


def test_pods_name_what_was_killed_and_what_its_limits_are() -> None:
    found = pods(pod("nats", ended=MOMENT), pod("api", ended=MOMENT - timedelta(days=1)))
    assert found.known.oom_killed == ("nats",)
    assert platform.known_limits(Findings([found]))["api"].memory == 512 * 2**20
    assert figures_json(found.figures)["limits"]["api"] == {"container": "main", "memory": 512 * 2**20, "cpu": None}


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


@pytest.mark.parametrize(("minutes", "count"), [(-31, 0), (-30, 1), (1, 1), (3, 0)])
def test_a_change_long_before_or_after_is_no_suspect(minutes: float, count: int) -> None:
    findings = Findings([Finding(Status.WARNING, "", figures=changed(minutes))])
    assert len(suspects(findings, MOMENT)) == count


def test_nothing_is_suspected_where_changes_are_not_known() -> None:
    assert suspects(Findings([Finding[Rollouts](Status.UNKNOWN, "")]), MOMENT) == ()
