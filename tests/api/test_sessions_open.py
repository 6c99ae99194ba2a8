"""Opening a session with a token: the way in is the token's, and ends with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from compute import tokens
from compute.models import ApiToken, Membership, Role, Workspace
from presets.models import Preset
from sessions import gateway, services
from sessions.gateway import Verdict, Visit
from sessions.models import Phase, Session
from sessions.spec import HomeInput, SpecInput
from tests.api.conftest import Api, Tokened
from tests.conftest import Cast

PATH = "workspaces/research/sessions/lab/open"


@pytest.fixture
def session(cast: Cast, workspace: Workspace, preset: Preset) -> Session:
    spec = SpecInput("lab", "jupyterlab", "minimal", "small", home=HomeInput(create_size="5Gi"))
    session = services.launch(cast.owner, workspace, spec)
    Session.objects.update(phase=Phase.RUNNING, endpoint="unix:/run/lab.sock")
    session.refresh_from_db()
    return session


def enter(session: Session, client: Api) -> str:
    """The gateway's cookie, from the address that the API gives."""
    opened = client.post(PATH)
    assert opened.status == 200, opened.data
    assert opened["Cache-Control"] == "no-store"
    address = urlsplit(opened.data["url"])
    assert address.netloc == f"{session.host}.apps.localhost:8000"
    entry = gateway.redeem(session.host, parse_qs(address.query)["ticket"][0])
    assert entry
    return f"slipway_gateway={entry.cookie}"


def verdict(session: Session, cookie: str) -> Verdict:
    return gateway.authorize(Visit(session.host, cookie)).verdict


def test_what_a_token_opened_lets_in_with_one_query(session: Session, api: Tokened, django_assert_num_queries: Any) -> None:
    cookie = enter(session, api("owner"))
    with django_assert_num_queries(1):
        assert verdict(session, cookie) == Verdict.ALLOWED
    grant = session.grants.get()
    assert gateway.live_endpoints([grant.pk]) == {grant.pk: "unix:/run/lab.sock"}


def test_a_revoked_token_closes_what_it_opened_and_nothing_else(session: Session, api: Tokened, cast: Cast) -> None:
    first, second = enter(session, api("owner")), enter(session, api("owner"))
    tokens.revoke_token(cast.owner, ApiToken.objects.get(name="token-1"))
    assert (verdict(session, first), verdict(session, second)) == (Verdict.UNKNOWN, Verdict.ALLOWED)
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert verdict(session, second) == Verdict.UNKNOWN


@pytest.mark.parametrize("end", ["deleted", "viewer", "inactive"])
def test_the_access_ends_with_what_it_stands_on(session: Session, api: Tokened, cast: Cast, end: str) -> None:
    cookie = enter(session, api("owner"))
    if end == "deleted":
        ApiToken.objects.all().delete()
    elif end == "viewer":
        Membership.objects.filter(user=cast.owner).update(role=Role.VIEWER)
    else:
        cast.owner.is_active = False
        cast.owner.save()
    assert verdict(session, cookie) == Verdict.UNKNOWN


def test_another_persons_token_of_the_same_id_is_none(session: Session, api: Tokened, cast: Cast) -> None:
    cookie = enter(session, api("owner"))
    ApiToken.objects.update(user=cast.colleague)
    assert verdict(session, cookie) == Verdict.UNKNOWN


def test_a_browser_opens_with_its_own_sign_in(session: Session, browser: Any) -> None:
    client = browser("owner")
    cookie = enter(session, client)
    assert verdict(session, cookie) == Verdict.ALLOWED
    client.client.logout()
    assert verdict(session, cookie) == Verdict.UNKNOWN


def test_what_does_not_run_cannot_be_opened(session: Session, api: Tokened) -> None:
    Session.objects.update(phase=Phase.PAUSED)
    refused = api("owner").post(PATH)
    assert (refused.status, refused.fields) == (422, [("", "not_running")])
