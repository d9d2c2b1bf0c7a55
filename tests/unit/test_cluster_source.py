"""The Kubernetes source, by the official client, against the demo's API double and against broken ones."""

from __future__ import annotations

import json
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from runbook.errors import QueryFailed, SourceError, SourceUnavailable
from runbook.sources.cluster import (
    DEPLOYMENT_COLUMNS,
    EVENT_COLUMNS,
    POD_COLUMNS,
    USAGE_COLUMNS,
    VOLUME_COLUMNS,
    Cluster,
    quantity,
)
from runbook.sources.evidence import Evidence

NOW = datetime(2026, 1, 15, 14, 10, tzinfo=UTC)


Given = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, body (bytes, or JSON), and headers where there are any."""


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: Callable[[str], Given]
    asked: list[str] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body, *headers = type(self).answers(self.path)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers[0].items() if headers else ():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    server = Server(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Api.asked = []
    opened: list[Cluster] = []

    def make(answers: Callable[[str], Given] | Given, seconds: float = 5.0) -> Cluster:
        Api.answers = staticmethod(answers if callable(answers) else lambda path: answers)  # type: ignore[assignment]
        path = tmp_path / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {"token": "cluster-token-1234"}}],
        }
        path.write_text(json.dumps(content))
        opened.append(Cluster(str(path), False, "cryptofunk", Evidence(limit_seconds=seconds)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
    server.shutdown()
    thread.join()
    server.server_close()


def query_of(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query))


def is_list(path: str) -> bool:
    return "/log" not in path and "/proxy" not in path and urlsplit(path).path != "/api/v1/namespaces/cryptofunk"


def paged(items: list[Any], **more: Any) -> Callable[[str], Given]:
    """A list as the API server gives it: at most `limit` items, and where the next begin."""

    def answers(path: str) -> Given:
        query = query_of(path)
        start, limit = int(query.get("continue", 0)), int(query.get("limit", len(items) or 1))
        left = len(items) - start - limit
        metadata: dict[str, Any] = {"resourceVersion": "7"}
        if left > 0:
            metadata |= {"continue": str(start + limit)}
            if "fieldSelector" not in query and "labelSelector" not in query:
                metadata |= {"remainingItemCount": left}
        return 200, {"kind": "List", "metadata": metadata, "items": items[start : start + limit], **more}

    return answers


POD = {
    "metadata": {
        "name": "trend-agent-1",
        "uid": "1",
        "labels": {"app.kubernetes.io/name": "trend-agent", "app.kubernetes.io/component": "agent"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "trend-agent-7d9c5b8f6"}],
    },
    "spec": {
        "nodeName": "n1",
        "containers": [
            {
                "name": "agent",
                "image": "x:1",
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"cpu": "1", "memory": "1Gi"},
                },
            }
        ],
    },
    "status": {
        "phase": "Running",
        "startTime": "2026-01-15T10:00:00Z",
        "conditions": [{"type": "Ready", "status": "True"}],
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
    assert list(source.usage().frame.columns) == USAGE_COLUMNS
    assert list(source.volumes().frame.columns) == VOLUME_COLUMNS


def test_events_by_whichever_time_they_have(cluster: Callable[..., Cluster]) -> None:
    items = [
        {"lastTimestamp": "2026-01-15T14:00:00Z", "reason": "BackOff"},
        {"eventTime": "2026-01-15T14:05:00.123456Z", "reason": "New"},
        {"lastTimestamp": "2026-01-14T14:00:00Z", "reason": "Old"},
        {"reason": "Never"},
    ]
    frame = cluster((200, {"items": items})).events(NOW - timedelta(hours=1)).frame
    assert frame["reason"].tolist() == ["New", "BackOff"]


def named(count: int, kind: str = "item") -> list[Any]:
    return [{"metadata": {"name": f"{kind}-{number:05}", "uid": str(number)}} for number in range(count)]


def test_lists_are_followed_page_by_page(cluster: Callable[..., Cluster]) -> None:
    answer = cluster(paged(named(546))).pods()
    assert (len(answer.frame), answer.missing) == (546, "")
    assert [query_of(path).get("continue") for path in Api.asked] == [None, "500"]


def test_a_warning_late_in_the_alphabet_is_seen(cluster: Callable[..., Cluster]) -> None:
    at = {"lastTimestamp": "2026-01-15T14:05:00Z", "type": "Normal", "reason": "Pulled"}
    events = [{**item, **at} for item in named(3000)]
    events[-1] |= {"type": "Warning", "reason": "BackOff"}

    def answers(path: str) -> Given:
        wanted = [event for event in events if event["type"] != "Normal"] if "fieldSelector" in path else events
        return paged(wanted)(path)

    answer = cluster(answers).events(NOW - timedelta(hours=1))
    assert list(answer.frame["reason"]) == ["BackOff"]
    assert query_of(Api.asked[0])["fieldSelector"] == "type!=Normal"
    assert len(Api.asked) == 1
    assert "'--field-selector=type!=Normal'" in answer.command


@pytest.mark.parametrize(
    ("labels", "says"),
    [(False, "the list of pods was cut at 10,000 of 10,700"), (True, "the list of pods was cut at 10,000 of more")],
)
def test_a_list_beyond_the_bound_is_cut(cluster: Callable[..., Cluster], labels: bool, says: str) -> None:
    answer = cluster(paged(named(10_700))).pods(*(["api"] if labels else []))
    assert (len(answer.frame), answer.missing) == (10_000, says)


def test_a_page_that_fails_cuts_the_list(cluster: Callable[..., Cluster]) -> None:
    items = paged(named(1200))
    source = cluster(lambda path: (500, {"message": "etcd is away"}) if "continue=1000" in path else items(path))
    answer = source.pods()
    assert len(answer.frame) == 1000
    assert answer.missing == "the list of pods was cut at 1,000 of 1,200 (cluster answered 500: etcd is away)"


def test_a_page_that_hangs_cuts_the_list(cluster: Callable[..., Cluster]) -> None:
    release, items = threading.Event(), paged(named(600))

    def answers(path: str) -> Given:
        if "continue" in path:
            release.wait(10)
        return items(path)

    answer = cluster(answers, seconds=2.0).pods()
    release.set()
    assert len(answer.frame) == 500
    assert answer.missing == "the list of pods was cut at 500 of 600 (cluster did not answer in 2 s)"


EXPIRED = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired"}


@pytest.mark.parametrize("renewed", ["500", ""])
def test_a_list_that_expired_meanwhile_goes_on(cluster: Callable[..., Cluster], renewed: str) -> None:
    items, expired = paged(named(1200)), [1]

    def answers(path: str) -> Given:
        if "continue=500" in path and expired:
            expired.pop()
            return 410, {**EXPIRED, "metadata": {"continue": renewed} if renewed else {}}
        return items(path)

    answer = cluster(answers).pods()
    assert (len(answer.frame), answer.frame["name"].nunique(), answer.missing) == (1200, 1200, "")


STATUS = {"kind": "Status", "message": 'pods is forbidden: User "x" cannot list'}


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (401, STATUS, SourceUnavailable, "renew them in KUBECONFIG"),
        (403, STATUS, QueryFailed, "forbids this to the role .403.: pods is forbidden"),
        (403, b"", QueryFailed, "verbs it needs"),
        (404, {"message": "not found"}, QueryFailed, "answered 404: not found"),
        (422, {"message": 7}, QueryFailed, "answered 422"),
        (500, b"<html>", QueryFailed, "answered 500: an HTML page, as a proxy or load balancer before the API server"),
        (502, b"<!DOCTYPE html><title>Bad gateway</title>", QueryFailed, "502: an HTML page .“Bad gateway”."),
        (503, [], QueryFailed, "answered 503"),
        (503, b"", QueryFailed, "answered 503: no reason given"),
        (400, b"Client sent an HTTP request to an HTTPS server.", QueryFailed, "400: Client sent an HTTP request"),
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


def log(*texts: str, start: datetime = NOW - timedelta(minutes=10), level: str = "info") -> bytes:
    """A log as the API gives it with timestamps, one line a second."""
    times = ((start + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ") for second in range(len(texts)))
    lines = (f'{at} {{"level":"{level}","message":"{text}"}}\n' for at, text in zip(times, texts, strict=True))
    return "".join(lines).encode()


def made(app: str, *names: str, containers: tuple[str, ...] = ("main",), restarted: bool = False) -> list[Any]:
    """Pods of an app as the API lists them."""
    return [
        {
            "metadata": {"name": name, "uid": name, "labels": {"app.kubernetes.io/name": app}},
            "spec": {"containers": [{"name": container} for container in containers]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    {"name": container, "ready": True, "restartCount": int(restarted), "state": {"running": {}}}
                    for container in containers
                ],
            },
        }
        for name in names
    ]


START = NOW - timedelta(minutes=30)
WAITS = {"kind": "Status", "code": 400, "message": 'container "main" in pod "api-2" is waiting to start: ErrImagePull'}
GONE = {"kind": "Status", "code": 404, "message": 'pods "api-2" not found'}
NO_PREVIOUS = {
    "kind": "Status",
    "code": 400,
    "message": 'previous terminated container "main" in pod "api-2" not found',
}


def logged(pods: list[Any], of_log: Callable[[str, dict[str, str]], Given]) -> Callable[[str], Given]:
    """Pods, and what `of_log` answers to a pod's name and the query for its log."""

    def answers(path: str) -> Given:
        if "/log" not in path:
            return 200, {"items": pods}
        return of_log(urlsplit(path).path.split("/")[-2], query_of(path))

    return answers


