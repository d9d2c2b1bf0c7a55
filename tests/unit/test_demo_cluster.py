"""The parts of the Kubernetes double that need no server: selectors and patches."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client

from cryptofunk_demo import patches, selectors
from cryptofunk_demo.incidents import INCIDENTS, named
from cryptofunk_demo.objects import every
from cryptofunk_demo.refusals import Refusal
from cryptofunk_demo.state import State
from tests import cluster_worlds

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


MODELS = {
    "Namespace": client.V1Namespace,
    "Pod": client.V1Pod,
    "Service": client.V1Service,
    "Deployment": client.V1Deployment,
    "ReplicaSet": client.V1ReplicaSet,
    "Event": client.CoreV1Event,
    "ConfigMap": client.V1ConfigMap,
    "PersistentVolumeClaim": client.V1PersistentVolumeClaim,
}
OWN_NAMES = ("labels", "annotations", "matchLabels", "limits", "requests", "selector", "data", "capacity")
"""Maps whose names are the object's own."""


def accept(objects: dict[str, list[dict[str, Any]]]) -> None:
    """Raises AssertionError for what the API server would refuse: unknown fields, selectors that match no label."""
    serialize = client.ApiClient().sanitize_for_serialization
    for item in (item for items in objects.values() for item in items if item["kind"] in MODELS):
        again = serialize(MODELS[item["kind"]].from_dict(item))
        unknown = known_parts(item) - known_parts(again)
        assert not unknown, f"{item['kind']} {item['metadata']['name']}: {unknown}"
    for item in objects["deployments"] + objects["replicasets"]:
        template = item["spec"]["template"]
        selector, labels = item["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]
        assert selector.items() <= labels.items(), (
            f"{item['metadata']['name']}: selector does not match template labels"
        )
        containers = template["spec"]["containers"]
        assert len({container["name"] for container in containers}) == len(containers)
        for container in containers:
            limits = container["resources"]["limits"]
            for name, requested in container["resources"]["requests"].items():
                assert patches.quantity(requested) <= patches.quantity(limits[name])
    uids = [item["metadata"]["uid"] for kind, items in objects.items() if "metrics" not in kind for item in items]
    assert len(uids) == len(set(uids))


def known_parts(value: Any, path: str = "") -> set[str]:
    """The paths of all that an object holds, but for what a map of names holds."""
    if path.endswith(OWN_NAMES):
        return {path}
    if isinstance(value, dict):
        return {part for name, inner in value.items() for part in known_parts(inner, f"{path}.{name}")}
    if isinstance(value, list):
        return {part for inner in value for part in known_parts(inner, f"{path}[]")}
    return {path}


@pytest.mark.parametrize("incident", list(INCIDENTS))
def test_the_api_server_would_accept_every_object(incident: str) -> None:
    accept(every(named(incident)))


@pytest.mark.parametrize("incident", ["healthy", "agent-oom"])
def test_owners_are_there_and_select_what_they_own(incident: str) -> None:
    objects = every(named(incident))
    owners = {(item["kind"], item["metadata"]["name"]): item for items in objects.values() for item in items}
    owned = [*objects["pods"], *objects["replicasets"]]
    for item in owned:
        (reference,) = item["metadata"]["ownerReferences"]
        owner = owners[reference["kind"], reference["name"]]
        assert reference["uid"] == owner["metadata"]["uid"]
        assert owner["spec"]["selector"]["matchLabels"].items() <= item["metadata"]["labels"].items()
    for service in objects["services"]:
        assert any(service["spec"]["selector"].items() <= pod["metadata"]["labels"].items() for pod in objects["pods"])


@pytest.mark.parametrize("world", list(cluster_worlds.WORLDS))
def test_worlds_hold_objects_that_the_api_accepts_too(world: str) -> None:
    state = State(every(named("healthy")), proxies={("api", "8080", "/"): lambda path, query: (200, "text/plain", b"")})
    cluster_worlds.WORLDS[world](SimpleNamespace(cluster_state=state))  # type: ignore[arg-type]
    for kind in ("pods", "events"):  # of many some are enough
        state.objects[kind] = state.objects[kind][:40] + state.objects[kind][40:][-20:]
    accept(state.objects)
