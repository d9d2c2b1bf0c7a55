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
from runbook.steps.shared.log_patterns import patterns

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
