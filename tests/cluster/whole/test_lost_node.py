"""A node that is lost for real: its kubelet is silent, and the cluster's controllers notice."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from sessions.models import Phase
from tests.cluster.kube import CORE, Components, Kube
from tests.cluster.lab import Lab
from tests.live.pages import phase

PAGES = Callable[..., Any]
WITHIN = 120.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def heartbeat(kube: Kube, nodes: list[str], stop: threading.Event) -> None:
    """Fake nodes have no kubelet that would say that they live."""
    for name in nodes:
        kube.create(LEASES, {"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}})
    while not stop.wait(1):
        for name in nodes:
            kube.merge(f"{LEASES}/{name}", {"spec": {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}})


@contextmanager
def quick_to_miss_a_node(components: Components, kube: Kube) -> Iterator[None]:
    """The test cluster's controllers wait a day for a node that is silent. Others, for a while, only as long as real ones."""
    pid = Path(os.environ.get("CLUSTER_DIR", "/tmp/test-cluster")) / "kcm.pid"
    command = Path(f"/proc/{pid.read_text().strip()}/cmdline").read_text().rstrip("\0").split("\0")
    fake = [one["metadata"]["name"] for one in kube.items(f"{CORE}/nodes") if "fake" in one["metadata"]["labels"]]
    stop = threading.Event()
    beats = threading.Thread(target=heartbeat, args=(kube, fake, stop))
    beats.start()
    components.stop("kcm")
    quick = ["--node-monitor-grace-period=15s", "--node-monitor-period=1s"]
    controllers = subprocess.Popen([*command, *quick], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        controllers.terminate()
        controllers.wait(30)
        components.start("kcm")
        stop.set()
        beats.join()


def test_a_lost_node_is_named_and_what_ran_there_goes_on_when_it_is_back(
    lab: Lab, kube: Kube, page_as: PAGES, components: Components
) -> None:
    session = lab.launch("running")
    session.reach(Phase.RUNNING)
    uid, node = session.uid, session.pod["spec"]["nodeName"]
    page: Page = page_as("member")
    page.goto(session.session.get_absolute_url())
    with quick_to_miss_a_node(components, kube):
        components.stop("kubelet")
        try:
            phase(page, "Pending", WITHIN)
            sentence = page.locator("#session-sentence")
            expect(sentence).to_contain_text(f"The node {node} has not answered since", timeout=WITHIN * 1000)
            expect(sentence).to_contain_text("If it comes back, the session goes on; if not, an admin of the cluster has to remove it.")
            expect(sentence).to_contain_text("The session then starts on another one. What is on volumes stays.")
            assert session.reason == "NodeLost"
        finally:
            components.start("kubelet")
        phase(page, "Running", WITHIN)
        assert session.uid == uid
