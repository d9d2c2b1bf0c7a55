"""POST /webhook/alertmanager: 202 once the alert, its run and its job are committed."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from runbook.errors import PayloadError, StorageError
from runbook.service import intake
from runbook.service.auth import Gate
from runbook.service.context import Context
from runbook.service.metrics import Metrics

_log = logging.getLogger(__name__)


class Webhook:
    """The endpoint. It answers in JSON; what it refuses is logged and counted."""

    def __init__(self, context: Context, gate: Gate, metrics: Metrics) -> None:
        self.context, self.gate, self.metrics = context, gate, metrics

    async def __call__(self, request: Request) -> JSONResponse:
        """Take one message of Alertmanager."""
        began = time.perf_counter()
        status, result, answer = await self._take(request)
        self.metrics.webhook(result, time.perf_counter() - began)
        if status != 202:
            _log.warning("webhook refused: %s", result, extra={"fields": {"status": status, "why": answer["error"]}})
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "5"} if status == 503 else {}
        return JSONResponse(answer, status, headers=headers)

    async def _take(self, request: Request) -> tuple[int, str, dict[str, Any]]:
        if not self.gate.admits_webhook(request):
            return 401, "unauthenticated", {"error": "Send the header Authorization: Bearer <RUNBOOK_WEBHOOK_TOKEN>."}
        try:
            body = await _read(request)
        except ClientDisconnect:
            return 400, "malformed", {"error": "The message ended before its end."}
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

    def _accept(self, body: bytes) -> Any:
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
