"""Curating clusters, workspaces, pools and Slurm clusters: every rule and constraint is a sentence at its field."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from compute.models import Cluster, ComputePool, Membership, SlurmCluster, Workspace
from storage.models import SecretsBundle, Volume
from tests.admin_pages import Page, curator, errors, said
from tests.conftest import Cast

POOL = "compute_computepool"
WORKSPACE = "compute_workspace"


@pytest.fixture
def admin(db: None) -> Client:
    return curator()


def delete(admin: Client, model: str, row: Any) -> str:
    return admin.post(reverse(f"admin:{model}_delete", args=[row.pk]), {"post": "yes"}).content.decode()


def test_pool_values_are_checked_where_they_are_typed(admin: Client, pool: ComputePool) -> None:
    bad = {"name": "Not A Name", "node_selector": "[1]", "tolerations": '{"a": 1}', "gpu_resource": "gpu", "price_cpu": "-1"}
    assert errors(Page(admin, POOL, pool).send(bad)).keys() == bad.keys()
    bad = {"node_selector": "{", "tolerations": '[{"key": 5}]', "price_gpu": "99999999999999"}
    assert errors(Page(admin, POOL, pool).send(bad)).keys() == bad.keys()


@pytest.mark.parametrize("nothing", ["", "null", "{}", "[]"])
def test_emptied_selectors_and_tolerations_mean_none(admin: Client, pool: ComputePool, nothing: str) -> None:
    assert errors(Page(admin, POOL, pool).send({"node_selector": nothing, "tolerations": nothing})) == {}
    pool.refresh_from_db()
    assert (pool.node_selector, pool.tolerations) == ({}, [])


def test_constraints_are_errors_at_their_fields(admin: Client, pool: ComputePool, workspace: Workspace) -> None:
    cluster = str(pool.cluster_id)
    page = Page(admin, POOL)
    assert errors(page.send({"cluster": cluster, "name": pool.name, "display_name": "Twin"})).keys() == {"name"}
    page = Page(admin, WORKSPACE)
    same = {"cluster": cluster, "name": "new", "display_name": "New", "namespace": workspace.namespace}
    assert errors(page.send(same)).keys() == {"namespace"}
    assert errors(page.send({**same, "name": workspace.name, "namespace": "new"})).keys() == {"name"}
    assert errors(Page(admin, "compute_cluster").send({"name": "here", "display_name": "X", "driver": "local"})).keys() == {"name"}


def test_a_pool_serves_workspaces_of_its_own_cluster_and_those_it_is_the_default_of(
    admin: Client, pool: ComputePool, workspace: Workspace, cast: Cast
) -> None:
    elsewhere = Cluster.objects.create(name="elsewhere", display_name="Elsewhere")
    foreign = Workspace.objects.create(name="foreign", display_name="Foreign", cluster=elsewhere, namespace="foreign")
    assert "Foreign" in errors(Page(admin, POOL, pool).send({"workspaces": [str(workspace.pk), str(foreign.pk)]}))["workspaces"][0]
    other = Workspace.objects.get(name="other")
    assert "Research" in errors(Page(admin, POOL, pool).send({"workspaces": [str(other.pk)]}))["workspaces"][0]
    assert errors(Page(admin, WORKSPACE, foreign).send({"default_pool": str(pool.pk)})).keys() == {"default_pool"}


def test_a_workspaces_default_pool_is_one_that_it_may_use(admin: Client, pool: ComputePool, workspace: Workspace, cast: Cast) -> None:
    other = Workspace.objects.get(name="other")
    closed = ComputePool.objects.create(cluster=pool.cluster, name="closed", display_name="Closed")
    closed.workspaces.add(workspace)
    assert errors(Page(admin, WORKSPACE, other).send({"default_pool": str(closed.pk)})).keys() == {"default_pool"}


def test_a_new_workspace_gets_its_members_and_its_secrets_bundle(admin: Client, cluster: Cluster) -> None:
    maria = get_user_model().objects.create_user("maria")
    page = Page(admin, WORKSPACE)
    page.add_row("memberships", user=str(maria.pk), role="admin")
    assert errors(page.send({"cluster": str(cluster.pk), "name": "new", "display_name": "New", "namespace": "new"})) == {}
    workspace = Workspace.objects.get(name="new")
    assert SecretsBundle.objects.filter(workspace=workspace).count() == 1
    assert Membership.objects.get(workspace=workspace).role == "admin"
    assert errors(Page(admin, WORKSPACE, workspace).send()) == {}


def test_memberships_are_unique_and_of_a_known_role(admin: Client, workspace: Workspace, cast: Cast) -> None:
    page = Page(admin, WORKSPACE, workspace)
    row = page.add_row("memberships", user=str(cast.owner.pk), role="viewer")
    assert errors(page.send()).keys() == {f"memberships-{row}-user"}
    assert errors(page.send({f"memberships-{row}-user": str(cast.outsider.pk), f"memberships-{row}-role": "king"})).keys() == {
        f"memberships-{row}-role"
    }


def test_quotas_are_quantities(admin: Client, workspace: Workspace) -> None:
    bad = {"quota_cpu": "many", "quota_memory": "1kg", "quota_storage": "-5Gi", "quota_sessions": "-1", "quota_gpus": "x"}
    assert errors(Page(admin, WORKSPACE, workspace).send(bad)).keys() == bad.keys()


def test_what_is_used_is_not_deleted_and_its_identity_is_fixed(
    admin: Client, workspace: Workspace, pool: ComputePool, home: Volume
) -> None:
    assert "volume “home-owner” in Research" in delete(admin, WORKSPACE, workspace)
    assert "workspace “Research”" in delete(admin, "compute_cluster", pool.cluster)
    assert "Research" in delete(admin, POOL, pool)
    assert not {"name", "namespace", "cluster"} & Page(admin, WORKSPACE, workspace).fields.keys()
    assert not {"name", "driver"} & Page(admin, "compute_cluster", pool.cluster).fields.keys()


def test_only_kubernetes_has_a_context(admin: Client, cluster: Cluster) -> None:
    page = Page(admin, "compute_cluster", cluster)
    assert "the kubeconfig that Slipway runs with" in page.html
    assert errors(page.send({"context": "west"}))["context"] == ["Only Kubernetes clusters have a context. Leave this empty."]
    assert errors(page.send({"context": ""})) == {}


def test_a_context_is_one_that_the_kubeconfig_has(admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = [{"name": name, "context": {"cluster": "gone"}} for name in ("east", "west")]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps({"contexts": contexts, "current-context": "east", "clusters": [], "users": []}))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    whole = {"name": "k8s", "display_name": "K8s", "driver": "kubernetes", "context": "north"}
    page = Page(admin, "compute_cluster")
    assert errors(page.send(whole))["context"] == ["The kubeconfig has no context of this name. It has “east”, “west”."]
    assert errors(page.send({**whole, "context": "west"})) == {}
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert errors(page.send({**whole, "name": "later", "context": "north"})) == {}, "it can't be told here"


def test_the_context_of_a_cluster_in_use_can_change_and_the_curator_is_told_what_hangs_on_it(
    admin: Client, cluster: Cluster, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    Cluster.objects.update(driver="kubernetes")
    answer = Page(admin, "compute_cluster", cluster).send({"context": "renamed"})
    assert errors(answer) == {}
    assert any("new, empty volumes" in message for message in said(answer))
    assert not any("volumes" in message for message in said(Page(admin, "compute_cluster", cluster).send({"display_name": "New"})))


def test_another_cluster_behind_a_row_is_taken_once_a_curator_has_confirmed_it(admin: Client, cluster: Cluster) -> None:
    Cluster.objects.update(identity="8d0f5f5e")
    page = Page(admin, "compute_cluster", cluster)
    assert "8d0f5f5e" in page.html
    page.send({"identity": "forged"})
    assert Cluster.objects.get().identity == "8d0f5f5e"
    address = reverse("admin:compute_cluster_changelist")
    answer = admin.post(address, {"action": "confirm_cluster", "_selected_action": [cluster.pk]}, follow=True)
    assert any("start on new, empty ones" in message for message in said(answer))
    assert Cluster.objects.get().identity == ""
    assert cluster.history.first().history_change_reason == "Confirmed that it is another cluster."


def test_an_unused_workspace_goes_with_its_bundle(admin: Client, cast: Cast) -> None:
    other = Workspace.objects.get(name="other")
    SecretsBundle.objects.create(workspace=other)
    delete(admin, WORKSPACE, other)
    assert not Workspace.objects.filter(pk=other.pk).exists()


def test_a_slurm_cluster_names_its_controllers_and_serves_someone(admin: Client, workspace: Workspace) -> None:
    page = Page(admin, "compute_slurmcluster")
    key = base64.b64encode(bytes(32)).decode()
    whole = {"name": "hpc", "display_name": "HPC", "controllers": "slurm.example.com:6817", "enabled": "on", "key_text": key}
    assert errors(page.send(whole)).keys() == {"workspaces"}
    assert errors(page.send({**whole, "controllers": "no port", "workspaces": [str(workspace.pk)]})).keys() == {"controllers"}
    assert errors(page.send({**whole, "workspaces": [str(workspace.pk)]})) == {}
    assert SlurmCluster.objects.serving(workspace).count() == 1


@pytest.mark.parametrize("model", ["compute_cluster", POOL, WORKSPACE, "compute_slurmcluster"])
def test_lists_cost_the_same_however_long_they_are(admin: Client, cluster: Cluster, model: str, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        pool = ComputePool.objects.create(cluster=cluster, name=f"p-{number}", display_name="P")
        name = f"w-{number}"
        Workspace.objects.create(name=name, display_name=name, cluster=cluster, namespace=name, default_pool=pool)
        SlurmCluster.objects.create(name=f"s-{number}", display_name="S", controllers="a:1")
    with django_assert_max_num_queries(10):
        assert admin.get(reverse(f"admin:{model}_changelist")).status_code == 200
