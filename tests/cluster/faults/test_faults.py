"""Whatever breaks while 20 sessions are being launched, 20 paused and 5 deleted: afterwards all is as it was asked for.

Each test breaks one thing half-way, asks for the other half while it is broken, and mends it. Then, within ``SETTLED``
seconds, every session must show the phase that was asked for, and the cluster must hold exactly what that means. These
seconds count from recovery:

* of the API server, of etcd, and of a compacted history: when the API server's ``/readyz`` answers 200, and the cluster's
  own controllers, which are started again with it, have bound a claim and made a pod for a StatefulSet that the test wrote,
  and have ended it again. (Both durations are printed: since it broke, and since then.)
* of answers 429, 500 and late ones: when the proxy lets the next request pass.
* of PostgreSQL: when it accepts connections and the second half has been asked for, which could not be before.
* of the controller and the worker: when the second half has been asked for, at once after they were killed. That they are
  started again is Slipway's own doing.

Sessions go on from one test to the next: those launched in one are paused in the next, and some deleted in the one after.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain, zip_longest
from typing import Any

import pytest
from django.db import OperationalError, connection

from sessions.models import Phase
from tests.cluster.faults.conftest import World
from tests.cluster.faults.proxy import Mode
from tests.cluster.lab import BUSYBOX, FAKE_NODES, Lab, Subject
from tests.laboratory import GONE, wait_until

BYSTANDERS = 5  # sessions that run, and of which nothing is asked
MANY = 20  # are launched, and as many paused
DELETED = 5
SETTLED = 10.0  # seconds after recovery
PATIENCE = 120.0  # for what isn't measured
# After an outage. Where there are several of the first two, those that led would have lost their lease and ended; here they
# would only wait, for up to a minute. The others, unlike what they stand for, don't try again what failed.
RESTARTED = ("kcm", "scheduler", "fakenodes", "provisioner")
Fault = Callable[[World], AbstractContextManager[None]]


def stopped(component: str, seconds: float) -> Fault:
    @contextmanager
    def fault(world: World) -> Iterator[None]:
        world.components.stop(component)
        until = time.monotonic() + seconds
        try:
            yield
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            _start(world, component)

    return fault


def _start(world: World, component: str) -> None:
    """Returns when the cluster has recovered."""
    world.components.start(component)
    wait_until(lambda: world.kube.call("GET", "/readyz")[0] == 200, PATIENCE, "the API server is ready")
    for other in RESTARTED:
        world.components.stop(other)
        world.components.start(other)
    wait_for_cluster(world)


def trouble(mode: Mode, seconds: float) -> Fault:
    @contextmanager
    def fault(world: World) -> Iterator[None]:
        world.proxy.turn(mode)
        until = time.monotonic() + seconds
        try:
            yield
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            world.proxy.turn(Mode.PASS)

    return fault


@contextmanager
def controller_and_worker_killed(world: World) -> Iterator[None]:
    killed = {program: world.stack.kill(program) for program in ("worker", "controller")}
    yield
    wait_until(lambda: all(world.stack.pid(program) != pid for program, pid in killed.items()), 10, "both are started again")


@contextmanager
def postgresql_restarted(world: World) -> Iterator[None]:
    """Nobody can ask for anything meanwhile; the second half comes just after."""
    os.kill(world.postgres.get_pid(), signal.SIGQUIT)  # as a crash: nothing is finished
    wait_until(lambda: world.postgres.get_pid() is None or not _lives(world.postgres.get_pid()), 20, "PostgreSQL is gone")
    time.sleep(3)
    with suppress(subprocess.TimeoutExpired):  # it goes on repairing itself
        world.postgres.ensure_postgres_running()
    connection.close()
    wait_until(_answers, PATIENCE, "PostgreSQL accepts connections")
    world.postgres.ensure_postgres_running()
    yield


def _answers() -> bool:
    try:
        connection.ensure_connection()
    except OperationalError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def history_compacted(world: World) -> Iterator[None]:
    """Slipway is cut off, and what it missed is forgotten before it is back: its watches are answered 410."""
    expired = world.proxy.expired
    world.proxy.turn(Mode.CUT)
    try:
        yield
        for number in range(20):
            world.kube.create("/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": f"noise-{number}-"}})
        world.components.stop("apiserver")
        revision = _etcd(world, "range", {"key": "AA=="})["header"]["revision"]
        _etcd(world, "compaction", {"revision": revision, "physical": True})
        _start(world, "apiserver")
    finally:
        world.proxy.turn(Mode.PASS)
    wait_until(lambda: world.proxy.expired > expired, 30, "a watch is answered 410")


def _etcd(world: World, verb: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{world.etcd}/v3/kv/{verb}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


FAULTS: dict[str, Fault] = {
    "api-server-stopped-for-75-s": stopped("apiserver", 75),
    "etcd-stopped-for-20-s": stopped("etcd", 20),
    "controller-and-worker-killed": controller_and_worker_killed,
    "postgresql-restarted": postgresql_restarted,
    "watch-history-compacted": history_compacted,
    "answered-429": trouble(Mode.TOO_MANY, 12),
    "answered-500": trouble(Mode.BROKEN, 12),
    "answered-4-s-late": trouble(Mode.SLOW, 12),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_after_a_fault_everything_is_as_it_was_asked_for(world: World, lab: Lab, fault: Fault, capsys: pytest.CaptureFixture[str]) -> None:
    deleting = [one for one in lab.subjects if one.phase == Phase.PAUSED][:DELETED]
    bystanders, pausing = running(lab)
    untouched = lab.uids(bystanders)
    half = MANY // 2

    launched = ask(lab, half, pausing[:half], deleting[: DELETED // 2])
    began = time.monotonic()
    with fault(world):
        launched += ask(lab, MANY - half, pausing[half:], deleting[DELETED // 2 :])
    recovered = time.monotonic()
    wanted = (
        {one.host: Phase.RUNNING for one in [*bystanders, *launched]}
        | {one.host: Phase.PAUSED for one in pausing}
        | {one.host: GONE for one in deleting}
    )
    lab.reach(wanted, SETTLED, "all is as it was asked for")
    settled = time.monotonic()
    with capsys.disabled():
        print(f"\nRecovered {recovered - began:.1f} s after it broke, and Slipway {settled - recovered:.1f} s later: ", end="")
    lab.check()
    assert lab.uids(bystanders) == untouched
    assert pods_made(world, lab, [*bystanders, *pausing, *launched]) <= {1}
    world.lab = lab


def running(lab: Lab) -> tuple[list[Subject], list[Subject]]:
    """Sessions that run: the bystanders, and those to be paused. What the last test left of them, and new ones."""
    phases = lab.phases()
    found = [one for one in lab.subjects if phases[one.host] == Phase.RUNNING]
    found += [launch(lab) for _ in range(BYSTANDERS + MANY - len(found))]
    lab.reach({one.host: Phase.RUNNING for one in found}, PATIENCE, "all of them run")
    return found[:BYSTANDERS], found[BYSTANDERS:]


def launch(lab: Lab) -> Subject:
    return lab.launch(f"number-{len(lab.subjects)}")


def ask(lab: Lab, many: int, pausing: list[Subject], deleting: list[Subject]) -> list[Subject]:
    """Launches, pauses and deletes by turns; returns the launched."""
    launched: list[Subject] = []
    by_turns = zip_longest([lambda: launched.append(launch(lab))] * many, [one.pause for one in pausing], [one.delete for one in deleting])
    for verb in filter(None, chain.from_iterable(by_turns)):
        verb()
    return launched


def pods_made(world: World, lab: Lab, subjects: list[Subject]) -> set[int]:
    """How often the cluster says that it has made a pod for each: one that was ended and made again counts twice."""
    hosts = {one.host for one in subjects}
    events = world.kube.items(f"/api/v1/namespaces/{lab.namespace}/events", fieldSelector="reason=SuccessfulCreate")
    made: Counter[str] = Counter()
    for event in events:
        if event["involvedObject"]["kind"] == "StatefulSet" and "create Pod" in event["message"]:
            made[event["involvedObject"]["name"]] += event.get("count") or 1
    return {made[host] for host in hosts & made.keys()}


def wait_for_cluster(world: World) -> None:
    """A StatefulSet with a claim that is made by hand gets its pod Ready, and loses it."""
    kube = world.kube
    name = f"canary-{time.monotonic_ns()}"
    sets, claims = "/apis/apps/v1/namespaces/default/statefulsets", "/api/v1/namespaces/default/persistentvolumeclaims"
    volume = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    kube.create(claims, {"metadata": {"name": name}, "spec": volume})
    labels = {"app": name}
    container = {"name": "canary", "image": BUSYBOX, "volumeMounts": [{"name": "home", "mountPath": "/home"}]}
    pod = {"nodeSelector": FAKE_NODES, "containers": [container]}
    pod["volumes"] = [{"name": "home", "persistentVolumeClaim": {"claimName": name}}]
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "serviceName": name, "selector": {"matchLabels": labels}, "template": template}
    kube.create(sets, {"metadata": {"name": name}, "spec": spec})
    wait_until(lambda: _is_ready(kube.pod("default", name)), PATIENCE, "a canary's pod is Ready")
    kube.merge(f"{sets}/{name}", {"spec": {"replicas": 0}})
    wait_until(lambda: kube.pod("default", name) is None, PATIENCE, "a canary's pod goes")
    kube.delete(f"{sets}/{name}")
    kube.delete(f"{claims}/{name}")


def _is_ready(pod: Any) -> bool:
    conditions = (pod or {}).get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
