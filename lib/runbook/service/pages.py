"""What the pages show: incidents and reports with search, one incident, one running report."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request

from runbook.errors import StorageError
from runbook.history import listing
from runbook.history.changes import changes
from runbook.history.closing import lasted
from runbook.history.database import row
from runbook.history.listing import PAGE, Filter
from runbook.service import by_hand, timeline
from runbook.service.context import Context

_SEVERITIES = ("critical", "warning", "info")
INCIDENT_STATUSES = (
    "open",
    "closed",
    "complete",
    "degraded",
    "failed",
    "timed_out",
    "abandoned",
    "cancelled",
    "not_run",
)
LEVELS = ("ok", "warning", "critical", "unknown")
_TEXT_MAX = 200
# How often an open page asks for itself: while something runs, and while nothing does.
BUSY_SECONDS, IDLE_SECONDS = 2, 5
_OPENERS, _CLOSER = "\u2066\u2067\u2068", "\u2069"
_PAGE_MAX = 1_000
WORDS = {
    "queued": "waiting",
    "running": "running",
    "complete": "complete",
    "degraded": "degraded",
    "failed": "failed",
    "timed_out": "timed out",
    "cancelled": "cancelled",
    "abandoned": "abandoned",
    "not_run": "not run",
}
EVENTS = {
    "fired": "Fired",
    "joined": "More alerts",
    "severity": "Severity",
    "storm": "Storm",
    "started": "Run began",
    "reported": "Reported",
    "not_run": "Not run",
    "cancelled": "Run cancelled",
    "abandoned": "Run lost",
    "retried": "Runs again",
    "given_up": "Given up",
    "escalated": "Escalated",
    "dead_man": "No report",
    "asked": "Asked for",
    "told": "Told",
    "not_told": "Not told",
    "resolved": "Resolved",
    "closed": "Closed",
}
# The colour of a run's state where it has no level of its own to show.
TONES = {"complete": "ok", "degraded": "unknown", "failed": "critical", "timed_out": "critical", "running": "skipped"}


def wanted(request: Request) -> Filter:
    """The filter that the address asks for; what is not one of ours is left out."""
    query = request.query_params
    page = query.get("page", "1")
    severity, status = query.get("severity", ""), query.get("status", "")
    return Filter(
        text=query.get("q", "").replace("\x00", "")[:_TEXT_MAX],
        severity=severity if severity in _SEVERITIES else "",
        status=status if status in (*INCIDENT_STATUSES, *LEVELS) else "",
        page=min(int(page), _PAGE_MAX) if page.isascii() and page.isdecimal() and len(page) < 5 and int(page) else 1,
    )


def index(context: Context, filters: Filter, kind: str) -> dict[str, Any]:
    """Incidents, or reports: a page of them, and what the navigation needs."""
    with context.database.transaction() as connection:
        found = listing.reports(connection, filters) if kind == "reports" else listing.incidents(connection, filters)
        waiting = listing.figures(connection)
    active = {state: sum(i["n"] for i in waiting["active"] if i["state"] == state) for state in ("queued", "running")}
    return {
        "kind": kind,
        "filter": filters,
        "items": found[:PAGE],
        "has_more": len(found) > PAGE,
        "active": active,
        "workers": waiting["workers"][0]["n"],
        "severities": _SEVERITIES,
        "statuses": INCIDENT_STATUSES if kind == "incidents" else INCIDENT_STATUSES[2:],
        "levels": LEVELS,
        "live_seconds": BUSY_SECONDS if active["queued"] or active["running"] else IDLE_SECONDS,
    }


def incident(context: Context, number: int) -> dict[str, Any] | None:
    """One incident with all that belongs to it, or None."""
    with context.database.transaction() as connection:
        found = listing.incident(connection, number)
        if not found:
            return None
        parent = row(
            connection, "SELECT id, title FROM runbook.incidents WHERE id = %(id)s", {"id": found["parent_id"]}
        )
        latest = found["latest"]
        before = listing.previous(connection, latest) if latest else None
    changed = changes(before["outcome"], latest["outcome"]) if before and latest else ()
    is_busy = any(run["state"] in ("queued", "running") for run in found["all_runs"])
    return {
        "incident": found,
        "parent": parent,
        "latest": latest,
        "before": before,
        "changed": changed,
        "axis": timeline.axis(found, datetime.now(UTC)),
        "escalation": context.catalog.escalation,
        "by_hand": _by_hand(context, found),
        "live_seconds": BUSY_SECONDS if is_busy else IDLE_SECONDS if found["closed_at"] is None else 0,
    }


def _by_hand(context: Context, found: Mapping[str, Any]) -> tuple[str, ...]:
    """What to type in the meantime; nothing where there is a report, or will be one in time."""
    age = datetime.now(UTC) - found["opened_at"]
    is_owed = found["latest"] is None and found["closed_at"] is None
    if not is_owed or not found["alerts"] or age.total_seconds() < context.settings.runbook_dead_man_seconds:
        return ()
    alert = found["alerts"][0]  # the worst that fires
    return by_hand.commands(context, alert["procedure"], alert["name"], alert["labels"], alert["starts_at"])


def run(context: Context, run_id: str) -> dict[str, Any] | None:
    """A run by its id, or None."""
    with context.database.transaction() as connection:
        return listing.run(connection, run_id)


def file(context: Context, found: Mapping[str, Any], name: str) -> bytes | None:
    """One of a run's files: from the store, else the copy in the database; None when neither has it."""
    if found["stored"] == "database":
        with context.database.transaction() as connection:
            copy = row(
                connection,
                "SELECT content FROM runbook.copies WHERE run = %(id)s AND name = %(name)s",
                {"id": found["id"], "name": name},
            )
        if copy:
            return gzip.decompress(copy["content"])
    try:
        return context.artifacts.read(found["run_id"], name)
    except StorageError:
        return None


