"""Slipway with a proxy between it and the cluster that KUBECONFIG names, and a PostgreSQL of its own to restart. Parts of that
cluster are stopped, so nobody else may be using it (``SLIPWAY_TEST_MAY_STOP``)."""

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
from tests.cluster.lab import Lab, new_lab, slipway_on
from tests.cluster.whole.conftest import components, kube
from tests.live.conftest import need
from tests.run import start_postgresql
from tests.stack import Stack, fresh_database

__all__ = ["components", "kube"]


@dataclass
class World:
    """Everything that can be broken. ``kube`` goes around the proxy."""

    components: Components
    etcd: str
    proxy: FaultProxy
    postgres: Any
    kube: Kube
    stack: Stack
    cleanup: ExitStack
    lab: Lab | None = None  # left by the last test if it passed: the next one goes on with what runs there


@pytest.fixture(scope="module")
def world(components: Components, kube: Kube, django_db_blocker: Any) -> Iterator[World]:
    need("nginx", "nginx-light")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as cleanup:
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
        etcd = f"http://127.0.0.1:{os.environ.get('CLUSTER_ETCD_PORT', '12379')}"
        yield World(components, etcd, proxy, postgres, kube, stack, cleanup)


@pytest.fixture
def lab(world: World) -> Lab:
    """A workspace on fake nodes, whose pods are Ready at once: that of the last test, if it passed."""
    made, world.lab = world.lab, None
    if made is None:
        made = new_lab(world.stack, world.kube, pool="fake")
        world.cleanup.callback(world.kube.delete_namespace, made.namespace)
    return made
