"""What is told, before it is a Slack message or a mail."""

from __future__ import annotations

from dataclasses import dataclass, field

from runbook.errors import TryLaterError
from runbook.words import one_line


class NotifyError(TryLaterError):
    """The message was not taken. It is tried again; the incident's page shows it."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes along with a mail."""

    name: str
    content: bytes
    subtype: str = "html"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `headline` is the verdict or what happened; `findings` are (status, title), worst first.

    `url` is the page to open, "" when RUNBOOK_BASE_URL is not set. `incident` is what all its mails hang together by;
    `number` tells its messages apart.
    """

    incident: int
    number: int
    kind: str
    alertname: str
    procedure: str
    severity: str
    headline: str
    channel: str
    lines: tuple[str, ...] = ()
    findings: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()
    url: str = ""
    mentions_channel: bool = False
    attachments: tuple[Attachment, ...] = field(default=())

    @property
    def title(self) -> str:
        """One line that says what this is about: `CRITICAL MaxDrawdownExceeded`, `RESOLVED …`."""
        kinds = {"resolved": "RESOLVED", "escalation": "ESCALATED", "dead_man": "NO REPORT", "update": "UPDATE"}
        return f"{kinds.get(self.kind, self.severity.upper())} {one_line(self.alertname, 120)}"
