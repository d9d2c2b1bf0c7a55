"""The alerts that were received: each is known once, by its fingerprint and its start, whoever sends it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from runbook.alert import Alert
from runbook.catalog import FALLBACK
from runbook.history.database import Connection, execute, ranked, rows, select, select_one
from runbook.history.rows import StoredAlert
from runbook.words import SEVERITIES, severity_rank

# A firing message this soon after its alert was resolved is an old one that came late.
LATE = timedelta(minutes=5)
_FINGERPRINT_MAX = 64
# Of alerts `a`: what fires first, then the worst, then the oldest.
WORST_FIRST = f"a.resolved_at IS NOT NULL, {ranked('a.severity', SEVERITIES)}, a.starts_at, a.fingerprint"

Key = tuple[str, datetime]
"""The identity of an alert: its fingerprint, as an index holds it, and its start."""


@dataclass(frozen=True, slots=True)
class Known:
    """An alert with what the catalog says of it: its procedure, and its severity where it names none."""

    alert: Alert
    procedure: str
    severity: str

    @property
    def key(self) -> Key:
        return (_short(self.alert.fingerprint), self.alert.starts_at)

    @property
    def shares_run(self) -> tuple[str, str]:
        """What alerts have in common that share a run: the procedure, and of the general one the name too."""
        return (self.procedure, self.alert.name if self.procedure == FALLBACK else "")


Classify = Callable[[Alert], Known]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an alert that comes again; `now` is the moment it comes."""

    fingerprint: str
    starts_at: datetime
    incident_id: int
    resolved_at: datetime | None
    now: datetime

    @property
    def is_long_over(self) -> bool:
        """Whether it was resolved so long ago that it fires anew, under its old start: Alertmanager lost touch."""
        return self.resolved_at is not None and self.now - self.resolved_at > LATE


def most_severe(items: Iterable[Known]) -> str:
    """The most severe of critical, warning and info among alerts; info when there are none."""
    return min((item.severity for item in items), key=severity_rank, default="info")


def is_worse(severity: str, than: str) -> bool:
    """Whether `severity` is more severe than another."""
    return severity_rank(severity) < severity_rank(than)


def lead(items: Iterable[Known]) -> Known:
    """The alert that stands for these: the most severe, then the oldest."""
    return min(items, key=lambda item: (severity_rank(item.severity), item.alert.starts_at, item.key))


def seen(connection: Connection, items: Sequence[Known]) -> dict[Key, Seen]:
    """Those of these alerts that were received before."""
    statement = """
        SELECT a.fingerprint, a.starts_at, a.incident_id, a.resolved_at, now() AS now
        FROM runbook.alerts a
        JOIN unnest(%(prints)s::text[], %(starts)s::timestamptz[]) AS wanted(fingerprint, starts_at)
          ON a.fingerprint = wanted.fingerprint AND a.starts_at = wanted.starts_at
        """
    found = rows(connection, Seen, statement, **_keys(items))
    return {(item.fingerprint, item.starts_at): item for item in found}


def store(connection: Connection, incident: int, items: Sequence[Known]) -> None:
    """Write down new alerts of an incident; one that was known fires anew, and is this incident's from now on."""
    data = [
        {
            "fingerprint": item.key[0],
            "starts_at": item.alert.starts_at.isoformat(),
            "procedure": item.procedure,
            "name": item.alert.name,
            "severity": item.severity,
            "labels": dict(item.alert.labels),
            "annotations": dict(item.alert.annotations),
            "generator_url": item.alert.generator_url,
        }
        for item in items
    ]
    statement = """
        INSERT INTO runbook.alerts
            (fingerprint, starts_at, incident_id, procedure, name, severity, labels, annotations, generator_url)
        SELECT fingerprint, starts_at, %(incident)s, procedure, name, severity, labels, annotations, generator_url
        FROM jsonb_to_recordset(%(data)s) AS given(fingerprint text, starts_at timestamptz, procedure text,
            name text, severity text, labels jsonb, annotations jsonb, generator_url text)
        ON CONFLICT (fingerprint, starts_at) DO UPDATE SET
            incident_id = excluded.incident_id, storm_id = NULL, severity = excluded.severity,
            resolved_at = NULL, ends_at = NULL, received_at = now()
        """
    execute(connection, statement, incident=incident, data=Jsonb(data))


