"""Log lines grouped by what they say, and how many tell no level."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from runbook.sources.logs import LEVELS, UNKNOWN
from runbook.words import counted, plural

_RANK = {level: rank for rank, level in enumerate(LEVELS)}
_VARIABLE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+|\b[0-9a-f]{12,}\b|[-+]?\d+(?:[.,:]\d+)*",
    re.IGNORECASE,
)
_REASONS = (
    "unauthorized|forbidden|not found|too many|bad request|bad gateway|internal server|service (?:temporarily )?unavail"
    "|gateway time|conflict|unprocessable|payment required|i'?m a teapot|teapot|request timeout|client error"
    "|server error|method not|not acceptable|gone|precondition|payload too|request entity|locked|rate limit"
)
_TOLD_BY = (
    "returned|returns|respond(?:s|ed)|repl(?:ies|ied)|answer(?:s|ed)|got|gets|received|failed|rejected|refused"
    "|error|err|response|exchange|banned|http"
)
_ENDS = r"(?![\w%]|[.,:]\d)"
_UNITS = r"(?! ?(?:ms|us|µs|ns|s|sec|min|h|bytes?|[kmg]i?b|usd[tc]?|btc|eth|eur|%)\b)"
_CODE = re.compile(
    # status=429, "statusCode": 429, HTTP/1.1 503
    r"(?:status(?:[ _-]?code)?|(?<![a-z])http(?:/[\d.]{1,3})?)[\"']{0,2}\s?[:=]?\s?[\[\"'(]?"
    rf"[1-5]\d\d{_ENDS}{_UNITS}"
    # error code -1021, "retCode":10006, exit code 137, SQLSTATE 40P01
    r"|(?:(?<![a-z])|(?<=err)|(?<=error)|(?<=ret)|(?<=exit))[ _-]?s?code[\"']{0,2}\s?[:=]?\s?[\[\"'(]?-?\d{3,5}"
    rf"{_ENDS}{_UNITS}|\bsqlstate[ :=]{{1,2}}[0-9A-Z]{{5}}\b"
    # 401 Unauthorized, 429: Too Many Requests
    rf"|(?<![\w.,:/#-])[45]\d\d(?=:? (?:{_REASONS}))"
    # (418), [401], | 500 |, "GET / HTTP/1.1" 502
    r"|[(\[]\s?[45]\d\d\s?[)\]]|\|\s{0,4}[1-5]\d\d\s{0,4}\||\"\s[1-5]\d\d(?=\s)"
    # the exchange answered 418, request failed: 401; but not "returned 418 rows"
    rf"|\b(?:{_TOLD_BY})(?: with| by)?[: ]\s?(?:an? )?[45]\d\d"
    r"(?=\s*$|[.;,:)\]\"'](?!\d)|\s(?:from|for|on|to|at|after|while|when)\b)"
    r"|:\s[45]\d\d(?=\s*$)"
    # -1021: what exchanges call an error by, unlike an amount
    rf"|(?<![\w.,)\]\-])(?<!\d )-[1-9]\d{{3}}{_ENDS}{_UNITS}",
    re.IGNORECASE,
)
"""The codes by which an HTTP server or an exchange says what is wrong."""
_MAY_BE_CODE = re.compile(r"(?<!\d)(?:[1-5]\d\d(?!\d)|-\d{3}|\d{4,5}(?!\d))|SQLSTATE")
_KEPT = {ord(str(digit)): 0xE000 + digit for digit in range(10)}
_BACK = {kept: digit for digit, kept in _KEPT.items()}
PATTERNS_MAX = 25


def pattern_of(message: str) -> str:
    """`message` with # for each number, id and address in it, so that repetitions group; at most 200 characters.

    Codes of HTTP and of exchanges stay (401, 418, -1021): they tell one trouble from another.
    """
    if not _MAY_BE_CODE.search(message):
        return _VARIABLE.sub("#", message)[:200]
    kept = _CODE.sub(lambda code: code[0].translate(_KEPT), message)
    return _VARIABLE.sub("#", kept).translate(_BACK)[:200]


def patterns(frame: pd.DataFrame, limit: int | None = PATTERNS_MAX) -> pd.DataFrame:
    """Log rows (as logs.parse makes them) grouped by what they say, worst first; at most `limit` groups.

    Columns: level, pattern, lines, first, last, example. Numbers, ids and addresses in a message count as the same.
    The error field is part of the pattern. Lines of unknown level come before those that are known to be fine.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    texts, known = [], dict[str, str]()
    for row, (level, message, fields) in enumerate(zip(frame["level"], frame["message"], frame["fields"], strict=True)):
        error = str(fields.get("error", fields.get("err", "")))
        text = f"{message}: {error}" if error and error not in message else message
        texts.append(text)
        if text not in known:
            known[text] = pattern_of(text)
        rows.setdefault((level, known[text]), []).append(row)
    worst = sorted(rows.items(), key=lambda group: (_RANK.get(group[0][0], _RANK[UNKNOWN]), -len(group[1])))[:limit]
    times, fields_of = frame["time"].to_numpy(dtype="datetime64[us]"), frame["fields"].tolist()
    moments = [(np.fmin.reduce(times[of]), np.fmax.reduce(times[of])) for _, of in worst]
    return pd.DataFrame(
        {
            "level": [level for (level, _), _ in worst],
            "pattern": [pattern for (_, pattern), _ in worst],
            "lines": [len(of) for _, of in worst],
            "first": pd.Series([first for first, _ in moments], dtype="datetime64[us]").dt.tz_localize("UTC"),
            "last": pd.Series([last for _, last in moments], dtype="datetime64[us]").dt.tz_localize("UTC"),
            "example": [_example(texts[of[-1]], fields_of[of[-1]]) for _, of in worst],
        }
    )


def unlevelled(frame: pd.DataFrame) -> int:
    """How many log rows tell no level that is known: they may be fine or not."""
    return int((frame["level"] == UNKNOWN).sum())


def unlevelled_detail(grouped: pd.DataFrame) -> str:
    """A sentence on the patterns (of `patterns`) without a known level, quoting the most frequent; "" where none is."""
    unknown = grouped[grouped["level"] == UNKNOWN]
    if unknown.empty:
        return ""
    lines, first = int(unknown["lines"].sum()), unknown.iloc[0]
    tells = plural(lines, "tells", "tell")
    return (
        f"{counted(lines, 'line')} {tells} no level that is known, most often “{first.pattern[:90]}” ({first.lines}×)."
    )


def _example(text: str, fields: dict[str, str]) -> str:
    """A line as it was logged: its message, its fields, where its stack begins."""
    shown = ", ".join(f"{name}={value}" for name, value in fields.items() if name not in ("error", "err", "stack"))
    stack = fields.get("stack", "").strip().split("\n")
    return " | ".join(part for part in (text, shown, *stack[:2]) if part)
