"""The decision of DiskSpaceWarning: stop the writer, release the log, expand the volume, or nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import timedelta

from runbook.alert import Alert
from runbook.findings import Findings
from runbook.outcome import Action, Status, Verdict
from runbook.steps import platform
from runbook.steps.disk.causes import cause
from runbook.steps.disk.claims import expansion, patch_body
from runbook.steps.disk.figures import (
    Archive,
    Cause,
    Compression,
    Expansion,
    Filler,
    Forecast,
    Growth,
    VolumeUsage,
    WriteAheadLog,
    Writers,
)
from runbook.steps.disk.reclaimable import archive, compression
from runbook.steps.disk.storage import growth, tables, writers
from runbook.steps.disk.volumes import forecast, usage
from runbook.steps.disk.wording import fullness, holders
from runbook.steps.disk.write_ahead_log import wal
from runbook.steps.shared.verdicts import checklist, kubectl, psql, silence, unknown_reasons
from runbook.words import amount, moment

_CHILDREN = ("orders", "positions", "agent_signals", "llm_decisions", "performance_metrics")
"""Tables that refer to a session. Trades refer to orders."""
_COMPRESS = (
    "SELECT compress_chunk(i, if_not_compressed => true)"
    " FROM show_chunks('candlesticks', older_than => INTERVAL '7 days') i;"
)
_HOUR = timedelta(hours=1)
_REASONS = (usage, forecast, tables, growth, cause, writers, wal, compression, archive, expansion)
_CHECKLIST = (
    ("How full, and full when?", forecast),
    ("Which table grows?", growth),
    ("What fills the volume?", cause),
    ("Who writes it?", writers),
    ("What holds the write-ahead log back?", wal),
    ("What was changed before?", platform.config_changes),
    ("What can be given back?", compression),
    ("Which size does the volume need?", expansion),
)


def decide(findings: Findings, alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision of DiskSpaceWarning: stop the writer, release the log, expand the volume, or nothing; and why."""
    flooded = _flooded(findings)
    status, decision, summary = _choice(findings, flooded)
    return Verdict(
        decision,
        summary,
        status,
        (*(f"{found.title}." for found in findings.known(_REASONS)), *unknown_reasons(findings)),
        tuple(_actions(findings, flooded, alert, namespace)),
        checklist(findings, _CHECKLIST),
    )


def _is_well(volume: VolumeUsage, filling: Forecast | None) -> bool:
    """Whether nothing has to be done soon, as far as is known."""
    return not volume.is_over and not (filling and filling.is_near)


def _flooded(findings: Findings) -> str:
    """The table that is flooded, which has to end first; empty where none is or the volume is well."""
    volume, why, who = findings.get(VolumeUsage), findings.get(Cause), findings.get(Writers)
    if volume is None or _is_well(volume, findings.get(Forecast)):
        return ""
    if why is None or why.filler is not Filler.TABLE:
        return ""
    is_flood = why.is_unusual or (who is not None and who.is_new)
    return why.table if is_flood else ""


def _choice(findings: Findings, flooded: str) -> tuple[Status, str, str]:
    """(status, decision, summary) from what is known."""
    volume, filling, why = findings.get(VolumeUsage), findings.get(Forecast), findings.get(Cause)
    if volume is None:
        summary = "How full the volume is, is not known: Prometheus gave no answer."
        return Status.UNKNOWN, "look at the volume by hand", summary
    full = fullness(volume, filling)
    if _is_well(volume, filling):
        if filling is None:
            return Status.WARNING, "watch it", f"{full}; its growth is not known."
        return Status.OK, "nothing to do", f"No longer near its end: {full}."
    is_urgent = volume.is_critical or (filling is not None and filling.is_imminent)
    bad = Status.CRITICAL if is_urgent else Status.WARNING
    if why is None:
        return bad, "expand the volume", f"{full}; what fills it is not known."
    if flooded:
        return bad, f"stop what floods {flooded}, then make room", _flood(findings, why, full)
    match why.filler:
        case Filler.TABLE:
            return bad, "expand the volume, plan retention", f"Ordinary growth, most of it {why.table}: {full}."
        case Filler.WAL:
            log = findings.get(WriteAheadLog)
            held = holders(log) if log else ""
            return bad, "release the write-ahead log", f"The write-ahead log piles up, {held}: {full}."
        case Filler.ELSEWHERE:
            explained = f"{amount(why.explained, '%')} of it"
            summary = f"The tables do not explain the growth ({explained}): {full}."
            return bad, "find what else lies on the volume; expand it meanwhile", summary
    return bad, "expand the volume", f"{full}, but it does not grow."


def _flood(findings: Findings, why: Cause, full: str) -> str:
    who = findings.get(Writers)
    rows = "far more rows than usual"
    if who is not None and who.is_new:
        rows = f"new “{who.kind}” rows"
    aside = "" if why.is_biggest else f" {why.biggest} is the biggest table, but not the one that grows."
    return f"{why.table} fills the volume with {rows}{_change(findings)}: {full}.{aside}"