def end_older(connection: Connection, incident: int, items: Sequence[Known]) -> None:
    """End the same alerts with an earlier start, whose end we never heard of: these began after it."""
    statement = """
        UPDATE runbook.alerts AS old SET resolved_at = now()
        FROM unnest(%(prints)s::text[], %(starts)s::timestamptz[]) AS new(fingerprint, starts_at)
        WHERE old.fingerprint = new.fingerprint AND old.starts_at < new.starts_at
          AND old.resolved_at IS NULL AND old.incident_id = %(incident)s
        """
    execute(connection, statement, incident=incident, **_keys(items))


def adopt(connection: Connection, incident: int, items: Sequence[Known]) -> None:
    """Give the incident those of its group's alerts that still fire in one that a person closed."""
    statement = """
        UPDATE runbook.alerts a SET incident_id = %(incident)s, storm_id = NULL
        FROM runbook.incidents i, unnest(%(prints)s::text[], %(starts)s::timestamptz[]) AS f(fingerprint, starts_at)
        WHERE i.id = a.incident_id AND i.closed_at IS NOT NULL AND a.resolved_at IS NULL
          AND a.fingerprint = f.fingerprint AND a.starts_at = f.starts_at
        """
    execute(connection, statement, incident=incident, **_keys(items))


def resolve(connection: Connection, items: Sequence[Known]) -> None:
    """Mark alerts resolved now, each with the end it has itself."""
    statement = """
        UPDATE runbook.alerts a SET resolved_at = now(), ends_at = r.ends_at
        FROM unnest(%(prints)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
            AS r(fingerprint, starts_at, ends_at)
        WHERE a.fingerprint = r.fingerprint AND a.starts_at = r.starts_at AND a.resolved_at IS NULL
        """
    execute(connection, statement, ends=[item.alert.ends_at for item in items], **_keys(items))


def of_incident(connection: Connection, incident: int, most: int) -> list[StoredAlert]:
    """The incident's own alerts and those that it covers as a storm, the worst of what fires first."""
    rest = f"WHERE a.incident_id = %(id)s OR a.storm_id = %(id)s ORDER BY {WORST_FIRST} LIMIT %(most)s"
    return select(connection, StoredAlert, rest, id=incident, most=most)


def covered_by(connection: Connection, run: int, most: int) -> list[StoredAlert]:
    """What a run is about, the worst first: all firing alerts of its procedure, and those it was queued for.

    Of the general procedure only those of its own name.
    """
    rest = f"""
        JOIN runbook.runs r ON r.id = %(run)s AND r.procedure = a.procedure AND r.about = a.about
        WHERE (a.incident_id = r.incident_id OR a.storm_id = r.incident_id)
          AND (a.resolved_at IS NULL OR EXISTS (SELECT 1 FROM runbook.run_alerts c
               WHERE c.run = %(run)s AND c.fingerprint = a.fingerprint AND c.starts_at = a.starts_at))
        ORDER BY {WORST_FIRST} LIMIT %(most)s
        """  # noqa: S608 - a constant
    return select(connection, StoredAlert, rest, run=run, most=most)


def worst(connection: Connection, incident: int, procedure: str) -> StoredAlert | None:
    """The alert of a procedure to begin with: what fires, the worst, then the oldest."""
    rest = f"""
        WHERE (a.incident_id = %(incident)s OR a.storm_id = %(incident)s) AND a.procedure = %(procedure)s
        ORDER BY {WORST_FIRST} LIMIT 1
        """
    return select_one(connection, StoredAlert, rest, incident=incident, procedure=procedure)


def _keys(items: Sequence[Known]) -> dict[str, list[Any]]:
    """The identities of alerts as parameters of a query."""
    keys = [item.key for item in items]
    return {"prints": [fingerprint for fingerprint, _ in keys], "starts": [starts_at for _, starts_at in keys]}


def _short(text: str) -> str:
    """A fingerprint that an index holds: the text itself, or a hash of one that is too long."""
    return text if len(text) <= _FINGERPRINT_MAX else hashlib.sha256(text.encode()).hexdigest()
