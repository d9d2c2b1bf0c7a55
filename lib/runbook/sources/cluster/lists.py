"""Lists, page by page, within a bound; what was left out is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook.errors import SourceError, SourceUnavailable
from runbook.sources.cluster.connection import Connection
from runbook.sources.cluster.deadline import Deadline
from runbook.sources.cluster.json_paths import at
from runbook.sources.cluster.replies import refused

PAGE_ITEMS = 500
PAGES_MAX = 20


@dataclass(frozen=True, slots=True)
class Listed:
    """The items that were read; `missing` says where the list was cut, "" where these are all."""

    items: list[Any]
    missing: str = ""


def listed(connection: Connection, path: str, selectors: Mapping[str, str], what: str, deadline: Deadline) -> Listed:
    """The items at `path` that meet the selectors: `what` names them in words. Raises SourceError.

    Once a page was read, a failure or the time limit cuts the list instead.
    """
    items: dict[Any, Any] = {}
    mark, left = "", None
    for _ in range(PAGES_MAX):
        try:
            page = _page(connection, path, selectors, mark, deadline.with_time_to_tell if mark else deadline)
        except SourceError as error:
            if not items:
                raise
            return _cut(items, left, what, f" ({error})")
        for item in page.items:
            items[_identity(item, len(items))] = item
        mark, left = page.mark, page.left
        if not mark:
            return Listed(list(items.values()))
    return _cut(items, left, what, "")


@dataclass(frozen=True, slots=True)
class _Page:
    """Some of a list's items, where the next begin ("": nowhere), and how many those are, where the server says so."""

    items: list[Any]
    mark: str = ""
    left: int | None = None


def _page(connection: Connection, path: str, selectors: Mapping[str, str], mark: str, deadline: Deadline) -> _Page:
    query = {"limit": str(PAGE_ITEMS), **selectors} | ({"continue": mark} if mark else {})
    reply = connection.get(path, query, deadline)
    if reply.status == 410 and mark:
        # The list as it was is gone. The server offers to go on with what there is now, or we begin anew: an item
        # that is met twice counts once.
        renewed = str(at(reply.refusal, "metadata", "continue") or "")
        query.pop("continue")
        reply = connection.get(path, query | ({"continue": renewed} if renewed else {}), deadline)
    if reply.status >= 300:
        raise refused(reply)
    content = reply.content
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(items, list):
        why = f": {reply.reason}" if reply.is_html else ""
        raise SourceUnavailable(f"cluster answered in a form that Kubernetes does not use{why}; is KUBECONFIG right?")
    return _Page(items, str(at(content, "metadata", "continue") or ""), at(content, "metadata", "remainingItemCount"))


def _identity(item: Any, number: int) -> Any:
    return at(item, "metadata", "uid") or at(item, "metadata", "name") or number


def _cut(items: Mapping[Any, Any], left: int | None, what: str, why: str) -> Listed:
    count = len(items)
    total = f"{count + left:,}" if left else "more"
    return Listed(list(items.values()), f"the list of {what} was cut at {count:,} of {total}{why}")
