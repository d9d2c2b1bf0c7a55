"""Slack and e-mail: what is said, to whom, and that hostile text stays text. A real SMTP server takes the mails."""

from __future__ import annotations

import email
import json
import shlex
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from aiosmtpd.controller import Controller
from service_kit import alert, message, query, resolved

from runbook import catalog
from runbook.alert import group_from_json
from runbook.notify import Attachment, Mailbox, Message, NotifyError, escape, send_mail, send_slack
from runbook.notify.mail import compose
from runbook.notify.slack import blocks, payload
from runbook.service import intake, messages, tasks
from runbook.service.context import Context

HOSTILE = [
    "<!channel> <@U123> <https://evil.example|click>",
    "@channel @here @everyone",
    "*bold* _it_ ~no~ `code` ```block```",
    "javascript:alert(1) https://evil.example/x?a=b&c=d",
    "line\r\nBcc: victim@example.com\r\n\r\nbody",
    "x\u2028y\u2029z\x00w\u202egnp.exe",
    "A" * 10_000,
]


def told(**more: Any) -> Message:
    values: dict[str, Any] = {
        "incident": 7,
        "number": 3,
        "kind": "report",
        "alertname": "MaxDrawdownExceeded",
        "procedure": "MaxDrawdownExceeded",
        "severity": "critical",
        "headline": "The drawdown is real: 14.2 %.",
        "channel": "#cryptofunk-critical",
        "url": "https://runbook.example/reports/r1",
        "mentions_channel": True,
    }
    return Message(**{**values, **more})


class Slack:
    """What was posted to it, and what it answers: it stands for hooks.slack.com."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.status = 200
        slack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if slack.status == 200:
                    slack.posted.append(json.loads(body))
                self.send_response(slack.status)
                self.end_headers()
                self.wfile.write(b"ok" if slack.status == 200 else b"no_service")

            def log_message(self, *arguments: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/T0/B0/secret"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def slack() -> Iterator[Slack]:
    double = Slack()
    yield double
    double.close()


class Post:
    """aiosmtpd's handler: keeps the envelopes."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.answer.startswith("250"):
            parsed = email.message_from_bytes(envelope.content, policy=default)
            assert isinstance(parsed, EmailMessage)
            self.mails.append((envelope.rcpt_tos, parsed))
        return self.answer


@pytest.fixture
def smtp() -> Iterator[tuple[Post, int]]:
    post = Post()
    port = kit.free_port()
    controller = Controller(post, hostname="127.0.0.1", port=port)
    controller.start()
    yield post, port
    controller.stop()


def texts(found: Any) -> Iterator[tuple[str, str]]:
    """(type, text) of every text object in a Block Kit payload."""
    if isinstance(found, dict):
        if isinstance(found.get("text"), str):
            yield found.get("type", ""), found["text"]
        for value in found.values():
            yield from texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from texts(value)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_slack_shows_hostile_text_as_text(hostile: str) -> None:
    sent = payload(
        told(
            alertname=hostile,
            headline=hostile,
            lines=(hostile,),
            findings=(("critical", hostile),),
            commands=(hostile,),
        )
    )
    assert sent["parse"] == "none"
    for kind, text in texts(sent["blocks"]):
        assert len(text) <= 3_000
        if kind == "mrkdwn":
            own = text.replace("<!channel> ", "", 1)
            assert "<" not in own
            assert not any(word in own for word in ("@channel", "@here", "@everyone"))
            assert "https://" not in own
            assert "```" not in own
    assert len(sent["blocks"][0]["text"]["text"]) <= 150


def test_escaping_keeps_the_words() -> None:
    assert escape("a < b & c > d") == "a &lt; b &amp; c &gt; d"
    assert escape("two\nlines") == "two lines"


def test_only_critical_news_mention_the_channel() -> None:
    assert "<!channel>" in json.dumps(blocks(told()))
    assert "<!channel>" not in json.dumps(blocks(told(mentions_channel=False)))


