"""One webhook message -> its incident, its alerts and the runs it asks for. All in the caller's transaction.

An alert's identity is its fingerprint and its start. A pair that is known asks for nothing, whoever
sends it: a repeat, the second replica, the retry after a slow answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from runbook.alert import Alert, AlertGroup, fingerprint
from runbook.history import closing, storms
from runbook.history.database import Connection, row, rows
from runbook.history.events import note

SEVERITIES = ("critical", "warning", "info")
# A firing message this soon after its alert was resolved is an old one that came late.
LATE = timedelta(minutes=5)
_FINGERPRINT_MAX = 64
_NAMES_LISTED = 5
_UNNAMED = "unnamed alert"


@dataclass(frozen=True, slots=True)
class Known:
    """An alert with what the catalog says of it: its procedure, and its severity where it names none."""

    alert: Alert
    procedure: str
    severity: str

    @property
    def key(self) -> tuple[str, datetime]:
        return (short(self.alert.fingerprint), self.alert.starts_at)


Classify = Callable[[Alert], Known]


@dataclass(frozen=True, slots=True)
class Queued:
    """A run that now waits: what the queue needs to know of it. `delay_seconds`: not before then."""

    run: int
    incident: int
    procedure: str
    severity: str
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a message came to: accepted, repeated, resolved or ignored; its incident and the runs to queue."""

    result: str
    incident: int | None = None
    queued: tuple[Queued, ...] = ()
    opened: bool = False
    became_critical: bool = False
    closed: tuple[int, ...] = ()
    new_alerts: int = 0
    parent: int | None = None
    # Incidents, storms among them, that are critical from now on, and those that have one more critical alert.
    critical: tuple[int, ...] = ()
    more_critical: tuple[int, ...] = ()


@dataclass(slots=True)
class _Incident:
    id: int
    severity: str
    opened: bool
    parent: int | None = None
    queued: list[Queued] = field(default_factory=list)


def receive(connection: Connection, group: AlertGroup, classify: Classify, limits: storms.Limits) -> Receipt:
    """Write `group` down -> Receipt. Whoever sends the same group at the same time waits for us."""
    key = _group_hash(group)
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [key])
    firing = _distinct(classify(alert) for alert in group.firing)
    gone = _distinct(classify(alert) for alert in group.alerts if alert.status == "resolved")
    known = _stored(connection, [*firing, *gone])
    fresh = [item for item in firing if _is_fresh(known.get(item.key))]
    found = _open_incident(connection, key)
    if fresh:
        incident = found or _open(connection, key, group, firing, fresh)
        receipt = _accept(connection, incident, group, firing, fresh, limits)
    elif firing:
        owner = found.id if found else next((known[i.key]["incident_id"] for i in firing if i.key in known), None)
        _count_repeat(connection, owner, group)
        receipt = Receipt("repeated", owner)
    else:
        receipt = Receipt(
            "resolved" if found or any(i.key in known for i in gone) else "ignored", found.id if found else None
        )
    touched = _resolve(connection, gone, known, found)
    closed = closing.close_quiet(connection, touched)
    return _with_closed(receipt, closed)


def short(text: str) -> str:
    """A fingerprint that an index holds: the text itself, or a hash of one that is too long."""
    return text if len(text) <= _FINGERPRINT_MAX else hashlib.sha256(text.encode()).hexdigest()


def most_severe(severities: Iterable[str]) -> str:
    """The most severe of critical, warning and info; info when there are none."""
    return min(severities, key=SEVERITIES.index, default="info")


def request_run(connection: Connection, incident: int, lead: Known, reason: str) -> Queued | None:
    """A waiting run of the lead's procedure -> Queued, or None when one waits already. It takes alerts when it starts."""
    made = row(
        connection,
        """
        INSERT INTO runbook.runs (incident_id, procedure, alertname, severity, reason)
        VALUES (%(incident)s, %(procedure)s, %(name)s, %(severity)s, %(reason)s)
        ON CONFLICT (incident_id, procedure) WHERE state = 'queued' DO NOTHING
        RETURNING id
        """,
        {
            "incident": incident,
            "procedure": lead.procedure,
            "name": lead.alert.name,
            "severity": lead.severity,
            "reason": reason,
        },
    )
    return Queued(made["id"], incident, lead.procedure, lead.severity) if made else None


