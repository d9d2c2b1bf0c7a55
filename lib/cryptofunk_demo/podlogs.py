"""The parts of the Kubernetes double that reach into a pod: its log, and the proxy to its ports."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import quote

from cryptofunk_demo.logs import Line
from cryptofunk_demo.refusals import Refusal, invalid, not_found
from cryptofunk_demo.state import Answer, Object, Request, State


def log(state: State, pod: Object, query: dict[str, str]) -> Answer:
    """A container's log, cut as the query asks. Raises Refusal 400 and 422 as the API server does."""
    name = pod["metadata"]["name"]
    container = _container(pod, query.get("container", ""))
    if query.get("previous") in ("true", "1"):
        lines = _of_container(state.previous, pod, container)
        if lines is None:
            raise Refusal(400, f'previous terminated container "{container}" in pod "{name}" not found')
    else:
        waiting = _waiting(pod, container)
        if waiting in ("ContainerCreating", "ImagePullBackOff", "ErrImagePull", "PodInitializing"):
            raise Refusal(400, f'container "{container}" in pod "{name}" is waiting to start: {waiting}')
        lines = _of_container(state.logs, pod, container) or []
    tail, since = _number(name, query, "tailLines", 0), _since(state.now, name, query)
    kept = [line for line in lines if line.time <= state.now and (since is None or line.time >= since)]
    if tail is not None:
        kept = kept[len(kept) - min(tail, len(kept)) :]
    texts = [line.text for line in kept]
    if query.get("timestamps") in ("true", "1"):
        texts = [f"{_nano(line)} {line.text}" for line in kept]
    body = "".join(f"{text}\n" for text in texts).encode("utf-8", "replace")
    limit = _number(name, query, "limitBytes", 1)
    return 200, "text/plain", body if limit is None else body[:limit]


def proxied(state: State, resource: str, target: str, path: str, request: Request) -> Answer:
    """What a service's or pod's port answers. `target` is name, name:port or scheme:name:port."""
    asked = target
    if target.count(":") == 2:
        target = target.partition(":")[2]
    name, _, port = target.partition(":")
    items = {item["metadata"]["name"]: item for item in state.objects.get(resource, [])}
    if name not in items:
        raise not_found(resource, "", name)
    app = name
    if resource == "services":
        app = items[name]["spec"]["selector"]["app.kubernetes.io/name"]
        if not _has_endpoints(state, items[name]):
            raise Refusal(503, f'no endpoints available for service "{quote(asked)}"')
        ports = items[name]["spec"]["ports"]
        chosen = next((p for p in ports if port in ("", str(p["port"]), p["name"])), None)
        if chosen is None:
            raise Refusal(503, f'no service port "{port}" found for service "{name}"')
        port = str(chosen["targetPort"])
    else:
        app = items[name]["metadata"]["labels"]["app.kubernetes.io/name"]
    handler = state.proxies.get((app, port, "/" + path)) or state.proxies.get((app, port, "*"))
    if handler is None:
        if any(key[:2] == (app, port) for key in state.proxies):
            return 404, "text/plain; charset=utf-8", b"404 page not found\n"
        raise Refusal(503, f"error trying to reach service: dial tcp 10.42.0.9:{port}: connect: connection refused")
    return handler("/" + path, request.query)


def _container(pod: Object, asked: str) -> str:
    name = pod["metadata"]["name"]
    names = [container["name"] for container in pod["spec"]["containers"]]
    initial = [container["name"] for container in pod["spec"].get("initContainers", [])]
    if asked and asked not in (*names, *initial):
        raise Refusal(400, f"container {asked} is not valid for pod {name}")
    if not asked and len(names) + len(initial) > 1:
        first = f" or one of the init containers: [{' '.join(initial)}]" if initial else ""
        raise Refusal(
            400, f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{first}"
        )
    return asked or str(names[0])


def _of_container(logs: dict[str, list[Line]], pod: Object, container: str) -> list[Line] | None:
    """The lines of one container; None where there are none of its own. An app's log is that of its main container."""
    name = pod["metadata"]["name"]
    app = (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name", name)
    keys = [f"{name}/{container}", f"{app}/{container}"]
    if container == app or len(pod["spec"]["containers"]) == 1:
        keys += [name, app]
    return next((logs[key] for key in keys if key in logs), None)


def _waiting(pod: Object, container: str) -> str:
    statuses = (*pod["status"].get("containerStatuses", []), *pod["status"].get("initContainerStatuses", []))
    for status in statuses:
        if status["name"] == container:
            return str((status["state"].get("waiting") or {}).get("reason", ""))
    return ""


def _since(now: datetime, pod: str, query: dict[str, str]) -> datetime | None:
    seconds = _number(pod, query, "sinceSeconds", 1)
    if "sinceTime" not in query:
        return None if seconds is None else now - timedelta(seconds=seconds)
    if seconds is not None:
        words = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise invalid("PodLogOptions", "", pod, [("", f"Forbidden: {words}")])
    try:
        moment = datetime.fromisoformat(query["sinceTime"])
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        raise Refusal(
            400, f'parsing time "{query["sinceTime"]}" as "2006-01-02T15:04:05Z07:00": cannot parse'
        ) from None
    return moment


def _number(pod: str, query: dict[str, str], name: str, least: int) -> int | None:
    if name not in query:
        return None
    try:
        value = int(query[name])
    except ValueError:
        raise Refusal(400, f'strconv.ParseInt: parsing "{query[name]}": invalid syntax') from None
    if value < least:
        raise invalid(
            "PodLogOptions", "", pod, [(name, f"Invalid value: {value}: must be greater than or equal to {least}")]
        )
    return value


def _has_endpoints(state: State, service: Object) -> bool:
    wanted = service["spec"]["selector"].items()
    return any(
        wanted <= (pod["metadata"].get("labels") or {}).items()
        and "deletionTimestamp" not in pod["metadata"]
        and {"type": "Ready", "status": "True"}.items() <= _condition(pod, "Ready").items()
        for pod in state.objects.get("pods", [])
    )


def _condition(pod: Object, kind: str) -> Object:
    return next((held for held in pod["status"].get("conditions", []) if held["type"] == kind), {})


def _nano(line: Line) -> str:
    return line.time.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
