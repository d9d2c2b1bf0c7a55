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

import httpx
import numpy as np
import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources import http_json, promql
from runbook.sources.alerts import Alerts
from runbook.sources.evidence import Evidence
from runbook.sources.http_json import client_of
from runbook.sources.metrics import POINTS_MAX, Metrics, quote, quote_pattern, selector, union
from tests import worlds

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
    first: list[tuple[int, str]] = []
    """Statuses, with their Retry-After, that come before the answer."""
    asked: list[str] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body = type(self).answer
        if type(self).first:
            status, retry_after = type(self).first.pop(0)
            body = b"too many outstanding requests"
            self.send_response(status)
            self.send_header("Retry-After", retry_after)
        else:
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
    Prometheus.asked, Prometheus.first = [], []

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
        def _ask(self, endpoint: str, expression: str, times: Any, end: Any = None) -> Any:
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
    assert frame["value"].isna().tolist() == [True, False, True]
    assert frame["value"][1] == 1.0
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
        (401, b"no org id", SourceUnavailable, "refused access .401"),
        (403, b"<html>Forbidden</html>", SourceUnavailable, "refused access .403"),
        (503, {}, SourceUnavailable, "answered 503"),
        (503, {"status": "error", "error": "query timed out in expression evaluation"}, QueryFailed, "query timed out"),
        (502, b"<html>Bad Gateway</html>", SourceUnavailable, "502 .Bad Gateway. with an HTML page: a proxy or load"),
        (504, b"upstream request timeout", SourceUnavailable, "answered 504 .Gateway Timeout.$"),
        (404, b"404 page not found", SourceUnavailable, "is the path in PROMETHEUS_URL right"),
        (400, b"Client sent an HTTP request to an HTTPS server.", SourceUnavailable, "needs https://"),
        (302, {}, SourceUnavailable, "answered 302"),
        (200, b"<!DOCTYPE html><title>Sign in</title>", SourceUnavailable, "HTML page, not JSON, as a login page is"),
    ],
)
def test_what_is_no_answer_says_so(
    metrics: Callable[..., Metrics], status: int, body: Any, kind: type[SourceError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        metrics(status, body).instant("up", NOW)
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_asked_to_wait_it_asks_once_more(metrics: Callable[..., Metrics]) -> None:
    source = metrics(200, matrix())
    Prometheus.first = [(429, "0")]
    assert source.instant("up", NOW).rows == 0
    assert len(Prometheus.asked) == 2


@pytest.mark.parametrize("retry_after", ["600", "Thu, 31 Dec 2099 23:59:59 GMT"])
def test_asked_to_wait_for_too_long_it_does_not(metrics: Callable[..., Metrics], retry_after: str) -> None:
    source = metrics(200, matrix())
    Prometheus.first = [(429, retry_after)]
    with pytest.raises(QueryFailed, match=r"takes no more questions for now \(429\): it asks to wait"):
        source.instant("up", NOW)
    assert len(Prometheus.asked) == 1
    assert source.instant("up", NOW).rows == 0, "it is not switched off"


def test_refused_twice_it_gives_up(metrics: Callable[..., Metrics]) -> None:
    source = metrics(200, matrix())
    Prometheus.first = [(429, "0"), (429, "Thu, 01 Jan 1970 00:00:00 GMT")]
    with pytest.raises(QueryFailed, match="429"):
        source.instant("up", NOW)
    assert len(Prometheus.asked) == 2


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({}, ""),
        ({"warnings": []}, ""),
        (
            {"warnings": ["No StoreAPIs matched for this query", "x"]},
            "Prometheus warns: “No StoreAPIs matched for this query” and 1 more",
        ),
        ({"warnings": "one text"}, ""),
        ({"infos": ["PromQL info: metric might not be a counter, name does not end in _total"]}, ""),
        ({"warnings": ["PromQL info: metric might not be a counter, name does not end in _total"]}, ""),
        (
            {"infos": ["PromQL info: ignored histograms in a range containing both floats and histograms"]},
            "Prometheus warns: “PromQL info: ignored histograms in a range containing both floats and histograms”",
        ),
        ({"isPartial": True}, "Prometheus says that part of the data is missing (isPartial)"),
        ({"isPartial": False}, ""),
    ],
)
def test_warnings_make_an_answer_a_part(metrics: Callable[..., Metrics], more: dict[str, Any], missing: str) -> None:
    answer = metrics(200, vector(value=[1768485600, "2"]) | more).instant("up", NOW)
    assert (answer.rows, answer.missing) == (1, missing)
    rules = {"status": "success", "data": {"groups": []}} | more
    assert metrics(200, rules).rules().missing == missing


