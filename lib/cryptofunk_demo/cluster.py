"""A Kubernetes API server's double on loopback, for the official client: reading, logs, proxy and PATCH.

It honours selectors, limits, dryRun, roles and log options, and refuses with the real server's Status
objects. Its clock stands at the time of the report. Controllers do not run: a patched deployment
keeps its pods.
"""

from __future__ import annotations

import base64
import copy
import json
import secrets
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptofunk_demo import patches, podlogs, selectors
from cryptofunk_demo.refusals import Refusal, expired, forbidden, no_such_resource, not_found
from cryptofunk_demo.state import Answer, Object, Request, State

VERSION = {
    "major": "1",
    "minor": "31",
    "gitVersion": "v1.31.4",
    "platform": "linux/amd64",
    "goVersion": "go1.22.9",
    "gitCommit": "a78aa47129b8539636eb86a9d00e31b2720fe06b",
    "gitTreeState": "clean",
    "buildDate": "2024-12-10T23:14:47Z",
    "compiler": "gc",
}
KINDS = {
    ("", "pods"): "Pod",
    ("", "services"): "Service",
    ("", "events"): "Event",
    ("", "configmaps"): "ConfigMap",
    ("", "persistentvolumeclaims"): "PersistentVolumeClaim",
    ("", "namespaces"): "Namespace",
    ("apps", "deployments"): "Deployment",
    ("apps", "replicasets"): "ReplicaSet",
    ("apps", "statefulsets"): "StatefulSet",
    ("metrics.k8s.io", "pods"): "PodMetrics",
}
_VERSIONS = {"": "v1", "apps": "v1", "metrics.k8s.io": "v1beta1"}
_CHANGEABLE = ("deployments", "persistentvolumeclaims")
_INCONSISTENT = -1
"""The version of a list that goes on with whatever there is now."""


class Cluster:
    """The double, serving on a port of loopback until `stop`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.token = secrets.token_urlsafe(24)
        handler = type("Handler", (_Handler,), {"state": state, "token": self.token})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="Kubernetes double", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def write_kubeconfig(self, path: Path, namespace: str = "cryptofunk") -> Path:
        """A kubeconfig for this double at `path`, readable by its owner only."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "demo",
            "preferences": {},
            "clusters": [{"name": "demo", "cluster": {"server": self.url}}],
            "users": [{"name": "runbook", "user": {"token": self.token}}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "runbook", "namespace": namespace}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))
        return path

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    """Parses the path, asks `_answer`, writes the result."""

    protocol_version = "HTTP/1.1"
    state: State
    token: str

    def do_GET(self) -> None:
        self._serve("GET")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing is printed; `State.requests` keeps what was asked."""

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        try:
            with self.state.lock:
                self.state.requests.append(f"{method} {self.path}")
                self._authenticate()
                request = Request(
                    method,
                    unquote(parts.path),
                    dict(parse_qsl(parts.query, keep_blank_values=True)),
                    body,
                    self.headers.get("Content-Type") or "",
                )
                code, kind, answer = respond(self.state, request)
        except Refusal as refusal:
            code, kind, answer = refusal.code, "application/json", json.dumps(refusal.status).encode()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization")
        if given is None:
            raise Refusal(403, f'forbidden: User "system:anonymous" cannot {self.command.lower()} path "{self.path}"')
        if not secrets.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise Refusal(401, "Unauthorized")


def respond(state: State, request: Request) -> Answer:
    """The answer of the API server. Raises Refusal."""
    if request.path in ("/healthz", "/livez", "/readyz"):
        return 200, "text/plain", b"ok"
    if request.path.rstrip("/") == "/version":
        return _json(VERSION)
    if request.method == "POST" and request.path.endswith("/selfsubjectaccessreviews"):
        return _json(_review(state, request), 201)
    group, namespace, resource, name, rest = _route(request.path)
    if (group, resource) not in KINDS:
        raise no_such_resource()
    sub = rest.split("/", 1)[0]
    verb = {"GET": "get" if name else "list", "PATCH": "patch"}.get(request.method, request.method.lower())
    _authorise(state, verb, f"{resource}/{sub}" if sub else resource, group, namespace, name)
    if sub == "proxy" and resource in ("services", "pods"):
        return podlogs.proxied(state, resource, name, rest.partition("/")[2], request)
    if request.method == "PATCH" and name and not sub and resource in _CHANGEABLE:
        return _json(_change(state, _find(state, group, namespace, resource, name), request))
    if request.method != "GET":
        raise Refusal(405, "the server does not allow this method on the requested resource", {})
    if not name:
        return _json(_list(state, group, namespace, resource, request.query))
    item = _find(state, group, namespace, resource, name)
    if resource == "pods" and sub == "log":
        return podlogs.log(state, item, request.query)
    if sub and sub != "status":
        raise no_such_resource()
    return _json(item)


def _route(path: str) -> tuple[str, str, str, str, str]:
    """(group, namespace, resource, name, what follows the name)."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, parts = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3 and _VERSIONS.get(parts[1]) == parts[2]:
        group, parts = parts[1], parts[3:]
    else:
        raise no_such_resource()
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    resource, name = [*parts, "", ""][:2]
    return group, namespace, resource, name, "/".join(parts[2:])


