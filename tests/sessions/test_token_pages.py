"""The pages of API tokens: made once, shown once, revoked by their owner alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute import tokens
from compute.models import ApiToken, Membership, Workspace
from tests.conftest import Cast

pytestmark = pytest.mark.usefixtures("workspace")
NEW = {"name": "ci", "scopes": ["read", "sessions"], "workspaces": ["research"], "days": "30"}


@pytest.fixture
def client(cast: Cast) -> Client:
    return cast.client("owner")


def shown_token(page: str) -> str:
    return page.partition('id="id_token" value="')[2].partition('"')[0]


def test_a_token_is_shown_once_and_works(client: Client) -> None:
    answer = client.post(reverse("token_new"), NEW)
    plain = shown_token(answer.content.decode())
    assert "no-store" in answer["Cache-Control"]
    made = tokens.authenticate(plain)
    assert (made.scopes, [row.name for row in made.workspaces.all()]) == (["read", "sessions"], ["research"])
    listed = client.get(reverse("tokens")).content.decode()
    assert "ci" in listed
    assert plain not in listed
    assert Client().get("/api/v1/me", headers={"Authorization": f"Bearer {plain}"}).status_code == 200


def test_what_was_wrong_is_said_at_its_field_and_nothing_typed_is_lost(client: Client, cast: Cast) -> None:
    tokens.create_token(cast.owner, name="ci", scopes=["read"])
    page = client.post(reverse("token_new"), NEW).content.decode()
    assert "You have a token named “ci” already." in page
    assert 'value="sessions" id="id_scopes_1" checked' in page
    page = client.post(reverse("token_new"), {**NEW, "name": "other", "scopes": []}).content.decode()
    assert "Choose at least one scope." in page
    assert ApiToken.objects.count() == 1


def test_other_peoples_workspaces_are_not_offered(client: Client) -> None:
    page = client.post(reverse("token_new"), {**NEW, "workspaces": ["other"]}).content.decode()
    assert "not one of the available choices" in page
    assert not ApiToken.objects.exists()


def test_only_its_owner_revokes_a_token(client: Client, cast: Cast) -> None:
    row = tokens.create_token(cast.owner, name="ci", scopes=["read"]).row
    url = reverse("token_revoke", args=[row.public_id])
    assert cast.client("admin").post(url).status_code == 404
    assert client.get(url).status_code == 200
    assert client.post(url, follow=True).status_code == 200
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert client.post(url).status_code == 404


def test_the_frame_shows_the_workspace_that_was_last_looked_at_or_else_the_first(client: Client, cast: Cast) -> None:
    second = Workspace.objects.create(name="second", display_name="A second one", cluster=Workspace.objects.get(name="research").cluster)
    Membership.objects.create(workspace=second, user=cast.owner, role="viewer")

    def framed() -> str:
        return str(client.get(reverse("tokens")).context["request"].workspace.name)

    assert framed() == "second"
    client.get(reverse("sessions:list", args=["research"]))
    assert framed() == "research"
    assert client.get(reverse("home"))["Location"] == reverse("sessions:list", args=["research"])
    Membership.objects.filter(user=cast.owner).delete()
    assert "Switch workspace" not in client.get(reverse("tokens")).content.decode()


def test_a_page_of_tokens_costs_the_same_however_many(client: Client, cast: Cast, django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        tokens.create_token(cast.owner, name=f"t{number}", scopes=["read"], workspaces=["research"])
    with django_assert_max_num_queries(9):
        client.get(reverse("tokens"))
