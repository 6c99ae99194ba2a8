"""Who may reach a session through its own origin: tickets, cookies, and the decision behind every request."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session as SignIn
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from compute.models import Membership, Role
from presets.ides import IDES
from presets.models import Preset
from sessions import gateway
from sessions.gateway import Verdict, Visit
from sessions.models import Desired, Grant, Phase, Session
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


def verdict(session: Session, cookie: str, **details: Any) -> Verdict:
    return gateway.authorize(Visit(session.host, cookie, **details)).verdict


def test_a_ticket_is_an_address_on_the_sessions_own_origin(session: Session, browser: Client) -> None:
    url = gateway.issue_ticket(session, session.owner, browser.session.session_key)
    assert url.startswith(f"http://{session.host}.apps.localhost:8000/_slipway/enter?ticket=")
    grant = Grant.objects.get()
    assert url.partition("=")[2] not in (grant.ticket_hash, grant.cookie_hash)


def test_a_ticket_needs_a_sign_in(session: Session) -> None:
    with pytest.raises(ValueError, match="sign-in"):
        gateway.issue_ticket(session, session.owner, "")


def test_a_ticket_becomes_a_cookie_once(session: Session, browser: Client) -> None:
    ticket = issue(session, browser)
    first, second = gateway.redeem(session.host, ticket), gateway.redeem(session.host, ticket)
    assert first
    assert first.cookie
    assert 0 < first.max_age <= 24 * 3600
    assert second
    assert not second.cookie


def test_a_ticket_is_good_for_its_own_host_only(session: Session, browser: Client) -> None:
    assert gateway.redeem("another-abcdef", issue(session, browser)) is None
    assert gateway.redeem(session.host, "never-issued") is None


def test_a_ticket_expires_within_seconds(session: Session, browser: Client) -> None:
    ticket = issue(session, browser)
    Grant.objects.update(ticket_expires_at=timezone.now() - timedelta(seconds=1))
    entry = gateway.redeem(session.host, ticket)
    assert entry
    assert not entry.cookie
    assert timedelta(seconds=60) >= gateway.TICKET_LIFE


@pytest.mark.django_db(transaction=True)
def test_of_many_that_race_with_one_ticket_one_wins(session: Session, browser: Client) -> None:
    ticket = issue(session, browser)
    won: list[str] = []
    start = threading.Barrier(6)

    def race() -> None:
        start.wait()
        while True:
            try:
                entry = gateway.redeem(session.host, ticket)
                break
            except OperationalError:  # tests' SQLite is in memory, which says "locked" where a file waits its turn
                time.sleep(0.01)
        connection.close()
        if entry and entry.cookie:
            won.append(entry.cookie)

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert verdict(session, f"slipway_gateway={won[0]}") == Verdict.ALLOWED


def test_the_owner_is_let_in_with_the_ides_own_sign_in(session: Session, browser: Client) -> None:
    cookie = cookie_of(session, browser)
    decision = gateway.authorize(Visit(session.host, f"_xsrf=2|a|b; {cookie}; theme=dark"))
    assert decision.verdict == Verdict.ALLOWED
    assert decision.upstream == "unix:/run/lab.sock"
    assert decision.authorization == f"token {session.ide_token}"
    assert decision.cookie == "_xsrf=2|a|b; theme=dark"


def test_a_decision_takes_one_query(session: Session, browser: Client, django_assert_num_queries: Any) -> None:
    cookie = cookie_of(session, browser)
    with django_assert_num_queries(1):
        assert verdict(session, cookie) == Verdict.ALLOWED
    with django_assert_num_queries(0):
        assert verdict(session, "other=1") == Verdict.UNKNOWN


def test_the_ides_cookie_replaces_the_browsers(session: Session, browser: Client) -> None:
    Preset.objects.update(ide="code-server")
    cookie = cookie_of(session, browser)
    decision = gateway.authorize(Visit(session.host, f"code-server-session=forged; a=1; {cookie}; slipway_session=x; slipway_csrf=y"))
    ide = IDES["code-server"].upstream_headers(session.ide_token)["Cookie"]
    assert decision.cookie == f"{ide}; a=1"


def test_every_ide_signs_in_by_headers_that_nginx_sets() -> None:
    for ide in IDES.values():
        assert set(ide.upstream_headers("secret")) <= {"Authorization", "Cookie"}
        assert ide.landing_path.startswith("/")


def test_a_cookie_that_a_sibling_session_planted_does_not_lock_the_owner_out(session: Session, browser: Client) -> None:
    cookie = cookie_of(session, browser)
    assert verdict(session, f"slipway_gateway=planted; {cookie}") == Verdict.ALLOWED
    decision = gateway.authorize(Visit(session.host, f"{cookie}; slipway_gateway=planted"))
    assert "slipway_gateway" not in decision.cookie
    flood = "; ".join(f"slipway_gateway={n}" for n in range(200))
    assert verdict(session, flood) == Verdict.UNKNOWN


def test_a_cookie_is_good_for_its_own_host_only(session: Session, browser: Client) -> None:
    cookie = cookie_of(session, browser)
    assert gateway.authorize(Visit("another-abcdef", cookie)).verdict == Verdict.UNKNOWN
    other = Session.objects.get(pk=session.pk)
    other.pk, other.name, other.host = None, "other", ""
    other.save()
    assert verdict(other, cookie) == Verdict.UNKNOWN


def test_a_ticket_itself_opens_nothing(session: Session, browser: Client) -> None:
    assert verdict(session, f"slipway_gateway={issue(session, browser)}") == Verdict.UNKNOWN


@pytest.mark.parametrize("who", ["colleague", "admin", "viewer", "outsider"])
def test_only_the_owner_is_let_in(session: Session, cast: Cast, who: str) -> None:
    cookie = cookie_of(session, cast.client(who), getattr(cast, who))
    assert verdict(session, cookie) == Verdict.UNKNOWN


def sign_out(session: Session, browser: Client) -> None:
    browser.logout()


def let_the_sign_in_expire(session: Session, browser: Client) -> None:
    SignIn.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


def change_the_password(session: Session, browser: Client) -> None:
    user = get_user_model().objects.get(pk=session.owner_id)
    user.set_password("another-horse")
    user.save()


def disable_the_account(session: Session, browser: Client) -> None:
    get_user_model().objects.filter(pk=session.owner_id).update(is_active=False)


def end_the_membership(session: Session, browser: Client) -> None:
    Membership.objects.filter(user=session.owner).delete()


def make_a_viewer(session: Session, browser: Client) -> None:
    Membership.objects.filter(user=session.owner).update(role=Role.VIEWER)


def give_the_session_away(session: Session, browser: Client) -> None:
    Session.objects.update(owner=get_user_model().objects.get(username="colleague"))


def let_the_grant_expire(session: Session, browser: Client) -> None:
    Grant.objects.update(expires_at=timezone.now())


def delete_the_row(session: Session, browser: Client) -> None:
    session.delete()


REVOCATIONS = [
    sign_out,
    let_the_sign_in_expire,
    change_the_password,
    disable_the_account,
    end_the_membership,
    make_a_viewer,
    give_the_session_away,
    let_the_grant_expire,
    delete_the_row,
]


@pytest.mark.parametrize("revoke", REVOCATIONS)
def test_access_ends_at_once_with_what_it_rested_on(session: Session, browser: Client, revoke: Any) -> None:
    cookie = cookie_of(session, browser)
    grant = Grant.objects.get().pk
    assert gateway.live_endpoints([grant]) == {grant: "unix:/run/lab.sock"}
    revoke(session, browser)
    assert verdict(session, cookie) == Verdict.UNKNOWN
    assert gateway.live_endpoints([grant]) == {}


def test_signing_in_again_does_not_revive_an_old_cookie(session: Session, browser: Client) -> None:
    cookie = cookie_of(session, browser)
    browser.logout()
    browser.force_login(session.owner)
    assert verdict(session, cookie) == Verdict.UNKNOWN


@pytest.mark.parametrize(
    "change",
    [
        {"desired": Desired.PAUSED},
        {"desired": Desired.DELETED},
        {"phase": Phase.PENDING},
        {"phase": Phase.PAUSED},
        {"phase": Phase.FAILED},
        {"phase": Phase.TERMINATING},
        {"phase": Phase.UNKNOWN},
        {"endpoint": ""},
        {"endpoint": "evil.example.com:80"},
        {"endpoint": "127.0.0.1:80/path"},
        {"endpoint": "unix:/run/x.sock:/path"},
    ],
)
def test_a_session_that_does_not_run_is_known_to_its_owner_but_not_reached(
    session: Session, browser: Client, change: dict[str, Any]
) -> None:
    cookie = cookie_of(session, browser)
    Session.objects.update(**change)
    decision = gateway.authorize(Visit(session.host, cookie))
    assert decision.verdict == Verdict.NOT_RUNNING
    assert decision.session == session
    assert not decision.upstream
    assert gateway.live_endpoints([Grant.objects.get().pk]) == {}


OWN = "http://{host}.apps.localhost:8000"
SIBLING = "http://other-abcdef.apps.localhost:8000"
ORIGINS = [
    # (what the browser sent, whether it may pass)
    ({"method": "GET"}, True),
    ({"method": "GET", "origin": SIBLING}, True),  # a CORS read: the answer has no CORS header, so its script can't see it
    ({"method": "POST"}, True),  # not a browser
    ({"method": "POST", "origin": OWN}, True),
    ({"method": "POST", "origin": OWN, "fetch_site": "same-origin"}, True),
    ({"method": "POST", "origin": "null", "fetch_site": "same-origin"}, True),
    ({"method": "POST", "origin": "null"}, False),
    ({"method": "POST", "origin": SIBLING}, False),
    ({"method": "DELETE", "origin": "http://localhost:8000"}, False),
    ({"method": "PATCH", "origin": "http://{host}.apps.localhost"}, False),
    ({"method": "PUT", "origin": "https://{host}.apps.localhost:8000"}, False),
    ({"method": "POST", "fetch_site": "cross-site"}, False),
    ({"method": "POST", "origin": OWN, "fetch_site": "same-site"}, False),
    ({"method": "POST", "fetch_site": "same-site", "fetch_mode": "navigate", "fetch_dest": "document"}, False),
    ({"is_websocket": True}, True),  # not a browser
    ({"is_websocket": True, "origin": OWN}, True),
    ({"is_websocket": True, "origin": SIBLING}, False),
    ({"is_websocket": True, "origin": "null", "fetch_site": "same-origin"}, False),
    ({"is_websocket": True, "origin": OWN, "fetch_site": "same-site"}, False),
    ({"fetch_site": "none", "fetch_mode": "navigate", "fetch_dest": "document"}, True),
    ({"fetch_site": "cross-site", "fetch_mode": "navigate", "fetch_dest": "document"}, True),
    ({"fetch_site": "same-site", "fetch_mode": "navigate", "fetch_dest": "iframe"}, False),
    ({"fetch_site": "same-site", "fetch_mode": "no-cors", "fetch_dest": "script"}, False),
    ({"fetch_site": "cross-site", "fetch_mode": "no-cors", "fetch_dest": "image"}, False),
    ({"fetch_site": "same-origin", "fetch_mode": "no-cors", "fetch_dest": "script"}, True),
]


@pytest.mark.parametrize(("sent", "passes"), ORIGINS)
def test_other_sites_can_only_lead_the_user_here(session: Session, browser: Client, sent: dict[str, Any], passes: bool) -> None:
    details = dict(sent)
    if "origin" in details:
        details["origin"] = details["origin"].format(host=session.host)
    assert verdict(session, cookie_of(session, browser), **details) == (Verdict.ALLOWED if passes else Verdict.WRONG_ORIGIN)


def test_a_wrong_origin_tells_an_outsider_nothing(session: Session) -> None:
    assert verdict(session, "slipway_gateway=guessed", method="POST", origin=SIBLING) == Verdict.UNKNOWN


def test_all_open_connections_are_checked_in_one_query(session: Session, browser: Client, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        cookie_of(session, browser)
    grants = list(Grant.objects.values_list("pk", flat=True))
    with django_assert_num_queries(1):
        assert gateway.live_endpoints(grants) == dict.fromkeys(grants, "unix:/run/lab.sock")


def test_on_https_the_cookie_is_bound_to_its_host_by_the_browser(session: Session, browser: Client, settings: Any) -> None:
    settings.SLIPWAY_APPS_URL = "https://apps.example.com:443"
    assert gateway.origin_of(session.host) == f"https://{session.host}.apps.example.com"
    entry = gateway.redeem(session.host, issue(session, browser))
    assert entry
    assert verdict(session, f"slipway_gateway={entry.cookie}") == Verdict.UNKNOWN
    assert verdict(session, f"__Host-slipway_gateway={entry.cookie}") == Verdict.ALLOWED


def test_grants_that_are_over_are_purged(session: Session, browser: Client) -> None:
    cookie_of(session, browser)
    issue(session, browser)
    assert gateway.purge_expired() == 0
    Grant.objects.filter(cookie_hash=None).update(ticket_expires_at=timezone.now() - timedelta(hours=2))
    assert gateway.purge_expired() == 1
    Grant.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert gateway.purge_expired() == 1
