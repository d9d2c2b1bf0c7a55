"""DiskSpaceWarning: what fills the volume, and the decision. Its steps are those of volumes and storage too."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from runbook.alert import Alert
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.disk.volumes import DAY, THRESHOLD, patch_body
from runbook.steps.shared.verdicts import checklist, figures_of, known, kubectl, psql, silence, unknown_reasons
from runbook.words import amount, duration, moment

_CHILDREN = ("orders", "positions", "agent_signals", "llm_decisions", "performance_metrics")


def cause(filling: Finding, sizes: Finding, grown: Finding, log: Finding) -> Finding:
    """What fills the volume: the tables' growth against the volume's, and which table it is."""
    volume_day, tables_day = filling.figures["per_day"], grown.figures["per_day"]
    biggest, table = sizes.figures["biggest"], grown.figures["table"]
    if not filling.figures["grows"]:
        return Finding("disk.cause", Status.OK, "Nothing fills the volume: it does not grow", f"The tables take {amount(tables_day, 'bytes')} a day.",
                       {"kind": "none", "table": table, "explained": None})  # fmt: skip
    explained = tables_day / volume_day
    if log.figures["held_back"]:
        return Finding("disk.cause", Status.WARNING, f"The write-ahead log fills the volume: {log.figures['reasons']}",
                       f"The tables explain {amount(explained, '%')} of the growth.", {"kind": "wal", "table": table, "explained": explained})  # fmt: skip
    if explained < 0.5:
        return Finding(
            "disk.cause", filling.status, f"The tables explain only {amount(explained, '%')} of the growth: {amount(volume_day, 'bytes')} a day fill the volume, {amount(tables_day, 'bytes')} the tables",
            "The rest is write-ahead log, log files, temporary files, another database, or bloat that row counts do not show. Look with du on the volume.",
            {"kind": "not tables", "table": table, "explained": explained},
        )  # fmt: skip
    other = "" if table == biggest else f", not the biggest table ({biggest})"
    return Finding(
        "disk.cause",
        filling.status,
        f"{table} fills the volume{other}: it takes about {amount(grown.figures['table_per_day'], 'bytes')} a day, the volume grows by {amount(volume_day, 'bytes')}",
        f"The tables' growth explains {amount(explained, '%') if explained < 1 else 'all'} of the volume's; that is an estimate from rows and bytes a row.",
        {"kind": "table", "table": table, "biggest": biggest, "explained": explained, "is_biggest": table == biggest, "unusual": grown.figures["unusual"]},
    )  # fmt: skip


def decide(findings: Mapping[str, Finding], alert: Alert, namespace: str = "cryptofunk") -> Verdict:
    """The decision of DiskSpaceWarning: stop the writer, release the log, expand the volume, or nothing; and why."""
    volume, filling = figures_of(findings, "disk.usage"), figures_of(findings, "disk.forecast")
    why, who = figures_of(findings, "disk.cause"), figures_of(findings, "disk.writers")
    change = _change(filling, who, figures_of(findings, "platform.config_changes"))
    status, decision, summary = _choice(volume, filling, why, who, change, figures_of(findings, "disk.wal"))
    return Verdict(
        decision,
        summary,
        status,
        tuple(_reasons(findings)) + unknown_reasons(findings),
        tuple(_actions(findings, decision, why, alert, namespace)),
        checklist(findings, _CHECKLIST),
    )


_CHECKLIST = (
    ("How full, and full when?", "disk.forecast"),
    ("Which table grows?", "disk.growth"),
    ("What fills the volume?", "disk.cause"),
    ("Who writes it?", "disk.writers"),
    ("What holds the write-ahead log back?", "disk.wal"),
    ("What was changed before?", "platform.config_changes"),
    ("What can be given back?", "disk.compression"),
    ("Which size does the volume need?", "disk.expansion"),
)


def _change(filling: Mapping[str, Any], who: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """The change in the hour before the growth began, in words; empty where there is none."""
    began = who.get("since") or filling.get("since")
    changed = changes.get("last_at")
    if began is None or changed is None or not pd.Timedelta(hours=-1) <= began - changed <= pd.Timedelta(hours=1):
        return ""
    return f", after the change “{changes['last'][:100]}” at {moment(changed)}"


def _choice(
    volume: Mapping[str, Any], filling: Mapping[str, Any], why: Mapping[str, Any], who: Mapping[str, Any], change: str, log: Mapping[str, Any]
) -> tuple[Status, str, str]:  # fmt: skip
    """(status, decision, summary) from what is known."""
    if not volume:
        return (
            Status.UNKNOWN,
            "look at the volume by hand",
            "How full the volume is, is not known: Prometheus gave no answer.",
        )
    left = filling.get("seconds_left")
    full = f"{volume['volume']} is {amount(volume['ratio'], '%')} full" + (
        f" and will be full in {duration(left)}" if left is not None else ""
    )
    urgent = volume["ratio"] > 0.95 or (filling.get("earliest_seconds") or DAY) < DAY
    bad = Status.CRITICAL if urgent else Status.WARNING
    if volume["ratio"] <= THRESHOLD and (not filling or left is None or left > 14 * DAY):
        if not filling:
            return Status.WARNING, "watch it", f"{full}; its growth is not known."
        return Status.OK, "nothing to do", f"No longer near its end: {full}."
    kind = why.get("kind")
    if kind == "table" and (who.get("new") or why.get("unusual")):
        rows = f"new “{who['kind']}” rows" if who.get("new") else "far more rows than usual"
        aside = "" if why["is_biggest"] else f" {why['biggest']} is the biggest table, but not the one that grows."
        return (
            bad,
            f"stop what floods {why['table']}, then make room",
            f"{why['table']} fills the volume with {rows}{change}: {full}.{aside}",
        )
    if kind == "table":
        return bad, "expand the volume, plan retention", f"Ordinary growth, most of it {why['table']}: {full}."
    if kind == "wal":
        return bad, "release the write-ahead log", f"The write-ahead log piles up, {log['reasons']}: {full}."
    if kind == "not tables":
        return (
            bad,
            "find what else lies on the volume; expand it meanwhile",
            f"The tables do not explain the growth ({amount(why['explained'], '%')} of it): {full}.",
        )
    if kind == "none":
        return bad, "expand the volume", f"{full}, but it does not grow."
    return bad, "expand the volume", f"{full}; what fills it is not known."


def _reasons(findings: Mapping[str, Finding]) -> Iterator[str]:
    names = ("disk.usage", "disk.forecast", "disk.tables", "disk.growth", "disk.cause", "disk.writers", "disk.wal",
             "disk.compression", "disk.archive", "disk.expansion")  # fmt: skip
    yield from (f"{found.title}." for found in known(findings, names))


def _actions(
    findings: Mapping[str, Finding], decision: str, why: Mapping[str, Any], alert: Alert, namespace: str
) -> Iterator[Action]:
    size, log = figures_of(findings, "disk.expansion"), figures_of(findings, "disk.wal")
    pressed, old = figures_of(findings, "disk.compression"), figures_of(findings, "disk.archive")
    yield Action("See the disk from inside", kubectl(namespace, "exec", "deployment/postgres", "--", "sh", "-c", "df -h; du -sh /var/lib/postgresql/data/* | sort -h | tail"),
                 "Shows log files and temporary files too, which the database does not tell.")  # fmt: skip
    if decision.startswith("stop") and why:
        yield Action("Read what the last change set", kubectl(namespace, "get", "configmap", "cryptofunk-config", "-o", "yaml"),
                     f"Undo what makes {why['table']} grow, then restart what reads it.")  # fmt: skip
    if log.get("inactive_slots"):
        slot = log["inactive_slots"].split(", ")[0]
        yield Action("Drop the unused replication slot", psql(namespace, f"SELECT pg_drop_replication_slot({_literal(slot)});", stop_on_error=True),
                     "Only when its replica is gone for good: it cannot catch up afterwards.", changes=True)  # fmt: skip
    if pressed.get("timescale"):
        yield Action("Compress chunks older than 7 days", psql(namespace, "SELECT compress_chunk(i, if_not_compressed => true) FROM show_chunks('candlesticks', older_than => INTERVAL '7 days') i;", stop_on_error=True),
                     f"Gives back about {amount(pressed['gain_bytes'], 'bytes')}; needs room for one chunk while it runs.", changes=True)  # fmt: skip
    if size.get("volume"):
        patch = ["patch", "pvc", size["volume"], "-p", patch_body(size["text"])]
        yield Action(f"Try the expansion to {size['text']} without changing anything", kubectl(namespace, *patch, "--dry-run=server"), "The API server checks it and forgets it.")  # fmt: skip
        yield Action(f"Expand the volume to {size['text']}", kubectl(namespace, *patch), "Needs a storage class with allowVolumeExpansion: true; it cannot shrink again.",
                     changes=True)  # fmt: skip
    # Not worth the risk of deleting for less than what is written in a day.
    if old.get("sessions") and old["gain_bytes"] >= figures_of(findings, "disk.growth").get("per_day", 0.0):
        yield from _archive_actions(old, namespace)
    yield silence(alert)


def _archive_actions(old: Mapping[str, Any], namespace: str) -> Iterator[Action]:
    before, key = f"'{old['before']:%Y-%m-%d %H:%M:%S}+00'", old["key"]
    chosen = f"SELECT {key} FROM trading_sessions WHERE created_at < {before}"  # noqa: S608 - text for people to copy
    queries = {
        "trading_sessions": f"SELECT * FROM trading_sessions WHERE created_at < {before}",  # noqa: S608
        **{name: f"SELECT * FROM {name} WHERE session_id IN ({chosen})" for name in _CHILDREN},  # noqa: S608
        "trades": f"SELECT * FROM trades WHERE order_id IN (SELECT id FROM orders WHERE session_id IN ({chosen}))",  # noqa: S608
    }
    export = "\n".join(
        f"kubectl exec -n {shlex.quote(namespace)} deployment/postgres -- psql -U postgres -d cryptofunk -c "
        f'"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)" > {name}.csv'
        for name, query in queries.items()
    )  # fmt: skip
    yield Action(
        "Export what is older than 90 days",
        export,
        "One CSV file a table. Check that they are complete before deleting.",
    )
    steps = [queries["trades"], *(queries[name] for name in _CHILDREN), queries["trading_sessions"]]
    delete = "\n".join(f"{query.replace('SELECT *', 'DELETE', 1)};" for query in steps)
    yield Action("Delete what was exported", psql(namespace, f"BEGIN;\n{delete}\nCOMMIT;", stop_on_error=True),
                 f"Frees about {amount(old['gain_bytes'], 'bytes')} inside the tables; VACUUM FULL gives it back to the volume.", changes=True)  # fmt: skip


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''").replace("\n", " ") + "'"
