"""Secrets in text: known values, and what looks like one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote, urlsplit

from runbook.redaction.shapes import GROUPS, LEAST, MASK, is_plain_value, is_secret_name, small_letters

__all__ = ["MASK", "TextRedactor", "is_plain_value", "is_secret_name"]

_KNOWN_MIN = 6
"""A shorter secret value is left to the shapes: as a word of its own it may stand anywhere."""


class TextRedactor:
    """Replaces secrets in text: known values, and what looks like one."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        values: set[str] = set()
        for secret in secrets:
            values |= {secret, *_password_of(secret)}
        self._known = sorted((value for value in values if len(value) >= _KNOWN_MIN), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, MASK)
        length = len(text)
        if length < LEAST:
            return text
        lowered = small_letters(text)
        for group in GROUPS:
            for sign in group.signs if length >= group.least else ():
                if sign in lowered:
                    text = group.without(text, lowered)
                    break
        return text


def _password_of(address: str) -> set[str]:
    """The password inside an address, as written and decoded; empty where there is none."""
    try:
        password = urlsplit(address).password
    except ValueError:
        return set()
    found = re.search(r"\bpassword=('[^']*'|\S+)", address)
    words = {password or "", found[1].strip("'") if found else ""}
    return {form for word in words if word for form in (word, unquote(word), quote(word, safe=""))}