def _accept(
    connection: Connection,
    incident: _Incident,
    group: AlertGroup,
    firing: list[Known],
    fresh: list[Known],
    limits: storms.Limits,
) -> Receipt:
    _store(connection, incident.id, fresh)
    if not incident.opened:
        _end_older(connection, incident.id, fresh)
    if len(firing) > len(fresh):
        _adopt(connection, incident.id, firing)
    severity = most_severe(item.severity for item in firing)
    raised = not incident.opened and SEVERITIES.index(severity) < SEVERITIES.index(incident.severity)
    if not incident.opened:
        connection.execute(
            "UPDATE runbook.incidents SET last_seen_at = now(), not_listed = %s, starts_at = least(starts_at, %s)"
            " WHERE id = %s",
            [min(group.truncated, 2_000_000_000), min(item.alert.starts_at for item in fresh), incident.id],
        )
    note(connection, incident.id, "fired" if incident.opened else "joined", _names(fresh))
    if raised:
        _raise(connection, incident, severity, firing)
    turned: list[int] = []
    more: list[int] = []
    folded = False
    for procedure in sorted({item.procedure for item in fresh}):
        mine = [item for item in fresh if item.procedure == procedure]
        lead = _lead(mine)
        parent = storms.parent_for(connection, incident.id, procedure, lead.severity, limits)
        if parent:
            folded = True
            storms.leave_to_parent(connection, incident.id, parent, lead)
            queued = _queue(connection, parent.id, lead, "storm", mine, parent.delay_seconds)
            # An alert that joins a storm's waiting run is looked after with the one that the run waits for.
            more += [parent.id] if queued and queued.severity == "critical" else []
            turned += [parent.id] if parent.became_critical else []
        else:
            if incident.parent:
                storms.take_back(connection, incident.id, procedure)
            queued = _queue(connection, incident.id, lead, "new" if incident.opened else "changed", mine)
            more += [incident.id] if lead.severity == "critical" else []
        incident.queued += [queued] if queued else []
    parent_id = storms.settle(connection, incident.id) if folded or incident.parent else None
    became_critical = severity == "critical" and (incident.opened or raised)
    has_left = bool(incident.parent and not parent_id and "critical" in (severity, incident.severity))
    if (became_critical or has_left) and not parent_id:
        turned.append(incident.id)
    return Receipt(
        "accepted",
        incident.id,
        tuple(incident.queued),
        opened=incident.opened,
        became_critical=became_critical,
        new_alerts=len(fresh),
        parent=parent_id,
        critical=tuple(turned),
        more_critical=tuple(sorted(set(more) - set(turned))),
    )


def _lead(items: list[Known]) -> Known:
    """The alert that stands for these: the most severe, then the oldest."""
    return min(items, key=lambda item: (SEVERITIES.index(item.severity), item.alert.starts_at, item.key))


def _raise(connection: Connection, incident: _Incident, severity: str, firing: list[Known]) -> None:
    """The incident is as severe as its worst alert, and is called after it."""
    lead = _lead(firing)
    connection.execute(
        "UPDATE runbook.incidents SET severity = %s, title = %s, procedure = %s WHERE id = %s",
        [severity, lead.alert.name or _UNNAMED, lead.procedure, incident.id],
    )
    note(connection, incident.id, "severity", f"{incident.severity} -> {severity}")


def _queue(
    connection: Connection,
    incident: int,
    lead: Known,
    reason: str,
    alerts: list[Known],
    delay_seconds: float = 0.0,
) -> Queued | None:
    """The run that covers `alerts`: a new one, or the one that waits (queued again where it became more urgent)."""
    queued = request_run(connection, incident, lead, reason)
    waiting = queued.run if queued else None
    if waiting is None:
        found = row(
            connection,
            "SELECT id, severity FROM runbook.runs WHERE incident_id = %(incident)s AND procedure = %(procedure)s"
            " AND state = 'queued' FOR UPDATE",
            {"incident": incident, "procedure": lead.procedure},
        )
        if found is None:  # it started this moment: one more covers the new alerts
            return _queue(connection, incident, lead, reason, alerts, delay_seconds)
        waiting = found["id"]
        if SEVERITIES.index(lead.severity) < SEVERITIES.index(found["severity"]):
            connection.execute(
                "UPDATE runbook.runs SET severity = %s, alertname = %s WHERE id = %s",
                [lead.severity, lead.alert.name, waiting],
            )
            queued = Queued(waiting, incident, lead.procedure, lead.severity)
    cover(connection, waiting, [item.key for item in alerts])
    return Queued(queued.run, incident, lead.procedure, queued.severity, delay_seconds) if queued else None


