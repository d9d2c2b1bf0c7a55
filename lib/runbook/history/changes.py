"""What changed from one run to the next: findings and verdict, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: what it is about, how it was and how it is; "" where it was not or is not."""

    what: str
    before: str
    after: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """The differences between two outcomes: the level, then findings by id, in the order of the later run.

    A figure inside a title that moved is no change; a status that moved is.
    """
    found: list[Change] = []
    if before.get("level") != after.get("level"):
        found.append(Change("The whole", str(before.get("level") or ""), str(after.get("level") or "")))
    old = _by_id(before.get("findings") or [])
    new = _by_id(after.get("findings") or [])
    for key, finding in new.items():
        was = old.get(key)
        if was is None:
            found.append(Change(finding["title"], "", finding["status"]))
        elif was["status"] != finding["status"]:
            found.append(Change(finding["title"], was["status"], finding["status"]))
    found.extend(Change(was["title"], was["status"], "") for key, was in old.items() if key not in new)
    return tuple(found)


def _by_id(findings: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    texts = ({name: str(f.get(name) or "") for name in ("id", "status", "title")} for f in findings)
    return {text["id"]: text for text in texts}
