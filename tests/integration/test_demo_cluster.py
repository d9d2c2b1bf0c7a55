"""The Kubernetes double, asked by the official client: it answers and refuses as the real server does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from cryptofunk_demo import health, incidents, logs, objects
from cryptofunk_demo.cluster import Cluster
from cryptofunk_demo.moment import AS_OF, SEED
from cryptofunk_demo.simulation import Simulation, simulate
from cryptofunk_demo.state import State

SPACE = "cryptofunk"


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(incidents.named("bad-metric"), SEED)


@pytest.fixture
def cluster(simulation: Simulation) -> Iterator[Cluster]:
    previous = {"risk-agent": [logs.Line(AS_OF - timedelta(minutes=13), "last words")]}
    made = Cluster(
        State(objects.every(simulation.incident), logs.every(simulation), previous, health.proxies(simulation))
    )
    yield made
    made.stop()


@pytest.fixture
def api(cluster: Cluster, tmp_path: Path) -> Iterator[client.ApiClient]:
    path = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    assert path.stat().st_mode & 0o077 == 0
    with config.new_client_from_config(str(path)) as made:
        yield made


def refused(call: object, *arguments: object, **options: object) -> dict[str, object]:
    with pytest.raises(ApiException) as error:
        call(*arguments, **options)  # type: ignore[operator]
    status = json.loads(error.value.body)
    assert status["kind"] == "Status"
    assert status["status"] == "Failure"
    assert status["code"] == error.value.status
    return dict(status)


def pod_of(api: client.ApiClient, app: str) -> str:
    selector = f"app.kubernetes.io/name={app}"
    return str(client.CoreV1Api(api).list_namespaced_pod(SPACE, label_selector=selector).items[0].metadata.name)


def test_selectors_and_pages(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    agents = core.list_namespaced_pod(SPACE, label_selector="app.kubernetes.io/component in (trading-agent)").items
    assert len(agents) == 7
    others = "app.kubernetes.io/component=trading-agent,app.kubernetes.io/name!=risk-agent"
    assert len(core.list_namespaced_pod(SPACE, label_selector=others).items) == 6
    assert core.list_namespaced_pod(SPACE, field_selector="status.phase!=Running").items == []
    seen, token = [], None
    while True:
        page = core.list_namespaced_pod(SPACE, limit=6, _continue=token)
        seen += [pod.metadata.name for pod in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert len(seen) == len(set(seen)) == 20
    assert core.list_namespaced_pod("elsewhere").items == []


def test_a_list_that_changes_meanwhile_expires_and_goes_on_with_what_there_is(
    api: client.ApiClient, cluster: Cluster
) -> None:
    core = client.CoreV1Api(api)
    page = core.list_namespaced_pod(SPACE, limit=6)
    cluster.state.version += 1
    expired = refused(core.list_namespaced_pod, SPACE, limit=6, _continue=page.metadata._continue)
    assert (expired["code"], expired["reason"]) == (410, "Expired")
    mark = dict(expired["metadata"])["continue"]  # type: ignore[call-overload]
    rest = core.list_namespaced_pod(SPACE, limit=600, _continue=mark)
    assert len(page.items) + len(rest.items) == 20


def test_events_are_chosen_by_their_type(api: client.ApiClient, cluster: Cluster) -> None:
    core = client.CoreV1Api(api)
    kinds = [event(SPACE, f"e-{number}", kind) for number, kind in enumerate(("Normal", "Warning", "Normal"))]
    cluster.state.objects["events"] = kinds
    found = core.list_namespaced_event(SPACE, field_selector="type!=Normal").items
    assert [item.metadata.name for item in found] == ["e-1"]


def event(namespace: str, name: str, kind: str) -> dict[str, object]:
    about = {"kind": "Pod", "namespace": namespace, "name": "api"}
    return {"metadata": {"name": name, "namespace": namespace}, "involvedObject": about, "type": kind}


def test_of_several_containers_one_has_to_be_named(api: client.ApiClient, cluster: Cluster) -> None:
    core, name = client.CoreV1Api(api), pod_of(api, "orchestrator")
    (pod,) = [pod for pod in cluster.state.objects["pods"] if pod["metadata"]["name"] == name]
    pod["spec"]["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
    cluster.state.logs["orchestrator/proxy"] = [logs.Line(AS_OF, "of the proxy")]
    try:
        denied = refused(core.read_namespaced_pod_log, name, SPACE)
        assert denied["code"] == 400
        assert denied["message"] == (
            f"a container name must be specified for pod {name}, choose one of: [proxy orchestrator]"
        )
        assert core.read_namespaced_pod_log(name, SPACE, container="proxy") == "of the proxy\n"
        assert len(core.read_namespaced_pod_log(name, SPACE, container="orchestrator").splitlines()) > 100
    finally:
        del pod["spec"]["containers"][0]


def test_every_kind_is_one_that_the_client_accepts(api: client.ApiClient) -> None:
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    restarted = core.read_namespaced_pod(pod_of(api, "risk-agent"), SPACE).status.container_statuses[0]
    assert restarted.restart_count == 1
    assert restarted.last_state.terminated.reason == "Completed"
    assert apps.read_namespaced_deployment("api", SPACE).status.ready_replicas == 1
    assert len(apps.list_namespaced_replica_set(SPACE).items) == 20
    assert core.list_namespaced_persistent_volume_claim(SPACE).items[0].status.capacity == {"storage": "50Gi"}
    assert "max_drawdown: 0.1" in core.read_namespaced_config_map("cryptofunk-config", SPACE).data["config.yaml"]
    assert core.list_namespaced_event(SPACE).items == []
    assert client.VersionApi(api).get_code().major == "1"
    usage = client.CustomObjectsApi(api).list_namespaced_custom_object("metrics.k8s.io", "v1beta1", SPACE, "pods")
    assert len(usage["items"]) == 20


def test_log_options(api: client.ApiClient) -> None:
    core, name = client.CoreV1Api(api), pod_of(api, "orchestrator")
    every = core.read_namespaced_pod_log(name, SPACE).splitlines()
    assert core.read_namespaced_pod_log(name, SPACE, tail_lines=3).splitlines() == every[-3:]
    recent = core.read_namespaced_pod_log(name, SPACE, since_seconds=600, timestamps=True).splitlines()
    assert 0 < len(recent) < len(every)
    assert recent[0] >= "2026-01-15T14:00:00"
    assert len(core.read_namespaced_pod_log(name, SPACE, limit_bytes=100)) == 100
    assert core.read_namespaced_pod_log(pod_of(api, "risk-agent"), SPACE, previous=True) == "last words\n"
    assert "not found" in str(refused(core.read_namespaced_pod_log, name, SPACE, previous=True)["message"])
    assert refused(core.read_namespaced_pod_log, name, SPACE, container="other")["code"] == 400
    assert refused(core.read_namespaced_pod_log, name, SPACE, tail_lines=-1)["code"] == 422
    assert refused(core.read_namespaced_pod_log, name, SPACE, since_seconds=0)["code"] == 422


def test_what_is_not_there_and_not_allowed_is_refused_in_the_servers_words(
    api: client.ApiClient, cluster: Cluster
) -> None:
    core = client.CoreV1Api(api)
    missing = refused(core.read_namespaced_pod, "nobody", SPACE)
    assert (missing["reason"], missing["message"]) == ("NotFound", 'pods "nobody" not found')
    assert refused(core.list_namespaced_pod, SPACE, label_selector="a=(")["reason"] == "BadRequest"
    cluster.state.denied.add(("list", "pods"))
    denied = refused(core.list_namespaced_pod, SPACE)
    assert denied["reason"] == "Forbidden"
    assert denied["message"] == (
        'pods is forbidden: User "system:serviceaccount:cryptofunk:runbook" cannot list resource "pods" in API group ""'
        ' in the namespace "cryptofunk"'
    )
    cluster.state.denied.add(("get", "pods/log"))
    assert refused(core.read_namespaced_pod_log, "x", SPACE)["code"] == 403
    assert refused(client.CoreV1Api(api).list_namespaced_secret, SPACE)["code"] == 404


def test_a_dry_run_changes_nothing_and_a_patch_does(api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    body = {
        "spec": {"template": {"spec": {"containers": [{"name": "api", "resources": {"limits": {"memory": "1Gi"}}}]}}}
    }

    def memory() -> str:
        found = apps.read_namespaced_deployment("api", SPACE).spec.template.spec.containers[0]
        return str(found.resources.limits["memory"])

    tried = apps.patch_namespaced_deployment("api", SPACE, body, dry_run="All")
    assert tried.spec.template.spec.containers[0].resources.limits["memory"] == "1Gi"
    assert memory() == "512Mi"
    assert apps.patch_namespaced_deployment("api", SPACE, body).metadata.generation == 8
    assert memory() == "1Gi"
    bad = {"spec": {"replicas": -1}}
    assert refused(apps.patch_namespaced_deployment, "api", SPACE, bad)["reason"] == "Invalid"
    assert refused(apps.delete_namespaced_deployment, "api", SPACE)["code"] == 405


def test_the_proxy_reaches_services_and_pods(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    for service in ("market-data-server:9201", "order-executor-server:9204"):
        assert "healthy" in str(core.connect_get_namespaced_service_proxy_with_path(service, SPACE, "health"))
    pod = f"{pod_of(api, 'risk-analyzer-server')}:9203"
    assert "go_goroutines" in str(core.connect_get_namespaced_pod_proxy_with_path(pod, SPACE, "metrics"))
    wrong = refused(core.connect_get_namespaced_service_proxy_with_path, "market-data-server:1", SPACE, "health")
    assert wrong["code"] == 503


def test_a_wrong_token_and_none_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    path = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    path.write_text(path.read_text().replace(cluster.token, "wrong"))
    with config.new_client_from_config(str(path)) as other:
        assert refused(client.CoreV1Api(other).list_namespaced_pod, SPACE)["code"] == 401
