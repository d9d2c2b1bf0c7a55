"""Log lines of every shape that the platform writes, and of shapes that nobody should."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.sources import logs
from runbook.sources.logs import COLUMNS, parse
from runbook.steps.shared.log_patterns import pattern_of, patterns, unlevelled, unlevelled_detail

STAMP = "2026-01-15T14:02:00.123456789Z"
AT = datetime(2026, 1, 15, 14, 2, 0, 123456, tzinfo=UTC)


def one(line: str, stamp: str = STAMP) -> pd.Series:
    frame = parse(f"{stamp} {line}".lstrip(), "pod-1")
    assert len(frame) == 1, frame
    return frame.iloc[0]


def test_json_with_rfc3339() -> None:
    row = one(
        '{"level":"error","time":"2026-01-15T14:01:59Z","message":"Order rejected",'
        '"symbol":"BTCUSDT","n":3,"error":"limit"}'
    )
    assert (row["level"], row["message"], row["pod"]) == ("error", "Order rejected", "pod-1")
    assert row["fields"] == {"symbol": "BTCUSDT", "n": "3", "error": "limit"}
    assert row["time"] == pd.Timestamp(AT)


@pytest.mark.parametrize(
    "written", ["1768485720", "1768485720000", "1768485720.5", '"2026-01-15T14:02:00Z"', '"2026-01-15T15:02:00+01:00"']
)
def test_json_with_its_own_time(written: str) -> None:
    row = one(f'{{"level":"info","time":{written},"message":"x"}}', stamp="")
    assert row["time"].floor("s") == pd.Timestamp("2026-01-15T14:02:00Z")


@pytest.mark.parametrize("written", ["1e40", '"yesterday"', "null", "true", "{}", '"2026-01-15T14:02:00"', "-1e30"])
def test_json_with_a_time_that_is_none(written: str) -> None:
    assert one(f'{{"level":"info","time":{written},"message":"x"}}', stamp="")["time"] is pd.NaT


@pytest.mark.parametrize(
    "line", ['{"level":"warn","msg":"a"}', '{"level":"warning","message":"a"}', '{"level":"warn","message":"a"}']
)
def test_levels_have_one_name(line: str) -> None:
    assert one(line)["level"] == "warning"


def test_console_with_colours() -> None:
    row = one(
        "\x1b[90m2:01PM\x1b[0m \x1b[31mERR\x1b[0m \x1b[1mOrder rejected\x1b[0m "
        '\x1b[36merror=\x1b[0m\x1b[31m"price outside filter"\x1b[0m '
        "\x1b[36msymbol=\x1b[0mBTCUSDT"
    )
    assert (row["level"], row["message"]) == ("error", "Order rejected")
    assert row["fields"] == {"error": "price outside filter", "symbol": "BTCUSDT"}
    assert row["time"] == pd.Timestamp(AT)


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("TRC", "trace"),
        ("DBG", "debug"),
        ("INF", "info"),
        ("WRN", "warning"),
        ("ERR", "error"),
        ("FTL", "fatal"),
        ("PNC", "panic"),
        ("???", "unknown"),
    ],
)
def test_console_levels(word: str, level: str) -> None:
    assert one(f"2026-01-15T14:02:00Z {word} message", stamp="")["level"] == level


def test_console_with_a_full_time_and_no_kubernetes_stamp() -> None:
    row = one("2026-01-15T14:02:00Z INF Signal generated agent=trend", stamp="")
    assert (row["message"], row["time"]) == ("Signal generated", pd.Timestamp("2026-01-15T14:02:00Z"))


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-01-15 14:02:00.123 UTC [77] LOG:  checkpoint complete", "info"),
        ("2026-01-15 14:02:00.123 UTC [77] ERROR:  deadlock detected", "error"),
        ("2026-01-15 14:02:00.123 UTC [77] FATAL:  sorry, too many clients already", "fatal"),
        ("2026-01-15 14:02:00.123 UTC [77] PANIC:  could not write to file", "panic"),
        ("2026-01-15 14:02:00.123 UTC [77] WARNING:  out of shared memory", "warning"),
        ("1:M 15 Jan 2026 14:02:00.123 * Background saving started", "info"),
        ("1:M 15 Jan 2026 14:02:00.123 # WARNING overcommit_memory is set to 0", "warning"),
        ("-OOM command not allowed when used memory > 'maxmemory'", "error"),
        ("[1] 2026/01/15 14:02:00.123456 [INF] Server is ready", "info"),
        ("[1] 2026/01/15 14:02:00.123456 [ERR] Slow Consumer Detected", "error"),
        ("[1] 2026/01/15 14:02:00.123456 [WRN] Readloop processing time", "warning"),
        ("[1] 2026/01/15 14:02:00.123456 [FTL] Error loading config", "fatal"),
    ],
)
def test_plain_lines_of_postgresql_redis_and_nats(line: str, level: str) -> None:
    row = one(line)
    assert (row["level"], row["message"]) == (level, line)
    assert row["time"] == pd.Timestamp(AT)


PANIC = """\
{"level":"info","message":"before"}
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x6b1f2c]

