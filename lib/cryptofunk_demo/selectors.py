"""Kubernetes label and field selectors. ValueError says what the API server would say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Object = Mapping[str, Any]
_NAME = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"^({_NAME})\s+(in|notin)\s+\(([^()]*)\)$")
_EQUAL = re.compile(rf"^({_NAME})\s*(==|=|!=)\s*({_VALUE})$")
_EXISTS = re.compile(rf"^(!?)\s*({_NAME})$")

_FIELDS = {
    "pods": (
        "metadata.name",
        "metadata.namespace",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
    ),
    "events": (
        "metadata.name",
        "metadata.namespace",
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "involvedObject.fieldPath",
        "reason",
        "type",
        "reportingComponent",
        "source",
    ),
}
_ANY_KIND = ("metadata.name", "metadata.namespace")


def labels(selector: str) -> Callable[[Object], bool]:
    """Whether an object's labels meet `selector`: =, ==, !=, in, notin, key, !key, joined by commas."""
    tests = [_label_test(part.strip()) for part in _split(selector) if part.strip()]

    def matches(item: Object) -> bool:
        have = item.get("metadata", {}).get("labels") or {}
        return all(test(have) for test in tests)

    return matches


def fields(selector: str, resource: str) -> Callable[[Object], bool]:
    """Whether an object's fields meet `selector`: =, == and != on the fields that the resource supports."""
    known = _FIELDS.get(resource, _ANY_KIND)
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, (p.strip() for p in selector.split(","))):
        found = re.match(r"^([^=!]+?)(==|=|!=)(.*)$", part)
        if not found:
            raise ValueError(f"invalid selector: '{selector}'; can't understand '{part}'")
        name, operator, value = found.groups()
        if name not in known:
            raise ValueError(f"field label not supported: {name}")
        tests.append((name, operator != "!=", value))
    return lambda item: all((_field(item, name) == value) is equal for name, equal, value in tests)


def _label_test(part: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.match(part):
        key, word, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        if not all(re.fullmatch(_VALUE, value) for value in values):
            raise ValueError(f"unable to parse requirement: values: Invalid value: {listed!r}")
        if word == "in":
            return lambda have: have.get(key) in values
        return lambda have: have.get(key) not in values
    if found := _EQUAL.match(part):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda have: have.get(key) != value
        return lambda have: have.get(key) == value
    if found := _EXISTS.match(part):
        absent, key = found.groups()
        return lambda have: (key not in have) is bool(absent)
    raise ValueError(f"unable to parse requirement: <nil>: Invalid value: {part!r}")


def _split(selector: str) -> list[str]:
    """`selector` at the commas outside parentheses."""
    return re.split(r",(?![^()]*\))", selector)


def _field(item: Object, path: str) -> str:
    value: Any = item
    for name in path.split("."):
        value = value.get(name, "") if isinstance(value, Mapping) else ""
    return str(value)
