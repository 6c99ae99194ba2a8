"""The secrets page shows names; no response ever holds a value."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.signals import got_request_exception
from django.test import Client
from django.views.debug import SafeExceptionReporterFilter

from compute.models import Workspace
from storage import services
from storage.models import Secret
from tests.conftest import Cast

pytestmark = pytest.mark.django_db
LIST, WRITE = "/w/research/secrets/", "/w/research/secrets/write/"
VALUE = "correct-horse-battery"


@pytest.fixture
def secret(cast: Cast, workspace: Workspace) -> Secret:
    return services.write_secret(cast.admin, workspace, name="API_KEY", value=VALUE, description="Ask Ada.")


def text(response: Any) -> str:
    return str(response.content.decode())


def test_members_see_names_and_admins_may_write(cast: Cast, secret: Secret) -> None:
    for who, may_write in {"viewer": False, "owner": False, "admin": True}.items():
        page = text(cast.client(who).get(LIST))
        assert "API_KEY" in page
        assert "Ask Ada." in page
        assert VALUE not in page
        assert (WRITE in page) is may_write
        assert ("You see names only." in page) is not may_write


def test_an_admin_writes_a_secret_with_its_line_ends_as_meant(cast: Cast) -> None:
    response = cast.client("admin").post(WRITE, {"name": "KEY", "value": " one\r\ntwo\r\n", "description": ""}, follow=True)
    assert "Saved KEY." in text(response)
    assert Secret.objects.get().value == " one\ntwo\n"


def test_replacing_shows_the_name_and_no_value(cast: Cast, secret: Secret) -> None:
    client = cast.client("admin")
    page = text(client.get(f"{WRITE}?name=API_KEY"))
    assert 'value="API_KEY"' in page
    assert VALUE not in page
    client.post(f"{WRITE}?name=API_KEY", {"name": "API_KEY", "value": "newer", "description": "Ask Ada."})
    assert Secret.objects.get().value == "newer"


@pytest.mark.parametrize("name", ["", "1KEY", "PATH", "SLIPWAY_TOKEN"])
def test_a_refused_value_is_not_sent_back(cast: Cast, name: str) -> None:
    response = cast.client("admin").post(WRITE, {"name": name, "value": VALUE, "description": ""})
    assert response.status_code == 200
    assert response.context["form"].errors["name"]
    assert VALUE not in text(response)
    assert not Secret.objects.exists()


def test_an_error_report_hides_the_value(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(services, "write_secret", fail)
    client = cast.client("admin")
    client.raise_request_exception = False

    def keep(request: Any = None, **kwargs: Any) -> None:
        seen.update(SafeExceptionReporterFilter().get_post_parameters(request))

    got_request_exception.connect(keep)
    try:
        response = client.post(WRITE, {"name": "KEY", "value": VALUE, "description": ""})
    finally:
        got_request_exception.disconnect(keep)
    assert response.status_code == 500
    assert VALUE not in text(response)
    assert seen["value"] != VALUE


def test_deleting_asks_for_the_name(cast: Cast, secret: Secret) -> None:
    client, address = cast.client("admin"), f"/w/research/secrets/{secret.pk}/delete/"
    assert VALUE not in text(client.get(address))
    assert "This is not the name." in text(client.post(address, {"confirm": "KEY"}))
    assert client.post(address, {"confirm": "API_KEY"})["Location"] == LIST
    assert not Secret.objects.exists()


@pytest.mark.parametrize("who", ["owner", "viewer"])
def test_who_is_no_admin_cannot_write_or_delete(cast: Cast, secret: Secret, who: str) -> None:
    client = cast.client(who)
    for address in (WRITE, f"/w/research/secrets/{secret.pk}/delete/"):
        assert client.get(address).status_code == 403
        assert client.post(address, {"name": "X", "value": "y", "confirm": "API_KEY"}).status_code == 403
    assert Secret.objects.get().value == VALUE


def test_to_an_outsider_there_is_nothing(cast: Cast, secret: Secret) -> None:
    for address in (LIST, WRITE, f"/w/research/secrets/{secret.pk}/delete/"):
        assert cast.client("outsider").get(address).status_code == 404
        assert Client().get(address).status_code == 302
    elsewhere = f"/w/other/secrets/{secret.pk}/delete/"
    assert cast.client("outsider").post(elsewhere, {"confirm": "API_KEY"}).status_code == 404
    assert Secret.objects.exists()


def test_the_list_is_paged_at_a_fixed_cost(cast: Cast, workspace: Workspace, secret: Secret, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        Secret.objects.create(bundle=secret.bundle, name=f"KEY_{number:02}", value=VALUE, updated_by=cast.admin)
    client = cast.client("admin")
    client.get(LIST)
    with django_assert_max_num_queries(8):
        response = client.get(LIST)
    assert len(response.context["page"].object_list) == 25
    assert "?page=2" in text(response)
    assert VALUE not in text(response)
