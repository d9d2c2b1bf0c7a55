"""What the risk agent's answer says: it is free text or JSON, and that there is one does not make it an approval."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Reading(StrEnum):
    """What an answer is read as."""

    NONE = "none"
    APPROVED = "approved"
    REFUSED = "refused"
    UNCLEAR = "unclear"


_REFUSES = re.compile(
    r"\b(reject\w*|refus\w*|den(?:y|ied|ies)|veto\w*|declin\w*|disapprov\w*|unapproved|disallow\w*|block\w*)\b"
    r"|\b(not|never|cannot|can't|don't)\b[^.;]{0,20}\b(approv|accept|allow)",
    re.IGNORECASE,
)
_APPROVES = re.compile(r"\b(approv\w*|accept\w*|allow(?:ed|s)?|granted)\b", re.IGNORECASE)
_KEYS = ("approved", "allowed", "accepted", "decision", "action", "verdict", "status", "result")
"""Where a JSON answer says it, the plainest first."""


def read(answer: Any) -> Reading:
    """What a risk agent's answer says. Only its own words count: without any it is unclear, never an approval."""
    if not isinstance(answer, str) or not answer.strip():
        return Reading.NONE
    words = _decided(answer)
    if isinstance(words, bool):
        return Reading.APPROVED if words else Reading.REFUSED
    if _REFUSES.search(words):
        return Reading.REFUSED
    return Reading.APPROVED if _APPROVES.search(words) else Reading.UNCLEAR


def _decided(answer: str) -> str | bool:
    """The part of an answer that decides: of JSON the value of the first key that can say it, else all of it."""
    try:
        content = json.loads(answer)
    except ValueError:
        return answer
    if not isinstance(content, Mapping):
        return answer
    fields = {str(name).lower(): value for name, value in content.items()}
    value = next((fields[name] for name in _KEYS if name in fields), None)
    return value if isinstance(value, bool) else str(value or "")
