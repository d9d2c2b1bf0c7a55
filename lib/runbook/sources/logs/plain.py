"""Lines of text: zerolog's console form, klog, gin, zap, logrus, Redis, NATS, and whoever names a level."""

from __future__ import annotations

import re
from collections.abc import Callable

from runbook.sources.logs import levels, postgresql
from runbook.sources.logs.rows import TEXT_MAX, Row, split_fields, time_of
from runbook.sources.logs.structured import of_json, of_json_within

_LINE_MAX = 8_000
"""How much of a line is searched."""
_ZONED = r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)"
CONSOLE = re.compile(
    rf"^(?:\d{{1,2}}:\d\d(?::\d\d)?(?:\.\d+)? ?(?:[AP]M)?|{_ZONED}|\d{{4}}[-/]\d\d[-/]\d\d[T ][\d:.]+|<nil>)"
    r" (TR[CA]|DBG|DEB|INF|WRN|WAR|ERR|FTL|FAT|PNC|PAN|\?\?\?) (.*)$",
    re.DOTALL,
)
_KLOG = re.compile(r"^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s+\d+ ([^\s\]]{1,100}:\d+)\] (.*)$", re.DOTALL)
_LOGRUS = re.compile(r"^(PANI|FATA|ERRO|WARN|INFO|DEBU|TRAC)\[\d+\] ?(.*)$", re.DOTALL)
_GO_TIME = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? "
_SLOG = re.compile(rf"^{_GO_TIME}(?:[\w./-]{{1,60}}:\d+: )?((?:DEBUG|INFO|WARN|ERROR)(?:[+-]\d+)?) (.*)$", re.DOTALL)
_ZAP = re.compile(r"^([\d.:+TZe-]{6,40})\t([A-Za-z]{4,6})\t(.*)$", re.DOTALL)
_ZAP_CALLER = re.compile(r"^[\w./@-]{1,120}\.go:\d+$")
_GIN = re.compile(
    r"^\[GIN\] [\d/]+ - [\d:]+ \|\s*(\d{3})\s*\|\s*([^|]{0,40}?)\s*\|\s*([^|]{0,60}?)\s*\|\s*([A-Z]{1,10})\s+(.*)$"
)
_GIN_DEBUG = re.compile(r"^\[GIN-debug\] (?:\[([A-Z]{4,7})\])?")
_GIN_PANIC = re.compile(rf"^(?:{_GO_TIME})?\[Recovery\] .{{0,40}}panic recovered:(.*)$")
_HTTP_PANIC = re.compile(rf"^(?:{_GO_TIME})?(http2?: panic serving .*)$")
_PANIC = re.compile(r"^(?:panic: |fatal error: |thread '[^']{0,100}'.{0,40} panicked at )")
_REDIS = re.compile(r"^\d+:[XCSM] \d{1,2} [A-Z][a-z]{2} (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d+)? ([.*#-]) ")
_REDIS_MARKS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}
_ACCESS = re.compile(r'"[A-Z]{3,10} \S{1,4000} HTTP/\d(?:\.\d)?"\s+(\d{3})\b')
_BAD = "PANIC|FATAL|CRITICAL|CRIT|EMERG|ALERT|SEVERE|ERROR|ERR|WARNING|WARN|WRN|FTL"
_CALM = "NOTICE|INFO|INF|DEBUG|DBG|TRACE|TRC|VERBOSE|LOG"
_ANY = f"(?i:{_BAD}|{_CALM}|panic|emergency|information|finest|finer|fine)"
_WORD = re.compile(
    # A word in brackets of any kind, in any case.
    rf"[\[<(|]\s?({_ANY})\s?[\]>)|]"
    # A word that complains counts wherever it stands in capitals, a calm one only where levels stand.
    rf"|(?<![\w-])({_BAD})(?![\w-])"
    rf"|(?:^|[\]>)|:\dZ-]\s+|[A-Z]{{3}}\s+|\s{{2,}}|\t)({_CALM})(?=\s|:|$)"
    rf"|(?<![\w-])({_CALM})(?=:|\s-\s|\s\||\s{{2}}|\t)"
    # A word and a colon at the beginning, or behind the time.
    rf"|(?:^|^[\d/:.,TZ +-]{{8,40}}\s)({_ANY}):"
)
_NAMED = re.compile(
    r"^(?:Exception in thread|Unhandled |Uncaught |Traceback \()"
    r"|^(?:[A-Za-z_]\w{0,60}\.){0,8}\w{0,60}(?:Error|Exception): "
    r"|\bOOM command not allowed\b|\bMISCONF\b"
)


