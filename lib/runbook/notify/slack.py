"""Slack: Block Kit through an incoming webhook. Such a webhook cannot thread, so updates are follow-ups."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import URLError

from runbook.notify.message import Message, NotifyError
from runbook.words import one_line

_ICONS = {"critical": "🔴", "warning": "🟠", "unknown": "⚪", "skipped": "⚪", "ok": "🟢", "info": "🔵"}
_FINDINGS = 5
_TEXT_MAX = 2_900  # of Slack's 3,000 characters a block
_TIMEOUT_SECONDS = 10
_WAIT_MAX_SECONDS = 3_600.0
_EMOJI = re.compile(r":(?=[\w+'-]*[^\W\d][\w+'-]*:)")  # the first colon of :name:, not those of 14:02:00
_CUT_ENTITY = re.compile(r"&[a-z]{0,3}$")


def escape(text: str, most: int = 500) -> str:
    """`text` as inert mrkdwn: no mention, link, emoji, formatting or line of its own; cut at `most` characters.

    & < > are escaped as Slack asks. A bare @channel or address is only linked when Slack is told to parse
    (it is not, see `payload`); a zero-width space keeps even a later parser from it.
    """
    line = one_line(text, most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in ("*", "_", "~", "`", "@", "#"):
        line = line.replace(sign, f"{sign}\u200b")
    return _EMOJI.sub(":\u200b", line.replace("://", ":\u200b//"))


def blocks(message: Message) -> list[dict[str, Any]]:
    """The message as Block Kit: title, verdict, findings, commands, and the link to the page."""
    icon = "✅" if message.kind == "resolved" else _ICONS.get(message.severity, "🔵")
    found: list[dict[str, Any]] = [
        # plain_text: Slack formats and links nothing in it, but it shows :name: as an emoji.
        {
            "type": "header",
            "text": {"type": "plain_text", "text": _plain(f"{icon} {message.title}")[:150], "emoji": False},
        }
    ]
    mention = "<!channel> " if message.mentions_channel else ""
    found.append(_section(f"{mention}*{escape(message.headline, 1_500)}*"))
    if message.lines:
        found.append(_section("\n".join(escape(line) for line in message.lines)))
    if message.findings:
        listed = [f"{_ICONS.get(status, '⚪')} {escape(title, 300)}" for status, title in message.findings[:_FINDINGS]]
        more = len(message.findings) - _FINDINGS
        found.append(_section("\n".join([*listed, *([f"and {more} more"] if more > 0 else [])])))
    if message.commands:
        found.append(_code(message.commands))
    if message.url:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Open the report"}, "url": message.url}
        found.append({"type": "actions", "elements": [button]})
    context = f"Incident {message.incident} · {message.procedure} · {message.severity} · {message.channel}"
    found.append({"type": "context", "elements": [{"type": "plain_text", "text": one_line(context, 300)}]})
    return found


def payload(message: Message) -> dict[str, Any]:
    """What is posted. `channel` is honoured by older webhooks and ignored by those that are bound to a channel."""
    return {
        "channel": message.channel,
        "text": escape(f"{message.title}: {message.headline}", 300),
        "blocks": blocks(message),
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def send_slack(url: str, message: Message) -> None:
    """Post the message. Raises NotifyError with Slack's reason, never with the webhook's address."""
    from slack_sdk.errors import SlackClientError
    from slack_sdk.webhook import WebhookClient

    try:
        response = WebhookClient(url, timeout=_TIMEOUT_SECONDS).send_dict(payload(message))
    except (SlackClientError, URLError, OSError, ValueError) as error:
        raise NotifyError(f"Slack cannot be reached ({type(error).__name__}).") from None
    body = response.body or ""
    if response.status_code != 200:
        headers = {name.lower(): value for name, value in response.headers.items()}
        wait_seconds = _wait_seconds(headers.get("retry-after", ""))
        raise NotifyError(f"Slack answered {response.status_code}: {one_line(body, 80)}.", wait_seconds)
    if body.lstrip().startswith("<"):  # a proxy's, a login's or a wrong address's page; Slack itself says "ok"
        raise NotifyError("A web page answered, not Slack. Check SLACK_WEBHOOK_URL and the proxy on the way.")


def _wait_seconds(retry_after: str) -> float:
    """The seconds that a Retry-After header asks for, a number or a date, at most an hour; 0 where it says none."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one without its zone
            return 0.0
    return min(max(seconds, 0.0), _WAIT_MAX_SECONDS) if math.isfinite(seconds) else 0.0


def _section(text: str) -> dict[str, Any]:
    # Escaping makes text longer: where that is too long, it is not cut inside an entity.
    cut = text if len(text) <= _TEXT_MAX else _CUT_ENTITY.sub("", text[:_TEXT_MAX])
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut, "verbatim": True}}


def _plain(text: str) -> str:
    return _EMOJI.sub(":\u200b", text)


def _code(commands: tuple[str, ...]) -> dict[str, Any]:
    """Commands to copy: preformatted rich text, in which Slack reads no mrkdwn and no mention."""
    text = "\n".join(one_line(command, 400) for command in commands)[:_TEXT_MAX]
    return {
        "type": "rich_text",
        "elements": [{"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]}],
    }
