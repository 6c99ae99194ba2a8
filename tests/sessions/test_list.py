"""The list of sessions: what it shows, to whom, narrowed how, and at what cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from compute.models import Workspace
from presets.models import Preset
from sessions.listing import SELDOM, SOON
from sessions.models import Desired, Phase, Session
from tests.conftest import Cast

URL = "/w/research/sessions/"
HTMX = {"HX-Request": "true"}
START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def make(cast: Cast, workspace: Workspace, preset: Preset) -> Callable[..., list[Session]]:
    """Rows without launching: the list only reads. The n-th is n minutes younger than the first."""

    def make(count: int = 1, owner: Any = None, stem: str = "session", **fields: Any) -> list[Session]:
        fields = {"phase": Phase.RUNNING, "status_generation": 1, "applied_generation": 1, "price_per_hour": Decimal("0.1")} | fields
        image, size = preset.images.get(slug="minimal"), preset.pod_sizes.get(slug="small")
        made = Session.objects.bulk_create(
            Session(
                workspace=workspace,
                owner=owner or cast.owner,
                preset=preset,
                image=image,
                pod_size=size,
                name=f"{stem}-{number}",
                host=f"{stem}-{number}-bcdfgh",
                **fields,
            )
            for number in range(count)
        )
        for number, session in enumerate(made):
            session.created_at = START + timedelta(minutes=number)
        Session.objects.bulk_update(made, ["created_at"])
        return made

    return make


def names(response: Any) -> list[str]:
    return re.findall(r'<a class="session-name truncate" href="[^"]+" title="([^"]+)">', response.content.decode())


def test_the_list_shows_newest_first_with_phase_image_size_and_price(cast: Cast, make: Any) -> None:
    make(2)
    response = cast.client("owner").get(URL)
    assert names(response) == ["session-1", "session-0"]
    for text in ("phase-Running", "Minimal", "Small", "$0.10", "JupyterLab", "You"):
        assert text in response.content.decode()


def test_the_sentence_stands_beside_every_phase_that_needs_one(cast: Cast, make: Any) -> None:
    make(stem="bad", phase=Phase.FAILED, message="The image could not be pulled.")
    make(stem="good", message="Ready to open.")
    text = cast.client("owner").get(URL).content.decode()
    assert "The image could not be pulled.</span>" in text
    assert "Ready to open.</span>" not in text


def test_what_was_just_asked_is_said_before_the_cluster_has_answered(cast: Cast, make: Any) -> None:
    make(desired=Desired.PAUSED, generation=2)
    assert "Asked to pause." in cast.client("owner").get(URL).content.decode()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["theirs-0", "mine-0"]),
        ("search=MIN", ["mine-0"]),
        ("search=colleague", ["theirs-0"]),
        ("search=ada+their", ["theirs-0"]),
        ("search=%25", []),
        ("owner=~me", ["mine-0"]),
        ("owner=colleague", ["theirs-0"]),
        ("owner=nobody", []),
        ("phase=Paused", ["theirs-0"]),
        ("phase=Nonsense", ["theirs-0", "mine-0"]),
        ("preset=jupyterlab", ["theirs-0", "mine-0"]),
        ("preset=other", []),
        ("search=mine&phase=Paused", []),
        ("search=mine%00", ["mine-0"]),
        ("before=x.y", ["theirs-0", "mine-0"]),
        ("before=99999999999999999999999999.1", ["theirs-0", "mine-0"]),
    ],
)
def test_search_and_filters_narrow_the_list(cast: Cast, make: Any, query: str, expected: list[str]) -> None:
    cast.colleague.first_name, cast.colleague.last_name = "Ada", "Okafor"
    cast.colleague.save()
    make(stem="mine")
    make(stem="theirs", owner=cast.colleague, phase=Phase.PAUSED, desired=Desired.PAUSED)
    assert names(cast.client("owner").get(f"{URL}?{query}")) == expected


def test_the_filters_offer_the_owners_and_presets_that_there_are(cast: Cast, make: Any) -> None:
    make(owner=cast.colleague)
    text = cast.client("owner").get(f"{URL}?owner=colleague").content.decode()
    assert '<option value="colleague" selected>colleague</option>' in text
    assert '<option value="jupyterlab">JupyterLab</option>' in text
    assert 'value="admin"' not in text


def test_htmx_gets_the_results_alone_and_a_clean_address(cast: Cast, make: Any) -> None:
    make()
    response = cast.client("owner").get(f"{URL}?search=ses&phase=&owner=", headers=HTMX)
    assert response.content.decode().lstrip().startswith('<div id="results">')
    assert response["HX-Push-Url"] == f"{URL}?search=ses"
    assert "HX-Request" in response["Vary"]


def test_a_page_that_comes_back_from_history_is_whole(cast: Cast, make: Any) -> None:
    response = cast.client("owner").get(URL, headers=HTMX | {"HX-History-Restore-Request": "true"})
    assert "<!doctype html>" in response.content.decode()


def test_pages_go_on_where_the_last_one_ended_even_when_times_are_equal(cast: Cast, make: Any) -> None:
    make(60)
    Session.objects.update(created_at=START)
    client, seen, url = cast.client("owner"), [], URL
    for _ in range(3):
        response = client.get(url)
        seen += names(response)
        older = re.search(r'rel="next" href="([^"]+)"', response.content.decode())
        url = older.group(1) if older else ""
    assert url == ""
    assert seen == [f"session-{number}" for number in reversed(range(60))]


def test_newer_leads_back_and_the_first_page_is_always_full(cast: Cast, make: Any) -> None:
    make(60)
    client = cast.client("owner")
    first = client.get(URL)
    second = client.get(re.search(r'rel="next" href="([^"]+)"', first.content.decode()).group(1))  # type: ignore[union-attr]
    newer = re.search(r'rel="prev" href="([^"]+)"', second.content.decode()).group(1)  # type: ignore[union-attr]
    assert names(client.get(newer)) == names(first)
    Session.objects.filter(name="session-59").delete()
    assert len(names(client.get(newer))) == 25


def test_paging_keeps_the_filters(cast: Cast, make: Any) -> None:
    make(30)
    text = cast.client("owner").get(f"{URL}?phase=Running").content.decode()
    assert re.search(r'rel="next" href="/w/research/sessions/\?before=\d+\.\d+&amp;phase=Running"', text)


def test_totals_are_of_what_runs_now(cast: Cast, make: Any) -> None:
    make(3, price_per_hour=Decimal("0.5"))
    make(stem="paused", phase=Phase.PAUSED, desired=Desired.PAUSED)
    text = cast.client("owner").get(f"{URL}?search=nothing").content.decode()
    assert '<span class="strong">3</span> running · <span class="strong">$1.50</span> per hour now' in text


def test_empty_lists_lead_to_the_wizard_or_say_whom_to_ask(cast: Cast) -> None:
    member, viewer = cast.client("owner").get(URL), cast.client("viewer").get(URL)
    assert b'href="/w/research/sessions/new/"' in member.content
    assert b'href="/w/research/sessions/new/"' not in viewer.content
    assert b"You are a viewer" in viewer.content


def test_filters_that_match_nothing_can_be_cleared(cast: Cast, make: Any) -> None:
    make()
    text = cast.client("owner").get(f"{URL}?search=zzz").content.decode()
    assert "No session matches" in text
    assert f'href="{URL}">Clear filters' in text


@pytest.mark.parametrize(
    ("who", "shown"),
    [("owner", {"open", "pause", "delete"}), ("admin", {"pause", "delete"}), ("colleague", set()), ("viewer", set())],
)
def test_only_what_one_may_do_is_offered(cast: Cast, make: Any, who: str, shown: set[str]) -> None:
    (session,) = make()
    text = cast.client(who).get(URL).content.decode()
    assert {verb for verb in ("open", "pause", "resume", "delete") if f"/{session.host}/{verb}/" in text} == shown


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"phase": Phase.PAUSED, "desired": Desired.PAUSED}, {"resume", "delete"}),
        ({"phase": Phase.FAILED}, {"pause", "resume", "delete"}),
        ({"phase": Phase.PENDING}, {"pause", "delete"}),
        ({"phase": Phase.TERMINATING, "desired": Desired.DELETED}, set()),
    ],
)
def test_actions_follow_the_phase(cast: Cast, make: Any, fields: Any, shown: set[str]) -> None:
    (session,) = make(**fields)
    text = cast.client("owner").get(URL).content.decode()
    assert {verb for verb in ("open", "pause", "resume", "delete") if f"/{session.host}/{verb}/" in text} == shown


def test_other_workspaces_stay_out(cast: Cast, make: Any) -> None:
    make()
    assert cast.client("outsider").get(URL).status_code == 404
    assert names(cast.client("outsider").get("/w/other/sessions/")) == []


def test_names_are_escaped(cast: Cast, make: Any) -> None:
    make(phase=Phase.FAILED, message="<script>alert(1)</script>")
    cast.owner.first_name = "<b>"
    cast.owner.save()
    text = cast.client("admin").get(f"{URL}?search=%22%3E%3Cscript%3E").content.decode() + cast.client("admin").get(URL).content.decode()
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert '"><script>' not in text


# Polling


def poll_of(text: str) -> tuple[str, int]:
    """Its address, and how many seconds it waits."""
    found = re.search(r'id="poller" hx-get="([^"]+)" hx-trigger="every (\d+)s"', text)
    assert found is not None
    return found.group(1).replace("&amp;", "&"), int(found.group(2))


def poll_address(client: Client, url: str = URL) -> str:
    return poll_of(client.get(url).content.decode())[0]


def test_one_poll_asks_for_all_rows_and_gets_nothing_while_nothing_changed(cast: Cast, make: Any) -> None:
    make(3, stem="starting", phase=Phase.PENDING)
    make(3, stem="running")
    client = cast.client("owner")
    address = poll_address(client)
    assert (address.count("starting"), address.count("running")) == (3, 3)
    response = client.get(address, headers=HTMX)
    assert (response.status_code, response.content) == (204, b"")


def test_a_row_that_somebody_else_changes_is_noticed(cast: Cast, make: Any) -> None:
    (one,) = make()
    client = cast.client("owner")
    address, seconds = poll_of(client.get(URL).content.decode())
    assert seconds == SELDOM
    Session.objects.filter(pk=one.pk).update(phase=Phase.FAILED, message="It ran out of memory.")
    text = client.get(address, headers=HTMX).content.decode()
    assert "It ran out of memory." in text
    assert f'id="status-{one.host}" hx-swap-oob="true"' in text


def test_a_list_without_sessions_asks_for_nothing(cast: Cast, workspace: Workspace) -> None:
    assert 'id="poller"' not in cast.client("owner").get(URL).content.decode()


def test_a_poll_brings_the_parts_of_changed_rows_only_and_slows_down_when_all_is_settled(cast: Cast, make: Any) -> None:
    one, two = make(2, phase=Phase.PENDING, message="Building the image.")
    client = cast.client("owner")
    address, seconds = poll_of(client.get(URL).content.decode())
    assert seconds == SOON
    Session.objects.filter(pk=one.pk).update(phase=Phase.RUNNING, message="Ready to open.")
    text = client.get(address, headers=HTMX).content.decode()
    assert f'id="status-{one.host}" hx-swap-oob="true"' in text
    assert f"/{one.host}/open/" in text
    assert f'id="status-{two.host}"' not in text
    assert "<details" not in text, "the menu itself is never swapped: it may be open"
    assert f"{two.host}:" in text
    assert poll_of(text)[1] == SOON
    Session.objects.filter(pk=two.pk).update(phase=Phase.FAILED)
    address, seconds = poll_of(client.get(address, headers=HTMX).content.decode())
    assert seconds == SELDOM
    assert client.get(address, headers=HTMX).status_code == 204


def test_a_session_that_went_away_takes_its_row_along(cast: Cast, make: Any) -> None:
    (going,) = make(stem="going", phase=Phase.TERMINATING, desired=Desired.DELETED)
    (staying,) = make(stem="staying")
    client = cast.client("owner")
    address = poll_address(client)
    going.delete()
    assert f'<div id="row-{going.host}" hx-swap-oob="delete">' in client.get(address, headers=HTMX).content.decode()
    staying.delete()
    response = client.get(address, headers=HTMX)
    assert response["HX-Retarget"] == "#results"
    assert b"No sessions yet" in response.content


def test_a_poll_tells_nothing_of_other_workspaces(cast: Cast, make: Any) -> None:
    (session,) = make(phase=Phase.PENDING)
    response = cast.client("outsider").get(f"/w/other/sessions/?watch={session.host}:0", headers=HTMX)
    assert f"status-{session.host}".encode() not in response.content


# Cost


@pytest.mark.parametrize("query", ["", "?search=s&owner=owner&phase=Running&preset=jupyterlab"])
def test_the_page_costs_the_same_for_any_number_of_sessions(cast: Cast, make: Any, django_assert_max_num_queries: Any, query: str) -> None:
    client = cast.client("owner")
    client.get(URL)
    make(5)
    make(5, stem="theirs", owner=cast.colleague)
    with django_assert_max_num_queries(12) as few:
        client.get(f"{URL}{query}")
    make(40, stem="more")
    make(40, stem="moving", phase=Phase.PENDING)
    with django_assert_max_num_queries(12) as many:
        client.get(f"{URL}{query}")
    assert len(many) == len(few)


def test_a_poll_that_brings_nothing_is_cheap(cast: Cast, make: Any, django_assert_max_num_queries: Any) -> None:
    make(30, phase=Phase.PENDING)
    client = cast.client("owner")
    address = poll_address(client)
    with django_assert_max_num_queries(4):
        client.get(address, headers=HTMX)