def test_slack_is_posted_to_and_its_refusal_told_without_its_address(slack: Slack) -> None:
    send_slack(slack.url, told())
    assert slack.posted[0]["channel"] == "#cryptofunk-critical"
    assert "14.2 %" in json.dumps(slack.posted[0]["blocks"], ensure_ascii=False)
    slack.status = 404
    with pytest.raises(NotifyError, match="404: no_service") as refused:
        send_slack(slack.url, told())
    assert "secret" not in str(refused.value)
    with pytest.raises(NotifyError, match="cannot be reached"):
        send_slack("http://127.0.0.1:1/secret", told())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_mail_headers_are_one_line_each(hostile: str) -> None:
    mail = compose(Mailbox("h", 25, "a@example.com", ("b@example.com",)), told(alertname=hostile, headline=hostile))
    read = email.message_from_bytes(mail.as_bytes(), policy=default)
    assert read["Bcc"] is None
    assert read["To"] == "b@example.com"
    assert "\n" not in read["Subject"]
    assert len(read["Subject"]) <= 181
    assert "[CRITICAL" in read["Subject"]


def test_mail_carries_the_verdict_and_the_report(smtp: tuple[Post, int]) -> None:
    post, port = smtp
    box = Mailbox("127.0.0.1", port, "Runbook <runbook@example.com>", ("team@example.com", "oncall@example.com"))
    send_mail(box, told(attachments=(Attachment("r1.html", b"<p>report</p>"),)))
    send_mail(box, told(kind="resolved", number=4, headline="Resolved after 12 min."))
    recipients, first = post.mails[0]
    assert recipients == ["team@example.com", "oncall@example.com"]
    assert first["Subject"] == "[CRITICAL MaxDrawdownExceeded] The drawdown is real: 14.2 %."
    attached = next(first.iter_attachments())
    assert (attached.get_filename(), attached.get_content().strip()) == ("r1.html", "<p>report</p>")
    assert post.mails[1][1]["References"] == first["References"]
    assert post.mails[1][1]["Message-ID"] != first["Message-ID"]


def test_a_mail_server_that_refuses_is_told_and_a_password_is_never_sent_in_the_clear(smtp: tuple[Post, int]) -> None:
    post, port = smtp
    post.answer = "451 later"
    with pytest.raises(NotifyError, match="451"):
        send_mail(Mailbox("127.0.0.1", port, "a@example.com", ("b@example.com",)), told())
    with pytest.raises(NotifyError, match="took no mail"):
        send_mail(Mailbox("127.0.0.1", 1, "a@example.com", ("b@example.com",)), told())


def deliver(made: Context) -> list[str]:
    """Try every waiting message once -> the reasons of those that failed."""
    reasons = []
    for item in query(made, "SELECT id FROM runbook.deliveries WHERE state = 'waiting' ORDER BY id"):
        try:
            messages.send(made, item["id"])
        except NotifyError as error:
            reasons.append(str(error))
    return reasons


def test_an_incident_is_told_by_severity_and_again_only_when_something_is_new(
    url: str, tmp_path: Path, slack: Slack, smtp: tuple[Post, int]
) -> None:
    post, port = smtp
    settings = {
        "slack_webhook_url": slack.url,
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_from": "runbook@example.com",
        "alert_email_to": "team@example.com",
        "critical_alert_email_to": "oncall@example.com",
        "runbook_base_url": "https://runbook.example/",
    }
    with kit.context(url, tmp_path, **settings) as made:
        intake.accept(made, group_from_json(message(alert(), alert(fingerprint="f2"), key="critical")))
        intake.accept(made, group_from_json(message(alert("AgentDown", "f3", "warning"), key="warning")))
        kit.do_all(made)
        assert deliver(made) == []
        assert [p["channel"] for p in slack.posted] == ["#cryptofunk-critical", "#cryptofunk-agents"]
        assert "2 × MaxDrawdownExceeded firing" in json.dumps(slack.posted[0], ensure_ascii=False)
        assert "https://runbook.example/reports/run-" in json.dumps(slack.posted[0])
        assert [to for to, _ in post.mails] == [["team@example.com", "oncall@example.com"], ["team@example.com"]]
        assert [a.get_filename().startswith("run-") for a in post.mails[0][1].iter_attachments()] == [True]
        intake.accept(made, group_from_json(message(alert(), alert(fingerprint="f2"), key="critical")))
        intake.accept(made, group_from_json(resolved(alert(), alert(fingerprint="f2"), key="critical")))
        deliver(made)
        deliver(made)
        assert len(slack.posted) == 3
        assert "Resolved after" in json.dumps(slack.posted[2])
        assert "<!channel>" not in json.dumps(slack.posted[2])


