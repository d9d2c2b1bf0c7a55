"""The level of a line is the one that its writer gave it, whatever it writes with; else it is unknown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.sources.logs import LEVELS, levels, parse

STAMP = "2026-01-15T14:02:00.123456789Z"

JSON_LINES: tuple[tuple[str, dict[str, Any]], ...] = (
    # zerolog
    ("error", {"level": "error", "time": 1768485720, "message": "Order rejected"}),
    ("error", {"level": "ERROR", "time": 1768485720, "message": "Order rejected"}),
    ("fatal", {"level": "Fatal", "message": "x"}),
    ("unknown", {"message": "log.Log() has none"}),
    ("unknown", {"level": "", "message": "x"}),
    ("unknown", {"level": "support", "message": "x"}),
    ("unknown", {"level": ["error"], "message": "x"}),
    ("unknown", {"level": True, "message": "x"}),
    # slog
    ("warning", {"time": "2026-01-15T14:02:00.1Z", "level": "WARN", "msg": "slow"}),
    ("error", {"time": "2026-01-15T14:02:00.1Z", "level": "ERROR+2", "msg": "slow"}),
    ("trace", {"time": "2026-01-15T14:02:00.1Z", "level": "DEBUG-4", "msg": "slow"}),
    # zap
    ("error", {"level": "error", "ts": 1768485720.123, "caller": "api/server.go:12", "msg": "failed"}),
    ("error", {"level": "dpanic", "ts": 1768485720.123, "msg": "failed"}),
    ("error", {"L": "ERROR", "T": "2026-01-15T14:02:00.123Z", "M": "failed"}),
    # pino and bunyan
    *(
        (level, {"level": number, "time": 1768485720123, "pid": 7, "hostname": "web-1", "msg": "x"})
        for number, level in (
            (10, "trace"),
            (20, "debug"),
            (30, "info"),
            (35, "info"),
            (40, "warning"),
            (50, "error"),
            (60, "fatal"),
            (99, "unknown"),
            (3, "unknown"),
        )
    ),
    # GELF, journald, Google, Elastic, hclog, Python, structlog
    ("error", {"version": "1.1", "host": "a", "short_message": "x", "level": 3}),
    ("error", {"PRIORITY": "3", "MESSAGE": "x"}),
    ("fatal", {"severity": "EMERGENCY", "message": "x"}),
    ("warning", {"@timestamp": "2026-01-15T14:02:00.123Z", "log.level": "warn", "message": "x"}),
    ("error", {"@timestamp": "2026-01-15T14:02:00.123Z", "log": {"level": "ERROR"}, "message": "x"}),
    ("error", {"@level": "error", "@message": "x"}),
    ("error", {"levelname": "ERROR", "message": "x"}),
    ("warning", {"levelno": 30, "message": "x"}),
    ("error", {"event": "order failed", "level": "error"}),
    # PostgreSQL's jsonlog, in German too
    ("error", {"timestamp": "2026-01-15 14:02:00.123 UTC", "error_severity": "ERROR", "message": "deadlock"}),
    ("error", {"timestamp": "2026-01-15 14:02:00.123 UTC", "error_severity": "FEHLER", "message": "x"}),
    ("info", {"timestamp": "2026-01-15 14:02:00.123 UTC", "error_severity": "LOG", "message": "x"}),
    # a request without a level
    ("error", {"remote_addr": "10.0.0.1", "method": "GET", "status": 502, "path": "/x"}),
    ("unknown", {"status": 502, "message": "x"}),
)

TEXT_LINES = r"""
error   | {"level":"error","message":"the alert's own level comes later","level":"page"}
error   | {"level":"error","message":"cut off amid
unknown | {"message":"cut off amid
error   | 2:01PM ERR Order rejected error="x"
error   | 2026-01-15T14:02:00Z ERR x
warning | 14:02:00 WRN x
error   | 2026-01-15 14:02:00 ERR x
warning | 2:01PM WAR upper case JSON through zerolog's console
fatal   | 2:01PM FAT x
unknown | 2:01PM ??? x
error   | time=2026-01-15T14:02:00.123Z level=ERROR msg="place order" err="dial tcp: refused"
warning | time="2026-01-15T14:02:00Z" level=warning msg="x"
error   | ts=2026-01-15T14:02:00.123Z caller=main.go:1 level=error component=tsdb msg="x"
error   | t=2026-01-15T14:02:00+0000 lvl=eror msg=x
unknown | method=GET path=/ status=200
unknown | level=margin msg=x
error   | 2026/01/15 14:02:00 ERROR place order err="EOF"
info    | 2026/01/15 14:02:00 INFO order ERROR status
error   | 2026/01/15 14:02:00 main.go:12: ERROR place order
error   | ERRO[0012] place order   error=EOF
info    | I0115 14:02:00.123456       1 reflector.go:147] ERROR is in the message only
error   | E0115 14:02:00.123456       1 reflector.go:147] pkg/mod: Failed to watch *v1.Pod
warning | W0115 14:02:00.123456      77 a.go:1] x
fatal   | F0115 14:02:00.123456      77 a.go:1] x
error   | [GIN] 2026/01/15 - 14:05:00 | 500 |  1.2ms | 10.0.0.1 | POST "/api/v1/orders"
warning | [GIN] 2026/01/15 - 14:05:00 | 401 |  1.2ms | 10.0.0.1 | POST     "/api/v1/orders"
info    | [GIN] 2026/01/15 - 14:05:00 | 200 |  1.2ms | ::1 | GET     "/healthz"
warning | [GIN-debug] [WARNING] Running in "debug" mode. Switch to "release" mode in production.
debug   | [GIN-debug] GET    /api/v1/orders --> main.list (3 handlers)
error   | [GIN-debug] [ERROR] listen tcp :8080: bind: address already in use
info    | 1:M 15 Jan 2026 14:02:00.123 * Background saving started by ERROR
warning | 1:M 15 Jan 2026 14:02:00.123 # Can't save in background: fork: Cannot allocate memory
debug   | 1:M 15 Jan 2026 14:02:00.123 - DB 0: 1 keys
debug   | 7:S 15 Jan 2026 14:02:00.123 . x
error   | [1] 2026/01/15 14:02:00.123456 [ERR] x
fatal   | [1] 2026/01/15 14:02:00.123456 [FTL] x
info    | [1] 2026/01/15 14:02:00.123456 [INF] ERROR is fine
debug   | [1] 2026/01/15 14:02:00.123456 [DBG] x
trace   | [1] 2026/01/15 14:02:00.123456 [TRC] x
error   | 2026-01-15 14:02:00.123 CET [77] FEHLER:  Relation »x« existiert nicht
error   | 2026-01-15 14:02:00.123 CET [77] app@db ERREUR:  la relation n'existe pas
error   | 2026-01-15 14:02:00.123 MSK [77] ОШИБКА:  отношение не существует
error   | 2026-01-15 14:02:00.123 CST [77] 错误:  关系 "x" 不存在
error   | 2026-01-15 14:02:00.123 KST [77] 오류:  x
error   | 2026-01-15 14:02:00.123 BRT [77] ERRO:  x
fatal   | 2026-01-15 14:02:00.123 MSK [77] ВАЖНО:  уже слишком много клиентов
fatal   | 2026-01-15 14:02:00.123 CST [77] 致命错误:  对不起, 已经有太多的客户
panic   | 2026-01-15 14:02:00.123 CET [77] PANIK:  konnte nicht schreiben
warning | 2026-01-15 14:02:00.123 CET [77] WARNUNG:  x
info    | 2026-01-15 14:02:00.123 CET [77] HINWEIS:  ERROR
info    | 2026-01-15 14:02:00.123 UTC [77] LOG:  statement: SELECT 'ERROR'
unknown | 2026-01-15 14:02:00.123 UTC [77] FOUTMELDING:  x
error   | 2026-01-15 14:02:00 UTC [77]: [3-1] user=app,db=x,app=[unknown],client=10.0.0.1 ERROR:  deadlock detected
error   | 2026-01-15 14:02:00 UTC:10.0.0.1(5000):app@db:[77]:ERROR:  deadlock detected
info    | 2026-01-15 14:02:00.123 UTC,,,77,,65a1,3,,2026-01-15 13:00:00 UTC,,0,LOG,00000,"checkpoint starting: time"
error   | 2026/01/15 14:02:00 [error] 77#77: *1 connect() failed (111: Connection refused)
info    | 2026/01/15 14:02:00 [notice] 77#77: start worker ERROR
error   | 10.0.0.1 - - [15/Jan/2026:14:02:00 +0000] "GET /api HTTP/1.1" 502 612 "-" "curl"
warning | 10.0.0.1 - - [15/Jan/2026:14:02:00 +0000] "GET /api HTTP/1.1" 404 612 "-" "curl"
info    | INFO:     10.0.0.1:5000 - "GET / HTTP/1.1" 200 OK
error   | ERROR:root:message
error   | 2026-01-15 14:02:00,123 ERROR [main] com.x.Foo - msg
info    | 2026-01-15 14:02:00,123 INFO [main] com.x.Foo - ERROR
info    | 2026-01-15 14:02:00,123 - my.module - INFO - the ERROR word
warning | 2026-01-15T14:02:00.123Z  WARN crate::module: x
info    | 2026-01-15T14:02:00.123Z  INFO crate::module: x
error   | [2026-01-15 14:02:00 +0000] [7] [ERROR] Worker failed
error   | [2026-01-15 14:02:00.123][1][error][main] x
info    | [INFO] 127.0.0.1:1234 - 5 "A IN x"
error   | Error: cannot connect
fatal   | fatal: x
error   | TypeError: Cannot read properties of undefined
error   | 2026/01/15 14:05:00 {"level":"error","message":"wrapped"}
panic   | fatal error: all goroutines are asleep - deadlock!
panic   | thread 'main' panicked at src/main.rs:2:5:
unknown | 2026/01/15 14:05:00 dial tcp 10.0.0.1:5432: connect: connection refused
unknown | Starting the server
unknown | checking LOG directory failed
unknown | Set INFO level for x
unknown | Killed
"""
TABBED_LINES = (
    ("error", '2026-01-15T14:02:00.123+0100\tERROR\tapi/server.go:12\tfailed\t{"error": "EOF"}'),
    ("info", "2026-01-15T14:02:00.123Z\tINFO\tmain\tapi/server.go:12\tup with ERROR"),
    ("error", "1.768485720e+09\terror\tfailed"),
    (
        "info",
        "[GIN] 2026/01/15 - 14:05:00 |\x1b[97;42m 200 \x1b[0m|    1.2ms |  10.0.0.1 |\x1b[97;44m GET   \x1b[0m /x",
    ),
)
TEXTS = [tuple(part.strip() for part in line.split("|", 1)) for line in TEXT_LINES.strip().split("\n")]


def levels_of(line: str) -> list[str]:
    return list(parse(f"{STAMP} {line}", "pod-1")["level"])


@pytest.mark.parametrize(("level", "content"), JSON_LINES, ids=lambda value: str(value)[:60])
def test_json_lines(level: str, content: dict[str, Any]) -> None:
    assert levels_of(json.dumps(content)) == [level]


@pytest.mark.parametrize(("level", "line"), [*TEXTS, *TABBED_LINES], ids=lambda value: str(value)[:60])
def test_lines_of_text(level: str, line: str) -> None:
    assert levels_of(line) == [level]


@given(st.sampled_from([line for _, line in TEXTS]), st.text(max_size=20), st.text(max_size=20))
def test_every_line_has_a_level_of_ours(line: str, before: str, after: str) -> None:
    assert set(levels_of(before + line + after)) <= set(LEVELS)


@given(st.text(max_size=30))
def test_a_word_that_is_no_level_is_unknown_or_a_level(word: str) -> None:
    assert levels.of_word(word) in LEVELS


def test_what_is_extracted_beside_the_level() -> None:
    lines = {
        "zap": '2026-01-15T14:02:00.123Z\tERROR\tapi/server.go:12\tfailed to place\t{"error": "EOF", "n": 3}',
        "slog": '2026/01/15 14:02:00 ERROR failed to place error="EOF" n=3',
        "klog": 'E0115 14:02:00.123456  1 api.go:12] "failed to place" error="EOF" n="3"',
        "logfmt": 'time=2026-01-15T14:02:00Z level=ERROR msg="failed to place" error=EOF n=3',
        "pino": '{"level":50,"msg":"failed to place","error":{"message":"EOF","stack":"Error: EOF\\n  at x"},"n":3}',
        "jsonlog": '{"error_severity":"ERROR","message":"failed to place","error":"EOF","n":3}',
    }
    for name, line in lines.items():
        row = parse(f"{STAMP} {line}", "p").iloc[0]
        assert (row["message"], row["fields"]["error"], row["fields"]["n"]) == ("failed to place", "EOF", "3"), name
