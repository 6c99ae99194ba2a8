"""Pause, resume, delete and open from the pages: POST only, refusals as messages, and htmx as a comfort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages

from compute.errors import Problem, Refused
from sessions import services
from sessions.models import Desired, Phase, Session
from sessions.spec import DataVolumeInput, HomeInput
from storage.models import Volume
from tests.conftest import Cast

HTMX = {"HX-Request": "true"}
LIST = "/w/research/sessions/"


@pytest.fixture
def session(launch: Callable[..., Session], home: Volume) -> Session:
    """A running session of the owner, on a home volume of its own."""
    session = launch(home=HomeInput(volume=home.name))
    Session.objects.filter(pk=session.pk).update(phase=Phase.RUNNING, status_generation=1, applied_generation=1)
    session.refresh_from_db()
    return session


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def test_pause_and_resume_lead_back_to_the_page(cast: Cast, session: Session) -> None:
    client, url = cast.client("owner"), session.get_absolute_url()
    response = client.post(f"{url}pause/")
    session.refresh_from_db()
    assert (response.status_code, response["Location"], session.desired) == (302, url, Desired.PAUSED)
    client.post(f"{url}resume/")
    session.refresh_from_db()
    assert session.desired == Desired.RUNNING


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        (f"{LIST}?phase=Running&before=1.2", f"{LIST}?phase=Running&before=1.2"),
        ("https://evil.example/", None),
        ("//evil.example/", None),
        ("javascript:alert(1)", None),
        ("", None),
    ],
)
def test_actions_go_back_to_where_the_button_was_and_never_elsewhere(cast: Cast, session: Session, back: str, expected: str | None) -> None:
    response = cast.client("owner").post(f"{session.get_absolute_url()}pause/", {"next": back})
    assert response["Location"] == (expected or session.get_absolute_url())


def test_htmx_follows_to_the_fragment_of_the_page_it_came_from(cast: Cast, session: Session) -> None:
    client, url = cast.client("owner"), session.get_absolute_url()
    on_detail = client.post(f"{url}pause/", headers=HTMX | {"HX-Target": "live"}, follow=True).content.decode()
    assert 'id="live"' in on_detail
    assert "Asked to pause." in on_detail
    assert "<html" not in on_detail
    on_list = client.post(f"{url}resume/", {"next": LIST}, headers=HTMX | {"HX-Target": "results"}, follow=True).content.decode()
    assert on_list.lstrip().startswith('<div id="results">')
    assert "Asked to start." in on_list


@pytest.mark.parametrize("verb", ["open", "pause", "resume"])
def test_a_get_does_nothing(cast: Cast, session: Session, verb: str) -> None:
    assert cast.client("owner").get(f"{session.get_absolute_url()}{verb}/").status_code == 405
    session.refresh_from_db()
    assert session.generation == 1


@pytest.mark.parametrize("verb", ["open", "pause", "resume", "delete"])
def test_who_may_look_but_not_do_is_told_so(cast: Cast, session: Session, verb: str) -> None:
    for who, status in (("viewer", 403), ("colleague", 403), ("outsider", 404)):
        assert cast.client(who).post(f"{session.get_absolute_url()}{verb}/").status_code == status
    session.refresh_from_db()
    assert session.generation == 1


def test_admins_manage_but_do_not_open(cast: Cast, session: Session) -> None:
    client, url = cast.client("admin"), session.get_absolute_url()
    assert client.post(f"{url}open/").status_code == 403
    assert client.post(f"{url}pause/").status_code == 302
    session.refresh_from_db()
    assert session.desired == Desired.PAUSED


def test_what_a_service_refuses_is_said_on_the_page_it_came_from(cast: Cast, session: Session, launch: Any, home: Volume) -> None:
    client, url = cast.client("owner"), session.get_absolute_url()
    client.post(f"{url}pause/")
    Session.objects.filter(pk=session.pk).update(phase=Phase.PAUSED, status_generation=2)
    launch(name="thief", home=HomeInput(volume=home.name))
    text = client.post(f"{url}resume/", {"next": LIST}, follow=True).content.decode()
    assert "is in use by the session “thief”" in text
    text = client.post(f"{url}resume/", headers=HTMX | {"HX-Target": "live"}, follow=True).content.decode()
    assert 'id="messages" hx-swap-oob="beforeend"' in text
    assert "is in use by the session “thief”" in text


def test_open_redirects_to_the_sessions_own_origin(cast: Cast, session: Session) -> None:
    response = cast.client("owner").post(f"{session.get_absolute_url()}open/")
    assert response.status_code == 302
    assert response["Location"].startswith(f"http://{session.host}.apps.localhost:8000/")


def test_open_of_a_session_that_does_not_run_explains(cast: Cast, session: Session) -> None:
    Session.objects.filter(pk=session.pk).update(phase=Phase.PENDING, message="Building the image.")
    response = cast.client("owner").post(f"{session.get_absolute_url()}open/", follow=True)
    assert response.redirect_chain == [(session.get_absolute_url(), 302)]
    assert "not running: Building the image." in response.content.decode()


# Delete


def test_delete_asks_once_more_and_ticks_nothing(cast: Cast, session: Session) -> None:
    text = cast.client("owner").get(f"{session.get_absolute_url()}delete/").content.decode()
    assert '<input type="checkbox" name="volumes" value="home-owner">' in text
    assert "restored for 14 days" in text
    session.refresh_from_db()
    assert session.desired == Desired.RUNNING


def test_delete_keeps_volumes_that_are_not_ticked(cast: Cast, session: Session, home: Volume) -> None:
    response = cast.client("owner").post(f"{session.get_absolute_url()}delete/")
    session.refresh_from_db()
    home.refresh_from_db()
    assert (session.desired, home.trashed_at) == (Desired.DELETED, None)
    assert response["Location"] == LIST
    assert "Its volumes stay." in said(response)


def test_delete_puts_ticked_volumes_into_the_trash(cast: Cast, session: Session, home: Volume) -> None:
    response = cast.client("owner").post(f"{session.get_absolute_url()}delete/", {"volumes": [home.name]})
    home.refresh_from_db()
    assert home.trashed_at is not None
    assert "In the trash for 14 days: home-owner." in said(response)


def test_volumes_that_others_use_or_own_can_not_be_ticked(cast: Cast, launch: Any, shared_data: Volume) -> None:
    theirs = launch(cast.colleague, name="theirs", data_volumes=(DataVolumeInput("sales", "/data/sales"),))
    mine = launch(data_volumes=(DataVolumeInput("sales", "/data/sales"),))
    client = cast.client("owner")
    text = client.get(f"{mine.get_absolute_url()}delete/").content.decode()
    assert '<input type="checkbox" name="volumes" value="sales" disabled>' in text
    assert "The session “theirs” uses it as well." in text
    theirs.delete()
    text = client.get(f"{mine.get_absolute_url()}delete/").content.decode()
    assert '<input type="checkbox" name="volumes" value="sales" disabled>' in text
    assert "Only the owner and admins of Research can delete this volume." in text
    text = cast.client("admin").get(f"{mine.get_absolute_url()}delete/").content.decode()
    assert '<input type="checkbox" name="volumes" value="sales">' in text


def test_a_refused_delete_changes_nothing_and_keeps_the_ticks(cast: Cast, session: Session, home: Volume, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> None:
        raise Refused(Problem("volumes", "volume_in_use", "“home-owner” belongs to “late”. Delete the session first."))

    monkeypatch.setattr(services, "delete", refuse)
    response = cast.client("owner").post(f"{session.get_absolute_url()}delete/", {"volumes": [home.name]})
    assert response.status_code == 200
    assert "belongs to “late”" in response.content.decode()
    assert 'value="home-owner" checked' in response.content.decode()


@pytest.mark.parametrize("who", ["viewer", "colleague"])
def test_who_may_not_delete_is_not_asked(cast: Cast, session: Session, who: str) -> None:
    response = cast.client(who).get(f"{session.get_absolute_url()}delete/")
    assert response["Location"] == session.get_absolute_url()
    assert "Only the owner and admins of Research can delete “forecast”." in said(response)


def test_a_session_that_is_being_deleted_is_not_asked_about_again(cast: Cast, session: Session) -> None:
    client = cast.client("owner")
    client.post(f"{session.get_absolute_url()}delete/")
    assert client.get(f"{session.get_absolute_url()}delete/")["Location"] == session.get_absolute_url()


def test_the_delete_page_costs_at_most_twelve_queries(cast: Cast, session: Session, django_assert_max_num_queries: Any) -> None:
    client = cast.client("owner")
    client.get(LIST)
    with django_assert_max_num_queries(12):
        client.get(f"{session.get_absolute_url()}delete/")
