"""The API's JSON objects, any part of which may be missing, and tables made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

APP = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"


def at(item: Any, *path: str) -> Any:
    """The value at `path` of nested objects; None where any part is missing."""
    for name in path:
        if not isinstance(item, dict):  # of JSON; the abstract Mapping takes five times as long, for thousands of pods
            return None
        item = item.get(name)
    return item


def name_of(item: Any) -> str:
    return str(at(item, "metadata", "name") or "")


def label(item: Any, key: str) -> str:
    """The value of one of an object's labels; empty where it has none of that name."""
    return str((at(item, "metadata", "labels") or {}).get(key) or "")


def condition(item: Any, kind: str) -> Mapping[str, Any]:
    """The condition of that type among an object's; empty where it has none."""
    conditions = at(item, "status", "conditions") or []
    return next((found for found in conditions if isinstance(found, dict) and found.get("type") == kind), {})


def line(text: Any, most: int = 200) -> str:
    """`text` on one line, at most so many characters."""
    return " ".join(str(text or "").split())[:most]


def main_container(item: Any, app: str, containers: list[Any]) -> dict[str, Any]:
    """Of a pod or pod template the container that the app is, as a sidecar may come first in the list.

    It is the one of the app's name, else kubectl's default, else the first.
    """
    default = (at(item, "metadata", "annotations") or {}).get("kubectl.kubernetes.io/default-container")
    by_name = {container.get("name"): container for container in reversed(containers)}
    return by_name.get(app) or by_name.get(default) or next(iter(containers), {})


def typed(frame: pd.DataFrame, *times: str) -> pd.DataFrame:
    """`frame` with `times` as UTC and text columns as object, whether or not it has rows."""
    for name in times:
        moments = pd.to_datetime(frame[name], utc=True, format="ISO8601", errors="coerce")
        frame[name] = moments.astype("datetime64[us, UTC]")
    textual = [name for name in frame.columns if str(frame[name].dtype) == "str"]
    return frame.astype(dict.fromkeys(textual, "object"))