def test_logs_within_the_window(cluster: Callable[..., Cluster]) -> None:
    lines = (
        b'2026-01-15T13:00:00Z {"level":"info","message":"early"}\n'
        b'2026-01-15T14:00:00Z {"level":"error","message":"in"}\n'
        b'2026-01-15T14:30:00Z {"level":"info","message":"late"}\n\xff\xfe broken\n'
    )
    answer = cluster(logged(made("api", "api-1"), lambda *_: (200, lines))).logs("api", START, NOW, tail=99_999)
    assert set(answer.frame["message"]) == {"in", "\ufffd\ufffd broken"}
    assert answer.missing == ""
    query = query_of(Api.asked[1])
    assert query["tailLines"] == "2000"
    assert "limitBytes" in query
    assert query["sinceTime"] == "2026-01-15T13:40:00Z"
    assert query["container"] == "main"


def test_more_pods_than_are_read_are_told(cluster: Callable[..., Cluster]) -> None:
    pods = made("api", *(f"api-{number:03}" for number in range(477)))
    pods[400]["status"]["conditions"][0]["status"] = "False"
    answer = cluster(logged(pods, lambda *_: (200, log("in")))).logs("api", START, NOW)
    assert answer.missing == "5 of 477 pods of api were read"
    assert answer.frame["pod"].nunique() == 5
    assert "api-400" in set(answer.frame["pod"]), "the one in trouble comes first"


