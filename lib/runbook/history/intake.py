"""One webhook message -> its incident, its alerts and the runs it asks for. All in the caller's transaction.

An alert's identity is its fingerprint and its start. A pair that is known asks for nothing, whoever
sends it: a repeat, the second replica, the retry after a slow answer.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from psycopg.types.json import Jsonb

from runbook.alert import AlertGroup, fingerprint
from runbook.history import alerts, closing, storms, waiting
from runbook.history.alerts import Classify, Key, Known, Seen
from runbook.history.database import Connection, only, row
from runbook.history.events import note
from runbook.history.waiting import Queued
from runbook.words import names

_NAMES_LISTED = 5
_NOT_LISTED_MAX = 2_000_000_000  # an integer column
_UNNAMED = "unnamed alert"


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


@dataclass(frozen=True, slots=True)
class _Incident:
    """The open incident that a message belongs to. `opened`: by this very message."""

    id: int
    severity: str
    parent_id: int | None
    opened: bool


@dataclass(slots=True)
class _Asked:
    """What new alerts ask for: runs to queue, storms that turned critical, incidents with one more critical alert."""

    queued: list[Queued] = field(default_factory=list)
    critical: list[int] = field(default_factory=list)
    more_critical: list[int] = field(default_factory=list)
    in_storm: bool = False


def receive(connection: Connection, group: AlertGroup, classify: Classify, limits: storms.Limits) -> Receipt:
    """Write `group` down -> Receipt. Whoever sends the same group at the same time waits for us."""
    key = _group_hash(group)
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [key])
    firing = _distinct(classify(alert) for alert in group.firing)
    gone = _distinct(classify(alert) for alert in group.alerts if alert.status == "resolved")
    seen = alerts.seen(connection, [*firing, *gone])
    fresh = [known for known in firing if known.key not in seen or seen[known.key].is_long_over]
    found = _open_incident(connection, key)
    if fresh:
        incident = found or _open(connection, key, group, firing, fresh)
        receipt = _accept(connection, incident, group, firing, fresh, limits)
    elif firing:
        receipt = _repeat(connection, found, group, firing, seen)
    elif found:
        receipt = Receipt("resolved", found.id)
    else:
        receipt = Receipt("resolved" if any(known.key in seen for known in gone) else "ignored")
    touched = _resolve(connection, gone, seen, found)
    closed = closing.close_quiet(connection, touched)
    return _with_closed(receipt, closed)


def _accept(
    connection: Connection,
    incident: _Incident,
    group: AlertGroup,
    firing: Sequence[Known],
    fresh: Sequence[Known],
    limits: storms.Limits,
) -> Receipt:
    """Write down new alerts, and what they ask for."""
    severity = alerts.most_severe(firing)
    raised = not incident.opened and alerts.is_worse(severity, incident.severity)
    _store(connection, incident, group, firing, fresh)
    if raised:
        _raise(connection, incident, severity, firing)
    asked = _ask(connection, incident, fresh, limits)
    parent = storms.settle(connection, incident.id) if asked.in_storm or incident.parent_id else None
    became_critical = severity == "critical" and (incident.opened or raised)
    has_left_storm = incident.parent_id is not None and "critical" in (severity, incident.severity)
    if parent is None and (became_critical or has_left_storm):
        asked.critical.append(incident.id)
    return Receipt(
        "accepted",
        incident.id,
        tuple(asked.queued),
        opened=incident.opened,
        became_critical=became_critical,
        new_alerts=len(fresh),
        parent=parent,
        critical=tuple(asked.critical),
        more_critical=tuple(sorted(set(asked.more_critical) - set(asked.critical))),
    )


def _store(
    connection: Connection, incident: _Incident, group: AlertGroup, firing: Sequence[Known], fresh: Sequence[Known]
) -> None:
    """Write the new alerts down, and in an incident that was open already what they change of it."""
    alerts.store(connection, incident.id, fresh)
    if not incident.opened:
        alerts.end_older(connection, incident.id, fresh)
    if len(firing) > len(fresh):
        alerts.adopt(connection, incident.id, firing)
    if not incident.opened:
        statement = """
            UPDATE runbook.incidents SET last_seen_at = now(), not_listed = %s, starts_at = least(starts_at, %s)
            WHERE id = %s
            """
        connection.execute(statement, [_not_listed(group), min(known.alert.starts_at for known in fresh), incident.id])
    note(connection, incident.id, "fired" if incident.opened else "joined", _names(fresh))


def _ask(connection: Connection, incident: _Incident, fresh: Sequence[Known], limits: storms.Limits) -> _Asked:
    """Ask for a run of each procedure that has new alerts: the incident's own, or that of the storm it belongs to.

    Of the general procedure each alert name has a run of its own.
    """
    asked = _Asked()
    reason = "new" if incident.opened else "changed"
    for shared in sorted({known.shares_run for known in fresh}):
        mine = [known for known in fresh if known.shares_run == shared]
        lead = alerts.lead(mine)
        parent = storms.parent_for(connection, incident.id, lead, limits)
        if parent:
            asked.in_storm = True
            storms.leave_to_parent(connection, incident.id, parent, lead)
            queued = waiting.queue(connection, parent.id, lead, "storm", mine, parent.delay_seconds)
            # An alert that joins a storm's waiting run is looked after with the one that the run waits for.
            if queued and queued.severity == "critical":
                asked.more_critical.append(parent.id)
            if parent.became_critical:
                asked.critical.append(parent.id)
        else:
            if incident.parent_id:
                storms.take_back(connection, incident.id, lead.procedure, lead.alert.name)
            queued = waiting.queue(connection, incident.id, lead, reason, mine)
            if lead.severity == "critical":
                asked.more_critical.append(incident.id)
        if queued:
            asked.queued.append(queued)
    return asked


def _raise(connection: Connection, incident: _Incident, severity: str, firing: Sequence[Known]) -> None:
    """The incident is as severe as its worst alert, and is called after it."""
    lead = alerts.lead(firing)
    statement = "UPDATE runbook.incidents SET severity = %s, title = %s, procedure = %s WHERE id = %s"
    connection.execute(statement, [severity, lead.alert.name or _UNNAMED, lead.procedure, incident.id])
    note(connection, incident.id, "severity", f"{incident.severity} -> {severity}")


def _group_hash(group: AlertGroup) -> str:
    """The identity of an Alertmanager group; a sender without groupKey is one group for each set of labels."""
    basis = group.key
    if not basis:
        basis = json.dumps(sorted(group.group_labels.items()))
        basis += "" if group.group_labels else fingerprint(group.subject.labels)
    return hashlib.sha256(basis.encode()).hexdigest()


def _distinct(items: Iterable[Known]) -> list[Known]:
    """One of each identity, in one order for all writers, so that two of them never wait for each other."""
    return [item for _, item in sorted({item.key: item for item in items}.items())]


def _open_incident(connection: Connection, key: str) -> _Incident | None:
    statement = """
        SELECT id, severity, parent_id, false AS opened FROM runbook.incidents
        WHERE key_hash = %(key)s AND closed_at IS NULL FOR UPDATE
        """
    return row(connection, _Incident, statement, key=key)


def _open(
    connection: Connection, key: str, group: AlertGroup, firing: Sequence[Known], fresh: Sequence[Known]
) -> _Incident:
    lead = alerts.lead(fresh)
    severity = alerts.most_severe(firing)
    statement = """
        INSERT INTO runbook.incidents (key_hash, title, procedure, severity, receiver, external_url, group_labels,
            starts_at, not_listed)
        VALUES (%(key)s, %(title)s, %(procedure)s, %(severity)s, %(receiver)s, %(url)s, %(labels)s,
            %(starts_at)s, %(not_listed)s)
        RETURNING id
        """
    incident = only(
        connection,
        int,
        statement,
        key=key,
        title=lead.alert.name or _UNNAMED,
        procedure=lead.procedure,
        severity=severity,
        receiver=group.receiver,
        url=group.external_url,
        labels=Jsonb(dict(group.group_labels)),
        not_listed=_not_listed(group),
        starts_at=min(known.alert.starts_at for known in firing),
    )
    return _Incident(incident, severity, None, opened=True)


def _repeat(
    connection: Connection,
    found: _Incident | None,
    group: AlertGroup,
    firing: Sequence[Known],
    seen: Mapping[Key, Seen],
) -> Receipt:
    """A message that says nothing new is counted, in the group's incident or that of the alerts."""
    owners = [found.id] if found else [seen[known.key].incident_id for known in firing if known.key in seen]
    if not owners:
        return Receipt("repeated")
    statement = (
        "UPDATE runbook.incidents SET repeats = repeats + 1, last_seen_at = now(), not_listed = %s WHERE id = %s"
    )
    connection.execute(statement, [_not_listed(group), owners[0]])
    return Receipt("repeated", owners[0])


def _not_listed(group: AlertGroup) -> int:
    """How many alerts Alertmanager left out of its message, as a column holds it."""
    return min(group.truncated, _NOT_LISTED_MAX)


def _resolve(
    connection: Connection, gone: Sequence[Known], seen: Mapping[Key, Seen], found: _Incident | None
) -> set[int]:
    """Mark alerts resolved -> the incidents they belong to."""
    ended = [known for known in gone if known.key in seen]
    if not ended:
        return {found.id} if found and gone else set()
    alerts.resolve(connection, ended)
    return {seen[known.key].incident_id for known in ended}


def _with_closed(receipt: Receipt, closed: tuple[int, ...]) -> Receipt:
    if not closed:
        return receipt
    result = "resolved" if receipt.result in ("ignored", "repeated") else receipt.result
    return replace(receipt, result=result, incident=receipt.incident or closed[0], closed=closed)


def _names(items: Sequence[Known]) -> str:
    """What an event says of new alerts: a few names with their counts."""
    counts = Counter(item.alert.name or _UNNAMED for item in items)
    return names([f"{name} × {count}" if count > 1 else name for name, count in counts.items()], _NAMES_LISTED)