def cover(connection: Connection, run: int, keys: list[tuple[str, datetime]]) -> None:
    """Write down that `run` covers these alerts."""
    connection.execute(
        "INSERT INTO runbook.run_alerts (run, fingerprint, starts_at)"
        " SELECT %s, * FROM unnest(%s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING",
        [run, [key[0] for key in keys], [key[1] for key in keys]],
    )


def _group_hash(group: AlertGroup) -> str:
    """The identity of an Alertmanager group; a sender without groupKey is one group for each set of labels."""
    basis = group.key or json.dumps(sorted(group.group_labels.items())) + (
        "" if group.group_labels else fingerprint(group.subject.labels)
    )
    return hashlib.sha256(basis.encode()).hexdigest()


def _distinct(items: Iterable[Known]) -> list[Known]:
    """One of each identity, in one order for all writers, so that two of them never wait for each other."""
    return [item for _, item in sorted({item.key: item for item in items}.items())]


def _stored(connection: Connection, items: list[Known]) -> dict[tuple[str, datetime], dict[str, Any]]:
    found = rows(
        connection,
        """
        SELECT a.fingerprint, a.starts_at, a.incident_id, a.resolved_at, i.closed_at, now() AS now
        FROM runbook.alerts a JOIN runbook.incidents i ON i.id = a.incident_id
        JOIN unnest(%(prints)s::text[], %(starts)s::timestamptz[]) AS wanted(fingerprint, starts_at)
          ON a.fingerprint = wanted.fingerprint AND a.starts_at = wanted.starts_at
        """,
        {"prints": [item.key[0] for item in items], "starts": [item.key[1] for item in items]},
    )
    return {(item["fingerprint"], item["starts_at"]): item for item in found}


def _is_fresh(stored: dict[str, Any] | None) -> bool:
    """Never seen, or resolved so long ago that it fires anew under its old start (Alertmanager lost touch)."""
    if stored is None:
        return True
    resolved: datetime | None = stored["resolved_at"]
    return resolved is not None and stored["now"] - resolved > LATE


def _open_incident(connection: Connection, key: str) -> _Incident | None:
    found = row(
        connection,
        "SELECT id, severity, parent_id FROM runbook.incidents WHERE key_hash = %(key)s AND closed_at IS NULL FOR UPDATE",
        {"key": key},
    )
    return _Incident(found["id"], found["severity"], False, found["parent_id"]) if found else None


def _open(connection: Connection, key: str, group: AlertGroup, firing: list[Known], fresh: list[Known]) -> _Incident:
    lead = _lead(fresh)
    severity = most_severe(item.severity for item in firing)
    made = row(
        connection,
        """
        INSERT INTO runbook.incidents
            (key_hash, title, procedure, severity, receiver, external_url, group_labels, starts_at, not_listed)
        VALUES (%(key)s, %(title)s, %(procedure)s, %(severity)s, %(receiver)s, %(url)s, %(labels)s, %(starts_at)s, %(more)s)
        RETURNING id
        """,
        {
            "key": key,
            "title": lead.alert.name or _UNNAMED,
            "procedure": lead.procedure,
            "severity": severity,
            "receiver": group.receiver,
            "url": group.external_url,
            "labels": Jsonb(dict(group.group_labels)),
            "more": min(group.truncated, 2_000_000_000),
            "starts_at": min(item.alert.starts_at for item in firing),
        },
    )
    if made is None:
        raise AssertionError("the incident was not made")
    return _Incident(made["id"], severity, True)