def _authorise(state: State, verb: str, resource: str, group: str, namespace: str, name: str) -> None:
    if _is_denied(state, verb, resource):
        raise forbidden(verb, resource, group, namespace, name)


def _is_denied(state: State, verb: str, resource: str) -> bool:
    return any(v in ("*", verb) and r in ("*", resource) for v, r in state.denied)


def _review(state: State, request: Request) -> Object:
    try:
        review: Object = json.loads(request.body)
        asked = review["spec"]["resourceAttributes"]
    except (ValueError, KeyError, TypeError):
        raise Refusal(400, "exactly one of nonResourceAttributes or resourceAttributes must be specified") from None
    resource = "/".join(filter(None, (asked.get("resource", ""), asked.get("subresource", ""))))
    changes = asked.get("verb") not in ("get", "list", "watch", "patch")
    review["status"] = {"allowed": not changes and not _is_denied(state, asked.get("verb", ""), resource)}
    return review


def _items(state: State, group: str, resource: str) -> list[Object]:
    return state.objects.get(f"{resource}.{group}" if group == "metrics.k8s.io" else resource, [])


def _find(state: State, group: str, namespace: str, resource: str, name: str) -> Object:
    for item in _items(state, group, resource):
        if item["metadata"]["name"] == name and item["metadata"].get("namespace", "") == namespace:
            return item
    raise not_found(resource, group, name)


def _list(state: State, group: str, namespace: str, resource: str, query: dict[str, str]) -> Object:
    try:
        chosen = selectors.labels(query.get("labelSelector", ""))
        fitting = selectors.fields(query.get("fieldSelector", ""), resource)
        limit = int(query.get("limit") or 0)
        start, version = _begun(query.get("continue", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(400, str(error)) from None
    if version not in (_INCONSISTENT, state.version):
        raise expired(_mark(start, _INCONSISTENT))
    items = [
        item
        for item in _items(state, group, resource)
        if (not namespace or item["metadata"].get("namespace") == namespace) and chosen(item) and fitting(item)
    ]
    metadata: Object = {"resourceVersion": str(state.version)}
    page = items[start : start + limit] if limit > 0 else items[start:]
    if left := len(items) - start - len(page):
        metadata["continue"] = _mark(start + len(page), state.version)
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = left
    api_version = f"{group}/{_VERSIONS[group]}" if group else "v1"
    # As the real server: the items of a list carry neither kind nor apiVersion.
    bare = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in page]
    return {"kind": f"{KINDS[group, resource]}List", "apiVersion": api_version, "metadata": metadata, "items": bare}


def _mark(start: int, version: int) -> str:
    """Where a list goes on."""
    token = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(token.encode()).decode()


def _begun(mark: str) -> tuple[int, int]:
    """(the item to go on with, the version that the list was begun at) of a mark."""
    if not mark:
        return 0, _INCONSISTENT
    token = json.loads(base64.urlsafe_b64decode(mark))
    return int(token["start"]), int(token["rv"])


def _change(state: State, item: Object, request: Request) -> Object:
    if request.query.get("dryRun", "All") != "All":
        raise Refusal(
            422,
            f'PatchOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: '
            f'"{request.query["dryRun"]}": supported values: "All"',
        )
    after = patches.patched(item, request.body, request.content_type)
    patches.validate(item, after)
    after["status"] = copy.deepcopy(item["status"])
    if after == item:
        return item
    after["metadata"]["resourceVersion"] = str(int(item["metadata"]["resourceVersion"]) + 1)
    if after["spec"] != item["spec"] and "generation" in after["metadata"]:
        after["metadata"]["generation"] = item["metadata"]["generation"] + 1
    if "dryRun" not in request.query:
        item.clear()
        item.update(copy.deepcopy(after))
    return after


def _json(value: Any, code: int = 200) -> Answer:
    return code, "application/json", json.dumps(value).encode()
