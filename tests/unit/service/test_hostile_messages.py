"""Names, titles and texts that somebody else chose, in Slack and in mails: they stay text."""

from __future__ import annotations

import email
import re
from email.message import EmailMessage
from email.policy import compat32, default
from typing import Any

import pytest

from runbook.notify import Attachment, Mailbox, Message, escape
from runbook.notify.mail import compose
from runbook.notify.slack import payload
from runbook.words import one_line

HOSTILE = {
    "mention": "<!channel> <!here|x> <!subteam^S1> <@U123> <#C1>",
    "link": "<https://evil.example|click> [x](https://evil.example) mailto:a@evil.example",
    "date": "<!date^0^{date}^https://evil.example|x>",
    "backticks": "``` ` ```` `code` ```",
    "emoji": ":white_check_mark: :+1: resolved :rotating_light:",
    "quote": "> said\n>>> all",
    "newline": "Name\r\nBcc: victim@example.com\r\nContent-Type: text/html\r\n\r\n<script>",
    "vertical tab": "a\x0bb\x0cc\x85d\x1ce",
    "unicode lines": "a\u2028Bcc: b\u2029c",
    "encoded word": "=?utf-8?q?a=0D=0ABcc:_victim@example.com=0D=0A=0D=0Abody?=",
    "encoded base64": "=?utf-8?b?DQpCY2M6IHZpY3RpbUBleGFtcGxlLmNvbQ==?=",
    "encoded, hidden": "=\u200b?utf-8?q?=0ABcc:x?= =\x00?utf-8?q?=0ABcc:x?= ==?=?utf-8?q?=0ABcc:x?=",
    "right to left": "\u202egnp.exe\u202c \u2066x\u2069 \u061c\u200f",
    "invisible": "a\u200bb\u2060c\u00add\ufeffe\U000e0041f\u180eg",
    "surrogate": "a\ud800b\udfffc",
    "NUL": "a\x00b",
    "10 kB": "A" * 10_000,
    "10 kB of entities": "&<>" * 3_400,
    "10 kB of formatting": "*_~`@#" * 1_700,
    "10 kB of wide letters": "\U0001f4a9" * 2_500,
    "10 kB of encoded words": "=?utf-8?q?=0ABcc:x?= " * 500,
    "10 kB of space": "a" + " " * 10_000 + "b",
    "empty": "",
}
parametrized = pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
HEADERS = {
    "Subject",
    "From",
    "To",
    "Date",
    "Message-ID",
    "References",
    "Auto-Submitted",
    "X-Priority",
    "MIME-Version",
    "Content-Type",
}


def told(hostile: str, **more: Any) -> Message:
    """A message in which every text of an alert is `hostile`."""
    values: dict[str, Any] = {
        "incident": 7,
        "number": 3,
        "kind": "report",
        "alertname": hostile,
        "procedure": "AnyAlert",
        "severity": "critical",
        "headline": hostile,
        "channel": "#cryptofunk-critical",
        "lines": (hostile,) * 5,
        "findings": (("critical", hostile), (hostile, hostile)) * 4,
        "commands": (hostile,) * 3,
        "mentions_channel": True,
        "attachments": (Attachment(hostile, b"<p>report</p>"),),
    }
    return Message(**{**values, **more})


def mail(hostile: str) -> EmailMessage:
    return compose(Mailbox("h", 25, "a@example.com", ("b@example.com",)), told(hostile))


@parametrized
def test_a_mail_has_the_headers_that_we_gave_it_and_no_others(hostile: str) -> None:
    sent = mail(hostile).as_bytes(policy=default.clone(linesep="\r\n"))
    top = sent.partition(b"\r\n\r\n")[0]
    # As a server reads it: a line that begins with a space goes on with the one above.
    names = {line.partition(b":")[0].decode() for line in top.split(b"\r\n") if not line.startswith((b" ", b"\t"))}
    assert names == HEADERS
    assert len(sent.splitlines()[0]) < 998
    for policy in (default, compat32):  # and as mail programs do
        read = email.message_from_bytes(sent, policy=policy)
        assert set(read.keys()) == HEADERS
        subject = str(email.header.make_header(email.header.decode_header(read["Subject"])))
        assert not re.search(
            r"[\x00-\x1f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", subject.replace("\r\n", "")
        )
        assert "[CRITICAL" in subject
        assert len(subject) < 200


@parametrized
def test_a_mails_parts_are_its_text_and_its_report(hostile: str) -> None:
    read = email.message_from_bytes(mail(hostile).as_bytes(), policy=default)
    parts = [part for part in read.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    name = parts[1].get_filename()
    assert name
    assert re.fullmatch(r"[\w.-]{1,120}", name, re.ASCII)
    assert not name.startswith(".")
    lines = parts[0].get_content().splitlines()
    harmless = email.message_from_bytes(mail("harmless").as_bytes(), policy=default).get_body()
    assert harmless
    # Nothing brings lines of its own, which could look like ours.
    assert len(lines) == len(harmless.get_content().splitlines())
    assert sum(line.startswith("Incident 7, ") for line in lines) == 1


@parametrized
def test_slack_gets_text_that_does_nothing(hostile: str) -> None:
    sent = payload(told(hostile))
    texts = list(_texts(sent["blocks"]))
    assert len(sent["blocks"]) <= 50
    for kind, text in [*texts, ("mrkdwn", sent["text"])]:
        assert 0 < len(text) <= 3_000
        assert not re.search(r":[\w+'-]*[^\W\d][\w+'-]*:", text) or kind == "text"
        if kind == "mrkdwn":
            own = text.replace("<!channel> ", "", 1)
            assert not set("<>") & set(own)
            assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", own, re.DOTALL)
            assert not re.search(r"[`~_@#](?!\u200b)", own)
            assert "://" not in own
    assert len(texts[0][1]) <= 150


def _texts(found: Any) -> Any:
    if isinstance(found, dict):
        if isinstance(found.get("text"), str):
            yield found.get("type", ""), found["text"]
        for value in found.values():
            yield from _texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from _texts(value)


@parametrized
def test_one_line_is_one_short_line_that_hides_nothing(hostile: str) -> None:
    line = one_line(hostile, 100)
    assert len(line) <= 100
    assert line.isprintable()
    line.encode()


def test_what_is_not_hostile_is_not_changed() -> None:
    said = "Drawdown −14.2 % at 14:02:00, limit 10 % (BTC/USDT → ETH) · Ärger 🔴"
    assert one_line(said, 100) == said
    assert mail(said)["Subject"] == f"[CRITICAL {said}] {said}"
    assert escape("at 14:02:00 in pod:api-7") == "at 14:02:00 in pod:api-7"
    assert mail("run-2026-01-15.html").get_payload()[1].get_filename() == "run-2026-01-15.html"
