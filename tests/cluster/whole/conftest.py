"""All of Slipway with the Kubernetes that KUBECONFIG names behind it, a real browser, and models on the stack's database.

* ``lab``: a workspace with a namespace of its own, gone at the test's end (tests/cluster/lab.py).
* ``page_as("member")``: a page of that demo account, signed in, as in the live tests.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kube import Components, Kube
from tests.cluster.lab import Lab, new_lab, slipway_on
from tests.live.conftest import chromium, context_as, need, page_as, watch
from tests.stack import Stack

__all__ = ["chromium", "context_as", "page_as", "watch"]

NODE_LOG = Path(os.environ.get("CLUSTER_DIR", "/tmp/test-cluster")) / "kubelet.log"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """A failure's report has what the real node did: a pod that never ended, or never began, is explained there."""
    report = yield
    if report.failed and NODE_LOG.exists():
        lines = NODE_LOG.read_text(errors="replace").splitlines()[-60:]
        report.sections.insert(0, ("The node's log", "\n".join(line[:300] for line in lines)))
    return report


@pytest.fixture(scope="session")
def kube() -> Kube:
    if "KUBECONFIG" not in os.environ:
        pytest.fail("Set KUBECONFIG to a cluster for tests: CONTRIBUTING.md says how to get one.")
    return Kube()


@pytest.fixture(scope="session")
def components() -> Components:
    """Parts of the cluster may be stopped: only where nobody else uses it."""
    found = Components()
    if not found.found or not os.environ.get("SLIPWAY_TEST_MAY_STOP"):
        told = "Set SLIPWAY_TEST_MAY_STOP=1 if parts of the test cluster may be stopped."
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    return found


@pytest.fixture(scope="session")
def stack(kube: Kube, django_db_blocker: Any) -> Iterator[Stack]:
    need("nginx", "nginx-light")
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        # Playwright's loop runs in this thread, and Django would take every query for one of asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        patch.setenv("SLIPWAY_SCHEDULING_TIMEOUT", "60")
        with slipway_on(kube) as running:
            yield running


@pytest.fixture
def lab(stack: Stack, kube: Kube) -> Iterator[Lab]:
    made = new_lab(stack, kube)
    yield made
    made.end()
