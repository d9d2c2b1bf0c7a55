"""From the history to a message: what is said of a report, an escalation, an end; and handing it over."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from runbook import notify
from runbook.catalog import FALLBACK
from runbook.errors import StorageError
from runbook.history import alerts, copies, deliveries, listing
from runbook.history.changes import changes
from runbook.history.closing import lasted
from runbook.history.database import Connection, rows
from runbook.history.events import note
from runbook.history.rows import Delivery, Incident, ReportedRun
from runbook.notify import Attachment, Mailbox, Message, NotifyError
from runbook.outcome import Outcome
from runbook.service import by_hand
from runbook.service.context import Context
from runbook.words import SEVERITIES, duration, moment, one_line, severity_text, status_rank

_log = logging.getLogger(__name__)
_UNNAMED = "unnamed alert"
_REPORT_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _About:
    """What a message is called: its incident, or the run or alert of another procedure that it is about."""

    name: str
    procedure: str


@dataclass(frozen=True, slots=True)
class _Firing:
    """How many alerts of a name fire; what they call their severity where we do not know it, and as what it counts."""

    name: str
    count: int
    original: str | None
    severity: str | None

    @property
    def text(self) -> str:
        original = f" (severity {severity_text(self.original, self.severity or '')})" if self.original else ""
        return f"{self.count} × {self.name} firing{original}"


def send(context: Context, delivery: int) -> None:
    """Send the message if it still waits. Raises NotifyError where it is to be tried again."""
    with context.database.transaction() as connection:
        waits = deliveries.waiting(connection, delivery)
        message = compose(connection, context, waits) if waits else None
    if waits is None or message is None:
        return
    try:
        refused = _hand_over(context, waits.medium, message)
    except NotifyError as error:
        reason = str(error)
        is_last = context.database.persist(lambda connection: deliveries.failed(connection, delivery, reason))
        _log.warning("message %s was not taken: %s", delivery, reason)
        if is_last:
            return
        raise
    context.database.persist(lambda connection: _sent(connection, waits, refused))


def _sent(connection: Connection, delivery: Delivery, refused: tuple[str, ...]) -> None:
    """It is out. Addresses that were refused are shown; trying again would tell the others twice."""
    deliveries.sent(connection, delivery.id)
    if refused:
        addresses = one_line(", ".join(refused), 200)
        text = f"{delivery.medium}: {delivery.kind}: refused for {addresses}"
        note(connection, delivery.incident_id, "not_told", text, delivery.run)
        _log.warning("message %s was refused for %s of its addresses", delivery.id, len(refused))


def compose(connection: Connection, context: Context, delivery: Delivery) -> Message | None:
    """The message as it is now; None when its incident is gone."""
    incident = listing.incident(connection, delivery.incident_id)
    if incident is None:
        return None
    about = _About(incident.title, incident.procedure)
    run = listing.reported(connection, delivery.run)
    if run and (run.procedure != incident.procedure or run.procedure == FALLBACK):
        about = _About(run.alertname or _UNNAMED, run.procedure)
    run = run or listing.headline(connection, incident.id)
    kind = delivery.kind
    is_critical = incident.severity == "critical"
    if kind == "report" and is_critical and run and run.severity != "critical":
        kind = "update"  # of a lesser alert beside the critical one, whose own report calls people
    outcome = run.outcome if run else None
    found = [(finding.status.value, finding.title) for finding in outcome.findings] if outcome else []
    found.sort(key=lambda finding: status_rank(finding[0]))
    # The alert to work on by hand, where there is no report of it.
    silent = None
    if kind == "dead_man":
        silent = alerts.worst(connection, incident.id, delivery.text or incident.procedure)
    if silent:
        about = _About(silent.name or _UNNAMED, silent.procedure)
    headline, lines = _words(connection, context, kind, incident, run, delivery)
    return Message(
        incident=incident.id,
        number=delivery.id,
        kind=kind,
        alertname=about.name,
        procedure=about.procedure,
        severity=incident.severity,
        headline=headline,
        channel=_channel(context, incident),
        lines=lines,
        findings=() if kind == "resolved" else tuple(f for f in found if f[0] != "ok" or len(found) <= 5),
        commands=by_hand.commands(context, silent) if silent else _commands(outcome, kind),
        url=_url(context, incident, run, kind),
        mentions_channel=is_critical and kind in ("report", "escalation", "dead_man"),
        attachments=_attachments(connection, context, run) if delivery.medium == "mail" else (),
    )


def _words(
    connection: Connection,
    context: Context,
    kind: str,
    incident: Incident,
    run: ReportedRun | None,
    delivery: Delivery,
) -> tuple[str, tuple[str, ...]]:
    """The headline and the lines below it."""
    verdict = run.verdict if run else "There is no report yet."
    began = f"Began {moment(incident.starts_at)}."
    if kind == "resolved":
        ended = incident.closed_at or incident.last_seen_at
        return f"Resolved after {lasted(ended - incident.starts_at)}.", (f"Last verdict: {verdict}",)
    if kind == "dead_man":
        waited = duration(context.settings.runbook_dead_man_seconds)
        procedure = delivery.text or incident.procedure
        headline = f"No report after {waited}. Work by hand with the procedure {procedure}."
        return headline, (began, "Check that a worker runs: runbook worker.")
    if kind == "escalation":
        level = next((x for x in context.catalog.escalation if str(x.level) == delivery.text), None)
        if level:
            waited = duration(level.after_minutes * 60)
            headline = f"Level {level.level}, not resolved after {waited}: {verdict}"
            return headline, (f"{level.who} ({level.contact}) {level.does}.", began)
    before = listing.previous(connection, run) if kind == "update" and run else None
    if run and before and before.outcome:
        changed = changes(before.outcome, run.outcome)[:5]
        return verdict, (began, *(f"{c.what}: {c.before or 'new'} → {c.after or 'gone'}" for c in changed))
    return verdict, (began, *_alerts(connection, incident.id))


def _alerts(connection: Connection, incident: int) -> tuple[str, ...]:
    statement = """
        SELECT a.name, count(*) AS count,
            max(a.labels->>'severity') FILTER (WHERE lower(a.labels->>'severity') <> ALL(%(known)s)) AS original,
            max(a.severity) FILTER (WHERE lower(a.labels->>'severity') <> ALL(%(known)s)) AS severity
        FROM runbook.alerts a
        WHERE (a.incident_id = %(id)s OR a.storm_id = %(id)s) AND a.resolved_at IS NULL
        GROUP BY a.name ORDER BY count DESC, a.name LIMIT 5
        """
    return tuple(firing.text for firing in rows(connection, _Firing, statement, id=incident, known=list(SEVERITIES)))


def _channel(context: Context, incident: Incident) -> str:
    """Where Slack shows it: the critical channel for critical, else the channel of the procedure's category."""
    if incident.severity == "critical":
        return context.catalog.severities["critical"].channels[0]
    return context.catalog.entry(incident.procedure).channel


def _url(context: Context, incident: Incident, run: ReportedRun | None, kind: str) -> str:
    if not context.settings.runbook_base_url:
        return ""
    if run and run.run_id and kind in ("report", "update"):
        return context.page(f"/reports/{run.run_id}")
    return context.page(f"/incidents/{incident.id}")


def _commands(outcome: Outcome | None, kind: str) -> tuple[str, ...]:
    """What to type next: the report's actions."""
    if outcome is None or kind in ("resolved", "escalation", "dead_man"):
        return ()
    return tuple(action.command for action in outcome.actions[:3])


def _attachments(connection: Connection, context: Context, run: ReportedRun | None) -> tuple[Attachment, ...]:
    if run is None or not run.run_id:
        return ()
    content = copies.read(connection, run.id, "report.html") if run.stored == "database" else None
    if content is None:
        try:
            content = context.artifacts.read(run.run_id, "report.html")
        except StorageError:
            return ()
    if content is None or len(content) > _REPORT_MAX:
        return ()
    return (Attachment(f"{run.run_id}.html", content),)


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
