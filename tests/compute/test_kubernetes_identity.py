"""A context that leads to another cluster: nothing is asked of that, and nothing started there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compute.clusters.base import ClusterError
from compute.clusters.kubernetes import KubernetesDriver, identity
from compute.clusters.kubernetes.client import ApiError, Connection
from compute.workload import Claim, Namespace
from tests.compute.test_kubernetes_objects import WORKLOAD

HERE, ELSEWHERE = "8d0f5f5e-0000-4000-8000-000000000001", "8d0f5f5e-0000-4000-8000-000000000002"


class Api(Connection):
    """An API server that has nothing but its kube-system, whose uid is ``uid``; without one, it lets nobody look."""

    def __init__(self, uid: str) -> None:
        super().__init__()
        self.uid = uid
        self.asked: list[str] = []

    def call(self, method: str, path: str, **_: Any) -> Any:
        self.asked.append(f"{method} {path}")
        if path == identity.PLACE and self.uid:
            return {"metadata": {"uid": self.uid}}
        raise ApiError(403 if path == identity.PLACE else 404, "No", "No.")


VERBS: dict[str, Callable[[KubernetesDriver], object]] = {
    "ensure_namespace": lambda driver: driver.ensure_namespace(Namespace(name="team", workspace="team")),
    "prepare": lambda driver: driver.prepare(replace(WORKLOAD, claims=(Claim(name="home", size="1Gi"),))),
    "apply": lambda driver: driver.apply(WORKLOAD),
    "pause": lambda driver: driver.pause("team", "lab"),
    "remove": lambda driver: driver.remove("team", "lab"),
    "write_files": lambda driver: driver.write_files("team", "lab", {}),
    "ensure_claim": lambda driver: driver.ensure_claim("team", Claim(name="home", size="1Gi")),
    "delete_claim": lambda driver: driver.delete_claim("team", "home"),
    "observe": lambda driver: driver.observe("team", "lab"),
    "watch": lambda driver: next(driver.watch(threading.Event())),
}


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_done_on_another_cluster(verb: str) -> None:
    api = Api(ELSEWHERE)
    with pytest.raises(ClusterError, match="confirm in the admin") as error:
        VERBS[verb](KubernetesDriver("east", identity=HERE, connection=api))
    assert (error.value.reason, error.value.retryable) == ("AnotherCluster", True)
    assert api.asked == [f"GET {identity.PLACE}"]


@pytest.mark.parametrize("uid", [HERE, ""])
def test_the_same_cluster_and_one_that_lets_nobody_look_are_asked_once_a_minute(uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api, now = Api(uid), [1000.0]
    monkeypatch.setattr(identity.time, "monotonic", lambda: now[0])
    driver = KubernetesDriver("east", identity=HERE, connection=api)
    for later in (0, 30, 31):
        now[0] += later
        driver.delete_claim("team", "home")
    assert [path for path in api.asked if identity.PLACE in path] == [f"GET {identity.PLACE}"] * 2


def test_back_at_the_right_cluster_everything_goes_on_at_once() -> None:
    api = Api(ELSEWHERE)
    driver = KubernetesDriver("east", identity=HERE, connection=api)
    with pytest.raises(ClusterError):
        driver.delete_claim("team", "home")
    api.uid = HERE
    driver.delete_claim("team", "home")


def test_a_cluster_that_slipway_does_not_know_yet_is_taken_as_it_is() -> None:
    api = Api(ELSEWHERE)
    KubernetesDriver("east", connection=api).delete_claim("team", "home")
    assert identity.PLACE not in " ".join(api.asked)
