"""What nginx is told, and what a browser sees instead of the IDE. Requests here are as nginx makes them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from presets.models import Preset
from sessions import gateway
from sessions.models import Desired, Phase, Session
from tests.conftest import Cast
from tests.sessions.gateway_cast import cookie_of, issue, running_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def session(cast: Cast, workspace: Any, preset: Preset) -> Session:
    """The owner's JupyterLab, running."""
    return running_session(workspace, cast.owner, preset)


@pytest.fixture
def browser(cast: Cast) -> Client:
    """The owner's browser, signed in to the control plane."""
    return cast.client("owner")


def ask(path: str, host: str, cookie: str = "", accept: str = "text/html", **headers: str) -> Any:
    sent = {"X-Slipway-Key": gateway.nginx_key(), "X-Slipway-Host": host, "X-Slipway-Method": "GET", "Accept": accept}
    if cookie:
        sent["Cookie"] = cookie
    return Client().get(f"/gateway/{path}", headers={**sent, **headers})


@pytest.mark.parametrize("path", ["authorize", "enter", "refused"])
@pytest.mark.parametrize("key", ["", "wrong"])
def test_without_nginxs_key_these_addresses_do_not_exist(session: Session, path: str, key: str) -> None:
    assert ask(path, session.host, **{"X-Slipway-Key": key}).status_code == 404


def test_nginx_is_told_where_and_as_whom(session: Session, browser: Client, django_assert_num_queries: Any) -> None:
    cookie = cookie_of(session, browser)
    with django_assert_num_queries(1):
        answer = ask("authorize", session.host, f"{cookie}; a=1")
    assert answer.status_code == 204
    assert answer["X-Slipway-Upstream"] == "unix:/run/lab.sock"
    assert answer["X-Slipway-Authorization"] == f"token {session.ide_token}"
    assert answer["X-Slipway-Cookie"] == "a=1"
    assert answer["X-Slipway-Grant"].isdigit()


def test_a_refusal_tells_nothing(session: Session) -> None:
    answer = ask("authorize", session.host, "slipway_gateway=guessed")
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.lower().startswith("x-slipway")]


def test_entering_sets_the_cookie_and_goes_to_the_ide(session: Session, browser: Client) -> None:
    answer = ask(f"enter?ticket={issue(session, browser)}", session.host)
    assert (answer.status_code, answer["Location"]) == (302, "/lab")
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cache-Control"] == "no-store"
    cookie = answer.cookies["slipway_gateway"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert not cookie["domain"]
    assert not cookie["secure"]
    assert ask("authorize", session.host, f"slipway_gateway={cookie.value}").status_code == 204


def test_on_https_the_cookie_is_secure(session: Session, browser: Client, settings: Any) -> None:
    settings.SLIPWAY_APPS_URL = "https://apps.example.com"
    cookie = ask(f"enter?ticket={issue(session, browser)}", session.host).cookies["__Host-slipway_gateway"]
    assert cookie["secure"]
    assert cookie["path"] == "/"
    assert not cookie["domain"]


def test_a_used_ticket_leads_back_to_the_sessions_page(session: Session, browser: Client) -> None:
    path = f"enter?ticket={issue(session, browser)}"
    cookie = ask(path, session.host).cookies["slipway_gateway"].value
    again = ask(path, session.host)
    assert again.status_code == 410
    assert f"http://localhost:8000{session.get_absolute_url()}" in again.content.decode()
    assert not again.cookies
    inside = ask(path, session.host, f"slipway_gateway={cookie}")
    assert (inside.status_code, inside["Location"]) == (302, "/lab")


def test_a_ticket_that_never_was_looks_like_no_session(session: Session) -> None:
    known, unknown = (ask("enter?ticket=guessed", host) for host in (session.host, "nobody-abcdef"))
    assert known.status_code == unknown.status_code == 404
    assert known.content == unknown.content


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_no_access_looks_like_no_session(session: Session, cast: Cast, accept: str) -> None:
    outsider = cookie_of(session, cast.client("outsider"), cast.outsider)
    answers = [
        ask("refused", session.host, outsider, accept),
        ask("refused", session.host, "", accept),
        ask("refused", "nobody-abcdef", "", accept),
        ask("refused", "nobody-abcdef", outsider, accept),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({str(sorted(item for item in answer.headers.items() if item[0] != "X-Request-ID")) for answer in answers}) == 1
    assert session.name + " " not in answers[0].content.decode()


def test_a_wrong_origin_is_refused(session: Session, browser: Client) -> None:
    answer = ask("refused", session.host, cookie_of(session, browser), **{"X-Slipway-Method": "POST", "Origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("desired", "phase", "words"),
    [
        (Desired.RUNNING, Phase.PENDING, "is starting"),
        (Desired.RUNNING, Phase.PAUSED, "is starting"),
        (Desired.PAUSED, Phase.RUNNING, "is pausing"),
        (Desired.PAUSED, Phase.TERMINATING, "is pausing"),
        (Desired.PAUSED, Phase.PAUSED, "is paused"),
        (Desired.RUNNING, Phase.FAILED, "has failed"),
        (Desired.DELETED, Phase.RUNNING, "is being deleted"),
    ],
)
def test_a_session_that_does_not_run_says_why(session: Session, browser: Client, desired: str, phase: str, words: str) -> None:
    cookie = cookie_of(session, browser)
    Session.objects.update(desired=desired, phase=phase, reason="ImageMissing", message="There is <no> such image.")
    answer = ask("refused", session.host, cookie)
    html = answer.content.decode()
    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert f"lab {words}" in html
    assert "There is &lt;no&gt; such image." in html
    assert "ImageMissing" in html
    assert 'http-equiv="refresh"' in html
    assert f"http://localhost:8000{session.get_absolute_url()}" in html


def test_scripts_get_a_line_of_text_instead_of_a_page(session: Session, browser: Client) -> None:
    cookie = cookie_of(session, browser)
    Session.objects.update(desired=Desired.PAUSED, phase=Phase.PAUSED)
    for headers in ({"Sec-Fetch-Mode": "cors"}, {"X-Slipway-Method": "POST"}, {"X-Slipway-Websocket": "1"}):
        answer = ask("refused", session.host, cookie, **headers)
        assert answer.status_code == 503
        assert answer["Content-Type"].startswith("text/plain")


def test_the_pages_may_load_nothing_but_their_own_style(session: Session) -> None:
    answer = ask("refused", session.host)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'; style-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "<script" not in answer.content.decode()