@pytest.mark.parametrize(
    ("refusal", "says"), [((400, WAITS), "waiting to start: ErrImagePull"), ((500, b"boom"), "answered 500: boom")]
)
def test_a_log_that_cannot_be_read_does_not_lose_its_siblings(
    cluster: Callable[..., Cluster], refusal: Given, says: str
) -> None:
    pods = made("api", "api-1", "api-2", "api-3")
    source = cluster(logged(pods, lambda pod, _: refusal if pod == "api-2" else (200, log("in"))))
    answer = source.logs("api", START, NOW)
    assert sorted(answer.frame["pod"]) == ["api-1", "api-3"]
    assert says in answer.missing
    assert "the log of api-2" in answer.missing


def test_a_log_that_hangs_does_not_lose_its_siblings(cluster: Callable[..., Cluster]) -> None:
    release = threading.Event()

    def of_log(pod: str, _: dict[str, str]) -> Given:
        if pod == "api-2":
            release.wait(10)
        return 200, log("in")

    answer = cluster(logged(made("api", "api-1", "api-2", "api-3"), of_log), seconds=2.0).logs("api", START, NOW)
    release.set()
    assert sorted(answer.frame["pod"]) == ["api-1", "api-3"]
    assert answer.missing == "the log of api-2: cluster did not answer in 2 s"


