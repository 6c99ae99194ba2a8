"""Tokens: who makes them, what they open, and when that ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from compute import tokens
from compute.errors import Refused
from compute.models import ApiToken, Membership, Scope, Workspace
from tests.api.conftest import Api, Tokened
from tests.conftest import Cast

Browser = Callable[[str], Api]


def test_a_token_is_shown_once_and_stored_hashed(browser: Browser, cast: Cast) -> None:
    made = browser("owner").post("tokens", {"name": "ci", "scopes": ["sessions", "read"], "workspaces": ["research"]})
    assert made.status == 201, made.data
    plain = made.data["token"]
    assert plain.startswith(f"slw_{made.data['id']}_")
    assert made.data["scopes"] == ["read", "sessions"]
    assert made["Location"].endswith(f"/api/v1/tokens/{made.data['id']}")
    secret = plain.rpartition("_")[2]
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM compute_apitoken")
        assert secret not in str(cursor.fetchall())
    shown = Api({"Authorization": f"Bearer {plain}"}).get(f"tokens/{made.data['id']}")
    assert shown.status == 200
    assert "token" not in shown.data


def test_me_tells_who_and_with_what(api: Tokened, browser: Browser) -> None:
    mine = api("owner", Scope.READ).get("me").data
    assert (mine["username"], mine["token"]["scopes"]) == ("owner", ["read"])
    assert mine["workspaces"] == [{"name": "research", "display_name": "Research", "role": "member"}]
    assert browser("owner").get("me").data["token"] is None


def test_each_way_of_not_being_let_in_has_its_code(api: Tokened, cast: Cast) -> None:
    client = api("owner")
    token = ApiToken.objects.get()
    assert Api().get("me").code == "not_authenticated"
    assert Api().get("me")["WWW-Authenticate"] == 'Bearer realm="slipway"'
    for wrong in ("slw_x_y", "nonsense", f"slw_{token.public_id}_", f"slw_{token.public_id}_{'a' * 43}", "slw_\u00e9_x", ""):
        assert Api({"Authorization": f"Bearer {wrong}"}).get("me").code == "token_invalid", wrong
    ApiToken.objects.update(expires_at=timezone.now())
    assert client.get("me").code == "token_expired"
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=1))
    assert client.get("me").status == 200
    tokens.revoke_token(cast.colleague, token)
    assert client.get("me").status == 200
    tokens.revoke_token(cast.owner, token)
    assert client.get("me").code == "token_revoked"
    ApiToken.objects.update(revoked_at=None)
    cast.owner.is_active = False
    cast.owner.save()
    assert client.get("me").code == "token_invalid"


def test_a_token_neither_makes_nor_revokes_tokens(api: Tokened) -> None:
    client = api("admin")
    assert client.post("tokens", {"name": "more", "scopes": ["read"]}).code == "browser_only"
    assert client.delete(f"tokens/{ApiToken.objects.get().public_id}").code == "browser_only"
    assert ApiToken.objects.kept().count() == 1


def test_people_see_and_revoke_their_own_tokens_only(api: Tokened, browser: Browser) -> None:
    client = api("owner")
    path = f"tokens/{ApiToken.objects.get().public_id}"
    assert browser("colleague").get("tokens").data["items"] == []
    assert browser("colleague").get(path).status == 404
    assert browser("colleague").delete(path).status == 404
    assert browser("owner").delete(path).status == 204
    assert browser("owner").get(path).status == 404
    assert client.get("me").code == "token_revoked"


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"name": ""}, [("name", "required")]),
        ({"name": "x" * 101}, [("name", "name_too_long")]),
        ({"name": "taken"}, [("name", "name_taken")]),
        ({"scopes": []}, [("scopes", "required")]),
        ({"scopes": ["read", "root"]}, [("scopes", "scope_unknown")]),
        ({"workspaces": []}, [("workspaces", "required")]),
        ({"workspaces": ["research", "other"]}, [("workspaces.1", "workspace_unknown")]),
        ({"expires_at": "2020-01-01T00:00:00Z"}, [("expires_at", "expiry_past")]),
        ({"expires_at": "2999-01-01T00:00:00Z"}, [("expires_at", "expiry_too_late")]),
    ],
)
def test_what_a_token_cannot_be(browser: Browser, change: dict[str, Any], errors: list[tuple[str, str]]) -> None:
    client = browser("owner")
    assert client.post("tokens", {"name": "taken", "scopes": ["read"]}).status == 201
    refused = client.post("tokens", {"name": "new", "scopes": ["read"], **change})
    assert (refused.status, refused.code, refused.fields) == (422, "refused", errors)
    assert ApiToken.objects.count() == 1


def test_a_limited_token_reaches_its_workspaces_and_none_when_they_are_gone(api: Tokened, cast: Cast, workspace: Workspace) -> None:
    second = Workspace.objects.create(name="second", display_name="Second", cluster=workspace.cluster, namespace="second")
    Membership.objects.create(workspace=second, user=cast.owner)
    everywhere, limited = api("owner"), api("owner", workspaces=["second"])
    assert [item["name"] for item in everywhere.get("workspaces").data["items"]] == ["research", "second"]
    assert [item["name"] for item in limited.get("workspaces").data["items"]] == ["second"]
    assert [item["name"] for item in limited.get("me").data["workspaces"]] == ["second"]
    assert (limited.get("workspaces/second").status, limited.get("workspaces/research").status) == (200, 404)
    second.delete()
    assert limited.get("workspaces").data["items"] == []
    assert limited.get("workspaces/research").status == 404


def test_leaving_a_workspace_ends_what_a_token_reaches_there(api: Tokened, cast: Cast) -> None:
    client = api("owner")
    Membership.objects.filter(user=cast.owner).delete()
    assert client.get("workspaces/research").status == 404


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the clock to so many seconds after the beginning of the next minute, and stop it."""
    minute = timezone.now().replace(second=0, microsecond=0) + timedelta(minutes=1)

    def at(seconds: int) -> None:
        monkeypatch.setattr("django.utils.timezone.now", lambda: minute + timedelta(seconds=seconds))

    return at


