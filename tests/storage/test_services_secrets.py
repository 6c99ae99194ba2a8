"""Secrets are written by admins and read back by nobody."""

from __future__ import annotations

import logging

import pytest
from django.db import connection

from compute.errors import Forbidden, Refused
from compute.models import Workspace
from storage import services
from storage.models import Secret, SecretsBundle
from tests.conftest import Cast

pytestmark = pytest.mark.django_db
VALUE = "correct horse\nbattery staple"


def test_an_admin_writes_and_replaces_a_secret(cast: Cast, workspace: Workspace) -> None:
    first = services.write_secret(cast.admin, workspace, name="API_KEY", value="old", description="Ask Ada.")
    second = services.write_secret(cast.admin, workspace, name="API_KEY", value=VALUE)
    assert first.pk == second.pk
    stored = Secret.objects.get()
    assert (stored.value, stored.description, stored.updated_by) == (VALUE, "", cast.admin)


def test_the_database_holds_no_plain_value(cast: Cast, workspace: Workspace) -> None:
    services.write_secret(cast.admin, workspace, name="API_KEY", value=VALUE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM storage_secret")
        (stored,) = cursor.fetchone()
    assert "horse" not in stored


def test_a_workspace_without_a_bundle_gets_one(cast: Cast, workspace: Workspace) -> None:
    SecretsBundle.objects.all().delete()
    services.write_secret(cast.admin, workspace, name="API_KEY", value=VALUE)
    assert services.bundle_of(workspace).secrets.count() == 1


@pytest.mark.parametrize("who", ["owner", "viewer"])
def test_only_admins_write_and_delete(cast: Cast, workspace: Workspace, who: str) -> None:
    secret = services.write_secret(cast.admin, workspace, name="API_KEY", value=VALUE)
    with pytest.raises(Forbidden):
        services.write_secret(getattr(cast, who), workspace, name="API_KEY", value="mine")
    with pytest.raises(Forbidden):
        services.delete_secret(getattr(cast, who), secret)
    assert Secret.objects.get().value == VALUE
    services.delete_secret(cast.admin, secret)
    assert not Secret.objects.exists()


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ({"name": "1KEY"}, "name"),
        ({"name": "PATH"}, "name"),
        ({"name": "SLIPWAY_X"}, "name"),
        ({"name": ""}, "name"),
        ({"value": ""}, "value"),
    ],
)
def test_a_refusal_names_the_field_and_never_the_value(
    cast: Cast, workspace: Workspace, answers: dict[str, str], field: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused) as refused:
        services.write_secret(cast.admin, workspace, **{"name": "API_KEY", "value": VALUE, **answers})
    assert {problem.field for problem in refused.value.problems} == {field}
    assert "horse" not in str(refused.value)
    assert "horse" not in caplog.text
    assert not Secret.objects.exists()
