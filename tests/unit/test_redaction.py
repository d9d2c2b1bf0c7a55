"""Secrets leave no trace, and what is not one stays readable."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.sources.redaction import MASK, Redactor

GONE = {
    "Authorization: Bearer abc.def-ghi_jkl": "abc.def-ghi_jkl",
    "authorization=Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    'headers {"Authorization":"Bearer tok-en-0123"}': "tok-en-0123",
    "bearer 0123456789abcdef": "0123456789abcdef",
    "api_key=abc123&next=1": "abc123",
    "apikey: abc123": "abc123",
    "X-API-Key: abc123xyz": "abc123xyz",
    "BINANCE_API_SECRET=topsecret": "topsecret",
    "password='two words'": "two words",
    'password="two words"': "two words",
    '{"private_key":"-----x y z-----"}': "x y z",
    r'"{\"secret\":\"in side\"}"': "in side",
    "db_passwd = hunter2;": "hunter2",
    "PGPASSWORD=hunter2 psql": "hunter2",
    "postgres://svc:p4ss@host/db": "p4ss",
    "redis://:onlypassword@redis:6379/0": "onlypassword",
    "https://hooks.slack.com/services/T0/B0/zzz": "zzz",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.": "eyJzdWIiOiIxIn0",
    "sk-ant-api03-AAAAAAAAAAAAAAAA": "AAAAAAAAAAAAAAAA",
    "ghp_abcdefghijklmnopqrstuv": "abcdefghijklmnopqrstuv",
    "xoxb-1234567890-abcdefghij": "1234567890-abcdefghij",
    "AKIAIOSFODNN7EXAMPLE": "IOSFODNN7EXAMPLE",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----": "MIIabc",
    "-----BEGIN PRIVATE KEY-----\nMIIcut": "MIIcut",
    "access_token=ya29.abc, refresh_token=1//xyz": "1//xyz",
    "key1 token: t0k3n-value.": "t0k3n-value",
}
KEPT = (
    "prompt_tokens=1234 completion_tokens=56 tokens_used: 9000",
    '{"tokens":512}',
    "http://prometheus:9090/graph?g0.expr=up",
    "time 14:02:00 user@example.com wrote",
    "passwordless login is off",
    "SELECT symbol, sum(realized_pnl) FROM positions GROUP BY symbol",
    'rate(cryptofunk_errors_total{component="api"}[5m])',
    "the token bucket is empty",
)


@pytest.mark.parametrize("text", GONE)
def test_secret_is_masked(text: str) -> None:
    shown = Redactor()(text)
    assert GONE[text] not in shown
    assert MASK in shown


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    "text", ['"secret": "cut off amid', 'x={\\"token\\": \\"cut off amid', '"password":"pa\\"cut off amid"']
)
def test_a_value_that_was_cut_off_is_masked(text: str) -> None:
    assert "amid" not in Redactor()(text)


@pytest.mark.parametrize(
    "text",
    ["token a-", "a", "eyJ", "-eyJ", '"token":"', "://", "a://b:", "-", "-----BEGIN ", "authorization  ", "sk-", '\\"'],
)
def test_text_made_to_slow_the_search_does_not(text: str) -> None:
    """Patterns of quadratic cost would take minutes here, past the time limit of a test."""
    long = text * (500_000 // len(text)) + " secret token"
    assert len(Redactor()(long)) > 0


def test_both_tokens_of_a_line_go() -> None:
    assert "ya29" not in Redactor()("access_token=ya29.abc, refresh_token=1//xyz")


@pytest.mark.parametrize("text", [text for text in GONE if "MIIcut" not in text])
def test_a_secret_inside_a_json_line_goes_and_the_line_stays_json(text: str) -> None:
    line = json.dumps({"level": "error", "message": text, "n": 1})
    shown = Redactor()(line)
    assert GONE[text] not in shown
    assert json.loads(shown)["n"] == 1


def test_known_values_go_in_every_spelling() -> None:
    redact = Redactor(["postgresql://reader:p%40ss%2Fw0rd@db/x", "host=db user=a password='quoted pass'"])
    text = redact("p%40ss%2Fw0rd | p@ss/w0rd | quoted pass | postgresql://reader:p%40ss%2Fw0rd@db/x")
    assert "w0rd" not in text
    assert "quoted pass" not in text


def test_short_values_are_left_for_the_patterns() -> None:
    assert Redactor(["postgresql://a:b@db/x"])("a b c") == "a b c"


def test_every_shape_keeps_its_shape() -> None:
    redact = Redactor(["sesame-open"])
    frame = pd.DataFrame({"n": [1, 2], "t": ["say sesame-open", None], "d": [{"k": "sesame-open"}, ["sesame-open"]]})

    shown = redact({"list": ["sesame-open", 1, None], "tuple": ("sesame-open", 2.5), "frame": frame})

    assert shown["list"] == [MASK, 1, None]
    assert shown["tuple"] == (MASK, 2.5)
    assert shown["frame"]["t"].tolist()[0] == f"say {MASK}"
    assert shown["frame"]["d"].tolist() == [{"k": MASK}, [MASK]]
    assert shown["frame"]["n"].dtype == frame["n"].dtype
    assert frame["t"].tolist()[0] == "say sesame-open"


@given(st.text(), st.from_regex(r"[A-Za-z0-9_!$-]{6,20}", fullmatch=True), st.text())
def test_a_known_secret_never_comes_through(before: str, secret: str, after: str) -> None:
    if secret not in MASK:
        assert secret not in Redactor([secret])(before + secret + after).replace(MASK, "")


@given(st.text(max_size=300))
def test_redaction_of_any_text_ends_and_is_stable(text: str) -> None:
    once = Redactor()(text)
    assert Redactor()(once) == once
