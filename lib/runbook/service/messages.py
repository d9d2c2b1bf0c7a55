"""From the history to a message: what is said of a report, an escalation, an end; and handing it over."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping
from typing import Any

from runbook import notify
from runbook.errors import StorageError
from runbook.history import deliveries, listing
from runbook.history.changes import changes
from runbook.history.closing import lasted
from runbook.history.database import Connection, row, rows
from runbook.history.events import note
from runbook.notify import Attachment, Mailbox, Message, NotifyError
from runbook.notify.message import one_line
from runbook.service import by_hand
from runbook.service.context import Context

_log = logging.getLogger(__name__)
_ORDER = ("critical", "warning", "unknown", "skipped", "ok")
_REPORT_MAX = 8 * 1024 * 1024


def send(context: Context, delivery: int) -> None:
    """Send the message if it still waits. Raises NotifyError where it is to be tried again."""
    with context.database.transaction() as connection:
        waits = deliveries.waiting(connection, delivery)
        message = compose(connection, context, waits) if waits else None
    if waits is None or message is None:
        return
    try:
        refused = _hand_over(context, waits["medium"], message)
    except NotifyError as error:
        reason = str(error)
        is_last = context.database.persist(lambda connection: deliveries.failed(connection, delivery, reason))
        _log.warning("message %s was not taken: %s", delivery, reason)
        if is_last:
            return
        raise
    context.database.persist(lambda connection: _sent(connection, waits, refused))


def _sent(connection: Connection, delivery: Mapping[str, Any], refused: tuple[str, ...]) -> None:
    """It is out. Addresses that were refused are shown; trying again would tell the others twice."""
    deliveries.sent(connection, delivery["id"])
    if refused:
        said = f"{delivery['medium']}: {delivery['kind']}: refused for {one_line(', '.join(refused), 200)}"
        note(connection, delivery["incident_id"], "not_told", said, delivery["run"])
        _log.warning("message %s was refused for %s of its addresses", delivery["id"], len(refused))


def compose(connection: Connection, context: Context, delivery: Mapping[str, Any]) -> Message | None:
    """The message as it is now; None when its incident is gone."""
    incident = row(connection, "SELECT * FROM runbook.incidents WHERE id = %(id)s", {"id": delivery["incident_id"]})
    if incident is None:
        return None
    run = row(connection, "SELECT * FROM runbook.runs WHERE id = %(id)s", {"id": delivery["run"]})
    about = incident if run is None or run["procedure"] == incident["procedure"] else _named(run)
    run = run or listing.headline(connection, incident["id"])
    kind = delivery["kind"]
    is_critical = incident["severity"] == "critical"
    if kind == "report" and is_critical and run and run["severity"] != "critical":
        kind = "update"  # of a lesser alert beside the critical one, whose own report calls people
    outcome = (run or {}).get("outcome") or {}
    found = [(str(f.get("status", "")), str(f.get("title", ""))) for f in outcome.get("findings", [])]
    found.sort(key=lambda f: _ORDER.index(f[0]) if f[0] in _ORDER else len(_ORDER))
    silent = _silent(connection, incident, delivery) if kind == "dead_man" else None
    about = _named(silent) if silent else about
    headline, lines = _words(connection, context, kind, incident, run, delivery)
    return Message(
        incident=incident["id"],
        number=delivery["id"],
        kind=kind,
        alertname=about["title"],
        procedure=about["procedure"],
        severity=incident["severity"],
        headline=headline,
        channel=_channel(context, incident),
        lines=lines,
        findings=() if kind == "resolved" else tuple(f for f in found if f[0] != "ok" or len(found) <= 5),
        commands=_by_hand(context, silent) if silent else _commands(outcome, kind),
        url=_url(context, incident, run, kind),
        mentions_channel=is_critical and kind in ("report", "escalation", "dead_man"),
        attachments=_attachments(connection, context, run) if delivery["medium"] == "mail" else (),
    )


def _named(found: Mapping[str, Any]) -> dict[str, str]:
    """What a message about this run or alert is called, where that is not what its incident is called."""
    name = found["alertname"] if "alertname" in found else found["name"]
    return {"title": name or "unnamed alert", "procedure": found["procedure"]}


def _words(
    connection: Connection,
    context: Context,
    kind: str,
    incident: Mapping[str, Any],
    run: Mapping[str, Any] | None,
    delivery: Mapping[str, Any],
) -> tuple[str, tuple[str, ...]]:
    """The headline and the lines below it."""
    verdict = run["verdict"] if run else "There is no report yet."
    began = f"Began {incident['starts_at']:%Y-%m-%d %H:%M:%S} UTC."
    if kind == "resolved":
        ended = incident["closed_at"] or incident["last_seen_at"]
        return f"Resolved after {lasted(ended - incident['starts_at'])}.", (f"Last verdict: {verdict}",)
    if kind == "dead_man":
        seconds = context.settings.runbook_dead_man_seconds
        headline = f"No report after {seconds:g} s. Work by hand with the procedure {delivery['text'] or incident['procedure']}."
        return headline, (began, "Check that a worker runs: runbook worker.")
    if kind == "escalation":
        level = next((x for x in context.catalog.escalation if str(x.level) == delivery["text"]), None)
        if level:
            headline = f"Level {level.level}, not resolved after {level.after_minutes} minutes: {verdict}"
            return headline, (f"{level.who} ({level.contact}) {level.does}.", began)
    if kind == "update" and run and (before := listing.previous(connection, dict(run))):
        changed = changes(before["outcome"], run["outcome"] or {})[:5]
        return verdict, (began, *(f"{c.what}: {c.before or 'new'} → {c.after or 'gone'}" for c in changed))
    return verdict, (began, *_alerts(connection, incident["id"]))


def _alerts(connection: Connection, incident: int) -> tuple[str, ...]:
    found = rows(
        connection,
        "SELECT a.name, count(*) AS n FROM runbook.alerts a"
        " WHERE (a.incident_id = %(id)s OR a.storm_id = %(id)s) AND a.resolved_at IS NULL GROUP BY a.name"
        " ORDER BY n DESC, a.name LIMIT 5",
        {"id": incident},
    )
    return tuple(f"{item['n']} × {item['name']} firing" for item in found)


def _channel(context: Context, incident: Mapping[str, Any]) -> str:
    """Where Slack shows it: the critical channel for critical, else the channel of the procedure's category."""
    entry = context.catalog.entry(incident["procedure"])
    if incident["severity"] == "critical":
        return context.catalog.severities["critical"].channels[0]
    return entry.channel