def test_the_last_words_of_those_that_restarted_are_not_lost_by_those_that_did_not(
    cluster: Callable[..., Cluster],
) -> None:
    def of_log(pod: str, query: dict[str, str]) -> Given:
        assert query["previous"] == "true"
        return (200, log("last words")) if pod == "api-2" else (400, NO_PREVIOUS)

    for is_listed in (True, False):  # whether the list of pods tells which of them restarted
        pods = made("api", "api-1", "api-3") + made("api", "api-2", restarted=is_listed)
        answer = cluster(logged(pods, of_log)).logs("api", START, NOW, tail=200, previous=True)
        assert list(answer.frame["message"]) == ["last words"]
        assert answer.missing == ""


def test_where_none_restarted_there_are_no_last_words(cluster: Callable[..., Cluster]) -> None:
    source = cluster(logged(made("api", "api-1", "api-2"), lambda *_: (400, NO_PREVIOUS)))
    with pytest.raises(QueryFailed, match="no log of a container before the present one"):
        source.logs("api", START, NOW, tail=200, previous=True)


@pytest.mark.parametrize(
    ("refusal", "kind", "says"),
    [
        ((403, STATUS), QueryFailed, "forbids this"),
        ((400, WAITS), QueryFailed, "ErrImagePull"),
        ((200, b"<html><title>Sign in</title>"), QueryFailed, "an HTML page .“Sign in”."),
    ],
)
def test_where_no_log_can_be_read_the_reason_is_told(
    cluster: Callable[..., Cluster], refusal: Given, kind: type[SourceError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        cluster(logged(made("api", "api-1", "api-2"), lambda *_: refusal)).logs("api", START, NOW)


def test_each_container_of_a_pod_is_read(cluster: Callable[..., Cluster]) -> None:
    def of_log(pod: str, query: dict[str, str]) -> Given:
        if "container" not in query:
            return 400, {"message": f"a container name must be specified for pod {pod}, choose one of: [proxy main]"}
        return 200, log(f"of {query['container']}")

    answer = cluster(logged(made("api", "api-1", containers=("proxy", "main")), of_log)).logs("api", START, NOW)
    told = zip(answer.frame["container"], answer.frame["message"], strict=True)
    assert sorted(told) == [("main", "of main"), ("proxy", "of proxy")]


def test_the_last_line_is_the_latest_of_all_pods(cluster: Callable[..., Cluster]) -> None:
    def of_log(pod: str, _: dict[str, str]) -> Given:
        return 200, log(f"of {pod}", start=NOW - timedelta(minutes=1 if pod == "api-1" else 9))

    answer = cluster(logged(made("api", "api-1", "api-2"), of_log)).logs("api", START, NOW)
    assert list(answer.frame["message"]) == ["of api-2", "of api-1"]


def test_init_containers_are_read_where_they_failed(cluster: Callable[..., Cluster]) -> None:
    (pod,) = made("api", "api-1")
    pod["spec"]["initContainers"] = [{"name": "migrate"}, {"name": "warm-up"}, {"name": "done"}]
    pod["status"]["initContainerStatuses"] = [
        {"name": "done", "state": {"terminated": {"exitCode": 0}}, "restartCount": 0},
        {"name": "migrate", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 4},
        {"name": "warm-up", "state": {"waiting": {"reason": "PodInitializing"}}, "restartCount": 0},
    ]
    answer = cluster(logged([pod], lambda _, query: (200, log(query["container"])))).logs("api", START, NOW)
    assert sorted(answer.frame["container"]) == ["main", "migrate"]


def test_leftovers_are_not_read_beside_pods_that_serve(cluster: Callable[..., Cluster]) -> None:
    pods = made("api", "api-1", "api-evicted")
    pods[1]["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"}
    answer = cluster(logged(pods, lambda pod, _: (200, log("in")) if pod == "api-1" else (404, GONE))).logs(
        "api", START, NOW
    )
    assert (list(answer.frame["pod"]), answer.missing) == (["api-1"], "")


@pytest.mark.parametrize(("tail", "is_cut"), [(None, True), (2000, False)])
def test_lines_of_the_window_that_were_not_read_are_missing(
    cluster: Callable[..., Cluster], tail: int | None, is_cut: bool
) -> None:
    lines = log(*map(str, range(2000)), start=NOW - timedelta(seconds=2100))
    source = cluster(logged(made("api", "api-1"), lambda *_: (200, lines)))
    missing = source.logs("api", NOW - timedelta(hours=6), NOW, tail=tail).missing
    cut = "what api-1 logged before 13:35 UTC (its last 2,000 lines were read)"
    assert missing == (cut if is_cut else "")
    assert source.logs("api", NOW - timedelta(seconds=2100), NOW).missing == "", "these are all there are since then"


def test_logs_are_read_from_the_pods_just_listed_without_listing_them_again(cluster: Callable[..., Cluster]) -> None:
    pods = [*made("api", "api-1", "api-2"), *made("redis", "redis-1")]
    source = cluster(logged(pods, lambda *_: (200, log("in"))))
    source.pods()
    frame = source.logs("api", START, NOW).frame
    assert list(frame["pod"]) == ["api-1", "api-2"]
    assert len([path for path in Api.asked if "/log" not in path]) == 1


def test_a_pod_that_is_gone_since_it_was_listed_is_looked_for_again(cluster: Callable[..., Cluster]) -> None:
    def answers(path: str) -> Given:
        if "/log" not in path:
            return 200, {"items": made("api", "api-new" if "labelSelector" in path else "api-2")}
        return (404, GONE) if "api-2" in path else (200, log("in"))

    source = cluster(answers)
    source.pods()
    answer = source.logs("api", START, NOW)
    assert (list(answer.frame["pod"]), answer.missing) == (["api-new"], "")


def test_pods_that_are_gone_all_of_them_have_no_log(cluster: Callable[..., Cluster]) -> None:
    with pytest.raises(QueryFailed, match="its pods are gone"):
        cluster(logged(made("api", "api-2"), lambda *_: (404, GONE))).logs("api", START, NOW)


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


STATUS_503 = {"kind": "Status", "status": "Failure", "reason": "ServiceUnavailable", "code": 503}
NO_ENDPOINTS = {**STATUS_503, "message": 'no endpoints available for service "risk-server"'}
UNREACHED = {**STATUS_503, "message": "error trying to reach service: dial tcp 10.42.0.9:9202: i/o timeout"}
NO_SERVICE = {"kind": "Status", "status": "Failure", "code": 404, "message": 'services "risk-server" not found'}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"status":"ok"}'),
        (503, b'{"status":"degraded"}'),
        (503, b"not ready yet\n"),
        (500, b""),
        (502, b'{"error":"the provider is down"}'),
        (404, b"404 page not found\n"),
    ],
)
def test_what_the_service_itself_says_is_its_answer(cluster: Callable[..., Cluster], status: int, body: bytes) -> None:
    answer = cluster((status, body)).health("risk-server", 9202, "/health")
    assert answer.data == {"code": status, "body": body.decode()}
    assert Api.asked == ["/api/v1/namespaces/cryptofunk/services/risk-server:9202/proxy/health"]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (
            503,
            UNREACHED,
            "does not reach services/risk-server:9202 .503, which is not its own answer: error trying to reach",
        ),
        (502, b"error trying to reach service: EOF", "does not reach services/risk-server:9202"),
        (
            502,
            b"<html><title>502 Bad Gateway</title></html>",
            "502, which is not its own answer: an HTML page .“502 Bad Gateway”.",
        ),
        (504, b"", "does not reach services/risk-server:9202"),
        (503, b"upstream connect error or disconnect/reset before headers", "does not reach"),
        (500, {**STATUS_503, "code": 500, "message": "etcdserver: leader changed"}, "leader changed"),
        (200, b"<!doctype html><title>Sign in</title>", "does not reach .* “?Sign in"),
        (404, NO_SERVICE, 'answered 404: services "risk-server" not found'),
        (403, {**NO_SERVICE, "code": 403, "message": "services is forbidden"}, "forbids this to the role"),
    ],
)
def test_what_others_say_in_its_place_is_not(
    cluster: Callable[..., Cluster], status: int, body: Any, says: str
) -> None:
    source = cluster(lambda path: (status, body) if "/proxy" in path else (200, {}))
    with pytest.raises(QueryFailed, match=says.replace("“?", ".*")):
        source.health("risk-server", 9202, "/health")


