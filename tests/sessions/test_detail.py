"""The page of one session: what it says in each phase, what lives on it, its log, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from compute.clusters.base import ClusterError
from presets.models import Configuration, ConfigurationVariable, Image
from sessions.detail import duration
from sessions.logs import readable
from sessions.models import Activity, Desired, Phase, Session
from sessions.spec import EnvInput
from sessions.status import STEP_LABELS
from storage.models import Secret
from tests.conftest import Cast
from tests.fakes import FakeDriver

HTMX = {"HX-Request": "true"}


@pytest.fixture
def session(launch: Callable[..., Session]) -> Session:
    """A running session, as the controller would have left it."""
    session = launch(env=(EnvInput("API_TOKEN", "s3cr3t-value"),))
    return settle(session, phase=Phase.RUNNING, message="Ready to open.", running_since=timezone.now())


def settle(session: Session, **fields: Any) -> Session:
    """Set what tasks and the controller write."""
    session.refresh_from_db()
    values = {"status_generation": session.generation, "applied_generation": session.generation, **fields}
    Session.objects.filter(pk=session.pk).update(**values)
    session.refresh_from_db()
    return session


def page(client: Client, session: Session, query: str = "") -> str:
    response = client.get(session.get_absolute_url() + query)
    assert response.status_code == 200
    return response.content.decode()


def poll(client: Client, session: Session, every: str = "1s") -> str | None:
    """Where the page asks for what is new; None when it does not (as often)."""
    found = re.search(rf'id="live" hx-get="([^"]+)" hx-trigger="every {every}"', page(client, session))
    return found.group(1) if found else None


def steps(*states: str) -> list[dict[str, Any]]:
    at = timezone.now() - timedelta(seconds=75)
    return [
        {
            "step": str(step),
            "label": label,
            "state": state,
            "started_at": None if state == "waiting" else at.isoformat(),
            "finished_at": (at + timedelta(seconds=12)).isoformat() if state in ("done", "failed") else None,
            "message": "Installing packages." if state == "active" else "",
        }
        for (step, label), state in zip(STEP_LABELS.items(), states, strict=True)
    ]


@pytest.mark.parametrize("who", ["owner", "colleague", "viewer", "admin"])
def test_members_see_a_session_and_outsiders_do_not(cast: Cast, session: Session, who: str) -> None:
    assert session.name in page(cast.client(who), session)
    assert cast.client("outsider").get(session.get_absolute_url()).status_code == 404
    assert cast.client("outsider").get(f"/w/other/sessions/{session.host}/").status_code == 404
    assert cast.client("outsider").get(f"/w/other/sessions/{session.host}/logs/").status_code == 404


@pytest.mark.parametrize(
    ("who", "shown"),
    [("owner", {"open", "pause", "delete"}), ("admin", {"pause", "delete"}), ("colleague", set()), ("viewer", set())],
)
def test_only_what_one_may_do_is_offered(cast: Cast, session: Session, who: str, shown: set[str]) -> None:
    text = page(cast.client(who), session)
    assert {verb for verb in ("open", "pause", "resume", "delete") if f"/{session.host}/{verb}/" in text} == shown


def test_open_is_a_form_into_a_new_tab_that_knows_nothing_of_this_one(cast: Cast, session: Session) -> None:
    form = f'<form method="post" action="{session.get_absolute_url()}open/" target="_blank" rel="noopener">'
    assert form in page(cast.client("owner"), session)


def test_the_spec_is_shown_with_names_of_variables_and_never_a_value(cast: Cast, launch: Any, workspace: Any) -> None:
    Secret.objects.create(bundle=workspace.secrets_bundle, name="WAREHOUSE_PASSWORD", value="hunter2-value")
    proxy = Configuration.objects.create(slug="proxy", name="Company proxy")
    ConfigurationVariable.objects.create(configuration=proxy, name="HTTPS_PROXY", value="http://proxy-value")
    session = launch(env=(EnvInput("API_TOKEN", "s3cr3t-value"),), configurations=("proxy",))
    text = page(cast.client("owner"), session)
    for shown in ("API_TOKEN", "WAREHOUSE_PASSWORD", "HTTPS_PROXY", "Company proxy", "local:jupyterlab", "home-forecast", "/home/jovyan"):
        assert shown in text
    for hidden in ("s3cr3t-value", "hunter2-value", "proxy-value", session.ide_token):
        assert hidden not in text


def test_the_cost_so_far_counts_from_when_it_started_running(cast: Cast, session: Session) -> None:
    settle(session, price_per_hour=Decimal("0.5"), running_since=timezone.now() - timedelta(hours=3))
    assert "$1.50 so far" in page(cast.client("owner"), session)


def test_pending_shows_four_steps_with_times_and_what_is_going_on(cast: Cast, session: Session) -> None:
    settle(session, phase=Phase.PENDING, steps=steps("done", "active", "waiting", "waiting"), message="Installing packages.")
    text = page(cast.client("owner"), session)
    assert [label for label in STEP_LABELS.values() if label in text] == list(STEP_LABELS.values())
    assert "12 s" in text
    assert "1 min 15 s" in text
    assert "Installing packages." in text


def test_progress_shows_at_once_after_a_resume(cast: Cast, session: Session) -> None:
    settle(session, phase=Phase.PAUSED, steps=steps("done", "done", "done", "done"), desired=Desired.PAUSED)
    assert "progress-steps" not in page(cast.client("owner"), session)
    cast.client("owner").post(f"{session.get_absolute_url()}resume/")
    text = page(cast.client("owner"), session)
    assert text.count('class="step-waiting"') == 4
    assert "Asked to start." in text


def test_failed_says_why_with_the_last_lines_and_offers_a_retry(cast: Cast, session: Session) -> None:
    settle(
        session,
        phase=Phase.FAILED,
        reason="InitScriptFailed",
        message="The init script ended with 2.",
        log_tail="line one\n\x1b[31m<script>alert(1)</script>\x1b[0m",
        steps=steps("done", "done", "done", "failed"),
    )
    text = page(cast.client("owner"), session)
    for shown in ("InitScriptFailed", "The init script ended with 2.", "line one", "&lt;script&gt;alert(1)&lt;/script&gt;", "Retry"):
        assert shown in text
    assert "<script>alert" not in text
    assert "\x1b" not in text


def test_a_step_that_took_too_long_has_failed(cast: Cast, session: Session) -> None:
    settle(session, phase=Phase.FAILED, reason="ImageTimeout", message="Too long.", steps=steps("done", "active", "waiting", "waiting"))
    text = page(cast.client("owner"), session)
    assert 'class="step-failed"' in text and 'class="step-active"' not in text
    assert "data-since" not in text


def test_unknown_says_what_slipway_does_not_know(cast: Cast, session: Session) -> None:
    settle(session, phase=Phase.UNKNOWN, message="The cluster has not answered since 06:12:44 UTC.")
    assert "Slipway does not know how this session is" in page(cast.client("owner"), session)


def test_warnings_of_the_cluster_are_shown(cast: Cast, session: Session) -> None:
    settle(session, warnings=["Read-only can't be enforced for /data/sales."])
    assert "Read-only can&#x27;t be enforced for /data/sales." in page(cast.client("viewer"), session)


def test_a_catalog_change_shows_as_pending_until_the_next_resume(cast: Cast, session: Session) -> None:
    assert "The catalog has changed" not in page(cast.client("owner"), session)
    Image.objects.filter(slug="minimal").update(reference="local:newer")
    text = page(cast.client("owner"), session)
    assert "The catalog has changed since this started" in text
    assert "local:jupyterlab" in text
    assert "local:newer" in text


# Living parts


def test_a_session_at_rest_is_not_polled(cast: Cast, session: Session) -> None:
    settle(session, phase=Phase.PAUSED, desired=Desired.PAUSED)
    assert poll(cast.client("owner"), session, r"\d+s") is None


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.FAILED])
def test_one_that_its_cluster_may_have_news_of_is_seldom_polled(cast: Cast, session: Session, phase: str) -> None:
    settle(session, phase=phase)
    assert poll(cast.client("owner"), session) is None
    assert poll(cast.client("owner"), session, "10s")


def test_a_poll_gets_nothing_until_something_changes_then_the_new_state_with_its_button(cast: Cast, session: Session) -> None:
    settle(session, phase=Phase.PENDING)
    client = cast.client("owner")
    address = poll(client, session)
    assert address is not None
    response = client.get(address, headers=HTMX)
    assert (response.status_code, response.content) == (204, b"")
    settle(session, phase=Phase.RUNNING)
    response = client.get(address, headers=HTMX)
    text = response.content.decode()
    assert 'hx-trigger="every 10s' in text, "a settled page asks seldom"
    assert re.search(r'id="session-actions" hx-swap-oob="true"', text)
    assert f"/{session.host}/open/" in text
    assert "session-changed" in response["HX-Trigger"]
    assert "<html" not in text


def test_a_session_that_is_deleted_while_watched_leads_back_to_the_list(cast: Cast, session: Session) -> None:
    settle(session, phase=Phase.TERMINATING, desired=Desired.DELETED)
    client = cast.client("owner")
    address = poll(client, session)
    assert address is not None
    session.delete()
    response = client.get(address, headers=HTMX)
    assert response["HX-Redirect"] == "/w/research/sessions/"
    assert "“forecast” has been deleted" in client.get("/w/research/sessions/").content.decode()
    assert client.get(session.get_absolute_url()).status_code == 404


# Activity


def test_activity_says_who_did_what_newest_first_and_what_the_cluster_said(cast: Cast, session: Session) -> None:
    cast.owner.first_name, cast.owner.last_name = "Ada", "Okafor"
    cast.owner.save()
    common = {"session": session, "workspace": session.workspace, "host": session.host}
    Activity.objects.create(**common, verb="phase", phase=Phase.RUNNING, message="Ready to open.")
    Activity.objects.create(**common, verb="error", reason="QuotaExceeded", message="The namespace is full.")
    text = page(cast.client("viewer"), session).replace("\n", " ")
    order = [text.index(part) for part in ("The cluster refused", "Ready to open.</span>", "launched it")]
    assert order == sorted(order)
    assert '<span class="strong">Ada Okafor</span> launched it' in text
    assert "The namespace is full." in text


def test_activity_is_paged(cast: Cast, session: Session) -> None:
    common = {"session": session, "workspace": session.workspace, "host": session.host}
    Activity.objects.bulk_create(Activity(**common, verb="phase", message=f"Entry {number}.") for number in range(20))
    client = cast.client("owner")
    text = page(client, session)
    assert "Entry 19." in text
    assert "Entry 1." not in text
    older = re.search(r'rel="next" href="([^"]+)"', text)
    assert older is not None
    fragment = client.get(older.group(1), headers=HTMX | {"HX-Target": "activity"}).content.decode()
    assert fragment.lstrip().startswith("<section")
    assert "Entry 1." in fragment
    assert "Entry 19." not in fragment
    assert "Entry 1." in page(client, session, "?" + older.group(1).partition("?")[2]), "and without htmx"


# Log


def test_the_log_is_a_page_and_a_fragment_and_is_escaped(cast: Cast, session: Session, driver: FakeDriver, monkeypatch: Any) -> None:
    monkeypatch.setattr(driver, "logs", lambda *_, **__: f"<b>bold</b>\ntoken={session.ide_token}\n")
    client, address = cast.client("admin"), f"{session.get_absolute_url()}logs/"
    whole, fragment = client.get(address).content.decode(), client.get(address, headers=HTMX).content.decode()
    assert "<!doctype html>" in whole
    assert fragment.lstrip().startswith('<div class="card-body" id="log"')
    for text in (whole, fragment):
        assert "&lt;b&gt;bold&lt;/b&gt;" in text
        assert session.ide_token not in text


def test_the_log_is_followed_only_when_asked_and_quiet_while_nothing_is_written(cast: Cast, session: Session) -> None:
    client, address = cast.client("owner"), f"{session.get_absolute_url()}logs/"
    assert 'hx-trigger="every' not in client.get(address, headers=HTMX).content.decode()
    following = client.get(f"{address}?follow=1", headers=HTMX).content.decode()
    again = re.search(r'id="log" hx-get="([^"]+)" hx-trigger="every 2s"', following)
    assert again is not None
    assert client.get(again.group(1).replace("&amp;", "&"), headers=HTMX).status_code == 204


def test_a_cluster_that_is_away_leaves_the_last_lines_and_a_sentence(cast: Cast, session: Session, driver: FakeDriver) -> None:
    settle(session, log_tail="what was kept")
    driver.error = ClusterError("Unreachable", "Connection refused.")
    text = cast.client("owner").get(f"{session.get_absolute_url()}logs/").content.decode()
    assert "can&#x27;t be read now: Connection refused." in text
    assert "what was kept" in text


def test_log_lines_are_made_readable() -> None:
    session = Session(ide_token="tok")
    written = "\x1b[1;32mgreen\x1b[0m\r\n10%\r50%\r100%\n\x1b]0;title\x07bell\x07 tok\n\n"
    assert readable(session, written) == "green\n100%\nbell …"


@pytest.mark.parametrize(("seconds", "words"), [(-3, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (7320, "2 h 2 min")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


# Cost


def test_the_page_costs_the_same_for_any_number_of_sessions_volumes_and_entries(
    cast: Cast, launch: Any, workspace: Any, shared_data: Any, preset: Any, django_assert_max_num_queries: Any
) -> None:
    for number in range(3):
        configuration = Configuration.objects.create(slug=f"c{number}", name=f"C{number}")
        ConfigurationVariable.objects.create(configuration=configuration, name=f"C{number}", value="x")
        Secret.objects.create(bundle=workspace.secrets_bundle, name=f"S{number}", value="x")
    session = settle(launch(configurations=("c0", "c1", "c2")), phase=Phase.RUNNING)
    successor = preset.images.get(slug="scipy")
    preset.images.filter(slug="minimal").update(redirect_to=successor, is_default=False)
    client = cast.client("owner")
    page(client, session)
    with django_assert_max_num_queries(12) as few:
        page(client, session)
    common = {"session": session, "workspace": workspace, "host": session.host}
    Activity.objects.bulk_create(Activity(**common, actor=cast.owner, verb="open") for _ in range(200))
    for number in range(10):
        launch(name=f"other-{number}")
    with django_assert_max_num_queries(12) as many:
        page(client, session)
    assert len(many) == len(few)


def test_a_poll_that_brings_nothing_is_cheap(cast: Cast, session: Session, django_assert_max_num_queries: Any) -> None:
    settle(session, phase=Phase.PENDING)
    client = cast.client("owner")
    address = poll(client, session)
    with django_assert_max_num_queries(5):  # one is its place in the queue
        assert client.get(address, headers=HTMX).status_code == 204


def test_a_queued_session_shows_its_place(client: Client, cast: Cast, launch: Callable[..., Session]) -> None:
    launch(name="first")
    second = launch(name="second")
    Session.objects.update(status_generation=F("generation"))
    client.force_login(cast.owner)
    page = client.get(second.get_absolute_url()).content.decode()
    assert "1 request is ahead of it." in page
