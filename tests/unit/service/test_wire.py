"""The webhook as bytes on a connection, and as JSON that is nearly a message: nothing breaks it, all is counted."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import service_kit as kit
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from service_kit import Web, alert, message, query, wait_for

from runbook.service import app as application
from runbook.service import connections, webhook
from runbook.service.auth import gate_for
from runbook.service.connections import Connection
from runbook.service.context import Context
from runbook.settings import Settings

PATH = "/webhook/alertmanager"
ONE = json.dumps(message(alert()))


@contextlib.asynccontextmanager
async def nothing() -> Any:
    yield


def site(made: Context, **values: Any) -> Any:
    return application.build(made, gate_for(Settings(**values), "127.0.0.1"), nothing)


@pytest.fixture
def web(made: Context) -> Iterator[Web]:
    with Web(site(made)) as opened:
        yield opened


def results(web: Web) -> dict[str, float]:
    """How often each result was counted."""
    families = {f.name: f for f in text_string_to_metric_families(web.get("/metrics").text)}
    samples = families["runbook_webhook_messages"].samples
    return {s.labels["result"]: s.value for s in samples if s.name.endswith("_total")}


def with_field(name: str, raw: str) -> bytes:
    """A message with one more field, as raw JSON."""
    return f'{ONE[:-1]}, "{name}": {raw}}}'.encode()


def with_alert(**fields: Any) -> bytes:
    return json.dumps(message(alert() | fields)).encode()


REFUSED = {
    "deep lists": (with_field("x", "[" * 50_000 + "]" * 50_000), "nested too deeply"),
    "deep objects": (with_field("x", '{"a":' * 50_000 + "1" + "}" * 50_000), "nested too deeply"),
    "deep labels": (ONE.replace('"group"', "[" * 5_000 + "]" * 5_000).encode(), "nested too deeply"),
    "deep and cut": (b'{"version": "4", "x": ' + b"[" * 200_000, "nested too deeply"),
    "alerts twice": (with_field("alerts", "[]"), "names a field twice"),
    "a label twice": (ONE.replace('"severity"', '"alertname": "x", "severity"').encode(), "names a field twice"),
    "twice far down": (with_field("x", '[{"y": {"a": 1, "a": 2}}]'), "names a field twice"),
    "NaN": (with_field("x", "NaN"), "NaN, which is not JSON"),
    "Infinity": (with_field("truncatedAlerts", "Infinity"), "Infinity, which is not JSON"),
    "-Infinity": (with_field("x", "[-Infinity]"), "-Infinity, which is not JSON"),
    "1e999 left out": (with_field("truncatedAlerts", "1e999"), "truncatedAlerts is not a whole number"),
    "negative left out": (with_field("truncatedAlerts", "-1"), "truncatedAlerts is not a whole number"),
    "many digits": (with_field("x", "9" * 5_000), "too many digits"),
    "number as version": (with_field("x", "1").replace(b'"4"', b"4.0"), "version is not 4"),
    "Latin-1": (ONE.replace("fires", "\xe9").encode("latin-1"), "not UTF-8"),
    "UTF-16": (ONE.encode("utf-16"), "not UTF-8"),
    "raw surrogate": (b'{"version": "4", "x": "\xed\xa0\x80"}', "not UTF-8"),
    "raw NUL": (ONE.replace("fires", "\x00").encode(), "not JSON"),
    "two values": (ONE.encode() + b"{}", "not JSON"),
    "comment": (b"// hello\n" + ONE.encode(), "not JSON"),
    "101 labels": (with_alert(labels={f"l{n}": "x" for n in range(101)}), "labels is not an object of at most 100"),
    "101 annotations": (with_alert(annotations={f"a{n}": "" for n in range(101)}), "annotations is not"),
    "10,001 alerts": (json.dumps(message(*[{"startsAt": kit.BEGAN, "status": "firing"}] * 10_001)).encode(), "10,000"),
    "year 10000": (with_alert(startsAt="10000-01-01T00:00:00Z"), "startsAt is not a time"),
    "year 0": (with_alert(startsAt="0000-01-01T00:00:00Z"), "startsAt is not a time"),
    "before the first year": (with_alert(startsAt="0001-01-01T00:00:00+14:00"), "startsAt is not a time"),
    "after the last year": (with_alert(startsAt="9999-12-31T23:59:59-14:00"), "startsAt is not a time"),
    "offset of 30 hours": (with_alert(startsAt="2026-01-15T14:02:00+30:00"), "startsAt is not a time"),
    "leap second": (with_alert(startsAt="2026-12-31T23:59:60Z"), "startsAt is not a time"),
    "Unix time": (with_alert(startsAt=1768485720), "startsAt is not text"),
    "long time": (with_alert(startsAt="2" * 100_000), "startsAt is not a time"),
    "end out of range": (with_alert(endsAt="10000-01-01T00:00:00Z"), "endsAt is not a time"),
}


@pytest.mark.parametrize(("body", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_told_its_true_reason_counted_and_logged(
    made: Context, web: Web, caplog: pytest.LogCaptureFixture, body: bytes, said: str
) -> None:
    answer = web.post(PATH, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert said in answer.json()["error"]
    assert len(answer.text) < 300
    assert results(web) == {"malformed": 1.0}
    assert [r.fields["why"] for r in caplog.records if hasattr(r, "fields")] == [answer.json()["error"]]
    assert query(made, "SELECT 1 FROM runbook.incidents") == []


TAKEN = {
    "1e999": with_field("x", "1e999"),
    "a long fraction": with_field("x", "0." + "1" * 10_000),
    "4,000 digits": with_field("x", "9" * 4_000),
    "byte order mark": b"\xef\xbb\xbf" + ONE.encode(),
    "400 deep": with_field("x", "[" * 400 + "]" * 400),
    "surrogate": with_alert(labels={"alertname": "a\ud800", "\udfff": "x"}, fingerprint="f\ud800"),
    "NUL": with_alert(labels={"alertname": "a\x00b", "\x00": "x"}, annotations={"summary": "\x00"}, fingerprint="\x00"),
    "no end": with_alert(endsAt="0001-01-01T00:00:00Z"),
    "no end, elsewhere": with_alert(endsAt="0001-01-01T00:00:00+02:00"),
    "last end": with_alert(endsAt="9999-12-31T23:59:59Z"),
    "first start": with_alert(startsAt="0001-01-01T00:00:00Z"),
    "last start": with_alert(startsAt="9999-12-31T23:59:59.999999Z"),
    "offset": with_alert(startsAt="2026-01-15T16:02:00+02:00"),
    "odd offset": with_alert(startsAt="2026-01-15T19:47:13+05:45:13"),
    "nanoseconds": with_alert(startsAt="2026-01-15T14:02:00.123456789Z"),
    "end before start": with_alert(status="resolved", endsAt="1970-01-01T00:00:00Z"),
    "100 labels": with_alert(labels={f"l{n}": "x" * 5_000 for n in range(100)}),
    "no labels": with_alert(labels={}),
    "null labels": with_alert(labels=None, annotations=None, fingerprint=None, generatorURL=None),
    "long fingerprint": with_alert(fingerprint="f" * 100_000),
    "many left out": with_field("truncatedAlerts", "9" * 30),
    "5,000 alerts": json.dumps(message(*(alert(fingerprint=f"f{n}") for n in range(5_000)))).encode(),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
def test_what_is_odd_but_true_is_taken_and_ends(made: Context, web: Web, body: bytes) -> None:
    assert web.post(PATH, content=body).status_code == 202
    assert web.post(PATH, content=body).json()["result"] in ("repeated", "ignored")
    kit.do_all(made)
    for path in (
        "/",
        "/reports",
        "/metrics",
        *(f"/incidents/{i['id']}" for i in query(made, "SELECT id FROM runbook.incidents")),
    ):
        assert web.get(path).status_code == 200, path


@pytest.mark.parametrize("kind", ["application/json; charset=utf-16", "text/plain", "x", "", "multipart/form-data"])
def test_the_content_type_does_not_matter(web: Web, kind: str) -> None:
    """`curl -d` says it is a form. What the bytes are, they say themselves."""
    assert web.post(PATH, content=ONE.encode(), headers={"Content-Type": kind}).status_code == 202


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip"])
def test_compressed_messages_are_refused_unread(web: Web, coding: str) -> None:
    """A few kilobytes could be gigabytes. Alertmanager never compresses."""
    answer = web.post(PATH, content=gzip.compress(ONE.encode()), headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.json()) == (415, {"error": "The message is compressed. Send it as it is."})
    assert results(web) == {"compressed": 1.0}


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_a_web_page_cannot_raise_alerts_on_a_laptop(made: Context, web: Web, headers: dict[str, str]) -> None:
    answer = web.post(PATH, content=ONE.encode(), headers=headers | {"Content-Type": "text/plain"})
    assert answer.status_code == 403
    assert results(web) == {"foreign": 1.0}
    assert query(made, "SELECT 1 FROM runbook.incidents") == []
    with Web(site(made, runbook_webhook_token="hook-token")) as guarded:
        proof = {"Authorization": "Bearer hook-token"}
        assert guarded.post(PATH, content=ONE.encode(), headers=headers | proof).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", PATH, 405), ("PUT", PATH, 405), ("DELETE", PATH, 405), ("POST", "/webhook/x", 404)],
)
def test_what_comes_to_the_wrong_door_is_shown_the_right_one(web: Web, method: str, path: str, status: int) -> None:
    answer = web.request(method, path)
    assert answer.status_code == status
    assert "POST to /webhook/alertmanager" in answer.json()["error"]
    assert results(web) == {"misdirected": 1.0}


# JSON text that is nearly a message: what a schema of it would allow, and a little more.
texts = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(
    ["\x00", "\ud800", "é", "=?", "{{x}}", "' --"]
)
times = st.one_of(
    st.datetimes().map(lambda d: d.isoformat() + "Z"),
    st.builds(
        "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}{}".format,
        *(st.integers(0, n) for n in (10_000, 13, 32, 24, 60, 60)),
        st.sampled_from(["Z", "+14:00", "-23:59", ".999999999Z", "", "+24:00"]),
    ),
    texts,
)
labels = st.dictionaries(texts, texts, max_size=6)
odd = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(texts, max_size=2) | labels


def near(other: st.SearchStrategy[Any], moments: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Messages whose fields are of their kind, or `other`."""
    one = st.fixed_dictionaries(
        {"labels": labels, "startsAt": moments},
        optional={
            "status": st.sampled_from(["firing", "resolved"]) | other,
            "annotations": labels | other,
            "endsAt": moments | other,
            "fingerprint": texts | other,
            "generatorURL": texts | other,
        },
    )
    return st.fixed_dictionaries(
        {
            "version": st.sampled_from(["4", 4]) | other,
            "status": st.sampled_from(["firing", "resolved"]),
            "alerts": st.lists(one | other, min_size=1, max_size=4),
        },
        optional={
            "groupKey": texts | other,
            "groupLabels": labels | other,
            "truncatedAlerts": st.integers(0) | other,
            "receiver": texts | other,
            "externalURL": texts | other,
        },
    )


