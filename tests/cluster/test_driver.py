"""The driver against a real API server, controllers and, where a pod must run, a real node."""

from __future__ import annotations

import threading
import time
import uuid
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compute.clusters.base import ClusterError, Outdated
from compute.clusters.kubernetes import KubernetesDriver, labels
from compute.clusters.kubernetes.client import ApiError, Connection
from compute.clusters.kubernetes.health import RIGHTS
from compute.clusters.kubernetes.identity import ANOTHER
from compute.clusters.kubernetes.objects import spec_hash
from compute.workload import Account, Claim, File, InitScript, Mount, Namespace, Probe, Program, Resources, Workload
from tests.cluster.test_rbac import Bind, bind, shipped

__all__ = ["bind"]

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]  # test clusters sign their own
PATIENCE = 60.0
# The first process of a container has to ask for the signal that ends it.
SERVE = """
echo hello of $TOKEN; mkdir -p $HOME/www; echo ok > $HOME/www/index.html
trap 'exit 0' TERM; httpd -f -p 8888 -h $HOME/www & wait
"""


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


def walk(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    """A session's whole life. ``connection`` looks at what the driver has done."""
    wanted = workload(namespace, init_scripts=(InitScript("Say hello", "cat /opt/slipway/motd && echo kept > $HOME/note"),))
    driver.apply(wanted)
    ready = wait(lambda: (seen := driver.observe(namespace, wanted.name)).ready and seen, "ready")
    assert ready.endpoint.endswith(":8888") and ready.node and ready.revision == 1 and not ready.drifted
    assert "hello of top-secret" in driver.logs(namespace, wanted.name)
    assert [event.at for event in driver.events(namespace, wanted.name)] == sorted(e.at for e in driver.events(namespace, wanted.name))

    driver.write_files(namespace, wanted.name, {"token": "fresh"}, 1)
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


def test_a_session_runs_pauses_resumes_and_goes_and_its_claim_stays(
    driver: KubernetesDriver, connection: Connection, namespace: str
) -> None:
    walk(driver, connection, namespace)


def test_the_shipped_rights_are_enough_for_a_sessions_whole_life(connection: Connection, bind: Bind) -> None:
    bind(shipped())
    app, name, stop = KubernetesDriver("app", context="app"), f"a-{uuid.uuid4().hex[:10]}", threading.Event()
    wait(lambda: app.health().ok, "the rights are there")
    try:
        for limits in ({"sessions": 2, "storage": "1Gi"}, {"storage": "2Gi"}, {}):
            app.ensure_namespace(Namespace(name=name, workspace=name, **limits))  # type: ignore[arg-type]
        walk(app, connection, name)
        assert next(app.watch(stop), None) is None  # it follows: an error would be raised
    finally:
        stop.set()
        connection.delete(f"/api/v1/namespaces/{name}")


def test_the_log_of_the_run_before_a_restart_is_kept(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    once = "test -f $HOME/once || { touch $HOME/once; echo the first; exit 3; }; echo the second;"
    wanted = workload(namespace, command=("sh", "-c", once + SERVE))
    driver.apply(wanted)
    ready = wait(lambda: (seen := driver.observe(namespace, wanted.name)).ready and seen, "ready after a crash")
    assert ready.restarts == 1
    assert driver.logs(namespace, wanted.name).splitlines()[0] == "the second"
    assert driver.logs(namespace, wanted.name, previous=True).splitlines() == ["the first"]
    assert driver.logs(namespace, wanted.name, tail=1) == "hello of top-secret\n"


def test_the_log_of_an_init_script_that_fails_is_the_sessions(driver: KubernetesDriver, namespace: str) -> None:
    scripts = (InitScript("Fine", "echo all is well"), InitScript("Fetch data", "echo there is no such dataset; exit 3"))
    wanted = workload(namespace, init_scripts=scripts)
    driver.apply(wanted)
    seen = wait(lambda: (now := driver.observe(namespace, wanted.name)).reason == "InitScriptFailed" and now, "a failure")
    assert "The init script “fetch-data” ended with exit code 3" in seen.message
    assert driver.logs(namespace, wanted.name) == "there is no such dataset\n"


def test_a_quota_refuses_another_claim_but_not_one_that_exists(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    driver.ensure_namespace(Namespace(name=namespace, workspace=namespace, sessions=1, storage="1Gi"))
    quota = f"/api/v1/namespaces/{namespace}/resourcequotas/slipway"
    wait(lambda: connection.call("GET", quota).get("status", {}).get("hard"), "the quota counts")
    first, second = paused_elsewhere(namespace), paused_elsewhere(namespace)
    driver.apply(first)
    wait(lambda: connection.call("GET", quota)["status"]["used"]["requests.storage"] == "1Gi", "the claim is counted")
    with pytest.raises(ClusterError) as refused:
        driver.apply(second)
    assert refused.value.reason == "QuotaExceeded" and refused.value.retryable
    assert "requested: requests.storage=1Gi, used: requests.storage=1Gi, limited: requests.storage=1Gi" in str(refused.value)
    for claim in first.claims:
        driver.ensure_claim(namespace, claim)
    driver.apply(replace(first, generation=2))

    driver.apply(replace(second, claims=(), mounts=()))
    seen = wait(lambda: (now := driver.observe(namespace, second.name)).reason and now, "no second pod")
    assert (seen.reason, seen.failed) == ("QuotaExceeded", False) and "pods=1" in seen.message


class Meddled(Calls):
    """Somebody writes to the StatefulSet between the driver's read and its write: the first time, or every time."""

    def __init__(self, context: str, times: int) -> None:
        super().__init__(context)
        self.times = times

    def _request(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        if method in ("PATCH", "DELETE") and "/statefulsets/" in path and self.times:
            self.times -= 1
            note = {"metadata": {"annotations": {"example.com/at": uuid.uuid4().hex}}}
            Connection(self.context).call("PATCH", path, body=note, content_type="application/merge-patch+json")
        return super()._request(method, path, *args, **options)


@pytest.mark.parametrize("verb", ["pause", "resume", "remove"])
def test_a_write_that_somebody_came_before_is_made_again(
    driver: KubernetesDriver, connection: Connection, namespace: str, verb: str
) -> None:
    wanted = paused_elsewhere(namespace)
    driver.apply(wanted)
    calls = Meddled(connection.context, times=1)
    disturbed = KubernetesDriver("test", connection=calls)
    actions = {
        "pause": lambda: disturbed.pause(namespace, wanted.name, 2),
        "resume": lambda: disturbed.apply(replace(wanted, generation=2, revision=2, claims=())),
        "remove": lambda: disturbed.remove(namespace, wanted.name, 2),
    }
    actions[verb]()
    assert len([call for call in calls.made if call.startswith("GET") and "/statefulsets/" in call]) == 2
    found = live(connection, wanted)
    if verb == "remove":
        assert found is None or found["metadata"].get("deletionTimestamp")
    else:
        assert found and found["metadata"]["annotations"][labels.GENERATION] == "2" and "example.com/at" in found["metadata"]["annotations"]
        assert found["spec"]["replicas"] == int(verb == "resume")


def test_a_write_that_is_always_disturbed_is_left_for_later(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    wanted = paused_elsewhere(namespace)
    driver.apply(wanted)
    with pytest.raises(ClusterError) as conflict:
        KubernetesDriver("test", connection=Meddled(connection.context, times=99)).pause(namespace, wanted.name, 2)
    assert conflict.value.retryable
    found = live(connection, wanted)
    assert found and found["spec"]["replicas"] == 1


@pytest.mark.parametrize("steps", [1, 2])
def test_a_first_launch_is_three_calls_in_one_step_and_in_two(namespace: str, connection: Connection, steps: int) -> None:
    calls = Calls(connection.context)
    driver, wanted = KubernetesDriver("test", connection=calls), paused_elsewhere(namespace)
    driver.apply(driver.prepare(wanted) if steps == 2 else wanted)
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
    assert driver.health().identity
    other = KubernetesDriver("test", identity="another", connection=driver.connection)
    assert (other.health().problems, other.health().identity) == ((ANOTHER,), driver.health().identity)
    nobody = KubernetesDriver("test", context="nobody").health()
    assert not nobody.ok and len(nobody.problems) == len(RIGHTS)
    assert "Slipway lacks the right to create, patch and delete secrets." in nobody.problems


def secret_of(connection: Connection, wanted: Workload) -> dict[str, str]:
    data = connection.call("GET", f"/api/v1/namespaces/{wanted.namespace}/secrets/{wanted.name}")["data"]
    return {key: b64decode(value).decode() for key, value in data.items()}


def test_live_files_are_replaced_and_what_comes_late_changes_nothing(
    driver: KubernetesDriver, connection: Connection, namespace: str
) -> None:
    wanted = replace(paused_elsewhere(namespace), live_files={"token": "first"})
    driver.apply(wanted)
    driver.write_files(namespace, wanted.name, {"token": "second"}, 1)
    assert secret_of(connection, wanted)["live.token"] == "second"
    driver.apply(wanted)  # repeated: the files are as fresh as the call
    assert secret_of(connection, wanted)["live.token"] == "first"
    driver.write_files(namespace, wanted.name, {"token": "third"}, 1)
    driver.pause(namespace, wanted.name, 2)
    with pytest.raises(Outdated):
        driver.write_files(namespace, wanted.name, {"token": "late"}, 1)
    driver.write_files(namespace, wanted.name, {"token": ""}, 2)
    assert secret_of(connection, wanted)["live.token"] == ""
    driver.apply(replace(wanted, generation=3, revision=2, live_files={"token": "resumed"}))
    assert secret_of(connection, wanted)["live.token"] == "resumed"
    driver.remove(namespace, wanted.name, 4)
    driver.write_files(namespace, wanted.name, {"token": "removed"}, 5)
    assert get(connection, f"/api/v1/namespaces/{namespace}/secrets/{wanted.name}") is None


def test_a_session_of_another_account_finds_its_programs_first(driver: KubernetesDriver, namespace: str) -> None:
    hello = Program("hello", '#!/bin/sh\necho "$(id -un) of $(id -gn), $(id -u):$(id -g) read $(cat "${0%/*}/../live/token")"\n')
    tools = {"programs": (hello,), "live_files": {"token": "the-token"}, "account": (ada := Account(20001, 20002, "ada"))}
    wanted = workload(namespace, **tools, known_accounts=(ada,), command=("sh", "-c", f"hello; sh -lc hello; {SERVE}"))
    driver.apply(wanted)
    wait(lambda: driver.observe(namespace, wanted.name).ready, "ready")
    assert driver.logs(namespace, wanted.name).splitlines()[:2] == ["ada of ada, 20001:20002 read the-token"] * 2
    driver.remove(namespace, wanted.name, 2)
