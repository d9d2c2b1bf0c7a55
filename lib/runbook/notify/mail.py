"""E-mail: the verdict in the subject, the report attached, one thread an incident."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from runbook.notify.message import Message, NotifyError, one_line

_SUBJECT_MAX = 180
_TIMEOUT_SECONDS = 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The SMTP server and who is written to."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    username: str = ""
    password: str = field(default="", repr=False)


def compose(mailbox: Mailbox, message: Message) -> EmailMessage:
    """The message as a mail. Every header is one line, whatever an alert is called."""
    mail = EmailMessage()
    mail["Subject"] = one_line(f"[{message.title}] {message.headline}", _SUBJECT_MAX)
    mail["From"] = one_line(mailbox.sender, 300)
    mail["To"] = ", ".join(one_line(address, 300) for address in mailbox.recipients)
    mail["Date"] = format_datetime(localtime())
    mail["Message-ID"] = f"<runbook-{message.incident}-{message.number}@{_domain(mailbox.sender)}>"
    mail["References"] = f"<runbook-{message.incident}@{_domain(mailbox.sender)}>"
    if message.kind != "report":
        mail["In-Reply-To"] = f"<runbook-{message.incident}@{_domain(mailbox.sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    if message.severity == "critical":
        mail["X-Priority"] = "1"
    mail.set_content(_text(message))
    for attachment in message.attachments:
        mail.add_attachment(attachment.content, maintype="text", subtype=attachment.subtype, filename=attachment.name)
    return mail


def send_mail(mailbox: Mailbox, message: Message) -> None:
    """Hand the mail to the server. Raises NotifyError with what it said, never with the password.

    TLS: from the first byte on port 465, else by STARTTLS where the server offers it. The password is
    only ever sent encrypted, or to this machine.
    """
    mail = compose(mailbox, message)
    context = ssl.create_default_context()
    try:
        with _connected(mailbox, context) as server:
            server.ehlo()
            is_private = mailbox.port == 465 or mailbox.host in _LOOPBACK
            if mailbox.port != 465 and server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
                is_private = True
            if mailbox.username:
                if not is_private:
                    raise NotifyError("The mail server offers no encryption, so the password was not sent.")
                server.login(mailbox.username, mailbox.password)
            refused = server.send_message(mail)
    except smtplib.SMTPAuthenticationError:
        raise NotifyError("The mail server refused SMTP_USERNAME and SMTP_PASSWORD.") from None
    except smtplib.SMTPResponseException as error:
        raise NotifyError(f"The mail server answered {error.smtp_code}.") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise NotifyError(f"The mail server {mailbox.host} took no mail ({type(error).__name__}).") from None
    if refused:
        raise NotifyError(f"The mail server refused {len(refused)} of {len(mailbox.recipients)} addresses.")


def _connected(mailbox: Mailbox, context: ssl.SSLContext) -> smtplib.SMTP:
    if mailbox.port == 465:
        return smtplib.SMTP_SSL(mailbox.host, mailbox.port, timeout=_TIMEOUT_SECONDS, context=context)
    return smtplib.SMTP(mailbox.host, mailbox.port, timeout=_TIMEOUT_SECONDS)


def _text(message: Message) -> str:
    parts = [one_line(message.headline, 2_000), ""]
    parts += [one_line(line, 500) for line in message.lines]
    if message.findings:
        parts += ["", "Findings:"]
        parts += [f"  {status.upper():9} {one_line(title, 400)}" for status, title in message.findings]
    if message.commands:
        parts += ["", "Commands:"]
        parts += [f"  {one_line(command, 1_000)}" for command in message.commands]
    if message.url:
        parts += ["", f"Page: {message.url}"]
    parts += ["", f"Incident {message.incident}, procedure {message.procedure}, severity {message.severity}."]
    return "\n".join(parts) + "\n"


def _domain(sender: str) -> str:
    domain = one_line(sender, 300).rpartition("@")[2].strip(" >")
    return domain if domain and all(c.isalnum() or c in "-." for c in domain) else "runbook.invalid"
