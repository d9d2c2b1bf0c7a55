"""The API server's refusals: Status objects with the code, reason and words of the real one."""

from __future__ import annotations

from typing import Any

USER = "system:serviceaccount:cryptofunk:runbook"
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    503: "ServiceUnavailable",
}


class Refusal(Exception):
    """An answer other than success: its HTTP code and Status object."""

    def __init__(self, code: int, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": _REASONS.get(code, "InternalError"),
            **({"details": details} if details else {}),
            "code": code,
        }


def forbidden(verb: str, resource: str, group: str, namespace: str, name: str, user: str = USER) -> Refusal:
    subject = (
        f'{_qualified(resource.split("/", maxsplit=1)[0], group)} "{name}"' if name else _qualified(resource, group)
    )
    where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    message = f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}"{where}'
    return Refusal(403, message, _details(resource.split("/", maxsplit=1)[0], group, name))


def not_found(resource: str, group: str, name: str) -> Refusal:
    return Refusal(404, f'{_qualified(resource, group)} "{name}" not found', _details(resource, group, name))


def no_such_resource() -> Refusal:
    return Refusal(404, "the server could not find the requested resource", {})


def expired(mark: str) -> Refusal:
    """410 of a list that cannot be gone on with as it was; `mark` goes on with what there is now."""
    refusal = Refusal(
        410,
        "The provided continue parameter is too old to display a consistent list result. You can start a new list"
        " without the continue parameter, or use the continue token in this response to retrieve the remainder of the"
        " results. Continuing with the provided token results in an inconsistent list - objects that were created,"
        " modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    )
    refusal.status["metadata"] = {"continue": mark}
    return refusal


def invalid(kind: str, group: str, name: str, causes: list[tuple[str, str]]) -> Refusal:
    """422 with one (field, message) a cause."""
    words = ", ".join(f"{field}: {message}" for field, message in causes)
    listed = f"[{words}]" if len(causes) > 1 else words
    title = f"{kind}.{group}" if group else kind
    reasons = [{"reason": "FieldValueInvalid", "message": message, "field": field} for field, message in causes]
    details = {"name": name, **({"group": group} if group else {}), "kind": kind, "causes": reasons}
    return Refusal(422, f'{title} "{name}" is invalid: {listed}', details)


def _qualified(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def _details(resource: str, group: str, name: str) -> dict[str, Any]:
    return {**({"name": name} if name else {}), **({"group": group} if group else {}), "kind": resource}
