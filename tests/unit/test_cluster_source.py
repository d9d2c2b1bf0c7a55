"""The Kubernetes source, by the official client, against the demo's API double and against broken ones."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources.cluster import DEPLOYMENT_COLUMNS, EVENT_COLUMNS, POD_COLUMNS, Cluster, quantity
from runbook.sources.evidence import Evidence

NOW = datetime(2026, 1, 15, 14, 10, tzinfo=UTC)


class Api(BaseHTTPRequestHandler):
    answers: Callable[[str], tuple[int, bytes]]
    asked: list[str] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body = type(self).answers(self.path)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Api.asked = []
    opened: list[Cluster] = []

    def make(answers: Callable[[str], tuple[int, Any]] | tuple[int, Any]) -> Cluster:
        given = answers if callable(answers) else lambda path: answers

        def encoded(path: str) -> tuple[int, bytes]:
            status, body = given(path)
            return status, body if isinstance(body, bytes) else json.dumps(body).encode()

        Api.answers = staticmethod(encoded)  # type: ignore[assignment]
        path = tmp_path / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                    "users": [{"name": "u", "user": {"token": "cluster-token-1234"}}],
                }
            )
        )
        opened.append(Cluster(str(path), False, "cryptofunk", Evidence()))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
    server.shutdown()
    thread.join()
    server.server_close()


POD = {
    "metadata": {
        "name": "trend-agent-1",
        "labels": {"app.kubernetes.io/name": "trend-agent", "app.kubernetes.io/component": "agent"},
    },
    "spec": {
        "nodeName": "n1",
        "containers": [
            {
                "name": "agent",
                "image": "x:1",
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            }
        ],
    },
    "status": {
        "phase": "Running",
        "startTime": "2026-01-15T10:00:00Z",
        "containerStatuses": [
            {
                "name": "agent",
                "ready": True,
                "restartCount": 3,
                "state": {"running": {}},
                "lastState": {
                    "terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-01-15T13:50:00Z"}
                },
            }
        ],
    },
}


def test_a_pod_is_a_row(cluster: Callable[..., Cluster]) -> None:
    answer = cluster((200, {"items": [POD]})).pods("trend-agent")
    assert list(answer.frame.columns) == POD_COLUMNS
    row = answer.frame.iloc[0]
    assert (row["name"], row["app"], row["phase"], row["ready"], row["restarts"]) == (
        "trend-agent-1",
        "trend-agent",
        "Running",
        True,
        3,
    )
    assert (row["last_exit"], row["last_exit_code"]) == ("OOMKilled", 137)
    assert (row["cpu_request"], row["cpu_limit"], row["memory_request"], row["memory_limit"]) == (
        0.1,
        1.0,
        128 * 2**20,
        2**30,
    )
    assert "labelSelector=app.kubernetes.io/name=trend-agent" in unquote(Api.asked[0])
    assert shlex.split(answer.command) == [
        "kubectl",
        "get",
        "-n",
        "cryptofunk",
        "pods",
        "-l",
        "app.kubernetes.io/name=trend-agent",
    ]


SPARSE = [
    {},
    {"metadata": None},
    {"metadata": {}, "spec": {}, "status": {}},
    {"status": {"containerStatuses": None}},
    {"spec": {"containers": []}, "status": {"startTime": "soon", "containerStatuses": [{}]}},
    {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}},
]


def test_pods_that_lack_everything_are_rows_too(cluster: Callable[..., Cluster]) -> None:
    frame = cluster((200, {"items": SPARSE})).pods().frame
    assert len(frame) == len(SPARSE)
    assert frame["waiting"].tolist()[-1] == "CrashLoopBackOff"
    assert frame["started_at"].isna().all()


@pytest.mark.parametrize("items", [[], SPARSE])
def test_other_lists_have_their_columns(cluster: Callable[..., Cluster], items: list[Any]) -> None:
    source = cluster((200, {"items": items}))
    assert list(source.deployments().frame.columns) == DEPLOYMENT_COLUMNS
    assert list(source.events(NOW - timedelta(hours=1)).frame.columns) == EVENT_COLUMNS
    assert list(source.usage().frame.columns) == ["pod", "cpu_cores", "memory_bytes"]
    assert list(source.volumes().frame.columns) == ["name", "phase", "capacity_bytes", "storage_class"]


def test_events_by_whichever_time_they_have(cluster: Callable[..., Cluster]) -> None:
    items = [
        {"lastTimestamp": "2026-01-15T14:00:00Z", "reason": "BackOff"},
        {"eventTime": "2026-01-15T14:05:00.123456Z", "reason": "New"},
        {"lastTimestamp": "2026-01-14T14:00:00Z", "reason": "Old"},
        {"reason": "Never"},
    ]
    frame = cluster((200, {"items": items})).events(NOW - timedelta(hours=1)).frame
    assert frame["reason"].tolist() == ["New", "BackOff"]


STATUS = {"kind": "Status", "message": 'pods is forbidden: User "x" cannot list'}


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (401, STATUS, SourceUnavailable, "renew them in KUBECONFIG"),
        (403, STATUS, QueryFailed, "forbids this to the role .403.: pods is forbidden"),
        (403, b"", QueryFailed, "verbs it needs"),
        (404, {"message": "not found"}, QueryFailed, "answered 404: not found"),
        (422, {"message": 7}, QueryFailed, "answered 422"),
        (500, b"<html>", QueryFailed, "answered 500: no reason given"),
        (503, [], QueryFailed, "answered 503"),
        (200, b"<html>a login page</html>", SourceUnavailable, "is KUBECONFIG right"),
        (200, {"kind": "List"}, SourceUnavailable, "is KUBECONFIG right"),
        (200, [], SourceUnavailable, "is KUBECONFIG right"),
    ],
)
def test_refusals_say_what_to_do(
    cluster: Callable[..., Cluster], status: int, body: Any, kind: type[SourceError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        cluster((status, body)).pods()
    assert "cluster-token-1234" not in str(caught.value)


def test_logs_of_every_pod_within_the_window(cluster: Callable[..., Cluster]) -> None:
    def answers(path: str) -> tuple[int, Any]:
        if "/log" in path:
            return 200, (
                b'2026-01-15T13:00:00Z {"level":"info","message":"early"}\n'
                b'2026-01-15T14:00:00Z {"level":"error","message":"in"}\n'
                b'2026-01-15T14:30:00Z {"level":"info","message":"late"}\n'
                b"\xff\xfe broken\n"
            )
        return 200, {"items": [{"metadata": {"name": f"api-{n}"}} for n in range(9)]}

    answer = cluster(answers).logs("api", NOW - timedelta(minutes=30), NOW, tail=99_999)
    assert set(answer.frame["message"]) == {"in", "\ufffd\ufffd broken"}
    assert answer.frame["pod"].nunique() == 5
    query = Api.asked[1]
    assert "tailLines=2000" in query
    assert "limitBytes=" in query
    assert "sinceTime=2026-01-15T13%3A40%3A00Z" in query


def labelled(app: str, *names: str) -> list[dict[str, Any]]:
    return [{"metadata": {"name": name, "labels": {"app.kubernetes.io/name": app}}} for name in names]


def test_logs_are_read_from_the_pods_just_listed_without_listing_them_again(cluster: Callable[..., Cluster]) -> None:
    def answers(path: str) -> tuple[int, Any]:
        if "/log" in path:
            return 200, b'2026-01-15T14:00:00Z {"level":"info","message":"in"}\n'
        return 200, {"items": [*labelled("api", "api-1", "api-2"), *labelled("redis", "redis-1")]}

    source = cluster(answers)
    source.pods()
    frame = source.logs("api", NOW - timedelta(minutes=30), NOW).frame
    assert list(frame["pod"]) == ["api-1", "api-2"]
    assert len([path for path in Api.asked if "/log" not in path]) == 1


def test_a_pod_that_is_gone_since_it_was_listed_is_looked_for_again(cluster: Callable[..., Cluster]) -> None:
    def answers(path: str) -> tuple[int, Any]:
        if "/log" not in path:
            return 200, {"items": labelled("api", "api-new" if "labelSelector" in path else "api-old")}
        if "api-old" in path:
            return 404, {"message": 'pods "api-old" not found'}
        return 200, b'2026-01-15T14:00:00Z {"level":"info","message":"in"}\n'

    source = cluster(answers)
    source.pods()
    assert list(source.logs("api", NOW - timedelta(minutes=30), NOW).frame["pod"]) == ["api-new"]


def test_no_pod_to_read_logs_from(cluster: Callable[..., Cluster]) -> None:
    with pytest.raises(QueryFailed, match="has no pod of api to read logs from"):
        cluster((200, {"items": []})).logs("api", NOW, NOW)


@pytest.mark.parametrize("name", ["a,b=c", "../../secrets", "a b", "A", "x\nHost: y", "app)||(", "-", ""])
def test_hostile_names_ask_nothing(cluster: Callable[..., Cluster], name: str) -> None:
    source = cluster((200, {"items": []}))
    with pytest.raises(QueryFailed):
        source.logs(name, NOW, NOW)
    if name:
        with pytest.raises(QueryFailed):
            source.pods(name)
    assert not [path for path in Api.asked if "log" in path]
    for answer in source._evidence.answers:
        shlex.split(answer.command)


def test_health_through_the_proxy(cluster: Callable[..., Cluster]) -> None:
    answer = cluster((503, b'{"status":"degraded"}')).health("risk-server", 9202, "/health")
    assert answer.data == {"code": 503, "body": '{"status":"degraded"}'}
    assert Api.asked == ["/api/v1/namespaces/cryptofunk/services/risk-server:9202/proxy/health"]


@pytest.mark.parametrize("text", ["", "{", "- a", "clusters: 7", "current-context: x\ncontexts: []", "\x00"])
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(NotConfigured, match="KUBECONFIG cannot be read"):
        Cluster(str(path), False, "cryptofunk", Evidence()).pods()


def test_nothing_configured_and_not_in_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="set KUBECONFIG, or run inside the cluster"):
        Cluster(None, False, "cryptofunk", Evidence()).pods()
    with pytest.raises(NotConfigured):
        Cluster(str(tmp_path / "nowhere"), False, "cryptofunk", Evidence()).pods()
    with pytest.raises(NotConfigured):
        Cluster(None, True, "cryptofunk", Evidence()).pods()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("2", 2.0),
        ("1Ki", 1024.0),
        ("2Gi", 2.0 * 2**30),
        ("1e3", 1000.0),
        ("250u", 0.00025),
        ("100n", 1e-7),
        ("1.5Gi", 1.5 * 2**30),
        ("3E", 3e18),
        ("1Ei", 2.0**60),
    ],
)
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", [None, "", "x", "1 Gi", "--", "e", "1Zi", "NaN"])
def test_quantities_that_are_none(text: str | None) -> None:
    assert quantity(text) != quantity(text)
