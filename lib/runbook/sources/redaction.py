"""Takes secrets out of everything a source says, before anything else sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pandas as pd

MASK = "[redacted]"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # credentials in an address: scheme://user:password@host. Lengths are bounded, here and below, so that
    # text made to slow the search down cannot.
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s:/@'\"]{0,200}):([^\s@'\"]{1,500})@"), rf"\1:{MASK}@"),
    (re.compile(r"(?i)(authorization\W{1,5}(?:bearer|basic)\s+|\bbearer\s+)[A-Za-z0-9._~+/=-]{6,}"), rf"\1{MASK}"),
    # key=value, key: value and "key":"value", the key naming a secret; quotes may be escaped (JSON within
    # JSON), and a value that was cut off before its closing quote is hidden too.
    (
        re.compile(
            r"(?i)((?:passw(?:or)?d|secret|token|api[_-]?key|apikey|private[_-]?key|access[_-]?key|credential)s?\b"
            r"\\*[\"']?\s*[=:]\s*)(?:(\\*\")[^\n]*?((?<!\\)\2|(?=\n|\Z))|'[^'\n]*'|[^\s,;&}\"'\\]+)"
        ),
        rf"\1\2{MASK}\3",
    ),
    (re.compile(r"https://hooks\.slack\.com/services/[A-Za-z0-9/_-]+"), MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,1000}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abprs])[-_][A-Za-z0-9_-]{16,}"), MASK),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)
# One cheap look that tells whether any of the patterns above can match at all.
_SUSPECT = re.compile(
    r"(?i)://|bearer|authorization|passw|secret|token|api[_-]?key|private|access|credential|eyJ|sk[-_]|pk[-_]|rk[-_]|gh[po]_|xox|AKIA"
)
_HARMLESS_COUNTS = re.compile(r"(?i)tokens\\*[\"']?\s*[=:]\s*\d+")


class Redactor:
    """Replaces secrets in text, JSON-ready data and DataFrames: known values, and what looks like one."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        values: set[str] = set()
        for secret in secrets:
            values |= {secret, *_password_of(secret)}
        self._known = sorted((value for value in values if len(value) >= 6), key=len, reverse=True)

    def __call__(self, value: Any) -> Any:
        """`value` with its secrets masked; the same shape and types."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, pd.DataFrame):
            return self._frame(value)
        if isinstance(value, Mapping):
            return {self(key): self(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return tuple(self(item) for item in value) if isinstance(value, tuple) else value

    def _text(self, text: str) -> str:
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, MASK)
        if _SUSPECT.search(text):
            for pattern, replacement in _PATTERNS:
                text = pattern.sub(partial(_masked, replacement), text)
        return text

    def _frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        textual = [name for name in frame.columns if frame[name].dtype == object or str(frame[name].dtype) == "str"]
        masked = {name: self._column(frame[name]) for name in textual}
        return frame.assign(**masked) if masked else frame

    def _column(self, column: pd.Series[Any]) -> pd.Series[Any]:
        """Each different text is looked at once: labels repeat from row to row."""
        values = column.tolist()
        texts = {value: self._text(value) for value in {value for value in values if type(value) is str}}
        return pd.Series(
            [texts[value] if type(value) is str else self(value) for value in values],
            index=column.index,
            dtype="object",
        )


def _masked(replacement: str, match: re.Match[str]) -> str:
    return match[0] if _HARMLESS_COUNTS.fullmatch(match[0]) else match.expand(replacement)


def _password_of(address: str) -> set[str]:
    """The password inside an address, as written and decoded; empty where there is none."""
    try:
        password = urlsplit(address).password
    except ValueError:
        return set()
    found = re.search(r"\bpassword=('[^']*'|\S+)", address)
    words = {password or "", found[1].strip("'") if found else ""}
    return {form for word in words if word for form in (word, unquote(word), quote(word, safe=""))}