GARBAGE = [b"NaN", b"1e999", b"[" * 2_000, b"\x00", b"\\ud800", b'"', b",", b"9" * 5_000]


@st.composite
def spoiled(draw: Callable[..., Any], messages: st.SearchStrategy[Any]) -> bytes:
    """A message's bytes with some of them changed, taken out, put in or put twice."""
    body = bytearray(json.dumps(draw(messages), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(["change", "cut", "double", "put"])):
            case "change" if place < len(body):
                body[place] = draw(st.integers(0, 255))
            case "cut":
                del body[place : place + draw(st.integers(1, 40))]
            case "double":
                body[place:place] = body[place : place + draw(st.integers(1, 40))]
            case _:
                body[place:place] = draw(st.sampled_from(GARBAGE))
    return bytes(body)


whole = near(st.nothing(), st.datetimes().map(lambda d: d.isoformat() + "Z")).map(lambda m: json.dumps(m).encode())
FUZZED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZED
@given(body=whole)
def test_a_message_of_the_right_shape_is_taken_whatever_it_says(web: Web, body: bytes) -> None:
    assert web.post(PATH, content=body).status_code == 202


@FUZZED
@given(body=near(odd, times).map(lambda m: json.dumps(m).encode()) | spoiled(near(st.nothing(), times)))
def test_no_message_breaks_it(web: Web, body: bytes) -> None:
    answer = web.post(PATH, content=body)
    assert answer.status_code in (202, 400)
    assert answer.json().get("error", "x").isprintable()
    assert web.get("/").status_code == 200


# From here on: a real server and a real connection.
class Wire:
    """The application on uvicorn as `serve` runs it, in a thread."""

    def __init__(self, made: Context) -> None:
        config = uvicorn.Config(site(made), port=0, http=Connection, log_config=None, access_log=False, lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        wait_for(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def send(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """Everything it answers until it closes the connection, or for ten seconds."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            with contextlib.suppress(OSError):
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
            answer = b""
            with contextlib.suppress(OSError):
                while more := connection.recv(65_536):
                    answer += more
                    head, ended, rest = answer.partition(b"\r\n\r\n")
                    if ended and len(rest) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0] or 0):
                        break
            return answer

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(15)


@pytest.fixture
def wire(made: Context) -> Iterator[Wire]:
    running = Wire(made)
    yield running
    running.close()


HEAD = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_chunks_are_a_message(wire: Wire) -> None:
    parts = [chunk(ONE.encode()[n : n + 100]) for n in range(0, len(ONE), 100)]
    assert b" 202 " in wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *parts, b"0\r\n\r\n")


def test_chunks_without_end_are_too_many_at_four_mebibytes(wire: Wire, web: Web) -> None:
    part = chunk(b" " * 65_536)
    answer = wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[part] * 80)
    assert b" 413 " in answer
    assert b"max_alerts" in answer


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc",
        b"POST /webhook/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n" * 1_000 + b"GET\r\n\r\n",
    ],
    ids=[
        "negative length",
        "two lengths",
        "length and chunks",
        "bad chunk",
        "huge chunk",
        "coded transfer",
        "NUL",
        "long header",
        "TLS",
        "no version",
    ],
)
def test_broken_http_is_refused_and_the_server_goes_on(wire: Wire, sent: bytes) -> None:
    answer = wire.send(sent)
    assert answer == b"" or answer.split(b" ")[1] in (b"400", b"404", b"413", b"431", b"501"), answer
    assert b" 202 " in wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE.encode())


def test_garbage_never_breaks_it(wire: Wire) -> None:
    dice = random.Random(5)
    valid = HEAD + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE.encode()
    for _ in range(60):
        sent = bytearray(valid)
        for _ in range(dice.randrange(1, 6)):
            sent[dice.randrange(len(sent))] = dice.randrange(256)
        with socket.create_connection(("127.0.0.1", wire.port)) as connection:
            connection.sendall(bytes(sent))
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            answer = b""
            with contextlib.suppress(OSError):
                answer = connection.recv(1_000)
        assert b" 500 " not in answer[:20], bytes(sent)
    assert b" 202 " in wire.send(valid)


def test_a_sender_that_hangs_up_leaves_nothing(
    wire: Wire, web: Web, made: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", wire.port)) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + ONE.encode()[:50])
    wait_for(lambda: "webhook refused: malformed" in caplog.text)
    assert query(made, "SELECT 1 FROM runbook.incidents") == []


def test_a_body_that_drips_is_answered_and_counted(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook, "BODY_SECONDS", 0.3)
    answer = wire.send(HEAD + b"Content-Length: 1000\r\n\r\n", b"{", b'"', b"v")
    assert b" 408 " in answer
    assert b"Send it again" in answer
    assert "webhook refused: slow" in caplog.text


@pytest.mark.parametrize(
    "sent", [b"", HEAD[:30], HEAD + b"Content-Length: 1000\r\n\r\n{"], ids=["nothing", "half a head", "half a body"]
)
def test_a_connection_is_not_held_for_ever(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "ARRIVAL_SECONDS", 0.3)
    assert wire.send(sent) == b""
    assert "its connection is closed" in caplog.text


def test_a_connection_whose_request_has_come_waits_for_nothing(wire: Wire) -> None:
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", wire.port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(ask[:10])
            wait_for(lambda: [c._late is not None for c in wire.server.server_state.connections] == [True])
            connection.sendall(ask[10:])
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += connection.recv(4_096)
            assert [c._late for c in wire.server.server_state.connections] == [None]


def test_a_failure_of_ours_says_so_in_json_and_is_counted(
    made: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, body: bytes) -> Any:
        raise TypeError("a bug with a secret in it")

    monkeypatch.setattr(webhook.Webhook, "_accept", broken)
    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    wire = Wire(made)
    answer = wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE.encode())
    counted = wire.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wire.close()
    assert b" 500 " in answer
    assert b"The service's log says why" in answer
    assert b"secret" not in answer
    assert b'runbook_webhook_messages_total{result="failed"} 1.0' in counted