goroutine 37 [running]:
github.com/cryptofunk/internal/agents.(*Trend).Decide(0x0, {0xc000123, 0x5})
\t/src/internal/agents/trend.go:211 +0x1c
main.main.func1()
\t/src/cmd/trend-agent/main.go:88 +0x9f
created by main.main in goroutine 1
\t/src/cmd/trend-agent/main.go:80 +0x2d
exit status 2
{"level":"info","message":"after"}"""


@pytest.mark.parametrize("stamped", [True, False])
def test_a_go_panic_is_one_row_with_its_stack(stamped: bool) -> None:
    text = "\n".join(f"{STAMP} {line}" if stamped else line for line in PANIC.splitlines())
    frame = parse(text, "p")
    assert frame["level"].tolist() == ["info", "panic", "info"]
    assert frame["message"][1] == "panic: runtime error: invalid memory address or nil pointer dereference"
    assert "trend.go:211" in frame["fields"][1]["stack"]
    assert "exit status 2" in frame["fields"][1]["stack"]
    assert frame["message"][2] == "after"


def test_a_continued_line_belongs_to_the_one_before() -> None:
    frame = parse(f"{STAMP} 2026-01-15 14:02:00 UTC ERROR:  syntax error\n{STAMP} \tLINE 1: SELECT", "p")
    assert frame["message"].tolist() == ["2026-01-15 14:02:00 UTC ERROR:  syntax error LINE 1: SELECT"]


HOSTILE = [
    "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "\u202ecod.exe\u2066",
    "{" * 5000,
    '{"a":' * 3000,
    '{"level":["error"],"message":{"nested":[1]},"time":[]}',
    '{"level":7,"message":null,"time":1e400}',
    "[1,2,3]",
    '"text"',
    "\x00\x01\x02",
    "a" * 1_000_000,
    "=" * 100_000,
    ' a="' * 20_000,
    "2:01PM ERR " + ' x="\\' * 10_000,
    "panic: " + "x" * 100_000,
    "\udc80\udcff",
    "\u2028\u2029\x85",
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_lines_end_as_short_clean_rows(line: str) -> None:
    frame = parse(f"{STAMP} {line}", "p")
    for row in frame.to_dict("records"):
        assert len(row["message"]) <= 2_000
        assert len(row["level"]) <= 20
        assert not set(row["message"]) & {"\x1b", "\x07", "\x00", "\u202e", "\u2066"}
        assert all(isinstance(value, str) and len(value) <= 2_000 for value in row["fields"].values())
    json.dumps(frame["fields"].tolist())


def test_a_panic_that_never_ends_is_bounded() -> None:
    frame = parse("panic: x\n" + "\tframe +0x1c\n" * 100_000, "p")
    assert len(frame) == 1
    assert len(frame["fields"][0]["stack"]) < 4_100


@given(st.text(max_size=400))
def test_any_text_parses(text: str) -> None:
    frame = parse(text, "p")
    assert tuple(frame.columns) == COLUMNS
    assert frame["message"].str.strip().ne("").all() or frame["message"].eq("").any()


def test_no_lines() -> None:
    frame = logs.frame_of([])
    assert tuple(frame.columns) == COLUMNS
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"


CASES = {
    # Taken from public reports.
    "gin": """

2026/01/15 14:05:00 [Recovery] 2026/01/15 - 14:05:00 panic recovered:
POST /api/v1/orders HTTP/1.1
Host: api
Authorization: *

runtime error: invalid memory address or nil pointer dereference
/usr/local/go/src/runtime/panic.go:261 (0x44f2e9)
\tpanicmem: panic(memoryError)
/src/api/orders.go:77 (0x8f1c2e)
\tplace: order.Price.Mul(quantity)