def _change(findings: Findings) -> str:
    """The change in the hour around the beginning of the growth, in words; empty where there is none."""
    found, changes = (findings.get(Writers), findings.get(Forecast)), findings.get(platform.ConfigChanges)
    began = next((part.since for part in found if part is not None and part.since is not None), None)
    change = changes.last if changes else None
    if began is None or change is None or not -_HOUR <= began - change.at <= _HOUR:
        return ""
    what = change.action or "unknown"
    return f", after the change “{what[:100]}” at {moment(change.at)}"


def _actions(findings: Findings, flooded: str, alert: Alert, namespace: str) -> Iterator[Action]:
    inside = ("--", "sh", "-c", "df -h; du -sh /var/lib/postgresql/data/* | sort -h | tail")
    yield Action(
        "See the disk from inside",
        kubectl(namespace, "exec", "deployment/postgres", *inside),
        "Shows log files and temporary files too, which the database does not tell.",
    )
    if flooded:
        yield Action(
            "Read what the last change set",
            kubectl(namespace, "get", "configmap", "cryptofunk-config", "-o", "yaml"),
            f"Undo what makes {flooded} grow, then restart what reads it.",
        )
    log, pressed, size = findings.get(WriteAheadLog), findings.get(Compression), findings.get(Expansion)
    if log and log.inactive_slots:
        yield _drop_slot(log.inactive_slots[0], namespace)
    if pressed and pressed.version:
        yield _compress(pressed, namespace)
    if size:
        yield from _expand(size, namespace)
    old, grown = findings.get(Archive), findings.get(Growth) or Growth()
    # Not worth the risk of deleting for less than what is written in a day.
    if old and old.sessions and old.gain_bytes >= grown.per_day:
        yield from _archive_actions(old, namespace)
    yield silence(alert)


def _drop_slot(slot: str, namespace: str) -> Action:
    drop = f"SELECT pg_drop_replication_slot({_literal(slot)});"
    return Action(
        "Drop the unused replication slot",
        psql(namespace, drop, stop_on_error=True),
        "Only when its replica is gone for good: it cannot catch up afterwards.",
        changes=True,
    )


def _compress(pressed: Compression, namespace: str) -> Action:
    gain = amount(pressed.gain_bytes, "bytes")
    return Action(
        "Compress chunks older than 7 days",
        psql(namespace, _COMPRESS, stop_on_error=True),
        f"Gives back about {gain}; needs room for one chunk while it runs.",
        changes=True,
    )


def _expand(size: Expansion, namespace: str) -> Iterator[Action]:
    patch = ("patch", "pvc", size.volume, "-p", patch_body(size.quantity))
    yield Action(
        f"Try the expansion to {size.quantity} without changing anything",
        kubectl(namespace, *patch, "--dry-run=server"),
        "The API server checks it and forgets it.",
    )
    yield Action(
        f"Expand the volume to {size.quantity}",
        kubectl(namespace, *patch),
        "Needs a storage class with allowVolumeExpansion: true; it cannot shrink again.",
        changes=True,
    )


def _archive_actions(old: Archive, namespace: str) -> Iterator[Action]:
    # These statements are text for people to copy; nothing runs them.
    before = f"'{old.before:%Y-%m-%d %H:%M:%S}+00'"
    chosen = f"SELECT {old.key} FROM trading_sessions WHERE created_at < {before}"  # noqa: S608
    orders = f"SELECT id FROM orders WHERE session_id IN ({chosen})"  # noqa: S608
    queries = {
        "trading_sessions": f"SELECT * FROM trading_sessions WHERE created_at < {before}",  # noqa: S608
        **{name: f"SELECT * FROM {name} WHERE session_id IN ({chosen})" for name in _CHILDREN},  # noqa: S608
        "trades": f"SELECT * FROM trades WHERE order_id IN ({orders})",  # noqa: S608
    }
    execute = f"kubectl exec -n {shlex.quote(namespace)} deployment/postgres -- psql -U postgres -d cryptofunk -c"
    export = "\n".join(
        f'{execute} "COPY ({query}) TO STDOUT (FORMAT csv, HEADER)" > {name}.csv' for name, query in queries.items()
    )
    yield Action(
        "Export what is older than 90 days",
        export,
        "One CSV file a table. Check that they are complete before deleting.",
    )
    in_order = [queries["trades"], *(queries[name] for name in _CHILDREN), queries["trading_sessions"]]
    deletes = "\n".join(query.replace("SELECT *", "DELETE", 1) + ";" for query in in_order)
    gain = amount(old.gain_bytes, "bytes")
    yield Action(
        "Delete what was exported",
        psql(namespace, f"BEGIN;\n{deletes}\nCOMMIT;", stop_on_error=True),
        f"Frees about {gain} inside the tables; VACUUM FULL gives it back to the volume.",
        changes=True,
    )


def _literal(value: str) -> str:
    escaped = value.replace("'", "''").replace("\n", " ")
    return f"'{escaped}'"
