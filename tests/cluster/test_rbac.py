"""The rules of deploy/kubernetes are what the driver needs: enough, and none too many. Asked of the real API server as
the user of the context `app`, who may do nothing until the rules are bound to them."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator

import pytest

from compute.clusters.base import ClusterError
from compute.clusters.kubernetes import KubernetesDriver
from compute.clusters.kubernetes.client import Connection
from compute.clusters.kubernetes.health import RIGHTS, capacity, health
from tests.cluster.kube import Kube, wait_until
from tests.deploy.manifests import BASE, Object, of_kind, render

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]  # test clusters sign their own
RBAC = "/apis/rbac.authorization.k8s.io/v1"
USER = "slipway-app"  # whom the context `app` is
Bind = Callable[[list[Object]], None]


@pytest.fixture(scope="module")
def app() -> Connection:
    return Connection("app")


@pytest.fixture
def bind() -> Iterator[Bind]:
    """Give the app's user these rules in the whole cluster, and no others."""
    admin, name = Kube(context="test"), f"slipway-test-{secrets.token_hex(3)}"
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}

    def give(rules: list[Object]) -> None:
        admin.merge(f"{RBAC}/clusterroles/{name}", {"rules": rules})

    admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": []})
    admin.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]})
    yield give
    admin.delete(f"{RBAC}/clusterrolebindings/{name}")
    admin.delete(f"{RBAC}/clusterroles/{name}")


def shipped(role: str = "slipway") -> list[Object]:
    """Its rules, taken apart to one verb on one resource each."""
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        for rule in of_kind(render(BASE), "ClusterRole")[role]["rules"]
        for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])
    ]


def wait_for(app: Connection, problems: set[str]) -> None:
    """The API server takes a moment to know of a change of rules."""
    wait_until(lambda: set(health(app).problems) == problems, 10, f"the health check says {problems or 'that nothing is missing'}")


def test_without_rules_every_right_is_missing_and_named(app: Connection, bind: Bind) -> None:
    bind([])
    wait_until(lambda: len(health(app).problems) == len(RIGHTS), 10, "the health check names every resource")


def test_the_shipped_rules_suffice(app: Connection, bind: Bind) -> None:
    bind(shipped())
    wait_for(app, set())
    assert health(app).ok
    assert capacity(app).cpu > 0


def test_removing_any_one_of_them_is_noticed(app: Connection, bind: Bind) -> None:
    rules = shipped()
    for left_out in rules:
        bind([rule for rule in rules if rule is not left_out])
        wait_for(app, {f"Slipway lacks the right to {left_out['verbs'][0]} {left_out['resources'][0]}."})


def test_the_webs_rules_suffice_for_what_it_asks(app: Connection, bind: Bind) -> None:
    bind([])
    driver = KubernetesDriver("here", context="app")
    questions: list[Callable[[], object]] = [
        driver.capacity,
        lambda: driver.logs("default", "no-such-session"),
        lambda: driver.events("default", "no-such-session"),
        lambda: driver.delete_claim("default", "no-such-claim"),
    ]
    wait_until(lambda: len(health(app).problems) == len(RIGHTS), 10, "the user has no rights left")
    for ask in questions:
        with pytest.raises(ClusterError, match="is forbidden"):
            ask()
    rules = shipped("slipway-web")
    bind(rules)
    wait_until(lambda: sum(len(verbs) for verbs in RIGHTS.values()) - missing(app) == len(rules), 10, "the user has the web's rights")
    for ask in questions:
        ask()


def missing(app: Connection) -> int:
    """How many of the driver's rights the app's user has not."""
    return sum(len(problem.split("right to ")[1].rpartition(" ")[0].replace(" and ", ", ").split(", ")) for problem in health(app).problems)


def test_the_web_has_no_right_that_the_driver_has_not(app: Connection) -> None:
    for rule in shipped("slipway-web"):
        assert rule["verbs"][0] in RIGHTS[rule["apiGroups"][0], rule["resources"][0]]
