"""A cluster to break (no real node: its pods are Ready at once), with Slipway behind a proxy, and a PostgreSQL to restart."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.faults.proxy import FaultProxy
from tests.cluster.kube import Components, Kube
from tests.cluster.lab import slipway_on
from tests.live.conftest import need
from tests.run import start_postgresql
from tests.stack import Stack, free_port, fresh_database


@dataclass
class World:
    """Everything that can be broken. ``kube`` goes around the proxy."""

    components: Components
    etcd: str
    proxy: FaultProxy
    postgres: Any
    kube: Kube
    stack: Stack


def own_cluster(cleanup: ExitStack) -> tuple[Components, str, Kube]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-cluster-"))
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    ports = {"CLUSTER_PORT": str(free_port()), "CLUSTER_ETCD_PORT": str(free_port())}
    components = Components({"CLUSTER_DIR": str(folder / "cluster"), **ports})
    if not components.found:
        told = "Wants root, and SLIPWAY_TEST_CLUSTER: the program that starts a cluster to break."
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    cleanup.callback(components.stop_all)
    kubeconfig = components.run("up", "--fake-nodes", "4")
    return components, f"http://127.0.0.1:{ports['CLUSTER_ETCD_PORT']}", Kube(kubeconfig, "test")


@pytest.fixture(scope="session")
def world(django_db_blocker: Any) -> Iterator[World]:
    need("nginx", "nginx-light")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as cleanup:
        components, etcd, kube = own_cluster(cleanup)
        proxy = cleanup.enter_context(FaultProxy(kube.server))
        folder = Path(tempfile.mkdtemp(prefix="slipway-faults-"))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "kubeconfig").write_text(proxy.kubeconfig(kube.token.removeprefix("Bearer ")))
        patch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
        postgres = start_postgresql(folder / "postgres")
        cleanup.callback(postgres.cleanup)
        url = cleanup.enter_context(fresh_database(postgres.get_uri()))
        cleanup.enter_context(django_db_blocker.unblock())
        stack = cleanup.enter_context(slipway_on(kube, "proxied", url))
        yield World(components, etcd, proxy, postgres, kube, stack)


@pytest.fixture
def stack(world: World) -> Stack:
    return world.stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    if report.failed and report.when == "call" and item.path.is_relative_to(Path(__file__).parent):
        found = getattr(item, "funcargs", {}).get("world")
        if found is not None:
            report.sections.append(("The stack's logs", found.stack.logs()))
    return report
