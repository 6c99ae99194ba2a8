"""A session's log and events: who may read which, of which run, and what is said when the cluster has nothing or is away."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from compute.clusters.base import ClusterError, Event
from compute.models import Membership, Role
from sessions.models import Phase, Session
from tests.conftest import Cast
from tests.fakes import FakeDriver

HTMX = {"HX-Request": "true"}
AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HIDDEN = "Only the owner and admins of Research can read a session’s log"


@pytest.fixture
def session(launch: Callable[..., Session]) -> Session:
    session = launch()
    Session.objects.update(phase=Phase.RUNNING, status_generation=session.generation, log_tail="kept-line")
    session.refresh_from_db()
    return session


def get(client: Client, session: Session, page: str, **headers: str) -> str:
    response = client.get(f"{session.get_absolute_url()}{page}", headers=headers or None)
    assert response.status_code == 200
    return response.content.decode()


def event(number: int, kind: str = "Normal", message: str = "") -> Event:
    return Event(AT + timedelta(seconds=number), kind, f"Reason{number}", message or f"Message {number}.")


# Who may read the log


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_the_owner_and_admins_read_the_log(cast: Cast, session: Session, who: str) -> None:
    assert "a line of the log" in get(cast.client(who), session, "logs/")
    assert f'hx-get="{session.get_absolute_url()}logs/"' in get(cast.client(who), session, "")


@pytest.mark.parametrize("who", ["colleague", "viewer"])
def test_others_get_a_sentence_and_the_cluster_is_not_even_asked(cast: Cast, session: Session, driver: FakeDriver, who: str) -> None:
    driver.error = AssertionError("was asked")
    for page in ("logs/", "logs/?run=previous", "logs/?follow=1"):
        for headers in ({}, HTMX):
            text = get(cast.client(who), session, page, **headers)
            assert HIDDEN in text
            assert "kept-line" not in text
            assert 'hx-trigger="every' not in text
    assert HIDDEN in get(cast.client(who), session, "")


@pytest.mark.parametrize("who", ["colleague", "viewer"])
def test_a_failure_shows_its_reason_to_all_and_its_log_to_few(cast: Cast, session: Session, who: str) -> None:
    Session.objects.update(phase=Phase.FAILED, reason="CrashLoop", message="It ended with 1.")
    text = get(cast.client(who), session, "")
    assert "It ended with 1." in text
    assert "kept-line" not in text
    assert "kept-line" in get(cast.client("owner"), session, "")


def test_an_owner_who_became_a_viewer_reads_no_log(cast: Cast, session: Session) -> None:
    Membership.objects.filter(user=cast.owner).update(role=Role.VIEWER)
    assert HIDDEN in get(cast.client("owner"), session, "logs/")


# The run before


def test_the_previous_run_is_offered_where_there_is_one(cast: Cast, session: Session, driver: FakeDriver) -> None:
    client, driver.previous_log = cast.client("owner"), "Killed\n"
    assert "run=previous" not in get(client, session, "logs/")
    Session.objects.update(restarts=2)
    for page in ("logs/", "events/"):
        assert f'href="{session.get_absolute_url()}logs/?run=previous"' in get(client, session, page, **HTMX)
        assert "run=previous" not in get(cast.client("viewer"), session, page)
    text = get(client, session, "logs/?run=previous")
    assert ">Killed</pre>" in text
    assert "a line of the log" not in text
    driver.previous_log = ""
    assert "The cluster keeps no log of an earlier run." in get(client, session, "logs/?run=previous")


def test_a_log_is_one_question_also_after_a_restart(
    cast: Cast, session: Session, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(driver, "logs", lambda *_, previous, **__: asked.append(previous) or "line\n")
    Session.objects.update(restarts=2)
    client = cast.client("owner")
    get(client, session, "logs/")
    get(client, session, "logs/?run=previous")
    get(client, session, "events/")
    assert asked == [False, True]


def test_a_previous_run_is_not_followed(cast: Cast, session: Session, driver: FakeDriver) -> None:
    driver.previous_log = "Killed\n"
    assert 'hx-trigger="every' not in get(cast.client("owner"), session, "logs/?run=previous&follow=1", **HTMX)


def test_a_cluster_that_is_away_does_not_pass_the_kept_lines_off_as_the_previous_runs(
    cast: Cast, session: Session, driver: FakeDriver
) -> None:
    driver.error = ClusterError("Unreachable", "Connection refused.")
    text = get(cast.client("owner"), session, "logs/?run=previous")
    assert "can&#x27;t be read now: Connection refused." in text
    assert "kept-line" not in text


# Events


@pytest.mark.parametrize("who", ["owner", "colleague", "viewer", "admin"])
def test_members_see_events_newest_first_and_outsiders_do_not(cast: Cast, session: Session, driver: FakeDriver, who: str) -> None:
    driver.told_events = [event(1), event(2, "Warning", "0/3 nodes have <b>GPUs</b> free.")]
    text = get(cast.client(who), session, "events/")
    assert text.index("0/3 nodes have &lt;b&gt;GPUs&lt;/b&gt; free.") < text.index("Message 1.")
    assert text.count('class="timeline-warning"') == 1
    assert "<!doctype html>" in text
    assert get(cast.client(who), session, "events/", **HTMX).lstrip().startswith('<div class="card-body" id="log"')
    assert cast.client("outsider").get(f"{session.get_absolute_url()}events/").status_code == 404


def test_the_page_of_a_session_leads_to_its_events_without_javascript(cast: Cast, session: Session) -> None:
    assert f'href="{session.get_absolute_url()}events/"' in get(cast.client("viewer"), session, "")


def test_only_the_last_hundred_events_are_shown(cast: Cast, session: Session, driver: FakeDriver) -> None:
    driver.told_events = [event(number) for number in range(130)]
    text = get(cast.client("owner"), session, "events/")
    assert "The last 100 of 130 events." in text
    assert ("Message 129." in text, "Message 30." in text, "Message 29." in text) == (True, True, False)


def test_events_hold_no_token_of_the_ide(cast: Cast, session: Session, driver: FakeDriver) -> None:
    driver.told_events = [event(1, "Warning", f"GET /?token={session.ide_token} answered 500.")]
    assert session.ide_token not in get(cast.client("owner"), session, "events/")


def test_no_events_and_a_cluster_that_is_away_are_sentences(cast: Cast, session: Session, driver: FakeDriver) -> None:
    assert "The cluster tells of no events." in get(cast.client("owner"), session, "events/")
    driver.error = ClusterError("Unreachable", "Connection refused.")
    assert "The events can&#x27;t be read now: Connection refused." in get(cast.client("owner"), session, "events/")


def test_events_are_looked_at_again_while_the_session_moves_and_quiet_without_news(
    cast: Cast, session: Session, driver: FakeDriver
) -> None:
    client, driver.told_events = cast.client("owner"), [event(1)]
    assert 'hx-trigger="every' not in get(client, session, "events/")
    Session.objects.update(phase=Phase.PENDING)
    found = re.search(r'id="log" hx-get="([^"]+)" hx-trigger="every 3s', get(client, session, "events/"))
    assert found is not None
    assert client.get(found.group(1), headers=HTMX).status_code == 204
    driver.told_events.append(event(2))
    assert "Message 2." in client.get(found.group(1), headers=HTMX).content.decode()


@pytest.mark.parametrize("page", ["logs/", "events/"])
def test_what_is_asked_again_and_again_is_cheap(
    cast: Cast, session: Session, driver: FakeDriver, page: str, django_assert_max_num_queries: Any
) -> None:
    client, driver.told_events = cast.client("owner"), [event(number) for number in range(100)]
    get(client, session, page)
    with django_assert_max_num_queries(4):
        get(client, session, page, **HTMX)