[GIN] 2026/01/15 - 14:05:00 | 500 |  1.2ms | 10.0.0.1 | POST "/api/v1/orders"
Error #01: EOF
""",
    "gin, release": """
2026/01/15 14:05:00 [Recovery] 2026/01/15 - 14:05:00 panic recovered:
runtime error: index out of range [3] with length 3
/usr/local/go/src/runtime/panic.go:261 (0x44f2e9)
\tpanicmem: panic(memoryError)

2026/01/15 14:05:01 listening
""",
    "net/http": """
2026/01/15 14:05:00 http: panic serving 10.0.0.1:51234: runtime error: index out of range [3] with length 3
goroutine 5123 [running]:
net/http.(*conn).serve.func1()
\t/usr/local/go/src/net/http/server.go:1947 +0xbe
panic({0x1234, 0xc0001})
\t/usr/local/go/src/runtime/panic.go:785 +0x132
main.(*Server).placeOrder(0xc0001)
\t/src/api/orders.go:77 +0x3f
{"level":"info","message":"after"}
""",
    "panic of several lines": """
panic: could not start:
  the database said no
Second line

goroutine 1 [running]:
main.main()
\t/src/main.go:12 +0x3f
exit status 2
2026/01/15 14:05:01 listening
""",
    "python": """
{"level":"info","message":"before"}
Traceback (most recent call last):
  File "/app/feed.py", line 12, in read
    return cache[symbol]
           ~~~~~^^^^^^^^
KeyError: 'BTCUSDT'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/feed.py", line 30, in <module>
    main()
feed.errors.FeedError: no price of BTCUSDT
INFO:root:after
""",
    "python logging": """
2026-01-15 14:02:00,123 ERROR feed: could not read
Traceback (most recent call last):
  File "/app/feed.py", line 12, in read
ValueError: bad price
2026-01-15 14:02:01,123 INFO feed: after
""",
    "postgresql": """
2026-01-15 14:02:00.123 CET [77] FEHLER:  doppelter Schlüsselwert verletzt »orders_pkey«
2026-01-15 14:02:00.123 CET [78] LOG:  Verbindung beendet
2026-01-15 14:02:00.123 CET [77] DETAIL:  Schlüssel »(id)=(4)« existiert bereits.
2026-01-15 14:02:00.123 CET [77] ANWEISUNG:  INSERT INTO orders
\tVALUES (4)
""",
    "csvlog": """
2026-01-15 14:02:00.123 UTC,"app","cryptofunk",77,"10.0.0.1:5432",65a1,3,"INSERT",2026-01-15 13:00:00 UTC,4/12,0,ERROR,\
40P01,"deadlock detected","Process 77 waits",,,,,"INSERT INTO orders
VALUES (4, ""x"")

RETURNING id",,,"api","client backend",,0
2026-01-15 14:02:01.123 UTC,,,78,,65a1,3,,2026-01-15 13:00:00 UTC,,0,LOG,00000,"checkpoint starting: time",,,,,,,,,""
""",
    "zap": """
2026-01-15T14:02:00.123Z\tERROR\tapi/server.go:12\tfailed\t{"error": "EOF"}
main.(*Server).Place
\t/src/api/server.go:12
main.main
\t/src/main.go:7
2026-01-15T14:02:01.123Z\tINFO\tapi/server.go:14\tafter
""",
    "key": """
{"level":"info","message":"before"}
-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCAQEA1234/56+
Zm9vYmFyZm9vYmFy
-----END RSA PRIVATE KEY-----
{"level":"info","message":"after"}
""",
    "key cut off": """
