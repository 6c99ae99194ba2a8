"""The watch over a cluster that lives in this process, and can fall silent."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from compute.clusters.base import ClusterError
from compute.clusters.kubernetes import labels, watch
from compute.clusters.kubernetes.client import ApiError, Connection
from compute.clusters.kubernetes.watch import Watch
from compute.workload import Observation

Json = dict[str, Any]


class FakeCluster(Connection):
    """Lists and watches of what ``put`` and ``drop`` made it hold. ``down``: nothing is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, dict[str, Json]] = {}
        self.streams: dict[str, list[queue.Queue[Json]]] = {}
        self.down = False

    def put(self, path: str, raw: Json) -> None:
        raw["metadata"] |= {"namespace": "team", "resourceVersion": "2"}
        known = self.objects.setdefault(path, {})
        self._send(path, "MODIFIED" if raw["metadata"]["name"] in known else "ADDED", raw)
        known[raw["metadata"]["name"]] = raw

    def drop(self, path: str, name: str) -> None:
        self._send(path, "DELETED", self.objects[path].pop(name))

    def _send(self, path: str, happened: str, raw: Json) -> None:
        for stream in self.streams.get(path, []):
            stream.put({"type": happened, "object": raw})

    def call(self, method: str, path: str, **_: Any) -> Json:
        self._fail_if_down()
        return {"items": list(self.objects.get(path, {}).values()), "metadata": {"resourceVersion": "1"}}

    def stream(self, path: str, **_: Any) -> Iterator[Json]:
        events: queue.Queue[Json] = queue.Queue()
        self.streams.setdefault(path, []).append(events)
        deadline = time.monotonic() + 0.6
        while time.monotonic() < deadline:
            self._fail_if_down()
            try:
                yield events.get(timeout=0.05)
            except queue.Empty:
                continue

    def _fail_if_down(self) -> None:
        if self.down:
            raise ApiError(0, "Unreachable", "The cluster's API can't be reached.")


def statefulset(name: str, replicas: int = 1, **annotations: str) -> Json:
    meta = {"name": name, "uid": f"s-{name}", "generation": replicas + 1, "annotations": {labels.REVISION: "1", **annotations}}
    return {"metadata": meta, "spec": {"replicas": replicas, "template": {"metadata": {}, "spec": {}}}}


def pod(name: str, ready: bool = True, restarts: int = 0) -> Json:
    ended = {"terminated": {"exitCode": 3, "reason": "Error"}}
    meta = {"name": f"{name}-0", "uid": f"p-{name}", "labels": {labels.SESSION: name}, "annotations": {labels.REVISION: "1"}}
    ide: Json = {"name": "ide", "ready": ready, "restartCount": restarts, "state": {"running": {}} if ready else ended}
    return {
        "metadata": meta,
        "spec": {"nodeName": "n", "containers": [{"name": "ide", "ports": [{"containerPort": 80}]}]},
        "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": str(ready)}], "containerStatuses": [ide]},
    }


SETS, PODS, CLAIMS = watch.STATEFULSETS.path, watch.PODS.path, watch.CLAIMS.path


