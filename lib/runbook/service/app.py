"""The web application: routes, headers, errors."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from runbook import settings
from runbook.errors import StorageError
from runbook.history import Connection
from runbook.history.closing import close_by_hand
from runbook.history.events import note
from runbook.history.rows import WatchedRun
from runbook.service import announce, pages
from runbook.service.auth import COOKIE, SESSION_SECONDS, Gate
from runbook.service.context import Context
from runbook.service.metrics import Metrics
from runbook.service.tasks import ask
from runbook.service.webhook import Webhook

_log = logging.getLogger(__name__)
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC = {"app.css": "text/css", "app.js": "text/javascript"}
_FORM_MAX = 10_000
_FIELDS_MAX = 20
Endpoint = Callable[[Request], Awaitable[Response]]


def build(
    context: Context, gate: Gate, background: Callable[[], contextlib.AbstractAsyncContextManager[Any]]
) -> Starlette:
    """The application. `background` runs beside it for as long as it serves."""
    site = Site(context, gate)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with background():
            yield

    return Starlette(
        routes=site.routes(),
        lifespan=lifespan,
        exception_handlers={HTTPException: site.failed, StorageError: site.away, Exception: site.broke},
    )


class Site:
    """The endpoints."""

    def __init__(self, context: Context, gate: Gate) -> None:
        self.context, self.gate = context, gate
        self.warnings = settings.pinned(context.settings)
        self.metrics = Metrics(context)
        self.webhook = Webhook(context, gate, self.metrics)
        self.templates = pages.templates()

    def routes(self) -> list[Route]:
        """Every address there is."""

        async def take(request: Request) -> Response:
            return await self.webhook(request)

        return [
            Route("/webhook/alertmanager", take, methods=["POST"]),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.show_metrics),
            Route("/static/{name}", self.static),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/", self.reads(self.incidents)),
            Route("/reports", self.reads(self.reports)),
            Route("/incidents/{number:int}", self.reads(self.incident)),
            Route("/incidents/{number:int}/{action}", self.act, methods=["POST"]),
            Route("/reports/{run_id}", self.reads(self.report)),
            Route("/reports/{run_id}/{name}", self.reads(self.report_file)),
        ]

    def reads(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint`, for those who may read; the others are asked for the token."""

        async def guarded(request: Request) -> Response:
            if not self.gate.knows_host(request):
                raise HTTPException(421, "This server answers as localhost or 127.0.0.1 only.")
            if self.gate.reader(request) is None:
                if not self.gate.read_token or "text/html" not in request.headers.get("accept", ""):
                    raise HTTPException(401, "Reading needs the read token, or to be signed in at the proxy.")
                query = f"?{request.url.query}" if request.url.query else ""
                return RedirectResponse(
                    f"/login?{urlencode({'next': request.url.path + query})}", 303, headers=_HEADERS
                )
            return await endpoint(request)

        return guarded

    async def healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_HEADERS)

    async def readyz(self, request: Request) -> Response:
        trouble = await run_in_threadpool(self.context.trouble)
        return PlainTextResponse(f"{trouble or 'ready'}\n", 503 if trouble else 200, headers=_HEADERS)

    async def show_metrics(self, request: Request) -> Response:
        text = await run_in_threadpool(self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8", headers=_HEADERS)

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404)
        content = (resources.files("runbook.service") / "static" / name).read_bytes()
        if name == "app.css":  # the pages wear the report's colours and type
            content = (resources.files("runbook") / "templates" / "report" / "report.css").read_bytes() + content
        return Response(content, media_type=_STATIC[name], headers=_HEADERS | {"Cache-Control": "max-age=300"})

    async def login(self, request: Request) -> Response:
        target = _local(request.query_params.get("next", "/"))
        if not self.gate.read_token:
            return RedirectResponse(target, 303, headers=_HEADERS)
        if request.method == "GET":
            return self.page(request, "login.html", {"next": target, "wrong": False})
        form = await _form(request)
        stand_in = Request(
            {**request.scope, "headers": [(b"authorization", f"Bearer {form.get('token', '')}".encode())]}
        )
        if self.gate.reader(stand_in) is None:
            _log.warning("a wrong read token was given")
            return self.page(request, "login.html", {"next": target, "wrong": True}, 401)
        response = RedirectResponse(_local(form.get("next", target)), 303, headers=_HEADERS)
        response.set_cookie(
            COOKIE,
            self.gate.session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            secure=self.gate.is_https,
            samesite="lax",  # a link in Slack or a mail opens signed in; actions check their origin
        )
        return response

    async def incidents(self, request: Request) -> Response:
        return await self._index(request, "incidents")

    async def reports(self, request: Request) -> Response:
        return await self._index(request, "reports")

    async def _index(self, request: Request, kind: str) -> Response:
        data = await run_in_threadpool(pages.index, self.context, pages.wanted(request), kind)
        return self.page(request, "index.html", data)

    async def incident(self, request: Request) -> Response:
        data = await run_in_threadpool(pages.incident, self.context, _number(request))
        if data is None:
            raise HTTPException(404, "There is no such incident. It may have been pruned.")
        needs_token = self.gate.reader(request) == "local"
        return self.page(request, "incident.html", {**data, "needs_token": needs_token, "note": _note(request)})

    async def act(self, request: Request) -> Response:
        """Re-run or close, for those who may."""
        if not self.gate.knows_host(request):
            raise HTTPException(421, "This server answers as localhost or 127.0.0.1 only.")
        number, action = _number(request), request.path_params["action"]
        if action not in ("rerun", "close"):
            raise HTTPException(404)
        form = await _form(request)
        if not self.gate.may_act(request, form.get("token", "")):
            raise HTTPException(403, "This needs the token. Go back and type it beside the button.")
        who = self.gate.reader(request) or "the token"
        done = await run_in_threadpool(self._act, number, action, who)
        return RedirectResponse(f"/incidents/{number}?{urlencode({'note': done})}", 303, headers=_HEADERS)

    def _act(self, number: int, action: str, who: str) -> str:
        def work(connection: Connection) -> str:
            if action == "close":
                if not close_by_hand(connection, number, who):
                    return "was_closed"
                announce.resolved(connection, self.context, number)
                return "closed"
            queued = ask(connection, self.context, number, "asked")
            for run in queued:
                note(connection, number, "asked", f"by {who}", run.run)
            return "queued" if queued else "waits"

        return self.context.database.commit(work)

    async def report(self, request: Request) -> Response:
        """The report itself, sandboxed; while it runs, how far it is; where its file is gone, what is known of it."""
        found = await self._run(request)
        if not found.is_live:
            content = await run_in_threadpool(pages.file, self.context, found, "report.html")
            if content is not None:
                return Response(
                    content,
                    media_type="text/html; charset=utf-8",
                    headers=_HEADERS | {"Content-Security-Policy": REPORT_POLICY},
                )
        live_seconds = pages.BUSY_SECONDS if found.is_live else 0
        data = {"run": found, "steps": pages.steps(found), "live_seconds": live_seconds}
        return self.page(request, "run.html", data)

    async def report_file(self, request: Request) -> Response:
        found = await self._run(request)
        kinds = {"notebook.ipynb": "application/x-ipynb+json", "outcome.json": "application/json"}
        name = request.path_params["name"]
        if name not in kinds:
            raise HTTPException(404)
        content = await run_in_threadpool(pages.file, self.context, found, name)
        if content is None:
            raise HTTPException(404, "This file is not stored, or its store does not answer.")
        headers = _HEADERS | {"Content-Security-Policy": REPORT_POLICY}
        if name == "notebook.ipynb":
            headers["Content-Disposition"] = f'attachment; filename="{found.run_id}.ipynb"'
        return Response(content, media_type=kinds[name], headers=headers)

    async def _run(self, request: Request) -> WatchedRun:
        run_id = request.path_params["run_id"]
        if len(run_id) > 200 or "\x00" in run_id:
            raise HTTPException(404)
        found = await run_in_threadpool(pages.run, self.context, run_id)
        if found is None:
            raise HTTPException(404, "There is no such report. It may have been pruned.")
        return found

    async def failed(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        said = str(error.detail) if isinstance(error, HTTPException) else ""
        if request.url.path.startswith("/webhook"):
            return self.webhook.misdirected(status)
        return self.page(request, "error.html", {"status": status, "said": said}, status)

    async def away(self, request: Request, error: Exception) -> Response:
        return self.page(request, "error.html", {"status": 503, "said": str(error)}, 503)

    async def broke(self, request: Request, error: Exception) -> Response:
        if request.url.path.startswith("/webhook"):
            return self.webhook.broke()
        said = "The page could not be made. The service's log says why."
        return self.page(request, "error.html", {"status": 500, "said": said}, 500)

    def page(self, request: Request, name: str, data: dict[str, Any], status: int = 200) -> Response:
        """A page of ours under the strict policy; 304 for an open page that asks for itself and has not changed."""
        given = {"path": request.url.path, "live_seconds": 0, "warnings": self.warnings, **data}
        text = self.templates.get_template(name).render(given)
        headers = _HEADERS | {"Content-Security-Policy": PAGE_POLICY}
        if status == 200:
            headers["ETag"] = f'"{hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]}"'
            if request.headers.get("if-none-match") == headers["ETag"]:
                return Response(status_code=304, headers=headers)
        return Response(text, status, media_type="text/html; charset=utf-8", headers=headers)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form. Raises HTTPException: 413 for a large one, 400 for one of many fields."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_MAX:
            raise HTTPException(413)
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise HTTPException(400, "The form has more fields than any of ours.") from None
    return {name: values[0] for name, values in fields.items()}


def _number(request: Request) -> int:
    number: int = request.path_params["number"]
    if number > 2**62:
        raise HTTPException(404)
    return number


def _note(request: Request) -> str:
    said = request.query_params.get("note", "")
    return said if said in ("queued", "waits", "closed", "was_closed") else ""


def _local(target: str) -> str:
    """`target` if it is a path here, else the front page: a link cannot lead from the login to somewhere else."""
    parts = urlsplit(target)
    is_here = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return target if is_here and all(" " < c < "\x7f" for c in target) else "/"
