"""Home, sign-in, sign-out, health."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from sessions import heartbeat
from sessions.models import Heartbeat
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


def test_home_wants_a_sign_in(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/sign-in/?next=/"


def test_home_leads_to_the_workspace_that_was_last_looked_at(cast: Cast) -> None:
    client = cast.client("owner")
    assert client.get("/").headers["Location"] == "/w/research/sessions/"
    session = client.session
    session["workspace"] = "gone"
    session.save()
    assert client.get("/").headers["Location"] == "/w/research/sessions/"


def test_home_without_a_workspace_says_whom_to_ask(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("newcomer"))
    response = client.get("/")
    assert response.status_code == 200
    assert "ask an admin" in response.content.decode()


def test_signing_in_leads_on(client: Client, cast: Cast) -> None:
    response = client.post("/sign-in/?next=/w/research/volumes/", {"username": "owner", "password": "correct-horse"})
    assert response.headers["Location"] == "/w/research/volumes/"


def test_signing_in_never_leads_elsewhere(client: Client, cast: Cast) -> None:
    response = client.post("/sign-in/?next=https://evil.example.com/", {"username": "owner", "password": "correct-horse"})
    assert response.headers["Location"] == "/"


def test_too_many_wrong_passwords_lock_the_account_for_a_while(client: Client, cast: Cast, settings: Any) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT):
        client.post("/sign-in/", {"username": "owner", "password": "wrong"})
    response = client.post("/sign-in/", {"username": "owner", "password": "correct-horse"})
    assert response.status_code == 429


def test_signing_out_takes_a_post(cast: Cast) -> None:
    client = cast.client("owner")
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert client.get("/").status_code == 302


@pytest.mark.parametrize(("demo", "shown"), [(True, True), (False, False)])
def test_only_the_demo_shows_its_accounts(client: Client, settings: Any, demo: bool, shown: bool) -> None:
    settings.SLIPWAY_DEMO = demo
    assert ("slipway-demo" in client.get("/sign-in/").content.decode()) is shown


def test_health_tells_when_each_part_last_worked(client: Client) -> None:
    Heartbeat.objects.create(name="worker", at=timezone.now())
    answer = client.get("/healthz").json()
    assert answer["ok"]
    assert 0 <= answer["seconds_since"]["worker"] < 5


def test_health_is_bad_without_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise OperationalError

    monkeypatch.setattr(heartbeat, "ages", unreachable)
    assert client.get("/healthz").status_code == 503


def test_a_beat_in_the_queue_is_done_when_its_row_is_gone() -> None:
    row = heartbeat.queue_beat()
    assert not heartbeat.is_done(row)
    assert heartbeat.ahead_of(row) == 0
    heartbeat.forget(row)
    assert heartbeat.is_done(row)