MIIEpAIBAAKCAQEA1234/56+
Zm9vYmFyZm9vYmFy
-----END RSA PRIVATE KEY-----
{"level":"info","message":"after"}
""",
}
KEY = "MIIEpAIBAAKCAQEA1234/56+\nZm9vYmFyZm9vYmFy\n-----END RSA PRIVATE KEY-----"
ROWS = {
    "gin": [
        ("panic", "[Recovery] panic recovered: runtime error: invalid memory address or nil pointer dereference"),
        ("error", '[GIN] 2026/01/15 - 14:05:00 | 500 |  1.2ms | 10.0.0.1 | POST "/api/v1/orders"'),
    ],
    "gin, release": [
        ("panic", "[Recovery] panic recovered: runtime error: index out of range [3] with length 3"),
        ("unknown", "2026/01/15 14:05:01 listening"),
    ],
    "net/http": [
        ("panic", "http: panic serving 10.0.0.1:51234: runtime error: index out of range [3] with length 3"),
        ("info", "after"),
    ],
    "panic of several lines": [
        ("panic", "panic: could not start:"),
        ("unknown", "2026/01/15 14:05:01 listening"),
    ],
    "python": [
        ("info", "before"),
        ("error", "feed.errors.FeedError: no price of BTCUSDT"),
        ("info", "INFO:root:after"),
    ],
    "python logging": [
        ("error", "2026-01-15 14:02:00,123 ERROR feed: could not read"),
        ("info", "2026-01-15 14:02:01,123 INFO feed: after"),
    ],
    "postgresql": [
        ("error", "2026-01-15 14:02:00.123 CET [77] FEHLER:  doppelter Schlüsselwert verletzt »orders_pkey«"),
        ("info", "2026-01-15 14:02:00.123 CET [78] LOG:  Verbindung beendet"),
    ],
    "csvlog": [("error", "deadlock detected"), ("info", "checkpoint starting: time")],
    "zap": [("error", "failed"), ("info", "after")],
    "key": [
        ("info", "before"),
        ("unknown", f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}"),
        ("info", "after"),
    ],
    "key cut off": [
        ("unknown", KEY),
        ("info", "after"),
    ],
}
FIELDS = {
    "gin": {"recovered": "yes", "request": "POST /api/v1/orders HTTP/1.1"},
    "net/http": {"recovered": "yes"},
    "python logging": {"error": "ValueError: bad price"},
    "postgresql": {
        "detail": "Schlüssel »(id)=(4)« existiert bereits.",
        "statement": "INSERT INTO orders\n\tVALUES (4)",
    },
    "zap": {"error": "EOF", "caller": "api/server.go:12"},
}
IN_STACKS = {
    "gin": ("panic.go:261", "orders.go:77"),
    "gin, release": ("panic.go:261",),
    "net/http": ("server.go:1947", "panic({0x1234", "orders.go:77"),
    "panic of several lines": ("the database said no", "Second line", "main.go:12", "exit status 2"),
    "python": ("KeyError", "feed.py", "line 30"),
    "python logging": ("line 12",),
    "zap": ("server.go:12", "main.main", "main.go:7"),
}


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_what_belongs_together_is_one_row(case: str, stamped: bool) -> None:
    text = CASES[case].replace("\\\n", "").strip("\n")
    lines = [f"{STAMP} {line}" if stamped else line for line in text.split("\n")]
    frame = parse("\n".join(lines), "p")
    assert list(zip(frame["level"], frame["message"], strict=True)) == ROWS[case]
    fields = next(row for row, level in zip(frame["fields"], frame["level"], strict=True) if level != "info")
    assert fields | FIELDS.get(case, {}) == fields
    for part in IN_STACKS.get(case, ()):
        assert part in fields["stack"]


def test_a_header_of_a_dumped_request_is_not_kept() -> None:
    assert "Authorization" not in str(parse(CASES["gin"], "p").to_dict("records"))


def test_a_traceback_long_after_an_error_is_its_own_row() -> None:
    text = (
        "2026-01-15T14:02:00Z ERROR:root:could not read\n"
        "2026-01-15T14:03:00Z Traceback (most recent call last):\n"
        '2026-01-15T14:03:00Z   File "/app/feed.py", line 12, in read\n'
        "2026-01-15T14:03:00Z ValueError: bad price"
    )
    frame = parse(text, "p")
    assert frame["message"].tolist() == ["ERROR:root:could not read", "ValueError: bad price"]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_lines_end_at_newlines_alone(mark: str) -> None:
    line = json.dumps({"level": "error", "message": "rejected", "error": f"said:{mark}(margin"}, ensure_ascii=False)
    if mark < " ":  # JSON has these escaped; others do not
        line = f'2:01PM ERR rejected error="said:{mark}(margin"'
    row = one(line)
    assert (row["level"], row["message"], row["fields"]) == ("error", "rejected", {"error": "said: (margin"})


def test_windows_lines_are_lines() -> None:
    frame = parse(f'{STAMP} {{"level":"error","message":"a"}}\r\n{STAMP} [ERROR] b\r\n', "p")
    assert (frame["level"].tolist(), frame["message"].tolist()) == (["error", "error"], ["a", "[ERROR] b"])


@pytest.mark.parametrize("line", [json.dumps({"message": "\x1b[31m\u202ered\x00"}), "\u202e\x00red", "\rred"])
def test_marks_do_not_hide_a_line_nor_survive(line: str) -> None:
    frame = parse(f"{STAMP} [INFO] before\n{STAMP} {line}", "p")
    assert frame["message"].tolist() == ["[INFO] before", "red"]


def test_patterns_put_the_worst_first_and_count() -> None:
    lines = [
        *(f'{{"level":"info","message":"tick {n}"}}' for n in range(50)),
        *(f'{{"level":"error","message":"Order {n} rejected","error":"code {n * 7}"}}' for n in range(3)),
        *(f'{{"level":"error","message":"Lost connection to 10.0.0.{n}:5432"}}' for n in range(5)),
        "panic: boom",
    ]
    grouped = patterns(parse("\n".join(f"{STAMP} {line}" for line in lines), "p"))
    assert grouped["level"].tolist() == ["panic", "error", "error", "info"]
    assert grouped["lines"].tolist() == [1, 5, 3, 50]
    assert grouped["pattern"].tolist()[1:] == ["Lost connection to #", "Order # rejected: code #", "tick #"]


CODES = {
    "binance: <APIError> code=-1021, msg=Timestamp for this request": "-1021",
    'rejected: {"code":-2010,"msg":"Account has insufficient balance"}': "-2010",
    "exchange error -1003 at 12:30": "-1003",
    "retCode: 10006": "10006",
    "status=429 after 3 attempts": "429",
    "StatusCode: 401, took 250ms": "401",
    "HTTP/1.1 503 Service Unavailable": "503",
    "unexpected 502 Bad Gateway": "502",
    "the exchange answered 418, banned for 120 s": "418",
    "Request failed: 401": "401",
    "got 403 from binance": "403",
    "refused (429)": "429",
    '[GIN] 2026/01/15 - 14:05:00 | 500 |  1.2ms | 10.0.0.1 | POST "/x"': "500",
    '10.0.0.1 - - [15/Jan/2026:14:02:00 +0000] "GET /api HTTP/1.1" 502 612': "502",
    "HTTP probe failed with statuscode: 503": "503",
    "ended with exit code 137": "137",
    "duplicate key (SQLSTATE 23505)": "23505",
}
NUMBERS = (
    "returned 418 rows",
    "took 401 ms",
    "price 418.5",
    "pnl -1500.25 USDT",
    "delta -1500 USDT",
    "10.0.0.1:500 refused",
    "pid 500 order 401 rejected",
    "code 200ms",
    "2026-01-15 14:02:00",
    "range 10-1000",
    "id 550e8400-e29b-41d4-a716-446655440000",
    "order 4011021 rejected",
)


@pytest.mark.parametrize("message", CODES)
def test_codes_stay_in_patterns(message: str) -> None:
    assert CODES[message] in pattern_of(message)


@pytest.mark.parametrize("message", NUMBERS)
def test_other_numbers_do_not(message: str) -> None:
    assert not any(character.isdigit() for character in pattern_of(message))


def test_codes_tell_patterns_apart_and_the_example_is_the_whole_line() -> None:
    lines = [f"binance answered {code} after {n} ms: " + "x" * 300 for n, code in enumerate((401, 418, 418, -1021))]
    grouped = patterns(parse("\n".join(f"{STAMP} [ERROR] {line}" for line in lines), "p"))
    assert grouped["lines"].tolist() == [2, 1, 1]
    assert grouped["example"][0] == f"[ERROR] {lines[2]}"


def test_lines_of_unknown_level_are_counted_and_come_before_those_that_are_fine() -> None:
    text = "\n".join(
        f"{STAMP} {line}" for line in ("[INFO] a", "[INFO] a", "listening", "listening", "[WARN] b", "dial 1", "dial 2")
    )
    frame = parse(text, "p")
    grouped = patterns(frame)
    assert unlevelled(frame) == 4
    assert grouped["level"].tolist() == ["warning", "unknown", "unknown", "info"]
    assert unlevelled_detail(grouped) == "4 lines tell no level that is known, most often “listening” (2×)."
    assert unlevelled_detail(grouped[:1]) == ""


@given(st.text(max_size=300))
def test_patterns_of_any_text_are_short(text: str) -> None:
    assert len(pattern_of(text)) <= 200
