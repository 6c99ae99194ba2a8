"""The frame around every page, and the pages that belong to no app."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.contrib.auth import get_user_model
from django.template.loader import render_to_string
from django.test import Client, RequestFactory

from compute.models import Membership, Role, Workspace
from config import views
from config.context_processors import shell
from presets.models import Preset
from storage.models import Volume
from tests.conftest import Cast

pytestmark = pytest.mark.django_db
PAGE = "/w/research/volumes/"
TEMPLATES = Path(project.BASE_DIR) / "templates"


class Tags(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def text(response: Any) -> str:
    return str(response.content.decode())


def test_the_sidebar_counts_and_marks_where_the_user_is(cast: Cast, preset: Preset, home: Volume, shared_data: Volume) -> None:
    page = text(cast.client("owner").get(PAGE))
    sidebar = page[page.index('<aside class="sidebar">') : page.index("</aside>")]
    assert re.findall(r'<span>(\w+)</span><span class="nav-count">(\d+)</span>', sidebar) == [
        ("Sessions", "0"),
        ("Presets", "1"),
        ("Volumes", "2"),
        ("Secrets", "0"),
    ]
    assert re.findall(r'href="([^"]+)" aria-current="page"', sidebar) == [PAGE]


def test_the_switch_lists_the_users_own_workspaces_only(cast: Cast, workspace: Workspace) -> None:
    second = Workspace.objects.create(name="finance", display_name="Finance", cluster=workspace.cluster, namespace="finance")
    Membership.objects.create(workspace=second, user=cast.owner, role=Role.VIEWER)
    page = text(cast.client("owner").get(PAGE))
    assert "/w/finance/sessions/" in page
    assert "/w/other/" not in page


def test_the_admin_is_linked_for_staff_only(cast: Cast) -> None:
    assert "/admin/" not in text(cast.client("owner").get(PAGE))
    cast.owner.is_staff = True
    cast.owner.save()
    assert 'href="/admin/"' in text(cast.client("owner").get(PAGE))


def test_signing_out_is_a_form_of_its_own(cast: Cast) -> None:
    client = cast.client("owner")
    assert '<form method="post" action="/sign-out/">' in text(client.get(PAGE))
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.get(PAGE).status_code == 302


def test_the_frame_costs_nothing_until_a_template_reads_it(
    cast: Cast, workspace: Workspace, rf: RequestFactory, django_assert_num_queries: Any
) -> None:
    request = rf.get(PAGE)
    with django_assert_num_queries(0):
        outside = shell(request)["shell"]
        assert (outside.current, outside.workspaces, outside.counts) == (None, [], None)
    request.user, request.workspace = cast.owner, workspace  # type: ignore[attr-defined]
    with django_assert_num_queries(0):
        inside = shell(request)["shell"]
    with django_assert_num_queries(3):
        assert [w.name for w in inside.workspaces] == ["research"]
        assert inside.counts is not None
        assert inside.workspaces
        assert inside.counts


def test_signing_in_goes_on_to_where_the_user_was_going(cast: Cast) -> None:
    client = Client()
    page = text(client.get(f"/sign-in/?next={PAGE}"))
    assert f'<input type="hidden" name="next" value="{PAGE}">' in page
    answer = client.post("/sign-in/", {"username": "owner", "password": "correct-horse", "next": PAGE}, REMOTE_ADDR="10.0.0.1")
    assert answer["Location"] == PAGE


def test_signing_in_never_leads_to_another_site(cast: Cast) -> None:
    answers = {"username": "owner", "password": "correct-horse", "next": "https://evil.example.com/"}
    assert Client().post("/sign-in/", answers)["Location"] == "/"


def test_a_wrong_password_is_said_and_too_many_lock(cast: Cast, settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    client = Client()
    wrong = {"username": "owner", "password": "wrong"}
    assert "Please enter a correct username and password" in text(client.post("/sign-in/", wrong))
    locked = client.post("/sign-in/", wrong)
    assert locked.status_code in (403, 429)
    assert "Sign-in is paused for this account" in text(locked)


def test_the_demos_accounts_are_shown_in_the_demo_only(settings: Any) -> None:
    settings.SLIPWAY_DEMO = False
    assert "This is the demo" not in text(Client().get("/sign-in/"))
    settings.SLIPWAY_DEMO = True
    assert "This is the demo" in text(Client().get("/sign-in/"))


def test_who_has_no_workspace_is_told_what_to_do(db: None) -> None:
    user = get_user_model().objects.create_user("newcomer")
    client = Client()
    client.force_login(user)
    page = text(client.get("/"))
    assert "You are not a member of a workspace yet" in page
    assert 'action="/sign-out/"' in page


def test_a_forbidden_action_is_explained_and_htmx_can_find_the_sentence(cast: Cast) -> None:
    response = cast.client("viewer").get("/w/research/volumes/new/")
    assert response.status_code == 403
    assert '<p class="text-2" data-error-message>Members and admins of Research can create volumes.' in text(response)


def test_what_is_not_there_says_no_more_than_that(cast: Cast) -> None:
    absent = cast.client("owner").get("/w/research/presets/absent/")
    hidden = cast.client("owner").get("/w/other/volumes/")
    assert (absent.status_code, hidden.status_code) == (404, 404)
    assert "There is nothing here" in text(hidden)
    # The frame of a workspace would say that it exists.
    assert "Other" not in text(hidden)


def test_the_error_page_needs_neither_context_nor_database(rf: RequestFactory, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = views.server_error(rf.get("/"))
    assert response.status_code == 500
    assert "Something went wrong" in text(response)


def test_a_form_whose_secret_expired_says_that_nothing_changed(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.owner)
    response = client.post("/sign-out/")
    assert response.status_code == 403
    assert "Nothing was changed." in text(response)


@pytest.mark.parametrize(
    "address", [PAGE, "/w/research/volumes/new/", "/w/research/presets/", "/w/research/secrets/", "/sign-in/", "/absent/"]
)
def test_pages_keep_to_the_content_security_policy(cast: Cast, preset: Preset, shared_data: Volume, address: str) -> None:
    who = "anonymous" if address == "/sign-in/" else "admin"
    html = text(cast.client(who).get(address))
    tags = Tags(html).found
    assert any(tag == "h1" for tag, _ in tags)
    for tag, attributes in tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith(("on", "hx-on"))], tag
        assert tag != "style"
        if tag == "script":
            assert attributes.get("src", "").startswith("/static/")  # type: ignore[union-attr]


@pytest.mark.parametrize("address", [PAGE, "/w/research/volumes/new/", "/w/research/secrets/write/", "/sign-in/"])
def test_every_control_has_a_name_for_screen_readers(cast: Cast, shared_data: Volume, address: str) -> None:
    who = "anonymous" if address == "/sign-in/" else "admin"
    html = text(cast.client(who).get(address))
    tags = Tags(html).found
    labelled = {attributes.get("for") for tag, attributes in tags if tag == "label"}
    ids = [attributes["id"] for _, attributes in tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        if tag in ("input", "select", "textarea") and attributes.get("type") not in ("hidden", "radio", "checkbox"):
            assert attributes.get("id") in labelled or attributes.get("aria-label"), attributes


def test_every_icon_that_a_template_names_is_there() -> None:
    named = set()
    for template in [*TEMPLATES.rglob("*.html"), *(Path(project.BASE_DIR) / "compute").rglob("*.html")]:
        named |= set(re.findall(r'{% icon "([a-z0-9-]+)"', template.read_text()))
    there = {path.stem for path in (Path(project.BASE_DIR) / "static" / "vendor" / "lucide").glob("*.svg")}
    assert named
    assert named - there == set()


def test_a_toast_says_what_a_view_did() -> None:
    html = render_to_string("includes/toast.html", {"text": "Created <b>", "kind": "success"})
    assert "toast-success" in html
    assert "Created &lt;b&gt;" in html