class Follower:
    """Runs a watch in a thread, again after each error, as the controller does."""

    def __init__(self, cluster: FakeCluster, **options: Any) -> None:
        self.watch = Watch(cluster, **options)
        self.seen: list[Observation | None] = []
        self.errors: list[ClusterError] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                for observation in self.watch.run(self.stop):
                    self.seen.append(observation)
            except ClusterError as error:
                self.errors.append(error)
                self.stop.wait(0.05)

    def of(self, name: str) -> list[Observation]:
        return [one for one in list(self.seen) if one is not None and one.name == name]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(watch, "SILENCE", 0.3)
    monkeypatch.setattr(watch, "HEARTBEAT", 0.05)
    monkeypatch.setattr(watch, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(watch, "SAY_AGAIN", 0.3)
    monkeypatch.setattr(watch, "TELL_DRIFT", 0.4)
    monkeypatch.setattr("compute.clusters.kubernetes.pulse.Pulse.run", beat)
    return FakeCluster()


def beat(self: Any, stop: threading.Event) -> None:
    """As the real one, only faster."""
    while not stop.is_set():
        try:
            self.connection.call("GET", SETS, query={})
            self.error, self.answered_at = None, time.monotonic()
        except ClusterError as error:
            self.error = error
        stop.wait(0.02)


@pytest.fixture
def follow(cluster: FakeCluster) -> Iterator[Callable[..., Follower]]:
    followers: list[Follower] = []

    def start(**options: Any) -> Follower:
        followers.append(Follower(cluster, **options))
        followers[-1].thread.start()
        return followers[-1]

    yield start
    for follower in followers:
        follower.stop.set()
        follower.thread.join(10)
        for thread in follower.watch._threads:
            thread.join(10)
            assert not thread.is_alive(), "Threads end with stop."


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "It did not become true in time."
        time.sleep(0.01)


def test_every_session_is_told_at_first_and_then_what_changes(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    cluster.put(SETS, statefulset("runs"))
    cluster.put(PODS, pod("runs"))
    cluster.put(SETS, statefulset("rests", replicas=0))
    follower = follow()
    until(lambda: follower.of("runs") and follower.of("rests"))
    assert follower.of("runs")[-1].ready and follower.of("runs")[-1].endpoint == "10.0.0.1:80"
    assert (follower.of("rests")[-1].exists, follower.of("rests")[-1].retained) == (False, True)
    cluster.put(PODS, pod("runs", ready=False))
    until(lambda: not follower.of("runs")[-1].ready)
    assert len(follower.of("rests")) == 1
    assert None in follower.seen
    assert {one.kind: one.objects for one in follower.watch.health()} == {
        "statefulsets": 2,
        "pods": 1,
        "persistentvolumeclaims": 0,
        "events": 0,
    }


def test_a_session_that_vanishes_is_told_once(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    cluster.put(SETS, statefulset("rests", replicas=0))
    follower = follow()
    until(lambda: follower.of("rests"))
    cluster.drop(SETS, "rests")
    until(lambda: len(follower.of("rests")) == 2)
    assert (follower.of("rests")[-1].exists, follower.of("rests")[-1].retained) == (False, False)


def test_a_new_watcher_hears_of_every_session(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    cluster.put(SETS, statefulset("rests", replicas=0))
    follower = follow()
    until(lambda: follower.of("rests"))
    follower.stop.set()
    follower.thread.join(10)
    again = threading.Event()
    heard = next(one for one in follower.watch.run(again) if one is not None)
    again.set()
    assert heard.name == "rests"


def test_an_unsettled_session_is_told_again(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    cluster.put(SETS, statefulset("starts"))
    follower = follow()
    until(lambda: len(follower.of("starts")) >= 3)


def test_what_happens_to_a_claim_is_told_of_the_sessions_whose_pods_mount_it(
    cluster: FakeCluster, follow: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_AGAIN", 60)
    waits, other = pod("waits", ready=False), pod("other", ready=False)
    for one in (waits, other):
        one["status"]["conditions"].append({"type": "PodScheduled", "status": "False"})
        one["spec"] |= {"nodeName": "", "volumes": [{"persistentVolumeClaim": {"claimName": f"of-{one['metadata']['name']}"}}]}
    for one in ("waits", "other"):
        cluster.put(SETS, statefulset(one))
        cluster.put(CLAIMS, {"metadata": {"name": f"of-{one}-0", "uid": one}, "status": {"phase": "Pending"}})
    cluster.put(PODS, waits)
    cluster.put(PODS, other)
    follower = follow()
    until(lambda: follower.of("waits") and follower.of("other"))
    told = len(follower.of("other"))
    cluster.put(CLAIMS, {"metadata": {"name": "of-waits-0", "uid": "waits"}, "status": {"phase": "Lost"}})
    until(lambda: follower.of("waits")[-1].reason == "ClaimLost")
    assert len(follower.of("other")) == told
    cluster.drop(PODS, "waits-0")
    until(lambda: not follower.of("waits")[-1].reason)
    assert [claim for _, claim in follower.watch._mounting] == ["of-other-0"]


def test_many_unsettled_sessions_are_gathered(
    cluster: FakeCluster, follow: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_AGAIN", 60)
    monkeypatch.setattr(watch, "LONGEST_GATHER", 0.5)
    for number in range(101):
        cluster.put(SETS, statefulset(f"starts-{number}"))
    follower = follow()
    until(lambda: len(follower.seen) > 101)
    for restarts in range(5):
        cluster.put(PODS, pod("starts-7", ready=False, restarts=restarts))
        time.sleep(0.02)
    until(lambda: follower.of("starts-7")[-1].restarts == 4)
    assert len(follower.of("starts-7")) <= 3


def test_a_cluster_that_falls_silent_is_told_and_forgets_nothing(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    cluster.put(SETS, statefulset("rests", replicas=0))
    follower = follow()
    until(lambda: follower.of("rests"))
    cluster.down = True
    until(lambda: follower.errors)
    assert follower.errors[0].reason == "Unreachable"
    heard = len(follower.seen)
    cluster.down = False
    until(lambda: len(follower.seen) > heard)
    cluster.put(SETS, statefulset("rests"))
    until(lambda: follower.of("rests")[-1].exists)
    assert not any(not one.retained for one in follower.of("rests"))


def test_a_cluster_that_never_answered_is_told_at_once(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    cluster.down = True
    follower = follow()
    until(lambda: follower.errors)
    assert follower.seen == []


def test_a_drift_that_stays_is_told_for_a_while_only(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    cluster.put(SETS, statefulset("runs", **{labels.SPEC_HASH: "other"}))
    cluster.put(PODS, pod("runs"))
    follower = follow()
    until(lambda: follower.of("runs") and follower.of("runs")[0].drifted)
    until(lambda: not follower.of("runs")[-1].drifted)
    assert follower.of("runs")[-1].ready


def test_the_log_of_a_failed_container_is_read_once(cluster: FakeCluster, follow: Callable[..., Follower]) -> None:
    asked: list[tuple[str, str, str, bool]] = []

    def log_tail(*container: Any) -> str:
        asked.append(container)
        return "Traceback"

    cluster.put(SETS, statefulset("fails"))
    cluster.put(PODS, pod("fails", ready=False, restarts=3))
    follower = follow(log_tail=log_tail)
    until(lambda: follower.of("fails") and follower.of("fails")[-1].log_tail == "Traceback")
    assert follower.of("fails")[-1].failed
    said = len(follower.of("fails"))
    until(lambda: len(follower.of("fails")) > said)
    assert asked == [("team", "fails-0", "ide", False)]
