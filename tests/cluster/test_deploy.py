"""Slipway itself in the cluster, from its own manifests: it comes up, people sign in and work through the gateway that runs
there, and a new version cuts nobody off for long."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import websocket

from tests import smoke
from tests.cluster.deployment import Deployment, apply, kubectl, suited
from tests.cluster.lab import JUPYTER, NODES
from tests.deploy.manifests import BASE, of_kind, pods, render, render_example
from tests.laboratory import wait_until

pytestmark = pytest.mark.cluster
WORKSPACE = smoke.WORKSPACE
CUT_LIMIT = 20.0  # seconds that nobody may be without their kernel; a page connects again within a second or two
CATALOG = """
from compute.models import ComputePool, Workspace
from presets.models import Image, PodSize
from django.contrib.auth import get_user_model
Workspace.objects.update(namespace={namespace!r})
ComputePool.objects.update(node_selector={nodes!r})
Image.objects.filter(preset__slug="jupyterlab", is_default=True).update(reference={image!r})
PodSize.objects.filter(is_default=True).update(cpu="100m", memory="1Gi")
"""


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with Deployment(f"slipway-test-{secrets.token_hex(3)}") as made:
        yield made
        kubectl("delete", "namespace", sessions_of(made), "--ignore-not-found", "--wait=false")


def sessions_of(deployment: Deployment) -> str:
    return f"{deployment.namespace}-research"


class Walk(smoke.Walk):
    """The smoke test's walk, by the admin whom `bootstrap` made."""

    def __init__(self, deployment: Deployment, password: str) -> None:
        super().__init__(deployment)  # type: ignore[arg-type]  # of a stack it needs the addresses, which are here as well
        self.password = password

    def sign_in(self) -> None:
        self.browser.sign_in("ada", self.password)


@pytest.fixture(scope="module")
def walk(deployment: Deployment) -> Walk:
    deployment.manage("seed_catalog")
    told = deployment.manage("bootstrap", "--driver", "kubernetes", "--username", "ada", "--workspace", WORKSPACE)
    deployment.manage("shell", "-c", CATALOG.format(namespace=sessions_of(deployment), nodes=NODES, image=JUPYTER))
    found = re.search(r"password (\S+)", told)
    assert found, told
    walk = Walk(deployment, found[1])
    walk.sign_in()
    return walk


def test_the_api_server_accepts_the_example() -> None:
    """Every object of it, server-side applied without being kept; in a namespace that is there."""
    objects = [one for one in render_example() if one["kind"] != "Namespace"]
    for one in objects:
        if "namespace" in one["metadata"]:
            one["metadata"]["namespace"] = "default"
    told = apply([suited(one, "dry-run") for one in objects], "--dry-run=server")
    assert told.count("(server dry run)") == len(objects)


def test_every_part_runs(deployment: Deployment) -> None:
    ready = {one["metadata"]["name"]: one["status"].get("readyReplicas") for one in deployment.get("deployments")["items"]}
    wanted = {name: one["spec"]["replicas"] for name, one in of_kind(render(BASE), "Deployment").items()}
    assert ready == {**wanted, "postgres": 1}
    # The cluster counts the Job's pod some seconds after its end; the others need not wait for that.
    kubectl("-n", deployment.namespace, "wait", "--for=condition=complete", "job/slipway-migrate", "--timeout=60s")
    assert set(pods(render(BASE))) == {*wanted, "slipway-migrate"}


def test_one_controller_leads(deployment: Deployment) -> None:
    names = [pod["metadata"]["name"] for pod in deployment.get("pods", "-l", "slipway.dev/component=controller")["items"]]
    logs = [kubectl("-n", deployment.namespace, "logs", name, "-c", "controller") for name in names]
    assert len(logs) == 2
    assert sum("Leading" in log for log in logs) == 1


def test_health_is_told_through_the_gateway(walk: Walk) -> None:
    ages = walk.browser.get("/healthz").response.json()["seconds_since"]
    assert set(ages) == {"controller", "worker"}
    assert max(ages.values()) < 30


def test_a_session_is_launched_and_opened_through_the_gateway_of_the_cluster(walk: Walk, deployment: Deployment) -> None:
    walk.launch()
    walk.wait_for_phase("Running")
    walk.open()
    walk.execute()
    (pod,) = json.loads(kubectl("-n", sessions_of(deployment), "get", "pods", "-o", "json"))["items"]
    assert pod["metadata"]["name"] == f"{walk.host}-0"


class Kernel(threading.Thread):
    """Asks the session's kernel for a sign of life all the time, and connects again whenever the connection is cut."""

    def __init__(self, walk: Walk) -> None:
        super().__init__(daemon=True)
        self.walk = walk
        kernel = walk.call("POST", "/api/kernels", {"name": "python3"})["id"]
        self.address = f"{walk.origin.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?session_id={uuid.uuid4()}"
        self.cuts = 0
        self.answers = 0
        self.longest = 0.0
        self.stopping = threading.Event()

    def run(self) -> None:
        last = time.monotonic()
        while not self.stopping.is_set():
            with contextlib.suppress(OSError, websocket.WebSocketException), contextlib.closing(self.connected()) as channels:
                while not self.stopping.is_set():
                    smoke.run_cell(channels, "print(1)")
                    self.longest = max(self.longest, time.monotonic() - last)
                    last = time.monotonic()
                    self.answers += 1
                    time.sleep(0.1)
            if not self.stopping.wait(0.1):
                self.cuts += 1
        self.longest = max(self.longest, time.monotonic() - last)

    def connected(self) -> websocket.WebSocket:
        channels = self.walk.browser.websocket(self.address)
        channels.settimeout(5)
        return channels


def test_a_new_version_cuts_nobody_off_for_long(walk: Walk, deployment: Deployment) -> None:
    kernel = Kernel(walk)
    kernel.start()
    try:
        before = {pod["metadata"]["uid"] for pod in deployment.get("pods", "-l", "app.kubernetes.io/part-of=slipway")["items"]}
        deployment.roll_out("2")
        deployment.wait_for_rollout()
        deployment.wait_until_gone(before)
        answered = kernel.answers
        wait_until(lambda: kernel.answers > answered, 30, "the kernel answers after the rollout")
    finally:
        kernel.stopping.set()
        kernel.join(30)
    print(f"\nThe rollout cut the WebSocket {kernel.cuts} times, for {kernel.longest:.2f} s at most ({kernel.answers} answers).")
    assert kernel.longest < CUT_LIMIT
    walk.wait_for_phase("Running")
    (pod,) = json.loads(kubectl("-n", sessions_of(deployment), "get", "pods", "-o", "json"))["items"]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