def steps(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a running report has come to: findings so far, cells done of all, where it is now."""
    progress = found["progress"] or []
    cells = max((s["cells"] for s in progress), default=0)
    done = len({s["cell"] for s in progress if s["kind"] == "cell_finished"})
    started = [s for s in progress if s["kind"] == "cell_started"]
    return {
        "findings": [s for s in progress if s["kind"] == "finding"],
        "cells": cells,
        "done": done,
        "now": started[-1]["title"] if started and done < cells else "",
        "is_reporting": any(s["kind"] == "reporting" for s in progress),
    }


def templates() -> Environment:
    """The page templates: everything escaped, a name that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("runbook.service", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": _clock,
        "short": _short,
        "lasted": lasted,
        "ago": _ago,
        "iso": _iso,
        "given": _given,
    }
    environment.globals |= {"words": WORDS, "event_words": EVENTS, "tones": TONES}
    return environment


def _clock(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z" if moment else ""


def _iso(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else ""


def _short(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S}Z" if moment else ""


def _ago(moment: datetime | None) -> str:
    return f"{lasted(datetime.now(UTC) - moment)} ago" if moment else ""


def _given(text: object, most: int = 0) -> str:
    """`text` from outside, fit to stand beside ours: cut after `most` characters, and it cannot end its own isolation.

    The pages isolate it with <bdi>, which browsers do with an opening and a closing sign of their own: one that is
    closed here without being opened, or opened and not closed, would take ours away.
    """
    whole = str(text)
    kept, depth = [], 0
    for sign in whole[:most] if most else whole:
        if sign == _CLOSER and not depth:
            continue
        depth += (sign in _OPENERS) - (sign == _CLOSER)
        kept.append(" " if sign in "\u2028\u2029" else sign)
    return "".join(kept) + _CLOSER * depth + ("…" if most and len(whole) > most else "")