UNION = union({"held": "max(held)", "ratio": "sum(rate(a[5m])) / sum(rate(b[5m]))"})


@pytest.mark.parametrize(
    ("expression", "values", "missing"),
    [
        ("held", ["1", "2"], ""),
        ("held", ["1", "NaN"], "1 of 2 values of the query is no number (NaN or infinite)"),
        ("held", ["+Inf", "-Inf"], "2 of 2 values of the query are no numbers (NaN or infinite)"),
        # 0 / 0 and the quantile of nothing say that nothing came; x / 0 is something that came of nothing.
        ("a / b", ["1", "NaN"], ""),
        ("a / b", ["1", "+Inf"], "1 of 2 values of the query is no number (NaN or infinite)"),
        ("histogram_quantile(0.95, x_bucket)", ["NaN", "2"], ""),
        ('held{path="/"}', ["1", "NaN"], "1 of 2 values of the query is no number (NaN or infinite)"),
        (UNION, {"held": ["1"], "ratio": ["NaN"]}, ""),
        (UNION, {"held": ["NaN"], "ratio": ["NaN"]}, "1 of 1 value of held is no number (NaN or infinite)"),
        (UNION, {"held": ["1"], "ratio": ["+Inf"]}, "1 of 1 value of ratio is no number (NaN or infinite)"),
    ],
)
def test_samples_that_are_none_are_missing_and_said_to_be(
    metrics: Callable[..., Metrics], expression: str, values: Any, missing: str
) -> None:
    parts = values if isinstance(values, dict) else {"": values}
    found = [({"what": what}, [[NOW.timestamp(), text] for text in texts]) for what, texts in parts.items()]
    answer = metrics(200, matrix(*found)).range(expression, NOW - timedelta(hours=1), NOW)
    assert answer.missing == missing
    assert not np.isinf(answer.frame["value"]).any()


@pytest.mark.parametrize(
    ("minutes", "expression", "missing"),
    [
        (5, "held", ""),
        (40, "held", "the query has no sample for 40 min"),
        (40, "a / b", ""),
        (40, UNION, "held has no sample for 40 min"),
    ],
)
def test_samples_that_ended_are_said_to_have(
    metrics: Callable[..., Metrics], minutes: int, expression: str, missing: str
) -> None:
    last = (NOW - timedelta(minutes=minutes)).timestamp()
    parts = ["held", "ratio"] if expression == UNION else [""]
    source = metrics(200, matrix(*(({"what": what}, [[last, "1"]]) for what in parts)))
    assert source.range(expression, NOW - timedelta(hours=1), NOW).missing == missing
    assert source.range(expression, NOW - timedelta(hours=1), NOW, may_end=True).missing == ""


def test_which_metrics_exist_is_asked_by_their_names_alone(metrics: Callable[..., Metrics]) -> None:
    source = metrics(200, {"status": "success", "data": ["up"]})
    assert source.existing(("up", 'no."such')).data == ["up"]
    asked = parse_qs(urlsplit(Prometheus.asked[-1]).query)
    assert asked == {"match[]": ['{__name__=~"up|no\\\\.\\"such"}']}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("no_such_metric", ("no_such_metric",)),
        ('rate(x{a="b"}[5m]) / on(a) sum by (b) (y) > 3', ("x", "y")),
        ("max_over_time(up[1h:1m]) - -z offset 5m", ("up", "z")),
        ('{__name__="foo"}', ()),
        ("(((", ()),
        ("(" * 100 + "x" + ")" * 100, ()),
    ],
)
def test_the_metrics_of_an_expression(expression: str, names: tuple[str, ...]) -> None:
    assert promql.metrics_in(expression) == names


def test_why_there_is_no_connection(prometheus: Callable[[int, Any], str]) -> None:
    plain = prometheus(200, {})
    for url, says in {
        worlds.dead_url(): "connection refused; is PROMETHEUS_URL right?",
        plain.replace("http://", "https://"): "it speaks no TLS, which https:// asks for",
        "http://no-such-host.invalid": "its host name",
    }.items():
        source = Metrics(url, Evidence())
        with pytest.raises(SourceUnavailable, match=says):
            source.instant("up", NOW)
        source.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)",
            "its TLS certificate is not trusted (self-signed certificate)",
        ),
        (
            "certificate verify failed: Hostname mismatch, certificate is not valid for 'prometheus.internal'.",
            "its TLS certificate is not trusted (Hostname mismatch)",
        ),
        ("[Errno 113] No route to host", "there is no route to it; is X right?"),
        ("something else", "ConnectError; is X right?"),
    ],
)
def test_what_connection_errors_come_to(text: str, says: str) -> None:
    assert http_json._why(httpx.ConnectError(text), "X") == says


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