def test_that_no_ready_pod_stands_behind_a_service_is_an_answer_of_the_cluster(
    cluster: Callable[..., Cluster],
) -> None:
    answer = cluster((503, NO_ENDPOINTS)).health("risk-server", 9202, "/health")
    assert answer.data == {"code": 503, "body": NO_ENDPOINTS["message"], "by": "cluster"}


def test_pods_that_hang_behind_the_proxy_do_not_switch_the_cluster_off(cluster: Callable[..., Cluster]) -> None:
    release = threading.Event()

    def answers(path: str) -> Given:
        if "/proxy" in path:
            release.wait(10)
        return 200, {"items": [POD]}

    source = cluster(answers, seconds=0.3)
    try:
        for server in ("market-data-server", "risk-server"):
            with pytest.raises(SourceUnavailable, match=r"did not answer in 0\.3 s"):
                source.health(server, 9201, "/health")
        with pytest.raises(SourceUnavailable, match="not asked again"):
            source.health("risk-server", 9201, "/health")
        assert len(source.pods().frame) == 1
    finally:
        release.set()
    assert source._evidence.state("cluster").reason.startswith("3 of 4 questions failed")
    assert len([path for path in Api.asked if "/proxy" in path]) == 2


def test_a_busy_server_is_asked_once_more_after_as_long_as_it_wants(cluster: Callable[..., Cluster]) -> None:
    replies: list[Given] = [(429, {"message": "too many requests"}, {"Retry-After": "0"}), (200, {"items": [POD]})]
    source = cluster(lambda path: replies.pop(0))
    assert len(source.pods().frame) == 1
    assert len(Api.asked) == 2


