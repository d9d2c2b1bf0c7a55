"""The parts of the Kubernetes double that need no server: selectors and patches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cryptofunk_demo import patches, selectors
from cryptofunk_demo.incidents import named
from cryptofunk_demo.objects import every
from cryptofunk_demo.refusals import Refusal

POD = {"metadata": {"name": "a", "labels": {"app": "api", "tier": "web"}}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app=api", True),
        ("app==api,tier=web", True),
        ("app!=api", False),
        ("nothing!=api", True),
        ("app in (api, web)", True),
        ("app notin (api)", False),
        ("nothing notin (api)", True),
        ("tier", True),
        ("!tier", False),
        ("app in (api),!nothing", True),
    ],
)
def test_label_selectors_choose_as_the_api_server_does(selector: str, expected: bool) -> None:
    assert selectors.labels(selector)(POD) is expected


@pytest.mark.parametrize("selector", ["a=(", "a in b", "=x", "a in (b", "app=a b"])
def test_a_label_selector_that_cannot_be_read_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match="unable to parse requirement"):
        selectors.labels(selector)


def test_field_selectors_know_only_the_fields_of_the_resource() -> None:
    assert selectors.fields("status.phase=Running,metadata.name!=b", "pods")(POD)
    assert not selectors.fields("status.phase!=Running", "pods")(POD)
    with pytest.raises(ValueError, match=r"field label not supported: status\.phase"):
        selectors.fields("status.phase=Running", "deployments")


def deployment() -> dict[str, Any]:
    return next(d for d in every(named("healthy"))["deployments"] if d["metadata"]["name"] == "api")


def limits(memory: Any) -> dict[str, Any]:
    return {
        "spec": {"template": {"spec": {"containers": [{"name": "api", "resources": {"limits": {"memory": memory}}}]}}}
    }


def test_a_strategic_merge_changes_the_named_container_and_a_merge_replaces_the_list() -> None:
    body = json.dumps(limits("1Gi")).encode()
    strategic = patches.patched(deployment(), body, patches.STRATEGIC)
    container = strategic["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert container["image"]
    merged = patches.patched(deployment(), body, patches.MERGE)
    assert "image" not in merged["spec"]["template"]["spec"]["containers"][0]
    with pytest.raises(Refusal, match="image: Required value"):
        patches.validate(deployment(), merged)


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (limits("1Mi"), patches.STRATEGIC, 422),
        (limits("lots"), patches.STRATEGIC, 400),
        ({"spec": {"replicas": -1}}, patches.MERGE, 422),
        ({"spec": {"selector": {"matchLabels": {"a": "b"}}}}, patches.MERGE, 422),
        ({"metadata": {"name": "other"}}, patches.MERGE, 400),
        ({"metadata": {"resourceVersion": "1"}}, patches.MERGE, 409),
        ({}, "text/plain", 415),
        ([], patches.MERGE, 400),
        ([{"op": "remove", "path": "/spec/nothing"}], patches.JSON_PATCH, 422),
    ],
)
def test_what_cannot_be_applied_is_refused_with_the_right_code(body: Any, kind: str, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        patches.validate(deployment(), patches.patched(deployment(), json.dumps(body).encode(), kind))
    assert refused.value.code == refused.value.status["code"] == code


def test_a_json_patch_is_applied_in_order() -> None:
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 2},
        {"op": "add", "path": "/metadata/annotations/example.com~1why", "value": "test"},
    ]
    changed = patches.patched(deployment(), json.dumps(operations).encode(), patches.JSON_PATCH)
    patches.validate(deployment(), changed)
    assert changed["spec"]["replicas"] == 2
    assert changed["metadata"]["annotations"]["example.com/why"] == "test"
