"""A driver on the cluster that KUBECONFIG names, and a namespace of its own for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from compute.clusters.kubernetes import KubernetesDriver
from compute.clusters.kubernetes.client import ApiError, Connection
from compute.workload import Namespace

CONTEXT = os.environ.get("SLIPWAY_TEST_CONTEXT", "test")


@pytest.fixture(scope="session")
def connection() -> Connection:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster; `make test-cluster` says how to get one.")
    return Connection(CONTEXT)


@pytest.fixture
def driver(connection: Connection) -> KubernetesDriver:
    return KubernetesDriver("test", connection=connection)


@pytest.fixture
def namespace(driver: KubernetesDriver, connection: Connection) -> Iterator[str]:
    name = f"a-{uuid.uuid4().hex[:10]}"
    driver.ensure_namespace(Namespace(name=name, workspace=name))
    yield name
    try:
        connection.call("DELETE", f"/api/v1/namespaces/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
