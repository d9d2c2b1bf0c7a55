"""PromQL: quoting that nothing leaves, steps that bound the points, answers and refusals."""

from __future__ import annotations

import json
import math
import shlex
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources.alerts import Alerts
from runbook.sources.evidence import Evidence
from runbook.sources.metrics import POINTS_MAX, Metrics, client_of, quote, quote_pattern, selector

NOW = datetime(2026, 1, 15, 14, 10, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
NASTY = [
    '"} or vector(1) or {x="',
    "\\",
    '\\"',
    "a\nb",
    "`",
    "'",
    "{{.}}",
    "\u2028",
    "\x7f",
    "\x1b[31m",
    "🙂",
    "$__range",
]


class Prometheus(BaseHTTPRequestHandler):
    """Answers every request with what the test says, and remembers what was asked."""

    answer: tuple[int, bytes] = (200, b"")
    asked: list[str] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body = type(self).answer
        self.send_response(status)
        if status in (301, 302):
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[Callable[[int, Any], str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Prometheus.asked = []

    def answering(status: int, body: Any) -> str:
        Prometheus.answer = (status, body if isinstance(body, bytes) else json.dumps(body).encode())
        return f"http://127.0.0.1:{server.server_port}/"

    yield answering
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def metrics(prometheus: Callable[[int, Any], str]) -> Iterator[Callable[..., Metrics]]:
    opened: list[Metrics] = []

    def make(status: int, body: Any) -> Metrics:
        opened.append(Metrics(prometheus(status, body), Evidence()))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def matchers(expression: str) -> list[tuple[str, str]]:
    parsed = promql_parser.parse(expression)
    assert isinstance(parsed, promql_parser.VectorSelector)
    return [(one.name, one.value) for one in parsed.matchers.matchers]


@given(TEXTS)
def test_any_text_is_one_matcher_of_its_own_value(text: str) -> None:
    assert matchers(f"up{{job={quote(text)}}}") == [("job", text)]


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_is_one_matcher_of_its_own_value(text: str) -> None:
    assert matchers(f"up{{job={quote(text)}}}") == [("job", text)]


@given(TEXTS)
def test_any_text_as_a_pattern_is_one_matcher_that_matches_itself(text: str) -> None:
    ((name, pattern),) = matchers(f"up{{job=~{quote_pattern(text)}}}")
    assert name == "job"
    unescaped, rest = [], iter(pattern)
    for character in rest:
        assert character not in ".+*?()|[]{}^$"
        unescaped.append(next(rest) if character == "\\" else character)
    assert "".join(unescaped) == text


@given(TEXTS, TEXTS)
def test_selector_holds_what_is_given(job: str, pod: str) -> None:
    expected = [(name, value) for name, value in (("job", job), ("pod", pod)) if value]
    assert matchers("up" + selector(job=job, pod=pod, node=None)) == expected


@given(st.floats(0, 90 * 86_400), st.integers(1, 500))
def test_a_range_gives_few_enough_points(seconds: float, series: int) -> None:
    asked: list[dict[str, str]] = []

    class Recorded(Metrics):
        def _ask(self, endpoint: str, expression: str, times: Any) -> Any:
            asked.append(dict(times))

    Recorded("http://x", Evidence()).range("up", NOW - timedelta(seconds=seconds), NOW, series=series)
    step = int(asked[0]["step"])
    assert step >= 15
    assert step % 15 == 0
    assert (math.floor(seconds / step) + 1) * series <= max(POINTS_MAX, 2 * series)


def matrix(*series: tuple[dict[str, str], list[list[Any]]]) -> dict[str, Any]:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def test_a_range_is_one_row_a_point(metrics: Callable[..., Metrics], prometheus: Any) -> None:
    source = metrics(
        200,
        matrix(
            ({"__name__": "up", "job": "b"}, [[1768485600, "1"], [1768485615.5, "NaN"]]),
            ({"job": "a", "time": "clash"}, [[1768485600, "+Inf"]]),
        ),
    )
    answer = source.range("up", NOW - timedelta(hours=1), NOW)
    frame = answer.frame
    assert sorted(frame.columns) == ["__name__", "exported_time", "job", "time", "value"]
    assert frame["job"].tolist() == ["a", "b", "b"]
    assert frame["value"].tolist()[:2] == [math.inf, 1.0]
    assert math.isnan(frame["value"][2])
    assert frame["__name__"].tolist() == ["", "up", "up"]
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    asked = parse_qs(urlsplit(Prometheus.asked[0]).query)
    assert asked["query"] == ["up"]
    assert float(asked["end"][0]) == NOW.timestamp()
    assert answer.rows == 3


def test_nothing_found_still_has_columns(metrics: Callable[..., Metrics]) -> None:
    frame = metrics(200, matrix()).range("up", NOW - timedelta(hours=1), NOW).frame
    assert frame.columns.tolist() == ["time", "value"]
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"


def test_scalars_and_vectors(metrics: Callable[..., Metrics]) -> None:
    scalar = {"status": "success", "data": {"resultType": "scalar", "result": [1768485600, "2"]}}
    assert metrics(200, scalar).instant("2", NOW).frame["value"].tolist() == [2.0]


def vector(**sample: Any) -> dict[str, Any]:
    return {"data": {"resultType": "vector", "result": [{"metric": {}, **sample}]}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (
            400,
            {"status": "error", "errorType": "bad_data", "error": "1:5: parse error\nmore"},
            QueryFailed,
            "1:5: parse error",
        ),
        (422, {"status": "error", "error": "query timed out"}, QueryFailed, "query timed out"),
        (200, b"<html>a proxy</html>", SourceUnavailable, "not JSON"),
        (200, b"\xff\xfe\x00", SourceUnavailable, "not JSON"),
        (200, {"status": "success"}, SourceUnavailable, "is PROMETHEUS_URL right"),
        (200, [], SourceUnavailable, "is PROMETHEUS_URL right"),
        (200, vector(value=["x", "y"]), SourceUnavailable, "is PROMETHEUS_URL"),
        (200, vector(value=[1]), SourceUnavailable, "is PROMETHEUS_URL"),
        (200, vector(value=[1e30, "1"]), SourceUnavailable, "is PROMETHEUS_URL"),
        (200, vector(histogram=[1, {}]), SourceUnavailable, "is PROMETHEUS_URL"),
        (401, {}, SourceUnavailable, "needs credentials"),
        (403, b"{}", SourceUnavailable, "needs credentials"),
        (503, {}, SourceUnavailable, "answered 503"),
        (302, {}, SourceUnavailable, "answered 302"),
    ],
)
def test_what_is_no_answer_says_so(
    metrics: Callable[..., Metrics], status: int, body: Any, kind: type[SourceError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        metrics(status, body).instant("up", NOW)
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_an_endless_answer_is_cut(metrics: Callable[..., Metrics]) -> None:
    with pytest.raises(QueryFailed, match="over 32 MiB; ask a narrower question"):
        metrics(200, b"[" + b" " * (33 * 1024 * 1024)).instant("up", NOW)


@pytest.mark.parametrize("url", [None, "", "ftp://host", "not a url", "http://", "http://[bad", "postgresql://x"])
def test_no_usable_address(url: str | None) -> None:
    with pytest.raises((NotConfigured, SourceUnavailable), match="PROMETHEUS_URL"):
        Metrics(url, Evidence()).instant("up", NOW)


def test_passwords_in_the_address_are_not_told() -> None:
    evidence = Evidence(secrets=["http://admin:hid-den-pw@127.0.0.1:9"])
    source = Metrics("http://admin:hid-den-pw@127.0.0.1:9", evidence)
    with pytest.raises(SourceUnavailable) as caught:
        source.instant("up", NOW)
    source.close()
    assert "hid-den-pw" not in str(caught.value) + repr(evidence.answers)


@pytest.mark.parametrize("text", [*NASTY, "'; rm -rf / #", "$(id)", "%2e\r\n"])
def test_the_shown_command_is_one_shell_word_a_parameter(metrics: Callable[..., Metrics], text: str) -> None:
    source = metrics(200, matrix())
    command = source.instant(f"up{{job={quote(text)}}}", NOW).command
    words = shlex.split(command)
    assert words[:2] == ["curl", "-sG"]
    assert f"query=up{{job={quote(text)}}}" in words
    assert len(words) == 7


def test_alerts(prometheus: Callable[[int, Any], str]) -> None:
    alert = {
        "labels": {"alertname": "A", "severity": "critical"},
        "annotations": {},
        "startsAt": "2026-01-15T14:02:00.123Z",
        "status": {"state": "active", "silencedBy": ["x"]},
    }
    source = Alerts(prometheus(200, [alert, {**alert, "labels": {}}]), Evidence())
    frame = source.active().frame
    source.close()
    assert frame["name"].tolist() == ["A", ""]
    assert frame["silenced_by"][0] == ["x"]
    assert str(frame["since"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize(
    "body", [{}, [1], [{"labels": {}}], [{"labels": {}, "status": {"state": "x"}, "startsAt": "soon"}], 7, None]
)
def test_alerts_of_another_form(prometheus: Callable[[int, Any], str], body: Any) -> None:
    source = Alerts(prometheus(200, body), Evidence())
    try:
        assert source.active().rows == 0  # an empty object has no alerts
    except SourceUnavailable as error:
        assert "ALERTMANAGER_URL" in str(error)  # noqa: PT017
    source.close()


@pytest.mark.parametrize(
    "url", ["https://prometheus:9090", "HTTPS://prometheus", "prometheus:9090", "//prometheus", ""]
)
def test_certificates_are_checked_wherever_tls_may_be_spoken(url: str) -> None:
    with client_of(url, 1.0) as client:
        context = client._transport._pool._ssl_context  # type: ignore[attr-defined]
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
