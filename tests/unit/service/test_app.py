"""The web application in this process: webhook, hostile payloads, access, pages."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from service_kit import Web, alert, message, query

from runbook.alert import TEXT_MAX
from runbook.errors import ConfigurationError
from runbook.service import app as application
from runbook.service.auth import gate_for
from runbook.service.context import Context
from runbook.settings import Settings

WEBHOOK = "/webhook/alertmanager"


@contextlib.asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


def client(made: Context, host: str = "127.0.0.1", **values: Any) -> Web:
    gate = gate_for(Settings(**values), host)
    return Web(application.build(made, gate, nothing))


@pytest.fixture
def web(made: Context) -> Iterator[Web]:
    with client(made) as opened:
        yield opened


def test_accepted_after_commit_with_its_incident(made: Context, web: Web) -> None:
    answer = web.post(WEBHOOK, json=message(alert()))
    assert (answer.status_code, answer.json()) == (202, {"result": "accepted", "incident": 1, "new_alerts": 1})
    assert len(query(made, "SELECT 1 FROM runbook.procrastinate_jobs WHERE task_name = 'run'")) == 1


DEEP = b'{"version": "4", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
MALFORMED = {
    "empty": b"",
    "text": b"hello",
    "half": b'{"version": "4", "alerts": [',
    "bad UTF-8": b'{"version": "4", "status": "\xff\xfe"}',
    "deep": DEEP,
    "long number": b'{"version": ' + b"9" * 10_000 + b"}",
    "array": b"[]",
    "other version": json.dumps(message(alert(), version="3")).encode(),
    "no version": json.dumps({"alerts": [alert()]}).encode(),
    "no alerts": json.dumps(message(alert()) | {"alerts": []}).encode(),
    "number as label": json.dumps(message(alert() | {"labels": {"alertname": 5}})).encode(),
    "no zone": json.dumps(message(alert(starts_at="2026-01-15T14:02:00"))).encode(),
    "no start": json.dumps(message(alert(starts_at=""))).encode(),
    "many labels": json.dumps(message(alert(**{f"l{i}": "x" for i in range(200)}))).encode(),
    "status": json.dumps(message(alert()) | {"status": "<script>"}).encode(),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_is_refused_with_its_reason_and_counted(made: Context, web: Web, body: bytes) -> None:
    answer = web.post(WEBHOOK, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")
    assert "<script>" not in answer.text
    assert 'runbook_webhook_messages_total{result="malformed"} 1.0' in web.get("/metrics").text
    assert query(made, "SELECT 1 FROM runbook.incidents") == []


def test_oversized_is_refused_by_its_header_and_by_its_length(web: Web) -> None:
    assert web.post(WEBHOOK, content=b"x" * (4 * 1024 * 1024 + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(70):
            yield b"x" * 65_536

    assert web.post(WEBHOOK, content=endless()).status_code == 413


def test_other_methods_and_addresses_are_refused(web: Web) -> None:
    assert web.get(WEBHOOK).status_code == 405
    assert web.post("/webhook/other").status_code == 404
    for path in (
        "/nothing",
        "/reports/none",
        "/incidents/1",
        f"/incidents/{10**30}",
        "/static/../app.py",
        "/reports/a%00b",
    ):
        assert web.get(path).status_code == 404, path


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE runbook.runs; --",
    '"} or vector(1) or {x="',
    "{{ 7 * 7 }}{% for x in y %}",
    "!!python/object/apply:os.system ['id']",
    "../../../../etc/passwd",
    "__import__('os').system('id')",
    "alerts = []; import os",
    "\u0000\u202e\ud800".encode("utf-8", "replace").decode(),
    "%s %(x)s {0}",
    "A" * 20_000,
    "",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: text[:20] or "empty")
def test_hostile_text_is_taken_and_shown_as_text(made: Context, web: Web, hostile: str) -> None:
    given_alert = alert(hostile, hostile or "f", None, **{hostile or "x": hostile, "pod": hostile})
    given_alert["annotations"] = {"summary": hostile, "description": hostile}
    sent = message(given_alert, key=hostile, externalURL=hostile, groupLabels={hostile: hostile})
    answer = web.post(WEBHOOK, json=sent)
    assert answer.status_code == 202
    kit.do_all(
        made,
        kit.Fake(
            verdict=hostile, findings=[{"id": hostile, "status": "critical", "title": hostile, "detail": hostile}]
        ),
    )
    number = answer.json()["incident"]
    for path, asked in (("/", ""), (f"/incidents/{number}", ""), ("/reports", ""), ("/", hostile[:50])):
        page = web.get(path, params={"q": asked})
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert len(re.findall(r"<script", page.text)) == 1
        assert "49" not in re.findall(r"<h1>(.*?)</h1>", page.text)
    assert web.get("/metrics").status_code == 200


texts = st.text(max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
near_alerts = st.fixed_dictionaries(
    {
        "labels": st.dictionaries(texts, texts, max_size=5),
        "startsAt": st.datetimes().map(lambda d: d.isoformat() + "Z"),
    },
    optional={
        "status": st.sampled_from(["firing", "resolved"]),
        "annotations": st.dictionaries(texts, texts, max_size=3),
        "fingerprint": texts,
        "endsAt": json_values,
        "generatorURL": texts,
    },
)
near_messages = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["4", 4]),
        "status": st.sampled_from(["firing", "resolved"]),
        "alerts": st.lists(near_alerts, min_size=1, max_size=4),
    },
    optional={
        "groupKey": texts,
        "groupLabels": st.dictionaries(texts, texts, max_size=3),
        "truncatedAlerts": st.integers(0, 9),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(json_values, near_messages, near_messages))
def test_whatever_is_sent_is_accepted_or_refused(web: Web, body: Any) -> None:
    answer = web.post(WEBHOOK, content=json.dumps(body).encode("utf-8", "replace"))
    assert answer.status_code in (202, 400)
    assert isinstance(answer.json(), dict)


def test_everything_that_was_accepted_ends(made: Context, web: Web) -> None:
    for number, hostile in enumerate(HOSTILE):
        web.post(WEBHOOK, json=message(alert(hostile, f"f{number}", None), key=f"k{number}"))
    kit.do_all(made)
    assert query(made, "SELECT 1 FROM runbook.runs WHERE state IN ('queued', 'running')") == []


@pytest.mark.parametrize(
    "starts_at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2126-01-15T14:02:00Z", "1970-01-01T00:00:00+14:00"]
)
def test_a_clock_that_is_wrong_breaks_nothing(made: Context, web: Web, starts_at: str) -> None:
    answer = web.post(WEBHOOK, json=message(alert(starts_at=starts_at)))
    assert answer.status_code == 202
    kit.do_all(made)
    assert web.get("/incidents/1").status_code == 200
    assert web.get("/").status_code == 200


def test_the_database_away_is_503_and_nothing_is_half_taken(made: Context, tmp_path: Path) -> None:
    import dataclasses

    from runbook import history

    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with (
        history.open_database(nowhere, wait_seconds=0.3) as away,
        client(dataclasses.replace(made, database=away)) as web,
    ):
        answer = web.post(WEBHOOK, json=message(alert()))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        unready = web.get("/readyz")
        assert unready.status_code == 503
        assert "the connection is refused" in unready.text
        assert web.get("/healthz").status_code == 200
        assert "runbook_database_up 0.0" in web.get("/metrics").text
        page = web.get("/")
        assert page.status_code == 503
        assert "postgresql://" not in page.text


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({}, "RUNBOOK_WEBHOOK_TOKEN"),
        ({"runbook_read_token": "read"}, "RUNBOOK_WEBHOOK_TOKEN"),
        ({"runbook_webhook_token": "hook"}, "RUNBOOK_READ_TOKEN"),
    ],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "runbook.example"])
def test_serve_refuses_an_open_address_without_tokens(host: str, values: dict[str, Any], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        gate_for(Settings(**values), host)


TOKENS = {"runbook_webhook_token": SecretStr("hook-token"), "runbook_read_token": SecretStr("read-token")}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_webhook_takes_its_own_token_only(made: Context) -> None:
    with client(made, "0.0.0.0", **TOKENS) as web:
        for headers in (
            {},
            bearer("read-token"),
            bearer(""),
            {"Authorization": "Basic hook-token"},
            bearer("hook-tokenX"),
        ):
            answer = web.post(WEBHOOK, json=message(alert()), headers=headers)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert web.post(WEBHOOK, json=message(alert()), headers=bearer("hook-token")).status_code == 202


def test_a_clock_that_a_demo_left_pinned_is_said_on_every_page(made: Context) -> None:
    pinned = Settings.model_validate({**dict(made.settings), "runbook_as_of": "2026-01-15T14:10:00Z"})
    with client(dataclasses.replace(made, settings=pinned)) as web:
        for path in ("/", "/reports", "/incidents/9"):
            assert "RUNBOOK_AS_OF is set: every report looks from that moment" in web.get(path).text
    with client(made) as web:
        assert "RUNBOOK_AS_OF" not in web.get("/").text


def test_pages_open_with_the_read_token_and_its_session(made: Context) -> None:
    with client(made, "0.0.0.0", **TOKENS) as web:
        assert web.get("/").status_code == 401
        assert web.get("/", headers=bearer("hook-token")).status_code == 401
        assert web.get("/", headers=bearer("read-token")).status_code == 200
        html = {"Accept": "text/html"}
        sent_away = web.get("/incidents/1?x=1", headers=html, follow_redirects=False)
        assert sent_away.headers["location"] == "/login?next=%2Fincidents%2F1%3Fx%3D1"
        assert web.post("/login", data={"token": "wrong", "next": "/"}).status_code == 401
        came_in = web.post("/login", data={"token": "read-token", "next": "/reports"}, follow_redirects=False)
        assert came_in.headers["location"] == "/reports"
        cookie = came_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert web.get("/").status_code == 200
    with client(made, "0.0.0.0", runbook_webhook_token="hook-token", runbook_read_token="another") as rotated:
        assert rotated.get("/", headers={"Cookie": cookie.split(";")[0]}).status_code == 401


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"]
)
def test_the_login_leads_nowhere_else(made: Context, target: str) -> None:
    with client(made, "0.0.0.0", **TOKENS) as web:
        answer = web.post("/login", data={"token": "read-token", "next": target}, follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_a_user_header_counts_only_from_the_proxy(made: Context) -> None:
    values = {"runbook_webhook_token": "hook-token", "runbook_user_header": "X-User"}
    gate = gate_for(Settings(**values), "0.0.0.0")
    app = application.build(made, gate, nothing)
    with Web(app) as proxied:
        assert proxied.get("/", headers={"X-User": "ann"}).status_code == 200
        assert proxied.get("/").status_code == 401
    with Web(app, "10.0.0.9") as direct:
        assert direct.get("/", headers={"X-User": "ann"}).status_code == 401


def test_loopback_answers_to_its_own_names_only(web: Web) -> None:
    assert web.get("/", headers={"Host": "localhost:8088"}).status_code == 200
    assert web.get("/", headers={"Host": "[::1]:8088"}).status_code == 200
    assert web.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_actions_need_the_token_and_our_own_page(made: Context) -> None:
    with client(made, runbook_webhook_token="hook-token") as web:
        web.post(WEBHOOK, json=message(alert()), headers=bearer("hook-token"))
        kit.do_all(made)
        rerun = "/incidents/1/rerun"
        assert web.post(rerun).status_code == 403
        assert web.post(rerun, data={"token": "wrong"}).status_code == 403
        assert (
            web.post(rerun, data={"token": "hook-token"}, headers={"Origin": "https://evil.example"}).status_code == 403
        )
        assert (
            web.post(rerun, data={"token": "hook-token"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        )
        done = web.post(rerun, data={"token": "hook-token"}, follow_redirects=False)
        assert done.headers["location"] == "/incidents/1?note=queued"
        again = web.post(rerun, data={"token": "hook-token"}, follow_redirects=False)
        assert again.headers["location"] == "/incidents/1?note=waits"
        closed = web.post("/incidents/1/close", data={"token": "hook-token"}, follow_redirects=False)
        assert closed.headers["location"] == "/incidents/1?note=closed"
        assert query(made, "SELECT state FROM runbook.runs ORDER BY id") == [
            {"state": "complete"},
            {"state": "cancelled"},
        ]
        assert web.post(WEBHOOK, json=message(alert()), headers=bearer("hook-token")).json()["result"] == "repeated"


@pytest.mark.parametrize("path", ["/login", "/incidents/1/close", "/incidents/1/rerun"])
def test_a_form_of_many_fields_is_refused(made: Context, path: str) -> None:
    with client(made, "0.0.0.0", **TOKENS) as web:
        fields = {f"f{number}": "x" for number in range(21)}
        assert web.post(path, data=fields).status_code == 400


def test_reports_are_sandboxed_and_pages_have_the_strict_policy(made: Context, web: Web) -> None:
    web.post(WEBHOOK, json=message(alert()))
    kit.do_all(made)
    run_id = query(made, "SELECT run_id FROM runbook.runs")[0]["run_id"]
    report = web.get(f"/reports/{run_id}")
    assert report.headers["content-security-policy"].startswith("sandbox;")
    assert "script-src" not in report.headers["content-security-policy"]
    page = web.get("/")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "style=" not in page.text
    for answer in (report, page):
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert web.get(f"/reports/{run_id}/outcome.json").json()["verdict"].startswith("The drawdown")
    assert web.get(f"/reports/{run_id}/notebook.ipynb").status_code == 200
    assert web.get(f"/reports/{run_id}/evidence").status_code == 404


def test_a_running_report_shows_what_it_found_so_far(made: Context, web: Web) -> None:
    seen: list[str] = []

    def look() -> None:
        run_id = query(made, "SELECT run_id FROM runbook.runs")[0]["run_id"]
        seen.append(web.get(f"/reports/{run_id}").text)

    web.post(WEBHOOK, json=message(alert()))
    kit.do_all(made, kit.Fake(meanwhile=look))
    assert "data-live" in seen[0]
    assert "Starting." in seen[0] or "Step " in seen[0]


def test_a_report_whose_file_is_gone_still_tells_what_is_known(made: Context, web: Web) -> None:
    web.post(WEBHOOK, json=message(alert()))
    kit.do_all(made)
    run_id = query(made, "SELECT run_id FROM runbook.runs")[0]["run_id"]
    made.artifacts.delete(run_id)
    page = web.get(f"/reports/{run_id}")
    assert page.status_code == 200
    assert "Over the limit" in page.text
    assert "not stored" in page.text


def test_lists_filter_by_severity_status_and_text(made: Context, web: Web) -> None:
    web.post(WEBHOOK, json=message(alert(), key="a"))
    web.post(WEBHOOK, json=message(alert("AgentDown", "f2", "warning"), key="b"))
    kit.do_all(made)
    assert web.get("/").text.count('class="card ') == 2
    assert web.get("/?severity=warning").text.count('class="card ') == 1
    assert web.get("/?q=agentdown").text.count('class="card ') == 1
    assert web.get("/?status=open").text.count('class="card ') == 2
    assert web.get("/?status=closed").text.count('class="card ') == 0
    assert web.get("/reports?status=critical&q=over").text.count('class="card ') == 2
    assert web.get("/?severity=<script>&status=x&page=99999999999999999999").status_code == 200
    assert web.get("/?page=-1").status_code == 200


def test_metrics_are_valid_and_carry_no_alert_text(made: Context, web: Web) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    web.post(WEBHOOK, json=message(alert("secretname", pod="secretpod")))
    kit.do_all(made)
    text = web.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert "secret" not in text
    assert {s.value for s in families["runbook_runs"].samples} == {1.0}
    assert families["runbook_run_seconds"].type == "histogram"
    assert families["runbook_incidents_open"].samples[0].labels == {"severity": "critical"}


def test_an_open_page_that_did_not_change_costs_no_page(made: Context, web: Web) -> None:
    web.post(WEBHOOK, json=message(alert("AgentDown", "a", "warning", "2026-01-15T14:02:00Z")))
    kit.do_all(made)
    for path in ("/", "/reports", "/incidents/1"):
        first = web.get(path)
        assert 'data-live="5"' in first.text, path  # nothing runs, and it is live all the same
    page = web.get("/?q=nothing-like-it")
    assert web.get("/?q=nothing-like-it", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    web.post(WEBHOOK, json=message(alert("AgentDown", "b", "warning"), key="b"))
    changed = web.get("/?q=nothing-like-it", headers={"If-None-Match": page.headers["ETag"]})
    assert changed.status_code == 200
    assert 'data-live="2"' in changed.text
    assert " ago · <time" in web.get("/").text


@pytest.mark.parametrize("name", ["\u202egpj.exe \u2066abc", "\u2069\u202egpj", "a\u2069b\u2066c\u2069\u2069"])
def test_text_from_outside_is_set_apart_from_ours(made: Context, web: Web, name: str) -> None:
    web.post(WEBHOOK, json=message(alert(name)))
    kit.do_all(made)
    for path in ("/", "/reports", "/incidents/1"):
        shown = [
            text for text in re.findall(r"<bdi>(.*?)</bdi>", web.get(path).text) if name.strip("\u2069")[-1:] in text
        ]
        assert shown, path
        for text in shown:  # no closing sign without its opening one: it would end the isolation
            depth = 0
            for sign in text:
                depth += (sign in "\u2066\u2067\u2068") - (sign == "\u2069")
                assert depth >= 0
            assert depth == 0  # nor the other way round: it would take the end of ours


def test_long_names_and_many_alerts_are_folded(made: Context, web: Web) -> None:
    pods = [alert("AgentDown", f"p{number}", "warning", pod=f"pod-{number}") for number in range(50)]
    web.post(WEBHOOK, json=message(alert("x" * TEXT_MAX, "long"), *pods))
    kit.do_all(made)
    page = web.get("/incidents/1").text
    assert "41 more alerts</summary>" in page
    heading = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    assert heading
    assert len(heading[1]) < 200
    outside = re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
    assert "x" * 1_000 not in re.sub(r"<title>.*?</title>", "", outside, flags=re.DOTALL)
    assert "x" * TEXT_MAX in page  # all of it is there, folded
    assert "x" * 1_000 not in web.get("/").text


def test_an_axis_that_begins_after_the_alert_says_so(made: Context, web: Web) -> None:
    web.post(WEBHOOK, json=message(alert(starts_at="2026-01-15T14:02:00Z")))
    kit.do_all(made)
    page = web.get("/incidents/1").text
    assert "Began earlier" in page
    assert "the alert itself began 2026-01-15 14:02:00Z" in page
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    web.post(WEBHOOK, json=message(alert(starts_at=now, fingerprint="now"), key="now"))
    assert "Began earlier" not in web.get("/incidents/2").text


def test_an_incident_whose_report_is_overdue_says_what_to_type(url: str, tmp_path: Path) -> None:
    with kit.context(url, tmp_path, runbook_dead_man_seconds=0.001) as made, client(made) as web:
        web.post(WEBHOOK, json=message(alert("AgentDown", pod="<b>x'; rm -rf /")))
        page = web.get("/incidents/1").text
        assert "By hand, until there is a report" in page
        assert "runbook run AgentDown --label" in page
        assert "kubectl get pods -n cryptofunk -l app.kubernetes.io/component=trading-agent" in page
        assert "<b>x" not in page
        kit.do_all(made)
        assert "By hand" not in web.get("/incidents/1").text


def test_an_incident_whose_report_is_on_its_way_says_nothing_of_work_by_hand(web: Web) -> None:
    web.post(WEBHOOK, json=message(alert("AgentDown")))
    assert "By hand" not in web.get("/incidents/1").text