def of_text(line: str) -> Row:
    """The row of a line of text, by whoever writes so; its level "unknown" where nothing tells it."""
    line = line.strip()
    head = line[:_LINE_MAX]
    for read in _READERS:
        row = read(head)
        if row is not None:
            return row
    return Row(levels.UNKNOWN, line[:TEXT_MAX])


def _panic(line: str) -> Row | None:
    if _PANIC.match(line):
        return Row("panic", line[:TEXT_MAX], kind="go panic")
    if found := _HTTP_PANIC.match(line):
        return Row("panic", found[1], {"recovered": "yes"}, kind="go panic")
    if found := _GIN_PANIC.match(line):
        return Row("panic", f"[Recovery] panic recovered:{found[1]}", {"recovered": "yes"}, kind="gin panic")
    return None


def _gin(line: str) -> Row | None:
    if not line.startswith("[GIN"):
        return None
    if found := _GIN.match(line):
        status, took, client, method, path = found.groups()
        path = path.strip().strip('"')
        fields = {"status": status, "method": method, "path": path, "took": took, "client": client}
        return Row(levels.of_status(int(status)), line[:TEXT_MAX], fields, kind="gin")
    found = _GIN_DEBUG.match(line)
    if not found:
        return None
    return Row(levels.of_word(found[1]) if found[1] else "debug", line[:TEXT_MAX], kind="gin debug")


def _console(line: str) -> Row | None:
    found = CONSOLE.match(line)
    if not found:
        return None
    message, fields = split_fields(found[2])
    own_time = time_of(line.split(" ", 1)[0])
    return Row(levels.of_word(found[1]), message[:TEXT_MAX], fields, own_time)


def _klog(line: str) -> Row | None:
    found = _KLOG.match(line)
    if not found:
        return None
    message, fields = split_fields(found[3])
    if message[:1] == '"':  # structured: "message" name=value
        message = message.strip('"')
    else:
        message, fields = found[3].strip(), {}
    return Row(levels.of_word(found[1]), message[:TEXT_MAX], {**fields, "caller": found[2]}, kind="klog")


def _slog(line: str) -> Row | None:
    """slog's default handler, behind Go's own time; and logrus with colours."""
    found = _SLOG.match(line) or _LOGRUS.match(line)
    if not found:
        return None
    message, fields = split_fields(found[2])
    return Row(levels.of_word(found[1]), message[:TEXT_MAX], fields)


def _zap(line: str) -> Row | None:
    found = _ZAP.match(line)
    if not found:
        return None
    level = levels.of_word(found[2])
    if level == levels.UNKNOWN:
        return None
    *parts, last = found[3].split("\t")
    data = of_json(last) if parts else None
    fields = data.fields if data else {}
    if not data:
        parts.append(last)
    caller = next((part for part in parts[:-1] if _ZAP_CALLER.match(part)), "")
    texts = [part for part in parts if part != caller]
    return Row(
        level,
        " ".join(texts)[:TEXT_MAX],
        {**fields, **({"caller": caller} if caller else {})},
        time_of(found[1]),
        "zap",
    )


def _redis(line: str) -> Row | None:
    found = _REDIS.match(line)
    return Row(_REDIS_MARKS[found[1]], line[:TEXT_MAX]) if found else None


def _by_word(line: str) -> Row | None:
    """By the first level that is named where levels are."""
    if found := _WORD.search(line):
        return Row(levels.of_word(found[found.lastindex or 0]), line[:TEXT_MAX])
    return Row("error", line[:TEXT_MAX]) if _NAMED.search(line) else None


def _by_status(line: str) -> Row | None:
    found = _ACCESS.search(line)
    return Row(levels.of_status(int(found[1])), line[:TEXT_MAX], {"status": found[1]}) if found else None


_READERS: tuple[Callable[[str], Row | None], ...] = (
    _panic,
    _gin,
    _console,
    _klog,
    _slog,
    _zap,
    _redis,
    postgresql.of_csv,
    postgresql.of_stderr,
    of_json_within,
    _by_word,
    _by_status,
)
