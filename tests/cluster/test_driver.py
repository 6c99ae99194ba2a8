"""The driver against a real API server, controllers and, where a pod must run, a real node."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compute.clusters.base import ClusterError, Outdated
from compute.clusters.kubernetes import KubernetesDriver, labels
from compute.clusters.kubernetes.client import ApiError, Connection
from compute.clusters.kubernetes.health import RIGHTS
from compute.clusters.kubernetes.objects import spec_hash
from compute.workload import Claim, File, InitScript, Mount, Namespace, Probe, Resources, Workload

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]  # test clusters sign their own
PATIENCE = 60.0
SERVE = "echo hello of $TOKEN; mkdir -p $HOME/www; echo ok > $HOME/www/index.html; exec httpd -f -p 8888 -h $HOME/www"


class Calls(Connection):
    """Counts."""

    def __init__(self, context: str) -> None:
        super().__init__(context)
        self.made: list[str] = []

    def _request(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        self.made.append(f"{method} {path}")
        return super()._request(method, path, *args, **options)


def workload(namespace: str, **changes: Any) -> Workload:
    name = f"lab-{uuid.uuid4().hex[:6]}"
    wanted = Workload(
        name=name,
        namespace=namespace,
        revision=1,
        generation=1,
        image="localhost/busybox:1",
        ide="jupyterlab",
        token="t",
        port=8888,
        resources=Resources("100m", "32Mi"),
        owner="ada@example.com",
        env={"LANGUAGE": "$(HOME)"},
        secret_env={"TOKEN": "top-secret"},
        claims=(Claim(f"home-{name}", "1Gi"),),
        mounts=(Mount(f"home-{name}", "/home/user", home=True),),
        node_selector={"pool": "default"},
        probe=Probe("/"),
        command=("sh", "-c", SERVE),
        home="/home/user",
        files=(File("/opt/slipway/motd", "welcome"),),
    )
    return replace(wanted, **changes)


def paused_elsewhere(namespace: str) -> Workload:
    """One that no node takes: for tests that need no pod to run."""
    return workload(namespace, node_selector={"pool": "none"})


def wait(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return value


def get(connection: Connection, path: str) -> dict[str, Any] | None:
    try:
        return connection.call("GET", path)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def live(connection: Connection, wanted: Workload) -> dict[str, Any] | None:
    return get(connection, f"/apis/apps/v1/namespaces/{wanted.namespace}/statefulsets/{wanted.name}")


def pod(connection: Connection, wanted: Workload) -> dict[str, Any] | None:
    return get(connection, f"/api/v1/namespaces/{wanted.namespace}/pods/{wanted.name}-0")


def test_a_session_runs_pauses_resumes_and_goes_and_its_claim_stays(
    driver: KubernetesDriver, connection: Connection, namespace: str
) -> None:
    wanted = workload(namespace, init_scripts=(InitScript("Say hello", "cat /opt/slipway/motd && echo kept > $HOME/note"),))
    driver.apply(wanted)
    ready = wait(lambda: (seen := driver.observe(namespace, wanted.name)).ready and seen, "ready")
    assert ready.endpoint.endswith(":8888") and ready.node and ready.revision == 1 and not ready.drifted
    assert "hello of top-secret" in driver.logs(namespace, wanted.name)
    assert [event.at for event in driver.events(namespace, wanted.name)] == sorted(e.at for e in driver.events(namespace, wanted.name))

    driver.pause(namespace, wanted.name, 2)
    wait(lambda: not driver.observe(namespace, wanted.name).exists, "paused")
    assert driver.observe(namespace, wanted.name).retained
    resumed = replace(wanted, generation=3, revision=2, init_scripts=(InitScript("Look", "test -f $HOME/note"),))
    driver.apply(resumed)
    wait(lambda: (seen := driver.observe(namespace, wanted.name)).ready and seen.revision == 2, "resumed")

    driver.remove(namespace, wanted.name, 4)
    wait(lambda: not driver.observe(namespace, wanted.name).exists, "removed")
    assert live(connection, wanted) is None
    assert get(connection, f"/api/v1/namespaces/{namespace}/secrets/{wanted.name}") is None
    claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/home-{wanted.name}"
    assert get(connection, claim) is not None
    driver.delete_claim(namespace, f"home-{wanted.name}")
    wait(lambda: get(connection, claim) is None, "the claim is deleted")


def test_a_first_launch_is_three_calls(namespace: str, connection: Connection) -> None:
    calls = Calls(connection.context)
    KubernetesDriver("test", connection=calls).apply(paused_elsewhere(namespace))
    assert [call.split()[0] for call in calls.made] == ["POST", "PATCH", "PATCH"]


def test_what_was_applied_hashes_as_it_was_built(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    wanted = replace(
        paused_elsewhere(namespace),
        resources=Resources("0.5", "1024Mi", 1, "nvidia.com/gpu"),
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
        init_scripts=(InitScript("one", "true"),),
    )
    driver.apply(wanted)
    found = live(connection, wanted)
    assert found and spec_hash(found) == found["metadata"]["annotations"][labels.SPEC_HASH]
    found["spec"]["template"]["spec"]["containers"][0]["image"] = "localhost/other:1"
    assert spec_hash(found) != found["metadata"]["annotations"][labels.SPEC_HASH]


def test_a_late_launch_does_not_undo_a_pause(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    wanted = paused_elsewhere(namespace)
    driver.apply(wanted)
    driver.pause(namespace, wanted.name, 2)
    with pytest.raises(Outdated) as late:
        driver.apply(wanted)
    assert late.value.generation == 2
    found = live(connection, wanted)
    assert found and found["spec"]["replicas"] == 0


def test_late_calls_do_not_undo_a_resume(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    wanted = paused_elsewhere(namespace)
    driver.apply(wanted)
    driver.pause(namespace, wanted.name, 2)
    driver.apply(replace(wanted, generation=3, revision=2))
    for late in (
        lambda: driver.apply(wanted),
        lambda: driver.pause(namespace, wanted.name, 2),
        lambda: driver.remove(namespace, wanted.name, 2),
    ):
        with pytest.raises(Outdated):
            late()
    found = live(connection, wanted)
    assert found and found["spec"]["replicas"] == 1
    assert found["metadata"]["annotations"][labels.REVISION] == "2"
    assert spec_hash(found) == found["metadata"]["annotations"][labels.SPEC_HASH]


def test_what_somebody_changed_is_put_back(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    wanted = paused_elsewhere(namespace)
    driver.apply(wanted)
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{wanted.name}"
    connection.call("PATCH", path, body={"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    assert driver.observe(namespace, wanted.name).drifted
    driver.apply(wanted)
    assert not driver.observe(namespace, wanted.name).drifted
    found = live(connection, wanted)
    assert found and found["spec"]["replicas"] == 1


def test_a_retry_replaces_the_old_pod(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    wanted = paused_elsewhere(namespace)
    driver.apply(wanted)
    old = wait(lambda: pod(connection, wanted), "a pod")
    driver.apply(replace(wanted, generation=2, revision=2))
    new = wait(lambda: (now := pod(connection, wanted)) and now["metadata"]["uid"] != old["metadata"]["uid"] and now, "a new pod")
    assert new["metadata"]["annotations"][labels.REVISION] == "2"


def test_unknown_names_are_fine(driver: KubernetesDriver, namespace: str) -> None:
    driver.pause(namespace, "nothing", 1)
    driver.remove(namespace, "nothing", 1)
    driver.delete_claim(namespace, "nothing")
    assert driver.logs(namespace, "nothing") == "" and driver.events(namespace, "nothing") == []
    assert not driver.observe(namespace, "nothing").retained


@pytest.mark.parametrize("kind", ["secrets", "persistentvolumeclaims", "statefulsets"])
def test_what_is_not_ours_is_left_alone(driver: KubernetesDriver, connection: Connection, namespace: str, kind: str) -> None:
    wanted = paused_elsewhere(namespace)
    meta = {"name": f"home-{wanted.name}" if kind == "persistentvolumeclaims" else wanted.name}
    bodies: dict[str, dict[str, Any]] = {
        "secrets": {"stringData": {"theirs": "1"}},
        "persistentvolumeclaims": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
        "statefulsets": {
            "spec": {
                "replicas": 0,
                "serviceName": "x",
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            }
        },
    }
    group = "/apis/apps/v1" if kind == "statefulsets" else "/api/v1"
    path = f"{group}/namespaces/{namespace}/{kind}"
    connection.call("POST", path, body={"metadata": meta, **bodies[kind]})
    before = connection.call("GET", f"{path}/{meta['name']}")
    with pytest.raises(ClusterError) as refused:
        driver.apply(wanted)
    assert refused.value.reason == "NameTaken" and not refused.value.retryable
    if kind == "secrets":
        driver.remove(namespace, wanted.name)
    assert connection.call("GET", f"{path}/{meta['name']}")["metadata"]["uid"] == before["metadata"]["uid"]
    assert labels.MANAGED_BY not in (connection.call("GET", f"{path}/{meta['name']}")["metadata"].get("labels") or {})


def test_a_workspace_is_guarded(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    limited = Namespace(name=namespace, workspace=namespace, sessions=2, cpu="4", storage="1Gi", gpus=1, gpu_resources=("nvidia.com/gpu",))
    driver.ensure_namespace(limited)
    quota = connection.call("GET", f"/api/v1/namespaces/{namespace}/resourcequotas/slipway")
    assert quota["spec"]["hard"] == {"pods": "2", "requests.cpu": "4", "requests.storage": "1Gi", "requests.nvidia.com/gpu": "1"}
    driver.ensure_namespace(Namespace(name=namespace, workspace=namespace))
    assert get(connection, f"/api/v1/namespaces/{namespace}/resourcequotas/slipway") is None
    with pytest.raises(ClusterError) as refused:
        driver.ensure_namespace(Namespace(name=namespace, workspace="other"))
    assert refused.value.reason == "NamespaceTaken"


def test_health_names_each_missing_right(driver: KubernetesDriver) -> None:
    assert driver.health().ok and driver.health().version
    nobody = KubernetesDriver("test", context="nobody").health()
    assert not nobody.ok and len(nobody.problems) == len(RIGHTS)
    assert "Slipway lacks the right to create, patch and delete secrets." in nobody.problems


def test_capacity_is_the_sum_of_the_nodes(driver: KubernetesDriver) -> None:
    capacity = driver.capacity()
    assert capacity is not None and capacity.cpu > 0 and capacity.memory > 2**30
