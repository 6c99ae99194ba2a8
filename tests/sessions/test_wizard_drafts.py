"""What drafts keep, how they keep it, and for whom."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from compute.models import Workspace
from presets.models import Preset
from sessions import drafts
from sessions.models import Draft, Session
from tests.conftest import Cast
from tests.sessions.wizard_browser import Browser

NEW = "/w/research/sessions/new/"
OURS = {"Origin": settings.SLIPWAY_URL}


@pytest.fixture
def browser(cast: Cast, preset: Preset) -> Browser:
    """The owner in a browser that has to pass the CSRF check."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.owner)
    return Browser(client).get(NEW)


def sign_in(client: Client, who: str, url: str) -> Any:
    """Sign in by the form at ``url``, as a browser would."""
    page = Browser(client).get(url).page
    data = {"username": who, "password": "correct-horse", "csrfmiddlewaretoken": str(page.context["csrf_token"])}
    return client.post(url, data, follow=True)


def expire(browser: Browser) -> None:
    """The sign-in ends on the server; the page stays in the browser."""
    browser.client.session.delete()


def test_what_is_typed_is_unreadable_in_the_database(browser: Browser) -> None:
    browser.press("next", name="very-visible").press("next").press("add:env")
    row = browser.row("env")
    browser.press("save", **{f"env__{row}__name": "TOKEN", f"env__{row}__value": "hunter2-hunter2"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM notebook_sessions_draft")
        stored = cursor.fetchone()[0]
    assert "very-visible" not in stored
    assert "hunter2" not in stored
    assert Draft.objects.get().data["storage"]["env"][0]["value"] == "hunter2-hunter2"


def test_a_value_never_comes_back_to_the_browser_and_is_not_lost(browser: Browser) -> None:
    browser.press("next").press("next").press("add:env")
    row = browser.row("env")
    browser.press("save", **{f"env__{row}__name": "TOKEN", f"env__{row}__value": "hunter2"})
    assert "hunter2" not in browser.html
    assert "Kept. Type to replace it." in browser.html
    browser.press("back").press("next").press("launch")
    assert Session.objects.get().env == {"TOKEN": "hunter2"}


def test_a_kept_value_can_be_replaced_and_an_unkept_one_emptied(browser: Browser) -> None:
    browser.press("next").press("next").press("add:env").press("add:env")
    first, second = browser.row("env", 0), browser.row("env", 1)
    typed = {f"env__{first}__name": "A", f"env__{first}__value": "old", f"env__{second}__name": "B"}
    browser.press("save", **typed).press("launch", **{f"env__{first}__value": "new"})
    assert Session.objects.get().env == {"A": "new", "B": ""}


def test_answers_typed_while_the_sign_in_ended_wait_for_the_same_user(browser: Browser) -> None:
    browser.press("next", name="patient")
    expire(browser)
    answer = browser.client.post(browser.forms.action, browser.data("next", pod_size="large"))
    assert urlsplit(answer.url).path == "/sign-in/"
    after = sign_in(browser.client, "owner", answer.url)
    assert after.redirect_chain[-1][0] == browser.forms.action
    assert "Your sign-in had ended. Everything you typed is still here." in after.content.decode()
    data = Draft.objects.get().data
    assert (data["preset"]["name"], data["compute"]["pod_size"]) == ("patient", "large")


def test_the_very_first_post_after_the_sign_in_ended_is_kept_too(browser: Browser) -> None:
    expire(browser)
    answer = browser.client.post(browser.forms.action, browser.data("next", name="first-words"))
    assert not Draft.objects.exists()
    sign_in(browser.client, "owner", answer.url)
    assert Draft.objects.get().data["preset"]["name"] == "first-words"


def test_a_launch_after_the_sign_in_ended_is_saved_and_not_launched(browser: Browser) -> None:
    browser.press("next").press("next")
    expire(browser)
    answer = browser.client.post(browser.forms.action, browser.data("launch", home_size="8Gi"))
    sign_in(browser.client, "owner", answer.url)
    assert not Session.objects.exists()
    assert Draft.objects.get().data["storage"]["home_size"] == "8Gi"


def test_kept_answers_are_dropped_when_someone_else_signs_in(browser: Browser) -> None:
    browser.press("next", name="patient")
    expire(browser)
    answer = browser.client.post(browser.forms.action, browser.data("next", pod_size="large"))
    assert sign_in(browser.client, "colleague", answer.url).status_code == 404
    assert Draft.objects.get().data["compute"]["pod_size"] == "small"
    assert not browser.client.session[drafts.STASH]


def test_answers_that_wait_for_a_sign_in_are_unreadable_and_bounded(browser: Browser) -> None:
    browser.press("next")
    expire(browser)
    browser.client.post(browser.forms.action, browser.data("next", pod_size="readable-words"))
    assert "readable-words" not in str(dict(browser.client.session))
    browser.client.post(browser.forms.action, browser.data("next", pod_size="x" * drafts.STASH_LIMIT))
    assert "readable-words" not in str(dict(browser.client.session))
    kept = browser.client.session[drafts.STASH]
    assert sum(map(len, kept.values())) <= drafts.STASH_LIMIT


def test_htmx_is_sent_to_the_sign_in_page_as_a_whole(browser: Browser) -> None:
    browser.press("next")
    expire(browser)
    answer = browser.htmx("save", pod_size="large")
    assert answer.headers["HX-Redirect"].startswith("/sign-in/?next=/w/research/sessions/new/")


def test_a_form_that_outlived_a_new_sign_in_is_saved_and_not_launched(browser: Browser) -> None:
    browser.press("next").press("next")
    del browser.client.cookies[settings.CSRF_COOKIE_NAME]  # a sign-in in another tab renews it
    browser.client.get("/w/research/sessions/")
    answer = browser.client.post(browser.forms.action, browser.data("launch", home_size="8Gi"), headers=OURS)
    assert answer.url == browser.forms.action
    browser.get(answer.url)
    assert Draft.objects.get().data["storage"]["home_size"] == "8Gi"
    assert not Session.objects.exists()


@pytest.mark.parametrize("origin", ["https://evil.example.com", ""])
def test_a_form_from_elsewhere_is_refused(browser: Browser, origin: str) -> None:
    browser.press("next")
    del browser.client.cookies[settings.CSRF_COOKIE_NAME]
    answer = browser.client.post(browser.forms.action, browser.data("save", pod_size="large"), headers={"Origin": origin} if origin else {})
    assert answer.status_code == 403
    assert Draft.objects.get().data["compute"]["pod_size"] == "small"


def test_a_form_that_was_made_for_someone_else_is_refused(browser: Browser, cast: Cast) -> None:
    browser.press("next")
    data = {**browser.data("save", pod_size="large"), "key": drafts.key_for(cast.colleague, Draft.objects.get().pk)}
    del browser.client.cookies[settings.CSRF_COOKIE_NAME]
    assert browser.client.post(browser.forms.action, data, headers=OURS).status_code == 403


def test_an_anonymous_post_without_our_key_only_leads_to_the_sign_in_page(browser: Browser) -> None:
    expire(browser)
    data = {**browser.data("next"), "key": "forged"}
    assert browser.client.post(browser.forms.action, data).url.startswith("/sign-in/")
    assert drafts.STASH not in browser.client.session


def test_drafts_are_purged_a_week_after_their_last_change(browser: Browser) -> None:
    browser.press("next")
    fresh = Draft.objects.get()
    Browser(browser.client).get(NEW).press("next")
    old = Draft.objects.exclude(pk=fresh.pk)
    old.update(updated_at=timezone.now() - timedelta(days=8))
    assert drafts.purge_old(days=7) == 1
    assert Draft.objects.get() == fresh


def test_a_draft_of_an_earlier_release_can_be_read(browser: Browser) -> None:
    browser.press("next", name="older")
    draft = Draft.objects.get()
    draft.data = {"preset": {**draft.data["preset"], "since_removed": "x"}, "visited": ["preset"]}
    draft.save()
    assert browser.get(browser.url).page.status_code == 200
    assert browser.press("back").values["name"] == ["older"]


def test_a_user_keeps_a_bounded_number_of_drafts(cast: Cast, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "KEEP_DRAFTS", 3)
    made = [uuid.uuid4() for _ in range(5)]
    for draft_id in made:
        with drafts.editing(cast.owner, workspace, draft_id):
            pass
    assert set(Draft.objects.values_list("pk", flat=True)) == set(made[-3:])
