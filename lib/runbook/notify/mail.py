"""E-mail: the verdict in the subject, the report attached, one thread an incident."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from runbook.notify.message import Message, NotifyError
from runbook.words import one_line

_SUBJECT_MAX = 180
_NAME_MAX = 120
_TIMEOUT_SECONDS = 20
_TLS_PORT = 465  # encrypted from the first byte; on every other port by STARTTLS


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
    mail["Subject"] = _header(f"[{message.title}] {message.headline}", _SUBJECT_MAX)
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
        name = _file_name(attachment.name)
        mail.add_attachment(attachment.content, maintype="text", subtype=attachment.subtype, filename=name)
    return mail


def send_mail(mailbox: Mailbox, message: Message) -> tuple[str, ...]:
    """Hand the mail to the server -> the addresses that it refused while it took the others.

    Raises NotifyError with the reason when nobody will get it, never with the password or the server's
    own words (some repeat what they were sent). TLS: from the first byte on port 465, else by STARTTLS
    where the server offers it. The password is only ever sent encrypted, to a certificate that is trusted.
    """
    with _told_plainly(mailbox):
        mail = compose(mailbox, message)
        server = _connected(mailbox)
        try:
            _secured(server, mailbox)
            refused = server.send_message(mail)
        finally:
            # The mail is out, or is not: how the server says goodbye changes nothing of that.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()
    return tuple(refused)


def _connected(mailbox: Mailbox) -> smtplib.SMTP:
    if mailbox.port == _TLS_PORT:
        return smtplib.SMTP_SSL(mailbox.host, mailbox.port, timeout=_TIMEOUT_SECONDS, context=_trust())
    return smtplib.SMTP(mailbox.host, mailbox.port, timeout=_TIMEOUT_SECONDS)


def _trust() -> ssl.SSLContext:
    """The machine's authorities, or those of the standard variables SSL_CERT_FILE and SSL_CERT_DIR."""
    return ssl.create_default_context()


def _secured(server: smtplib.SMTP, mailbox: Mailbox) -> None:
    """Encrypt where the server can, then log in where a name is set."""
    server.ehlo_or_helo_if_needed()
    is_encrypted = mailbox.port == _TLS_PORT
    if not is_encrypted and server.has_extn("starttls"):
        server.starttls(context=_trust())
        server.ehlo()
        is_encrypted = True
    if not mailbox.username:
        return
    if not is_encrypted:
        raise NotifyError(
            f"The mail server {mailbox.host} offers no STARTTLS on port {mailbox.port}, so the password was not sent "
            "and neither was the mail. Use a port with TLS (465, or 587 with STARTTLS), or unset SMTP_USERNAME."
        )
    try:
        server.login(mailbox.username, mailbox.password)
    except (smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected):
        raise
    except smtplib.SMTPException:
        raise NotifyError(
            f"The mail server {mailbox.host} takes no login that is known here. Unset SMTP_USERNAME, or use another "
            "port."
        ) from None


@contextlib.contextmanager
def _told_plainly(mailbox: Mailbox) -> Iterator[None]:
    """smtplib's and the system's errors as NotifyError: what failed and what to do about it."""
    place = f"The mail server {mailbox.host}"
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise NotifyError(
            f"{place} refused the login ({error.smtp_code}). Check SMTP_USERNAME and SMTP_PASSWORD."
        ) from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(sorted({str(code) for code, _ in error.recipients.values()}))
        raise NotifyError(
            f"{place} refused every address ({codes}). Check ALERT_EMAIL_TO and CRITICAL_ALERT_EMAIL_TO."
        ) from None
    except smtplib.SMTPSenderRefused as error:
        raise NotifyError(f"{place} refused the sender ({error.smtp_code}). Check SMTP_FROM.") from None
    except smtplib.SMTPResponseException as error:
        raise NotifyError(f"{place} answered {error.smtp_code}.") from None
    except ssl.SSLCertVerificationError as error:
        raise NotifyError(
            f"{place} has a certificate that is not trusted: {one_line(error.verify_message, 120)}. For an authority "
            "of your own set SSL_CERT_FILE."
        ) from None
    except ssl.SSLError:
        raise NotifyError(
            f"{place} speaks no TLS on port {mailbox.port} as expected: from the first byte on 465, else by STARTTLS."
        ) from None
    except UnicodeError:
        raise NotifyError(
            f"{place} cannot be given these characters. Use ASCII in SMTP_USERNAME, SMTP_PASSWORD and the addresses."
        ) from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise NotifyError(f"{place} took no mail ({type(error).__name__}).") from None


def _text(message: Message) -> str:
    parts = [one_line(message.headline, 2_000), ""]
    parts += [one_line(line, 500) for line in message.lines]
    if message.findings:
        parts += ["", "Findings:"]
        parts += [f"  {one_line(status.upper(), 20):9} {one_line(title, 400)}" for status, title in message.findings]
    if message.commands:
        parts += ["", "Commands:"]
        parts += [f"  {one_line(command, 1_000)}" for command in message.commands]
    if message.url:
        parts += ["", f"Page: {message.url}"]
    parts += ["", f"Incident {message.incident}, procedure {message.procedure}, severity {message.severity}."]
    return "\n".join(parts) + "\n"


def _header(text: str, most: int) -> str:
    """`text` for a header. `=?` would begin an encoded word, which can hold line ends and so further headers."""
    return one_line(text.replace("=?", "= ?"), most)


def _file_name(name: str) -> str:
    """`name` as a file's name that no mail program takes for a path, a header or another kind of file."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name).lstrip(".")
    return kept[-_NAME_MAX:] or "report.html"


def _domain(sender: str) -> str:
    domain = one_line(sender, 300).rpartition("@")[2].strip(" >")
    return domain if domain and all(c.isalnum() or c in "-." for c in domain) else "runbook.invalid"
