"""Secrets in the admin are written, never read; volumes are looked at, never deleted."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from compute.models import Workspace
from presets.models import Preset
from sessions.models import Session, SessionVolume
from storage.models import Secret, SecretsBundle, Volume
from tests.admin_pages import Page, curator, errors
from tests.conftest import Cast

BUNDLE = "storage_secretsbundle"
VALUE = "pl4in-hunter2"


@pytest.fixture
def admin(db: None) -> Client:
    return curator()


@pytest.fixture
def bundle(workspace: Workspace) -> SecretsBundle:
    return SecretsBundle.objects.get(workspace=workspace)


def test_a_secret_goes_in_and_never_comes_out(admin: Client, bundle: SecretsBundle) -> None:
    page = Page(admin, BUNDLE, bundle)
    page.add_row("secrets", name="API_TOKEN", new_value=VALUE)
    bad = page.add_row("secrets", name="1BAD", new_value=VALUE)
    response = page.send()
    assert errors(response).keys() == {f"secrets-{bad}-name"}
    assert VALUE not in response.content.decode()
    assert errors(page.send({f"secrets-{bad}-name": "OTHER"})) == {}
    secret = Secret.objects.get(name="API_TOKEN")
    assert secret.value == VALUE
    assert secret.updated_by is not None
    assert secret.updated_by.username == "curator"
    with CaptureQueriesContext(
        connection,
    ) as queries:
        stored = Page(admin, BUNDLE, bundle)
    assert VALUE not in stored.html
    assert not any('"storage_secret"."value"' in query["sql"] for query in queries)  # not even read
    assert errors(stored.send({"secrets-0-description": "of the billing API"})) == {}
    secret.refresh_from_db()
    assert (secret.value, secret.description) == (VALUE, "of the billing API")
    assert VALUE not in str(list(LogEntry.objects.values()))


def test_a_new_secret_needs_a_free_valid_name_and_a_value(admin: Client, bundle: SecretsBundle) -> None:
    Secret.objects.create(bundle=bundle, name="TAKEN", value="x")
    page = Page(admin, BUNDLE, bundle)
    page.add_row("secrets", name="TAKEN", new_value="y")
    page.add_row("secrets", name="PATH", new_value="y")
    page.add_row("secrets", name="EMPTY")
    assert errors(page.send()).keys() == {"secrets-1-name", "secrets-2-name", "secrets-3-new_value"}


def test_bundles_come_and_go_with_their_workspace_only(admin: Client, bundle: SecretsBundle) -> None:
    assert admin.get(reverse(f"admin:{BUNDLE}_add")).status_code == 403
    assert admin.post(reverse(f"admin:{BUNDLE}_delete", args=[bundle.pk]), {"post": "yes"}).status_code == 403


def test_a_volume_shows_who_uses_it_and_is_never_deleted_here(
    admin: Client, home: Volume, workspace: Workspace, preset: Preset, cast: Cast
) -> None:
    image, size = preset.images.get(slug="minimal"), preset.pod_sizes.get(slug="small")
    session = Session.objects.create(workspace=workspace, owner=cast.owner, name="forecast", preset=preset, image=image, pod_size=size)
    SessionVolume.objects.create(session=session, volume=home, mount_path="/home/jovyan", is_home=True)
    url = reverse("admin:storage_volume_change", args=[home.pk])
    assert "session “forecast” in Research" in admin.get(url).content.decode()
    assert admin.post(url, {"name": "x"}).status_code == 403
    assert admin.post(reverse("admin:storage_volume_delete", args=[home.pk]), {"post": "yes"}).status_code == 403
    bulk = {"action": "delete_selected", "_selected_action": [str(home.pk)], "post": "yes"}
    admin.post(reverse("admin:storage_volume_changelist"), bulk)
    assert Volume.objects.filter(pk=home.pk).exists()


def test_an_admin_who_handed_a_volume_over_says_so(admin: Client, home: Volume) -> None:
    Volume.objects.update(uid=1000, gid=100)
    chosen = {"action": "forget_owner", "_selected_action": [str(home.pk)]}
    assert (
        "belong to whoever mounts them next" in admin.post(reverse("admin:storage_volume_changelist"), chosen, follow=True).content.decode()
    )
    assert Volume.objects.get(pk=home.pk).uid is None


@pytest.mark.parametrize("model", ["storage_volume", BUNDLE])
def test_lists_cost_the_same_however_long_they_are(
    admin: Client, workspace: Workspace, cast: Cast, model: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        Volume.objects.create(workspace=workspace, owner=cast.owner, name=f"v-{number}", kind=Volume.Kind.HOME)
        other = Workspace.objects.create(name=f"w-{number}", display_name="W", cluster=workspace.cluster, namespace=f"w-{number}")
        SecretsBundle.objects.create(workspace=other)
    with django_assert_max_num_queries(10):
        assert admin.get(reverse(f"admin:{model}_changelist")).status_code == 200
