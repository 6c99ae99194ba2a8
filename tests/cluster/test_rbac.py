"""The rules of deploy/kubernetes are what the driver needs: enough, and none too many. Asked of the real API server as
the user of the context `app`, who may do nothing until the rules are bound to them."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator

import pytest

from compute.clusters.base import ClusterError
from compute.clusters.kubernetes import KubernetesDriver, labels
from compute.clusters.kubernetes.client import Connection
from compute.clusters.kubernetes.health import BY_NAMESPACE, RIGHTS, health
from tests.cluster.kube import Kube
from tests.deploy.manifests import BASE, Object, of_kind, render
from tests.laboratory import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]  # test clusters sign their own
RBAC = "/apis/rbac.authorization.k8s.io/v1"
USER = "slipway-app"  # whom the context `app` is
NAME = "looked-at"  # a session, and a claim
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


def test_removing_any_one_of_them_is_noticed(app: Connection, bind: Bind) -> None:
    rules = shipped()
    for left_out in rules:
        bind([rule for rule in rules if rule is not left_out])
        wait_for(app, {f"Slipway lacks the right to {left_out['verbs'][0]} {left_out['resources'][0]}."})


def test_rights_that_are_bound_in_the_workspaces_namespaces_are_found_there(app: Connection, bind: Bind) -> None:
    admin, watched = Kube(context="test"), {"statefulsets", "pods", "persistentvolumeclaims", "events"}
    rules = shipped()
    bind([one for one in rules if one["verbs"][0] in ("list", "watch") and one["resources"][0] in watched])
    bound, bare = (f"e-{secrets.token_hex(4)}" for _ in range(2))
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "slipway"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}
    try:
        for name in (bound, bare):
            admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
        there = f"{RBAC}/namespaces/{bound}"
        admin.create(f"{there}/roles", {"metadata": {"name": "slipway"}, "rules": rules})
        admin.create(f"{there}/rolebindings", {"metadata": {"name": "slipway"}, "roleRef": role, "subjects": [subject]})
        wait_until(lambda: health(app, [bound]).problems == (), 10, "the rights in the namespace are found")
        assert health(app, [bound]).notes == (BY_NAMESPACE,)
        assert f"Slipway lacks the right to create, patch and delete secrets in {bare}." in health(app, [bare, bound]).problems
    finally:
        for name in (bound, bare):
            admin.delete(f"/api/v1/namespaces/{name}")


def questions(driver: KubernetesDriver, namespace: str) -> list[Callable[[], object]]:
    """All that the web asks of a cluster."""
    return [
        lambda: driver.logs(namespace, NAME),
        lambda: driver.events(namespace, NAME),
        lambda: driver.delete_claim(namespace, NAME),
    ]


@pytest.fixture
def web_sees() -> Iterator[str]:
    """A namespace with a session's pod, which no node takes, and a claim that can be deleted again and again: what is not there
    is not asked for."""
    admin, name = Kube(context="test"), f"e-{secrets.token_hex(4)}"
    ours = {labels.MANAGED_BY: labels.MANAGER}
    admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    container = {"name": labels.CONTAINER, "image": "localhost/busybox:1"}
    pod = {"metadata": {"name": f"{NAME}-0", "labels": ours}, "spec": {"nodeSelector": {"pool": "none"}, "containers": [container]}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}
    # The controllers take a moment to give a new namespace the account that its pods need.
    wait_until(lambda: admin.call("POST", f"/api/v1/namespaces/{name}/pods", pod)[0] == 201, 20, "the pod is made")
    claims, meta = f"/api/v1/namespaces/{name}/persistentvolumeclaims", {"name": NAME, "labels": ours, "finalizers": ["slipway.dev/test"]}
    admin.create(claims, {"metadata": meta, "spec": claim})
    yield name
    admin.merge(f"{claims}/{NAME}", {"metadata": {"finalizers": None}})
    admin.delete(f"/api/v1/namespaces/{name}")


def refused(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except ClusterError as error:
        if error.reason == "Forbidden":
            return True
        raise
    return False


def test_the_webs_rules_suffice_and_each_is_needed(bind: Bind, web_sees: str) -> None:
    driver, rules = KubernetesDriver("here", context="app"), shipped("slipway-web")
    asked = questions(driver, web_sees)
    bind([])
    wait_until(lambda: all(refused(ask) for ask in asked), 10, "everything is refused without rules")
    for left_out in rules:
        bind(rules)
        wait_until(lambda: not any(refused(ask) for ask in asked), 10, "nothing is refused")
        bind([rule for rule in rules if rule is not left_out])
        wait_until(lambda: any(refused(ask) for ask in asked), 10, f"something is refused without {left_out}")


def test_the_web_has_no_right_that_the_driver_has_not() -> None:
    for rule in shipped("slipway-web"):
        assert rule["verbs"][0] in RIGHTS[rule["apiGroups"][0], rule["resources"][0]]


def test_worker_and_controller_are_one_account_whose_rights_the_controller_asks_for() -> None:
    """The health panel would say nothing of a worker with an account of its own."""
    rendered = render(BASE)
    deployments, (subject,) = of_kind(rendered, "Deployment"), of_kind(rendered, "ClusterRoleBinding")["slipway"]["subjects"]
    accounts = {deployments[f"slipway-{part}"]["spec"]["template"]["spec"]["serviceAccountName"] for part in ("worker", "controller")}
    assert accounts == {subject["name"]}
