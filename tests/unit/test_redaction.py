"""Secrets leave no trace, and what is not one stays readable."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.sources.logs import parse
from runbook.sources.redaction import MASK, Redactor

SECRET = "a1B2c3D4e5F6g7H8" * 4
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
    # tokens by their beginnings; put together here so that no scanner takes them for real ones
    **{
        f"pushed with {beginning}{SECRET} just now": SECRET
        for beginning in (
            *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_" + "11ABCDEFG0_"),
            *("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glagent-", "gloas-", "glft-"),
            *("AIza", "ya29.", "GOCSPX-", "1//0"),
            *("xoxb-12-", "xoxp-12-", "xoxe-1-", "xoxe.xoxp-1-", "xapp-1-A1-2-", "xwfp-"),
            *("npm_", "hf_", "pypi-AgEIcHlwaS5vcmc"),
            *("sk_" + "live_", "rk_" + "test_", "pk_" + "live_", "whsec_"),
            *("sk-", "sk-proj-", "sk-ant-api03-", "sk-or-v1-", "sk-svcacct-", "gsk_", "xai-", "pplx-"),
        )
    },
    **{
        f"posted to {address}": SECRET
        for address in (
            f"https://hooks.slack.com/services/T0123/B0123/{SECRET}",
            f"https://hooks.slack.com/workflows/T0123/A0123/123456/{SECRET}",
            f"https://hooks.slack.com/triggers/T0123/123456/{SECRET}",
            f"https://discord.com/api/webhooks/123456789/{SECRET}",
            f"https://corp.webhook.office.com/webhookb2/{SECRET}@x/IncomingWebhook/y",
            f"https://api.telegram.org/bot1234567890:AA{SECRET[:33]}/sendMessage",
            f"https://api.binance.com/api/v3/order?symbol=BTCUSDT&timestamp=1&signature={SECRET}",
            f"https://s3.example/x?X-Amz-Signature={SECRET}&y=1",
            f"https://{SECRET}@git.example/org/repo",
        )
    },
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0" * 3: "QPZRY9X8GF2TVDW0",
    # AWS: the secret beside its id
    "key AKIA" + "IOSFODNN7EXAMPLE, wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": "wJalrXUtnFEMI",
    "aws_access_key_id=ASIA" + "IOSFODNN7EXAMPLE\naws_secret_access_key=wJalrXUtnFEMI/K7MDENG": "wJalrXUtnFEMI",
    "export AWS_SESSION_TOKEN=IQoJb3JpZ2luX2VjEJr": "IQoJb3JpZ2luX2VjEJr",
    # passwords in addresses
    "postgres://svc:p@ss@wd@db:5432/x": "p@ss@wd",
    "postgres://svc:p/ss@db:5432/x": "p/ss",
    "amqp://user:hunter2@mq:5672/vhost": "hunter2",
    "svc:hunter2@tcp(db:3306)/x": "hunter2",
    "host=db user=svc password=hunter2 sslmode=disable": "hunter2",
    "Server=db;Uid=svc;Pwd=hunter2;": "hunter2",
    # headers, and how libraries print them
    "map[Authorization:[Bearer abc123def456]]": "abc123def456",
    "{'Authorization': 'Basic dXNlcjpwYXNz'}": "dXNlcjpwYXNz",
    "curl -H 'Authorization: token abc123def456'": "abc123def456",
    f"Authorization: {SECRET}": SECRET,
    f"Authorization: AWS4-HMAC-SHA256 Credential=x/20260115, Signature={SECRET}": SECRET,
    'Authorization: Digest username="svc", realm="x", response="6629fae49393a05397450978507c4ef1"': "6629fae49393a0",
    "proxy said Basic dXNlcjpwYXNzd29yZA== to it": "dXNlcjpwYXNzd29yZA",
    "X-MBX-APIKEY: vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A": "vmPUZE6mv9SD5VNHk4",
    "OK-ACCESS-PASSPHRASE: hunter2": "hunter2",
    "Cookie: session=abc123; theme=dark": "abc123",
    "set-cookie: [sid=s%3Aabc123; Path=/]": "abc123",
    # names of values
    "clientSecret=hunter2": "hunter2",
    'apiSecret := "hunter2"': "hunter2",
    "secretKey: hunter2": "hunter2",
    "AccountKey=hunter2==;EndpointSuffix=x": "hunter2",
    "password=b'hunter2'": "hunter2",
    "passphrase => hunter2": "hunter2",
    '{"mnemonic":"zoo zoo wrong"}': "zoo zoo wrong",
    '{"name":"DB_PASSWORD","value":"hunter2"}': "hunter2",
    "--password hunter2 --host db": "hunter2",
    "--api-key=hunter2": "hunter2",
    '["--token","hunter2"]': "hunter2",
    "redis-server --requirepass hunter2": "hunter2",
    "ALTER ROLE svc PASSWORD 'hun''ter2'": "ter2",
    # a kubeconfig
    "    token: hunter2hunter2": "hunter2",
    "    client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQo=": "LS0tLS1CRUdJTi",
    "users: [{data: LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tCg==}]": "BFQyBQUklWQVRFIEtFWS0tLS0tCg",
    # keys, whole and cut off
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n-----END OPENSSH PRIVATE KEY-----\nafter": "b3BlbnNzaA",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOYBF\n-----END PGP PRIVATE KEY BLOCK-----": "lQOYBF",
    "before\nMIIabcMIIabcMIIabc\nMIIdefMIIdef\n-----END PRIVATE KEY-----\nafter": "MIIabc",
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
    # ids, hashes and names that look a little like secrets
    "550e8400-e29b-41d4-a716-446655440000",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "image registry:5000/cryptofunk/api@sha256:" + "9f86d081884c7d65" * 4,
    "oci://registry:5000/cryptofunk/api@sha256:" + "9f86d081884c7d65" * 4,
    "pod order-executor-7d9c5b8f6-x2x9k on node-1.example",
    "sk-learn-worker-7d9c5b8f6-x2x9k",
    "task-0123456789abcdef0123456789abcdef disk-0123456789abcdef01",
    'violates constraint "pk_performance_metrics_session_id"',
    "pk_positions_open_session_symbol_idx",
    "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7",
    "order_id=x-HNA2TXFJ9d8a7f6e5c4b3a2918273645 client_order_id=web_0123456789abcdef0123",
    "key=candles:BTCUSDT:1m",
    "token=PEPE pair token: BTC/USDT",
    "hf_model_name_of_more_than_thirty_letters npm_config_registry_of_more_than_thirty",
    'http_requests_total{code="500"} http://svc:8080/metrics?format=a@b',
    "eyJvZmZzZXQiOjEwMH0 is a cursor",
    "invalid token: unexpected end of JSON input",
    "token: expired; password: must have 8 characters",
    "getting credentials: exec: executable aws failed",
    "authorization: denied for role reader",
    "bearer authentication is not configured; basic authentication is",
    "basic functionality works",
    "cookie: not set",
    "PWD=/app OLDPWD=/",
    "secretName: api-keys tokenExpirationSeconds: 3607 secret_version: 3",
    "password_encryption = scram-sha-256 key_hash=abcdef",
    "-----BEGIN CERTIFICATE-----\nMIIabcMIIabc\n-----END CERTIFICATE-----",
    "certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUNFQUFB",
    "AKIAshort ASIA/Tokyo AROAIOSFODNN7EXAMPLE",
    "https://hooks.slack.com/ answered 404",
    "2026-01-15T14:02:00Z panic: runtime error 0xc000123456",
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
    [
        *("token a-", "a", "eyJ", "-eyJ", '"token":"', "://", "a://b:", "-", "-----BEGIN ", "authorization  ", "sk-"),
        *(
            '\\"',
            "--token",
            "-----END PRIVATE KEY-----",
            "abcd\n",
            "cookie: a=",
            "basic ",
            "bearer ",
            "AKIA",
            "eyJa.",
            "=",
        ),
        *(
            '"name":"token","value":"',
            "password '",
            "@tcp(",
            "a:b@",
            "authorization: ",
            "&sig=",
            ":AA",
            "token=b'",
            " \n",
        ),
    ],
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


@pytest.mark.parametrize("name", ["password", "apiKey", "DB_TOKEN", "client-secret", "private_key", "passphrase"])
def test_a_field_that_says_it_is_secret_is_masked_whatever_it_looks_like(name: str) -> None:
    frame = pd.DataFrame({"fields": [{name: "hunter2", "symbol": "BTCUSDT"}], name: ["hunter2"], "n": ["hunter2"]})
    shown = Redactor()({"a": {name: "hunter2"}, "b": {name: ["hunter2", 1]}, "frame": frame})
    assert (shown["a"], shown["b"]) == ({name: MASK}, {name: [MASK, 1]})
    assert shown["frame"].to_dict("records") == [
        {"fields": {name: MASK, "symbol": "BTCUSDT"}, name: MASK, "n": "hunter2"}
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"tokens": "512", "prompt_tokens": 512, "token": "BTC", "key": "candles:BTCUSDT"},
        {"secret": {"secretName": "api-keys"}, "password": "", "token_type": "prompt", "key_hash": "abc"},
        {"passed": "yes", "monkey": "no", "secretRef": "api-keys", "api_keys": None},
    ],
)
def test_a_field_that_is_none_stays(data: dict[str, object]) -> None:
    assert Redactor()(data) == data


def test_the_log_line_of_a_service_is_redacted_by_its_fields() -> None:
    line = '2026-01-15T14:02:00Z {"level":"error","api_key":"hunter2","message":"refused"}'
    shown = Redactor()(parse(line, "api-1"))
    assert shown["fields"].tolist() == [{"api_key": MASK}]


def test_a_key_that_a_service_logs_on_many_lines_is_redacted() -> None:
    key = ["-----BEGIN RSA PRIVATE KEY-----", *["MIIEpAIBAAKCAQEA" * 4] * 40, "-----END RSA PRIVATE KEY-----"]
    for lines in (key, key[:20], key[20:]):
        text = "\n".join(f"2026-01-15T14:02:00Z {line}" for line in ["[INFO] before", *lines])
        shown = Redactor()(parse(text, "api-1"))
        if "-----" in "".join(lines[:1] + lines[-1:]):
            assert "MIIEpAIB" not in str(shown["message"].tolist())


@given(st.lists(st.sampled_from([*GONE, *KEPT]), max_size=4), st.sampled_from([" ", "\n", ", ", "; "]))
def test_redaction_of_secrets_side_by_side_is_stable(texts: list[str], between: str) -> None:
    once = Redactor()(between.join(texts))
    assert Redactor()(once) == once
    assert not [text for text in texts if text in GONE and GONE[text] in once]


@given(st.sampled_from(list(GONE)), st.text(max_size=20), st.text(max_size=20))
def test_a_secret_amid_other_lines_goes(text: str, before: str, after: str) -> None:
    assert GONE[text] not in Redactor()(f"{before}\n{text}\n{after}")


@given(st.text(max_size=300))
def test_redaction_of_any_text_ends_and_is_stable(text: str) -> None:
    once = Redactor()(text)
    assert Redactor()(once) == once
