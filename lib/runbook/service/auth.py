"""Who may read and who may act. Reports hold trading data: away from loopback nothing opens without proof."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import SecretStr
from starlette.requests import Request

from runbook.errors import ConfigurationError
from runbook.settings import Settings

COOKIE = "runbook_session"
SESSION_SECONDS = 12 * 3600
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Gate:
    """What opens the webhook, the pages and the actions.

    On loopback, without a read token, pages open freely, but only under a name of loopback: a page of
    somebody else's that makes its own name point here gets nothing.
    """

    webhook_token: str
    read_token: str
    act_token: str
    user_header: str
    proxies: frozenset[str]
    is_loopback: bool
    is_https: bool

    def admits_webhook(self, request: Request) -> bool:
        """Whether the request carries the webhook's token, where one is set."""
        return not self.webhook_token or _same(_bearer(request.headers), self.webhook_token)

    def knows_host(self, request: Request) -> bool:
        """Whether the name the page was asked under is ours.

        Checked on loopback alone: elsewhere proof is asked for.
        """
        return not self.is_open or _host(request.headers.get("host", "")) in _LOOPBACK_NAMES

    @property
    def is_open(self) -> bool:
        """Whether pages are shown to everyone who gets here."""
        return self.is_loopback and not self.read_token and not self.user_header

    def reader(self, request: Request) -> str | None:
        """Who reads: the proxy's user, "reader" with the token or its session, "local" on loopback; else None."""
        if self.user_header and request.client and request.client.host in self.proxies:
            user = request.headers.get(self.user_header, "").strip()
            if user:
                return user[:100]
        if self.read_token:
            if _same(_bearer(request.headers), self.read_token) or self._has_session(request):
                return "reader"
            return None
        return "local" if self.is_open else None

    def may_act(self, request: Request, given: str) -> bool:
        """Whether a re-run or close is allowed: a session, the proxy's user, or the token typed beside the button."""
        if not _same_origin(request):
            return False
        if _same(given, self.act_token) or _same(_bearer(request.headers), self.act_token):
            return True
        reader = self.reader(request)
        return reader is not None and reader != "local"

    def session(self) -> str:
        """The value of a new session cookie."""
        return self._signer.dumps("reader")

    def _has_session(self, request: Request) -> bool:
        try:
            return bool(self._signer.loads(request.cookies.get(COOKIE, ""), max_age=SESSION_SECONDS) == "reader")
        except BadSignature:
            return False

    @property
    def _signer(self) -> URLSafeTimedSerializer:
        """Signed with the read token's hash: every web process agrees, and a new token ends old sessions."""
        return URLSafeTimedSerializer(hashlib.sha256(self.read_token.encode()).hexdigest(), salt="runbook session")


def gate_for(settings: Settings, host: str) -> Gate:
    """The gate of a server on `host`. Raises ConfigurationError where that address would lie open."""
    webhook, read = _text(settings.runbook_webhook_token), _text(settings.runbook_read_token)
    loopback = is_loopback(host)
    if not loopback and not webhook:
        raise ConfigurationError(
            f"{host} can be reached from other machines: set RUNBOOK_WEBHOOK_TOKEN, or serve on 127.0.0.1."
        )
    if not loopback and not (read or settings.runbook_user_header):
        raise ConfigurationError(
            f"{host} can be reached from other machines, and reports hold trading data: set RUNBOOK_READ_TOKEN, "
            "or RUNBOOK_USER_HEADER with RUNBOOK_TRUSTED_PROXIES behind a proxy that signs people in; "
            "or serve on 127.0.0.1."
        )
    proxies = frozenset(p.strip() for p in settings.runbook_trusted_proxies.split(",") if p.strip())
    return Gate(
        webhook,
        read,
        read or webhook or secrets.token_urlsafe(16),
        settings.runbook_user_header or "",
        proxies,
        loopback,
        (settings.runbook_base_url or "").startswith("https://"),
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same_origin(request: Request) -> bool:
    """Whether a form was sent from our own page: browsers say so; other clients send no Origin."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _same(given: str, wanted: str) -> bool:
    """Compared in constant time. An unset token admits nobody."""
    return bool(wanted) and hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _host(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
