"""Whatever breaks while 20 sessions are being launched and 20 paused: afterwards all is as it was asked for.

Each test breaks one thing half-way, asks for the other half while it is broken, and mends it. The cluster has
recovered when a pod that the test itself asks for comes and goes: its own controllers wait, too, before they try again.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, zip_longest
from typing import Any

import pytest

from sessions.models import Phase
from tests.cluster.faults.conftest import World
from tests.cluster.faults.proxy import Mode
from tests.cluster.kube import wait_until
from tests.cluster.lab import Lab, Subject, new_lab

MANY = 20
SETTLED = 10.0  # seconds after recovery
FIRST = 120.0
Fault = Callable[[World], AbstractContextManager[None]]


@pytest.fixture
def lab(world: World) -> Iterator[Lab]:
    made = new_lab(world.stack, world.kube, pool="fake")
    yield made
    made.end()


def stopped(component: str, seconds: float) -> Fault:
    @contextmanager
    def fault(world: World) -> Iterator[None]:
        world.components.stop(component)
        until = time.monotonic() + seconds
        try:
            yield
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            world.components.start(component)

    return fault


def trouble(mode: Mode, seconds: float) -> Fault:
    @contextmanager
    def fault(world: World) -> Iterator[None]:
        world.proxy.turn(mode)
        try:
            yield
            time.sleep(seconds)
        finally:
            world.proxy.turn(Mode.PASS)

    return fault


@contextmanager
def controller_and_worker_killed(world: World) -> Iterator[None]:
    world.stack.kill("worker")
    world.stack.kill("controller")
    yield
    world.stack.kill("controller")


@contextmanager
def postgresql_restarted(world: World) -> Iterator[None]:
    """Nobody can ask for anything meanwhile; the second half comes just after."""
    os.kill(world.postgres.get_pid(), signal.SIGQUIT)  # as a crash: nothing is finished
    wait_until(lambda: world.postgres.get_pid() is None or not _lives(world.postgres.get_pid()), 20, "PostgreSQL is gone")
    time.sleep(3)
    world.postgres.ensure_postgres_running()
    from django.db import connection

    connection.close()
    yield


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
        world.components.start("apiserver")
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
    "answered-429": trouble(Mode.TOO_MANY, 20),
    "answered-500": trouble(Mode.BROKEN, 20),
    "answered-4-s-late": trouble(Mode.SLOW, 20),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_after_a_fault_everything_is_as_it_was_asked_for(world: World, lab: Lab, fault: Fault) -> None:
    bystanders = [lab.launch(f"bystander-{number}") for number in range(5)]
    pausing = [lab.launch(f"pausing-{number}") for number in range(MANY)]
    lab.reach({one.host: Phase.RUNNING for one in lab.subjects}, FIRST, "all of them run")
    untouched = lab.uids(bystanders)
    half = MANY // 2

    launched = ask(lab, range(half), pausing[:half])
    with fault(world):
        launched += ask(lab, range(half, MANY), pausing[half:])
    mended = time.monotonic()
    cluster_works(world)
    recovered = time.monotonic()
    wanted = {one.host: Phase.RUNNING for one in [*bystanders, *launched]} | {one.host: Phase.PAUSED for one in pausing}
    lab.reach(wanted, SETTLED + slack(world), "all is as it was asked for")
    print(f"mended, then the cluster itself after {recovered - mended:.1f} s, then Slipway after {time.monotonic() - recovered:.1f} s")
    lab.check()
    assert lab.uids(bystanders) == untouched
    assert len(set(lab.uids(launched).values()) - {""}) == MANY


def slack(world: World) -> float:
    """More for what this machine needs to start killed programs again: not part of what is measured."""
    return 20.0


def ask(lab: Lab, numbers: range, pausing: list[Subject]) -> list[Subject]:
    """Launches and pauses by turns; returns the launched."""
    launched: list[Subject] = []

    def launch(number: int) -> Callable[[], None]:
        return lambda: launched.append(lab.launch(f"launched-{number}"))

    by_turns = zip_longest((launch(number) for number in numbers), (one.pause for one in pausing))
    for verb in filter(None, chain.from_iterable(by_turns)):
        verb()
        time.sleep(0.02)
    return launched


def cluster_works(world: World) -> None:
    """A StatefulSet made by hand gets its pod Ready, and loses it."""
    name = f"canary-{time.monotonic_ns()}"
    base = "/apis/apps/v1/namespaces/default/statefulsets"
    labels = {"app": name}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"nodeSelector": {"fake": "true"}, "containers": [{"name": "canary", "image": "localhost/busybox:1"}]},
    }
    spec = {"replicas": 1, "serviceName": name, "selector": {"matchLabels": labels}, "template": pod}
    world.kube.create(base, {"metadata": {"name": name}, "spec": spec})
    wait_until(lambda: _is_ready(world.kube.pod("default", name)), FIRST, "a canary's pod is Ready")
    world.kube.merge(f"{base}/{name}", {"spec": {"replicas": 0}})
    wait_until(lambda: world.kube.pod("default", name) is None, FIRST, "a canary's pod goes")
    world.kube.delete(f"{base}/{name}")


def _is_ready(pod: Any) -> bool:
    conditions = (pod or {}).get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