def _store(connection: Connection, incident: int, items: list[Known]) -> None:
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
    connection.execute(
        """
        INSERT INTO runbook.alerts
            (fingerprint, starts_at, incident_id, procedure, name, severity, labels, annotations, generator_url)
        SELECT fingerprint, starts_at, %(incident)s, procedure, name, severity, labels, annotations, generator_url
        FROM jsonb_to_recordset(%(data)s) AS given(fingerprint text, starts_at timestamptz, procedure text,
            name text, severity text, labels jsonb, annotations jsonb, generator_url text)
        ON CONFLICT (fingerprint, starts_at) DO UPDATE SET
            incident_id = excluded.incident_id, storm_id = NULL, severity = excluded.severity,
            resolved_at = NULL, ends_at = NULL, received_at = now()
        """,
        {"incident": incident, "data": Jsonb(data)},
    )


def _end_older(connection: Connection, incident: int, items: list[Known]) -> None:
    # The same alert with an earlier start that we never saw end: it has ended, since this one began after it.
    connection.execute(
        """
        UPDATE runbook.alerts AS old SET resolved_at = now()
        FROM unnest(%(prints)s::text[], %(starts)s::timestamptz[]) AS new(fingerprint, starts_at)
        WHERE old.fingerprint = new.fingerprint AND old.starts_at < new.starts_at
          AND old.resolved_at IS NULL AND old.incident_id = %(incident)s
        """,
        {
            "incident": incident,
            "prints": [item.key[0] for item in items],
            "starts": [item.key[1] for item in items],
        },
    )


def _adopt(connection: Connection, incident: int, firing: list[Known]) -> None:
    """Alerts of this group that still fire, of an incident that a person closed, belong to the new one too."""
    connection.execute(
        """
        UPDATE runbook.alerts a SET incident_id = %(incident)s, storm_id = NULL
        FROM runbook.incidents i, unnest(%(prints)s::text[], %(starts)s::timestamptz[]) AS f(fingerprint, starts_at)
        WHERE i.id = a.incident_id AND i.closed_at IS NOT NULL AND a.resolved_at IS NULL
          AND a.fingerprint = f.fingerprint AND a.starts_at = f.starts_at
        """,
        {
            "incident": incident,
            "prints": [item.key[0] for item in firing],
            "starts": [item.key[1] for item in firing],
        },
    )


def _count_repeat(connection: Connection, incident: int | None, group: AlertGroup) -> None:
    if incident is not None:
        connection.execute(
            "UPDATE runbook.incidents SET repeats = repeats + 1, last_seen_at = now(), not_listed = %s WHERE id = %s",
            [min(group.truncated, 2_000_000_000), incident],
        )


def _resolve(
    connection: Connection,
    gone: list[Known],
    known: dict[tuple[str, datetime], dict[str, Any]],
    found: _Incident | None,
) -> set[int]:
    """Mark alerts resolved -> the incidents they belong to."""
    keys = [item for item in gone if item.key in known]
    if not keys:
        return {found.id} if found and gone else set()
    connection.execute(
        """
        UPDATE runbook.alerts a SET resolved_at = now(), ends_at = r.ends_at
        FROM unnest(%(prints)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
            AS r(fingerprint, starts_at, ends_at)
        WHERE a.fingerprint = r.fingerprint AND a.starts_at = r.starts_at AND a.resolved_at IS NULL
        """,
        {
            "prints": [item.key[0] for item in keys],
            "starts": [item.key[1] for item in keys],
            "ends": [item.alert.ends_at for item in keys],
        },
    )
    return {known[item.key]["incident_id"] for item in keys}


def _with_closed(receipt: Receipt, closed: tuple[int, ...]) -> Receipt:
    if not closed:
        return receipt
    result = "resolved" if receipt.result in ("ignored", "repeated") else receipt.result
    return replace(receipt, result=result, incident=receipt.incident or closed[0], closed=closed)


def _names(items: list[Known]) -> str:
    """What an event says of new alerts: a few names with their counts."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.alert.name or _UNNAMED] = counts.get(item.alert.name or _UNNAMED, 0) + 1
    listed = [f"{name} × {count}" if count > 1 else name for name, count in list(counts.items())[:_NAMES_LISTED]]
    more = len(counts) - len(listed)
    return ", ".join(listed) + (f" and {more} more names" if more > 0 else "")