@pytest.mark.parametrize("wanted", ["30", "Thu, 15 Jan 2099 14:10:00 GMT"])
def test_a_server_that_is_busy_for_longer_is_left_alone(cluster: Callable[..., Cluster], wanted: str) -> None:
    with pytest.raises(QueryFailed, match=r"asked too much \(429\) and wants to be left alone for"):
        cluster((429, {"message": "too many requests"}, {"Retry-After": wanted})).pods()
    assert len(Api.asked) == 1


MISSING = {"kind": "Status", "status": "Failure", "code": 404, "message": 'namespaces "cryptofunk" not found'}


def test_a_namespace_that_is_not_there_is_known_of_nothing(cluster: Callable[..., Cluster]) -> None:
    source = cluster(lambda path: (200, {"items": []}) if is_list(path) else (404, MISSING))
    lists: list[Callable[[], Any]] = [
        source.pods,
        lambda: source.pods("api"),
        source.deployments,
        lambda: source.events(NOW),
        source.volumes,
        source.usage,
        lambda: source.logs("api", NOW, NOW),
        lambda: source.health("api", 80, "/health"),
    ]
    for ask in lists:
        with pytest.raises(QueryFailed, match="cluster has no namespace cryptofunk; set KUBE_NAMESPACE"):
            ask()
    assert len([path for path in Api.asked if path.endswith("/namespaces/cryptofunk")]) == 1


@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_namespace_that_may_be_there_is_empty(cluster: Callable[..., Cluster], status: int) -> None:
    source = cluster(lambda path: (200, {"items": []}) if is_list(path) else (status, {}))
    assert source.pods().frame.empty
    assert source.events(NOW).frame.empty


def test_a_connection_that_was_closed_meanwhile_is_opened_again(cluster: Callable[..., Cluster]) -> None:
    source = cluster((200, {"items": [POD]}))
    source.pods()
    (pool,) = source._connection._client.rest_client.pool_manager.pools._container.values()  # type: ignore[union-attr]
    kept = pool._get_conn()
    kept.sock.shutdown(socket.SHUT_RDWR)
    pool._put_conn(kept)
    assert len(source.pods().frame) == 1


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
