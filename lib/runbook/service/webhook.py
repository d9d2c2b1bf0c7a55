"""POST /webhook/alertmanager: 202 once the alert, its run and its job are committed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from runbook.errors import PayloadError, StorageError
from runbook.history.intake import Receipt
from runbook.service import intake
from runbook.service.auth import Gate
from runbook.service.context import Context
from runbook.service.metrics import Metrics

_log = logging.getLogger(__name__)
BODY_SECONDS = 30.0
_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    405: {"Allow": "POST"},
    415: {"Accept-Encoding": "identity"},
    503: {"Retry-After": "5"},
}


class Webhook:
    """The endpoint. It answers in JSON; what it refuses is logged and counted."""

    def __init__(self, context: Context, gate: Gate, metrics: Metrics) -> None:
        self.context, self.gate, self.metrics = context, gate, metrics

    async def __call__(self, request: Request) -> JSONResponse:
        """Take one message of Alertmanager."""
        began = time.perf_counter()
        status, result, answer = await self._take(request)
        return self._answer(status, result, answer, time.perf_counter() - began)

    def misdirected(self, status: int) -> JSONResponse:
        """The answer to what came to /webhook and is no message: another method or address."""
        said = "Send Alertmanager's message with POST to /webhook/alertmanager."
        return self._answer(status, "misdirected", {"error": said}, 0.0)

    def broke(self) -> JSONResponse:
        """The answer where we failed: a bug, which the log has. Alertmanager sends it again."""
        return self._answer(
            500, "failed", {"error": "The message could not be taken. The service's log says why."}, 0.0
        )

    def _answer(self, status: int, result: str, answer: dict[str, Any], seconds: float) -> JSONResponse:
        self.metrics.webhook(result, seconds)
        if status != 202:
            _log.warning("webhook refused: %s", result, extra={"fields": {"status": status, "why": answer["error"]}})
        return JSONResponse(answer, status, headers=_HEADERS.get(status))

    async def _take(self, request: Request) -> tuple[int, str, dict[str, Any]]:
        if not self.gate.admits_webhook(request):
            return 401, "unauthenticated", {"error": "Send the header Authorization: Bearer <RUNBOOK_WEBHOOK_TOKEN>."}
        if not self.gate.webhook_token and _is_browser(request):
            return 403, "foreign", {"error": "A web page cannot send alerts here. Set RUNBOOK_WEBHOOK_TOKEN to let it."}
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return 415, "compressed", {"error": "The message is compressed. Send it as it is."}
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(request)
        except ClientDisconnect:
            return 400, "malformed", {"error": "The message ended before its end."}
        except TimeoutError:
            return 408, "slow", {"error": f"The message took over {BODY_SECONDS:g} s to come. Send it again."}
        if body is None:
            return 413, "oversized", {"error": "The message is over 4 MiB. Set max_alerts in Alertmanager's receiver."}
        try:
            receipt = await run_in_threadpool(self._accept, body)
        except PayloadError as error:
            return 400, "malformed", {"error": str(error)}
        except StorageError as error:
            _log.warning("the alert could not be committed: %s", error)
            return 503, "unavailable", {"error": "The queue's database is away; nothing was accepted. Send it again."}
        answer = {"result": receipt.result, "incident": receipt.incident, "new_alerts": receipt.new_alerts}
        return 202, receipt.result, answer

    def _accept(self, body: bytes) -> Receipt:
        return intake.accept(self.context, intake.parse(body))


async def _read(request: Request) -> bytes | None:
    """The body; None as soon as it is too long."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > intake.BODY_MAX:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > intake.BODY_MAX:
            return None
    return bytes(body)


def _is_browser(request: Request) -> bool:
    """Whether a web page sent this: browsers say so in every POST, whatever the page wants."""
    return "origin" in request.headers or "sec-fetch-site" in request.headers