def _url(context: Context, incident: Mapping[str, Any], run: Mapping[str, Any] | None, kind: str) -> str:
    if not context.settings.runbook_base_url:
        return ""
    if run and run["run_id"] and kind in ("report", "update"):
        return context.page(f"/reports/{run['run_id']}")
    return context.page(f"/incidents/{incident['id']}")


def _silent(connection: Connection, incident: Mapping[str, Any], delivery: Mapping[str, Any]) -> dict[str, Any] | None:
    """The alert to work on by hand: of the procedure that has no report the one that fires, worst, then oldest."""
    return row(
        connection,
        """
        SELECT name, labels, starts_at, procedure FROM runbook.alerts
        WHERE (incident_id = %(id)s OR storm_id = %(id)s) AND procedure = %(procedure)s
        ORDER BY resolved_at IS NOT NULL, array_position(ARRAY['critical', 'warning', 'info'], severity),
                 starts_at, fingerprint LIMIT 1
        """,
        {"id": incident["id"], "procedure": delivery["text"] or incident["procedure"]},
    )


def _by_hand(context: Context, alert: Mapping[str, Any]) -> tuple[str, ...]:
    return by_hand.commands(context, alert["procedure"], alert["name"], alert["labels"], alert["starts_at"])


def _commands(outcome: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """What to type next: the report's actions."""
    if kind in ("resolved", "escalation", "dead_man"):
        return ()
    return tuple(str(action.get("command", "")) for action in outcome.get("actions", [])[:3])


def _attachments(connection: Connection, context: Context, run: Mapping[str, Any] | None) -> tuple[Attachment, ...]:
    if not run or not run["run_id"]:
        return ()
    statement = "SELECT content FROM runbook.copies WHERE run = %(id)s AND name = 'report.html'"
    copy = row(connection, statement, {"id": run["id"]}) if run["stored"] == "database" else None
    try:
        content = gzip.decompress(copy["content"]) if copy else context.artifacts.read(run["run_id"], "report.html")
    except StorageError:
        content = None
    if content is None or len(content) > _REPORT_MAX:
        return ()
    return (Attachment(f"{run['run_id']}.html", content),)


def _hand_over(context: Context, medium: str, message: Message) -> tuple[str, ...]:
    """Give the message to its medium -> the addresses that were refused. Raises NotifyError when nobody gets it."""
    settings = context.settings
    if medium == "slack":
        if settings.slack_webhook_url is None:
            raise NotifyError("SLACK_WEBHOOK_URL is not set here.")
        notify.send_slack(settings.slack_webhook_url.get_secret_value(), message)
        return ()
    recipients = context.mail_to(message.severity)
    if not settings.smtp_host or not settings.smtp_from:
        raise NotifyError("SMTP_HOST or SMTP_FROM is not set here.")
    if not recipients:
        raise NotifyError("ALERT_EMAIL_TO is not set here.")
    mailbox = Mailbox(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_from,
        recipients,
        settings.smtp_username or "",
        settings.smtp_password.get_secret_value() if settings.smtp_password else "",
    )
    return notify.send_mail(mailbox, message)
