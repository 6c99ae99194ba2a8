"""Everybody's API tokens in the admin: found, revoked, never made or shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compute import tokens
from compute.models import ApiToken, Scope, Workspace
from tests.admin_pages import curator, said
from tests.conftest import Cast

LIST = "/admin/compute/apitoken/"


@pytest.fixture
def laptop(cast: Cast, workspace: Workspace) -> tokens.NewToken:
    return tokens.create_token(cast.owner, name="laptop", scopes=[Scope.READ, Scope.SESSIONS], workspaces=[workspace.name])


def text(response: Any) -> str:
    return str(response.content.decode())


def test_tokens_are_found_and_never_made_or_shown(cast: Cast, laptop: tokens.NewToken) -> None:
    tokens.create_token(cast.colleague, name="ci", scopes=[Scope.READ])
    admin = curator()
    page = text(admin.get(LIST))
    for words in ("laptop", "ci", f"slw_{laptop.row.public_id}_…", "read, sessions", "research", "all of the user’s", "Working"):
        assert words in page
    one = text(admin.get(reverse("admin:compute_apitoken_change", args=[laptop.row.pk])))
    for shown in (page, one):
        assert laptop.row.secret_hash not in shown
        assert laptop.plain.rpartition("_")[2] not in shown
    assert "ci</a>" not in text(admin.get(LIST, {"q": laptop.row.public_id}))
    assert "laptop</a>" not in text(admin.get(LIST, {"q": "colleague"}))
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(reverse("admin:compute_apitoken_delete", args=[laptop.row.pk])).status_code == 403


def test_a_revoked_token_lets_nobody_in_and_it_is_recorded_who_did_it(laptop: tokens.NewToken) -> None:
    admin = curator()
    answer = admin.post(LIST, {"action": "revoke_selected", "_selected_action": [laptop.row.pk]}, follow=True)
    assert said(answer) == ["1 revoked: laptop"]
    with pytest.raises(tokens.TokenRejected, match="revoked"):
        tokens.authenticate(laptop.plain)
    assert LogEntry.objects.get().user.get_username() == "curator"
    assert "laptop</a>" in text(admin.get(LIST, {"state": "revoked"}))
    assert "laptop</a>" not in text(admin.get(LIST, {"state": "working"}))
    ApiToken.objects.update(revoked_at=None, expires_at=timezone.now() - timedelta(days=1))
    assert "laptop</a>" in text(admin.get(LIST, {"state": "expired"}))


def test_who_may_only_look_cannot_revoke(laptop: tokens.NewToken) -> None:
    reader = get_user_model().objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_apitoken"))
    client = Client()
    client.force_login(reader)
    assert "revoke_selected" not in text(client.get(LIST))
    client.post(LIST, {"action": "revoke_selected", "_selected_action": [laptop.row.pk]})
    assert ApiToken.objects.get().revoked_at is None


def test_a_page_of_tokens_costs_a_fixed_number_of_queries(cast: Cast, workspace: Workspace, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        tokens.create_token(cast.owner, name=f"t{number}", scopes=[Scope.READ], workspaces=[workspace.name])
    admin = curator()
    with django_assert_max_num_queries(7):
        assert admin.get(LIST).status_code == 200
