"""The commands of operators and of the demo."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.migrations.executor import MigrationExecutor

from compute.models import Cluster, Membership, Role, Workspace
from config.demo_accounts import DEMO_ACCOUNTS
from storage.models import Secret, SecretsBundle
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output, stderr=output)
    return output.getvalue()


def test_bootstrap_makes_an_admin_with_a_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_ADMIN_PASSWORD", "a-given-password")
    assert "a-given-password" not in run("bootstrap", "--username", "root", "--workspace", "lab")
    admin = get_user_model().objects.get()
    assert admin.is_superuser
    assert admin.check_password("a-given-password")
    assert Membership.objects.get().role == Role.ADMIN
    assert Workspace.objects.get().default_pool is not None


def test_bootstrap_without_a_password_prints_one_once(rf: Any) -> None:
    password = run("bootstrap").split("password ")[1].split()[0]
    assert authenticate(rf.post("/"), username="admin", password=password)
    assert password not in run("bootstrap")


def test_bootstrap_twice_changes_nothing() -> None:
    run("bootstrap")
    run("bootstrap", "--username", "another", "--workspace", "another")
    assert get_user_model().objects.count() == Workspace.objects.count() == 1


def test_bootstrap_in_a_cluster_makes_that_cluster_and_no_local_one() -> None:
    assert "“Kubernetes”" in run("bootstrap", "--driver", "kubernetes")
    assert [(cluster.driver, cluster.context) for cluster in Cluster.objects.all()] == [("kubernetes", "")]


def test_a_migrated_database_is_not_waited_for() -> None:
    assert run("wait_for_migrations", "--timeout", "0") == ""


def test_what_is_waited_for_in_vain_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: [("storage.0001_initial", False)])
    with pytest.raises(CommandError, match=r"storage\.0001_initial"):
        run("wait_for_migrations", "--timeout", "0")


def test_the_demos_data_is_refused_outside_the_demo() -> None:
    with pytest.raises(CommandError, match="public passwords"):
        run("seed_demo")


def test_the_demo_has_accounts_in_every_role_and_an_outsider(settings: Any, rf: Any) -> None:
    settings.SLIPWAY_DEMO = True
    run("seed_demo")
    for account in DEMO_ACCOUNTS:
        assert authenticate(rf.post("/"), username=account.username, password=account.password)
    roles = dict(Membership.objects.filter(workspace__name="research").values_list("user__username", "role"))
    assert roles == {"admin": Role.ADMIN, "member": Role.MEMBER, "viewer": Role.VIEWER}
    for row in (*Workspace.objects.all(), *get_user_model().objects.all()):
        row.full_clean()


def test_seeding_again_keeps_what_was_changed(settings: Any) -> None:
    settings.SLIPWAY_DEMO = True
    run("seed_demo")
    Membership.objects.filter(user__username="member", workspace__name="research").update(role=Role.VIEWER)
    secret = Secret.objects.first()
    assert secret is not None
    run("seed_demo")
    assert Membership.objects.get(user__username="member", workspace__name="research").role == Role.VIEWER
    again = Secret.objects.get(pk=secret.pk)
    assert again.value == secret.value


def test_rotated_values_need_only_the_new_key(settings: Any, cast: Cast, workspace: Workspace) -> None:
    bundle = SecretsBundle.objects.get(workspace=workspace)
    for number in range(3):
        Secret.objects.create(bundle=bundle, name=f"SECRET_{number}", value=f"value {number}")
    before = Secret.objects.get(name="SECRET_1").updated_at
    new = Fernet.generate_key().decode()
    settings.SLIPWAY_ENCRYPTION_KEYS = [new, *settings.SLIPWAY_ENCRYPTION_KEYS]
    assert "storage.Secret: 3 rows" in run("rotate_keys")
    settings.SLIPWAY_ENCRYPTION_KEYS = [new]
    assert [secret.value for secret in Secret.objects.order_by("name")] == ["value 0", "value 1", "value 2"]
    assert Secret.objects.get(name="SECRET_1").updated_at == before
