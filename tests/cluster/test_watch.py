"""What the watch says of real failures on a real cluster."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from compute.clusters.base import ClusterError
from compute.clusters.kubernetes import labels
from compute.clusters.kubernetes.client import Connection
from compute.clusters.kubernetes.watch import Watch, observe_now
from compute.workload import Observation, Step

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]

BUSYBOX = os.environ.get("SLIPWAY_TEST_BUSYBOX_IMAGE", "localhost/busybox:1")
REAL = {"pool": "default"}
FAKE = {"pool": "cpu"}


class Namespace:
    """A namespace with plain StatefulSets in it, and what a watch has said of them."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection, self.name = connection, name
        self.said: dict[str, Observation] = {}

    def make(self, name: str, command: str = "sleep 1000", image: str = BUSYBOX, nodes: dict[str, str] | None = None, **extra: Any) -> None:
        limits = {"memory": "20Mi", "cpu": "50m", **extra.get("limits", {})}
        marks = {labels.MANAGED_BY: labels.MANAGER, labels.SESSION: name}
        ide = {
            "name": "ide",
            "image": image,
            "command": ["sh", "-c", command],
            "resources": {"limits": limits},
            "ports": [{"containerPort": 80}],
        }
        init = [{"name": "init-0-setup", "image": image, "command": ["sh", "-c", extra["init"]]}] if "init" in extra else []
        notes = {labels.REVISION: "1", **extra.get("annotations", {})}
        body = {
            "metadata": {"name": name, "labels": marks, "annotations": {labels.REVISION: "1"}},
            "spec": {
                "replicas": 1,
                "serviceName": name,
                "selector": {"matchLabels": {labels.SESSION: name}},
                "template": {
                    "metadata": {"labels": marks, "annotations": notes},
                    "spec": {
                        "nodeSelector": nodes or REAL,
                        "containers": [ide],
                        "initContainers": init,
                        "terminationGracePeriodSeconds": 1,
                    },
                },
            },
        }
        self.connection.call("POST", f"/apis/apps/v1/namespaces/{self.name}/statefulsets", body=body)

    def log_tail(self, namespace: str, pod: str, container: str, previous: bool) -> str:
        return self.connection.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query={"container": container, "previous": previous})

    def follow(self, stop: threading.Event) -> None:
        watch = Watch(self.connection, self.log_tail)
        while not stop.is_set():
            try:
                for observation in watch.run(stop):
                    if observation is not None and observation.namespace == self.name:
                        self.said[observation.name] = observation
            except ClusterError:  # pragma: no cover - a busy machine
                stop.wait(0.5)

    def until(self, name: str, true: Callable[[Observation], bool], seconds: float = 150) -> Observation:
        deadline = time.monotonic() + seconds
        while not (name in self.said and true(self.said[name])):
            assert time.monotonic() < deadline, self.said.get(name)
            time.sleep(0.05)
        return self.said[name]


@pytest.fixture(scope="module")
def namespace(connection: Connection) -> Iterator[Namespace]:
    name = f"watch-{secrets.token_hex(3)}"
    connection.call("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    ours, stop = Namespace(connection, name), threading.Event()
    thread = threading.Thread(target=ours.follow, args=(stop,))
    thread.start()
    # All at once: what takes a minute to fail shall take one minute for all.
    ours.make("runs")
    ours.make("missing", image="localhost/no-such-image:1")
    ours.make("misnamed", image="Not An/Image")
    ours.make("gpu", limits={"nvidia.com/gpu": "1"})
    ours.make("crashes", "echo Traceback; exit 3")
    ours.make("hungry", "sleep 1; tail /dev/zero")
    ours.make("unprepared", init="echo no; exit 7")
    ours.make("fake-pull", nodes=FAKE, annotations={"fake/fail": "image-pull"})
    try:
        yield ours
    finally:
        stop.set()
        thread.join(20)
        connection.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize(
    ("name", "reason", "step", "words"),
    [
        ("missing", "ImagePullBackOff", Step.IMAGE, "no-such-image"),
        ("misnamed", "InvalidImageName", Step.IMAGE, "not the name of an image"),
        ("crashes", "CrashLoopBackOff", Step.SERVER, "exit code 3"),
        ("hungry", "OOMKilled", Step.SERVER, "memory"),
        ("unprepared", "InitScriptFailed", Step.SERVER, "“setup” ended with exit code 7"),
        ("fake-pull", "ImagePullBackOff", Step.IMAGE, "fake"),
    ],
)
def test_a_failure_is_said_with_its_reason(namespace: Namespace, name: str, reason: str, step: Step, words: str) -> None:
    seen = namespace.until(name, lambda one: one.failed)
    assert (seen.reason, [one.step for one in seen.steps if one.state == "failed"]) == (reason, [step])
    assert words in seen.message


def test_the_last_words_of_a_crash_are_kept(namespace: Namespace) -> None:
    assert "Traceback" in namespace.until("crashes", lambda one: bool(one.log_tail)).log_tail


def test_a_gpu_that_nobody_has_is_waited_for(namespace: Namespace) -> None:
    seen = namespace.until("gpu", lambda one: one.reason == "Unschedulable")
    assert not seen.failed and "nvidia.com/gpu" in seen.message


def test_a_session_runs_and_pauses_and_is_gone(namespace: Namespace) -> None:
    seen = namespace.until("runs", lambda one: one.ready)
    assert seen.endpoint.endswith(":80") and {step.state for step in seen.steps} == {"done"}
    asked = observe_now(namespace.connection, namespace.name, "runs")
    assert (asked.ready, asked.endpoint) == (True, seen.endpoint)
    path = f"/apis/apps/v1/namespaces/{namespace.name}/statefulsets/runs"
    namespace.connection.call("PATCH", path, body={"spec": {"replicas": 0}}, content_type="application/merge-patch+json")
    seen = namespace.until("runs", lambda one: not one.exists)
    assert seen.retained and not seen.failed
    namespace.connection.call("DELETE", path)
    namespace.until("runs", lambda one: not one.retained)
