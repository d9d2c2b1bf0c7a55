"""Telling people: one message an incident and its follow-ups, to Slack and by e-mail. Hostile text stays inert."""

from __future__ import annotations

from runbook.notify.mail import Mailbox, send_mail
from runbook.notify.message import Attachment, Message, NotifyError
from runbook.notify.slack import blocks, escape, send_slack

__all__ = ["Attachment", "Mailbox", "Message", "NotifyError", "blocks", "escape", "send_mail", "send_slack"]