def test_a_request_of_the_last_minute_does_not_give_the_new_one_back(api: Tokened, settings: Any, at: Callable[[int], None]) -> None:
    settings.SLIPWAY_API_RATE = 2
    client = api("owner")
    statuses = []
    for seconds in (0, -1, 1, -1, 60):
        at(seconds)
        statuses.append(client.get("me").status)
    assert statuses == [200, 200, 429, 429, 200]
    at(-7200)  # nor does a clock that was ahead hold anybody up for long
    assert client.get("me").status == 200


def test_requests_are_counted_per_token_and_minute(api: Tokened, settings: Any, at: Callable[[int], None]) -> None:
    settings.SLIPWAY_API_RATE = 3
    at(1)
    client, other = api("owner"), api("owner")
    left = [client.get("me")["RateLimit-Remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    over = client.get("me")
    assert (over.status, over.code, over["RateLimit-Remaining"]) == (429, "rate_limited", "0")
    assert 1 <= int(over["Retry-After"]) <= 60
    assert other.get("me").status == 200
    ApiToken.objects.update(window=timezone.now() - timedelta(minutes=1))
    assert client.get("me")["RateLimit-Remaining"] == "2"
    assert ApiToken.objects.filter(last_used_at__isnull=False).count() == 2


def test_what_is_refused_for_its_scope_counts_too(api: Tokened, settings: Any, at: Callable[[int], None]) -> None:
    settings.SLIPWAY_API_RATE = 2
    at(1)
    client = api("owner")
    assert [client.post("tokens", {}).status for _ in range(3)] == [403, 403, 429]


def test_a_browser_needs_its_csrf_token(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(cast.owner)
    refused = Api(client=client).post("tokens", {"name": "ci", "scopes": ["read"]})
    assert (refused.status, refused.code) == (403, "csrf_failed")
    assert not ApiToken.objects.exists()


def test_a_token_is_in_no_log(api: Tokened, caplog: pytest.LogCaptureFixture) -> None:
    client = api("owner")
    with caplog.at_level(logging.DEBUG):
        client.get("me")
        client.post("tokens", b"{")
        Api({"Authorization": "Bearer slw_abc_canary-token"}).get("me")
    secret = client.headers["Authorization"].rpartition("_")[2]
    assert secret not in caplog.text
    assert "canary-token" not in caplog.text


def test_there_is_an_end_to_tokens(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 1)
    tokens.create_token(cast.owner, name="one", scopes=["read"])
    with pytest.raises(Refused) as refused:
        tokens.create_token(cast.owner, name="two", scopes=["read"])
    assert [problem.code for problem in refused.value.problems] == ["tokens_too_many"]


def test_tokens_that_are_long_gone_are_purged(cast: Cast) -> None:
    for name in ("kept", "revoked", "expired"):
        tokens.create_token(cast.owner, name=name, scopes=["read"])
    long_ago = timezone.now() - timedelta(days=91)
    ApiToken.objects.filter(name="revoked").update(revoked_at=long_ago)
    ApiToken.objects.filter(name="expired").update(expires_at=long_ago)
    assert tokens.purge_old() == 2
    assert ApiToken.objects.get().name == "kept"


def test_models_and_migrations_agree(db: None) -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
