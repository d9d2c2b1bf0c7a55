"""PATCH as the API server does it: merge, strategic merge and JSON patch, and the validation after it."""

from __future__ import annotations

import copy
import json
import re
from decimal import Decimal
from typing import Any

from cryptofunk_demo.refusals import Refusal, invalid

Object = dict[str, Any]
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

# Lists that a strategic merge joins by a key; all others are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
}
_QUANTITY = re.compile(r"^([+-]?[0-9]*\.?[0-9]+)(m|n|u|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$")
_SCALES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}


def patched(item: Object, body: bytes, content_type: str) -> Object:
    """A changed copy of `item`. Raises Refusal 400 for a body that cannot be used, 415 for another type."""
    kind = content_type.split(";", maxsplit=1)[0].strip()
    try:
        patch = json.loads(body)
    except ValueError as error:
        raise Refusal(400, f"error decoding patch: {error}") from None
    if kind == JSON_PATCH:
        if not isinstance(patch, list):
            raise Refusal(
                400, "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            )
        return _json_patch(copy.deepcopy(item), patch)
    if kind not in (STRATEGIC, MERGE):
        accepted = f"{JSON_PATCH}, {MERGE}, {STRATEGIC}"
        raise Refusal(
            415, f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    if not isinstance(patch, dict):
        raise Refusal(400, "error decoding patch: json: cannot unmarshal array into Go value of type map")
    return _merged(copy.deepcopy(item), patch, strategic=kind == STRATEGIC)


def validate(before: Object, after: Object) -> None:
    """Raise the Refusal that the API server has for `after`: 409 and 422 mostly."""
    meta, name = after.get("metadata") or {}, before["metadata"]["name"]
    if meta.get("name") != name:
        raise Refusal(400, f"the name of the object ({meta.get('name')}) does not match the name on the URL ({name})")
    if meta.get("resourceVersion") != before["metadata"]["resourceVersion"]:
        raise Refusal(
            409,
            f'Operation cannot be fulfilled on "{name}": the object has been modified; please apply your '
            "changes to the latest version and try again",
        )
    causes = _deployment_causes(before, after) if before["kind"] == "Deployment" else []
    if before["kind"] == "PersistentVolumeClaim":
        causes = _claim_causes(before, after)
    if causes:
        raise invalid(before["kind"], "apps" if before["kind"] == "Deployment" else "", name, causes)


def quantity(text: Any) -> Decimal:
    """A Kubernetes quantity as a number. Raises Refusal 400 for what is none."""
    found = _QUANTITY.match(str(text))
    if not found:
        raise Refusal(
            400,
            "unable to parse quantity's suffix, quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )
    number, suffix = found.groups()
    if suffix in _SCALES or not suffix:
        return Decimal(number) * _SCALES.get(suffix or "", Decimal(1))
    return Decimal(number + suffix)


def _merged(target: Object, patch: Object, strategic: bool) -> Object:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            base = target.get(key)
            target[key] = _merged(base if isinstance(base, dict) else {}, value, strategic)
        elif strategic and isinstance(value, list) and key in _MERGE_KEYS and isinstance(target.get(key), list):
            target[key] = _joined(target[key], value, _MERGE_KEYS[key])
        else:
            target[key] = value
    return target


def _joined(have: list[Any], changes: list[Any], key: str) -> list[Any]:
    for change in changes:
        if not isinstance(change, dict) or key not in change:
            raise Refusal(400, f"map: {json.dumps(change)} does not contain declared merge key: {key}")
        found = next((item for item in have if item.get(key) == change[key]), None)
        if change.get("$patch") == "delete":
            have = [item for item in have if item.get(key) != change[key]]
        elif found is None:
            have.insert(0, _merged({}, change, strategic=True))
        else:
            _merged(found, change, strategic=True)
    return have


def _json_patch(item: Object, operations: list[Any]) -> Object:
    for operation in operations:
        try:
            *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
            place: Any = item
            for part in parents:
                place = place[int(part)] if isinstance(place, list) else place[part]
            _apply(place, operation, last)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Refusal(422, f"the server rejected our request due to an error in our request: {error}") from None
    return item


def _apply(place: Any, operation: Object, last: str) -> None:
    kind = operation["op"]
    key: Any = last
    if isinstance(place, list):
        key = len(place) if last == "-" else int(last)
    if kind == "test":
        if place[key] != operation["value"]:
            raise ValueError("testing value failed")
    elif kind == "remove":
        del place[key]
    elif kind == "add" and isinstance(place, list):
        place.insert(key, operation["value"])
    elif kind == "add":
        place[key] = operation["value"]
    elif kind == "replace":
        place[key]  # a replace needs something to replace
        place[key] = operation["value"]
    else:
        raise ValueError(f"unexpected kind: {kind}")


def _deployment_causes(before: Object, after: Object) -> list[tuple[str, str]]:
    causes, spec = [], after["spec"]
    replicas = spec.get("replicas", 1)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise Refusal(400, "json: cannot unmarshal into Go struct field DeploymentSpec.spec.replicas of type int32")
    if replicas < 0:
        causes.append(("spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0"))
    if spec.get("selector") != before["spec"]["selector"]:
        causes.append(("spec.selector", f"Invalid value: {json.dumps(spec.get('selector'))}: field is immutable"))
    for number, container in enumerate(spec["template"]["spec"].get("containers") or []):
        place = f"spec.template.spec.containers[{number}]"
        if not container.get("image"):
            causes.append((f"{place}.image", "Required value"))
        causes += _resource_causes(f"{place}.resources", container.get("resources") or {})
    if not spec["template"]["spec"].get("containers"):
        causes.append(("spec.template.spec.containers", "Required value"))
    return causes


def _resource_causes(place: str, resources: Object) -> list[tuple[str, str]]:
    causes = []
    limits = {name: quantity(value) for name, value in (resources.get("limits") or {}).items()}
    for name, value in (resources.get("requests") or {}).items():
        if name in limits and quantity(value) > limits[name]:
            limit = resources["limits"][name]
            causes.append(
                (
                    f"{place}.requests",
                    f'Invalid value: "{value}": must be less than or equal to {name} limit of {limit}',
                )
            )
    causes += [
        (f"{place}.limits[{name}]", f'Invalid value: "{value}": must be greater than or equal to 0')
        for name, value in limits.items()
        if value < 0
    ]
    return causes


def _claim_causes(before: Object, after: Object) -> list[tuple[str, str]]:
    old = quantity(before["spec"]["resources"]["requests"]["storage"])
    if quantity(after["spec"]["resources"]["requests"]["storage"]) < old:
        return [("spec.resources.requests.storage", "Forbidden: field can not be less than previous value")]
    return []