def test_escalation_and_dead_man_name_people_and_commands(url: str, tmp_path: Path, slack: Slack) -> None:
    with kit.context(url, tmp_path, slack_webhook_url=slack.url) as made:
        incident = intake.accept(made, group_from_json(message(alert(symbol="x'; rm -rf /")))).incident
        assert incident
        with made.database.transaction() as connection:
            tasks.dead_man(connection, made, incident)
            tasks.escalate(connection, made, incident, 2)
        deliver(made)
        dead, escalated = (json.dumps(p, ensure_ascii=False) for p in slack.posted)
        assert "No report after 1 min" in dead
        assert "runbook run MaxDrawdownExceeded" in dead
        assert """'symbol=x'\\"'\\"'; rm -rf /'""" in dead
        assert "Senior engineer" in escalated
        assert "<!channel>" in escalated


def commands_in(posted: dict[str, Any]) -> list[str]:
    """The commands that a message to Slack shows."""
    code = [block for block in posted["blocks"] if block["type"] == "rich_text"]
    return [line for block in code for line in block["elements"][0]["elements"][0]["text"].splitlines()]


PROCEDURES = {
    name: procedure
    for name, procedure in catalog.load(kit.ROOT / "parameters" / "catalog.yaml").procedures.items()
    if procedure.commands
}
"""Those with commands of their own; the others have AnyAlert's."""


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_the_dead_man_brings_the_procedures_own_commands(
    url: str, tmp_path: Path, slack: Slack, smtp: tuple[Post, int], procedure: str
) -> None:
    post, port = smtp
    mail = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_from": "a@example.com",
        "alert_email_to": "b@example.com",
    }
    with kit.context(url, tmp_path, slack_webhook_url=slack.url, kube_namespace="trading", **mail) as made:
        hostile = alert(procedure, pod="x'; rm -rf /", persistentvolumeclaim="--all")
        incident = intake.accept(made, group_from_json(message(hostile))).incident
        assert incident
        with made.database.transaction() as connection:
            assert tasks.dead_man(connection, made, incident)
        assert deliver(made) == []
        shown = commands_in(slack.posted[0])
        lines = post.mails[0][1].get_content().splitlines()

    run, *own = shown
    assert shlex.split(run)[:3] == ["runbook", "run", procedure]
    assert len(own) >= 2
    general = made.catalog.first_commands("AnyAlert", {}, "trading")
    assert tuple(own) != general or procedure == "AnyAlert"
    for command in own:
        assert f"  {command}" in lines
        assert shlex.split(command)[0] == "kubectl"
        assert " -n trading " in f"{command} "
    if "pod" in PROCEDURES[procedure].labels:
        assert ["kubectl", "describe", "-n", "trading", "pod/x'; rm -rf /"] in [shlex.split(line) for line in own]
    assert not any("--all" in command for command in own)


def test_failing_slack_loses_nothing_and_shows(url: str, tmp_path: Path, slack: Slack) -> None:
    with kit.context(url, tmp_path, slack_webhook_url=slack.url) as made:
        intake.accept(made, group_from_json(message(alert())))
        kit.do_all(made)
        slack.status = 500
        assert deliver(made) == ["Slack answered 500: no_service."]
        assert query(made, "SELECT state, attempts, error FROM runbook.deliveries") == [
            {"state": "waiting", "attempts": 1, "error": "Slack answered 500: no_service."}
        ]
        slack.status = 200
        assert deliver(made) == []
        assert len(slack.posted) == 1
        assert deliver(made) == []
        assert len(slack.posted) == 1
