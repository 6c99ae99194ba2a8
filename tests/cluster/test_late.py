"""Writes that reach the API server late: after newer ones, or after the session has been deleted."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compute.clusters.base import Outdated
from compute.clusters.kubernetes import KubernetesDriver
from compute.clusters.kubernetes.client import MERGE, Connection
from compute.workload import Workload
from tests.cluster.test_driver import get, live, paused_elsewhere

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]  # test clusters sign their own


class Overtaken(Connection):
    """Lets something happen just before the next write of a Secret's values arrives."""

    def __init__(self, context: str) -> None:
        super().__init__(context)
        self.meanwhile: Callable[[], None] | None = None

    def apply(self, path: str, body: dict[str, Any], **options: Any) -> None:
        if "/secrets/" in path and (meanwhile := self.meanwhile):
            self.meanwhile = None
            meanwhile()
        super().apply(path, body, **options)


def token(connection: Connection, wanted: Workload) -> str:
    found = get(connection, f"/api/v1/namespaces/{wanted.namespace}/secrets/{wanted.name}")
    assert found is not None
    return b64decode(found["data"]["env.TOKEN"]).decode()


@pytest.mark.parametrize("generation", [1, 3])
def test_secret_values_that_come_late_do_not_replace_newer_ones(
    driver: KubernetesDriver, connection: Connection, namespace: str, generation: int
) -> None:
    first = paused_elsewhere(namespace)
    newest = replace(first, generation=5, revision=5, secret_env={"TOKEN": "new"})
    driver.apply(first)
    slow = Overtaken(connection.context)
    slow.meanwhile = lambda: driver.apply(newest)
    with pytest.raises(Outdated):
        KubernetesDriver("test", connection=slow).apply(replace(first, generation=generation, revision=generation))
    assert token(connection, first) == "new"


def test_a_secret_that_somebody_edited_is_put_back(driver: KubernetesDriver, connection: Connection, namespace: str) -> None:
    wanted = paused_elsewhere(namespace)
    driver.apply(wanted)
    edit = {"data": {"env.TOKEN": b64encode(b"edited").decode()}}
    path = f"/api/v1/namespaces/{namespace}/secrets/{wanted.name}"
    for generation in (1, 2):
        connection.call("PATCH", path, body=edit, content_type=MERGE, query={"fieldManager": "kubectl-edit"})
        driver.apply(replace(wanted, generation=generation))
        assert token(connection, wanted) == "top-secret"


def test_what_a_late_first_launch_makes_again_is_all_gone_after_another_remove(
    driver: KubernetesDriver, connection: Connection, namespace: str
) -> None:
    wanted = paused_elsewhere(namespace)
    slow = Overtaken(connection.context)
    slow.meanwhile = lambda: driver.remove(namespace, wanted.name, 2)
    KubernetesDriver("test", connection=slow).apply(wanted)
    assert live(connection, wanted)
    assert token(connection, wanted)
    driver.remove(namespace, wanted.name)
    assert live(connection, wanted) is None
    assert get(connection, f"/api/v1/namespaces/{namespace}/secrets/{wanted.name}") is None
