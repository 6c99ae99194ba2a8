"""Who may do what, for every address. A route that is not in ``MATRIX`` fails; the admin's routes are derived."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from django_q.models import Failure
from simple_history.utils import get_history_manager_for_model

from compute.errors import Refused
from compute.models import SlurmAccount, SlurmCluster, Workspace
from presets.models import Preset
from sessions import services
from sessions.models import Session
from sessions.spec import HomeInput, SpecInput
from sessions.wizard import BY_IDENTIFIER
from tests.config.authorization_cast import World, build, ledger, send, undone
from tests.conftest import Cast
from tests.fakes import FakeDriver

PEOPLE = ("anonymous", "outsider", "viewer", "member", "admin", "owner")
# The objects are the owner's, who is a member; ``member`` is a colleague; ``admin`` is of the workspace.
# A number: that status, and nothing has changed. sign-in: a redirect to the sign-in page, and nothing has changed.
# done: a redirect, and it has been done. shown: done, and the answer shows the new secret, this once.
MATRIX = """
home                    GET   sign-in   302       302     302     302     302
home                    POST  405       405       405     405     405     405
healthz                 GET   200       200       200     200     200     200
healthz                 POST  405       405       405     405     405     405
readyz                  GET   200       200       200     200     200     200
readyz                  POST  405       405       405     405     405     405
metrics                 GET   404       404       404     404     404     404
metrics                 POST  405       405       405     405     405     405
login                   GET   200       302       302     302     302     302
login                   POST  200       302       302     302     302     302
logout                  GET   405       405       405     405     405     405
logout                  POST  302       302       302     302     302     302

tokens                  GET   sign-in   200       200     200     200     200
tokens                  POST  405       405       405     405     405     405
token_new               GET   sign-in   200       200     200     200     200
token_new               POST  sign-in   200       200     200     200     200
token_revoke            GET   sign-in   404       404     404     404     200
token_revoke            POST  sign-in   404       404     404     404     done

api-docs                GET   200       200       200     200     200     200
api-docs                POST  405       405       405     405     405     405
api-errors              GET   200       200       200     200     200     200
api-errors              POST  405       405       405     405     405     405

sessions:list           GET   sign-in   404       200     200     200     200
sessions:list           POST  405       405       405     405     405     405
sessions:new            GET   sign-in   404       403     200     200     200
sessions:new            POST  405       405       405     405     405     405
sessions:draft          GET   sign-in   404       403     404     404     200
sessions:draft          POST  sign-in   404       403     404     404     done
sessions:detail         GET   sign-in   404       200     200     200     200
sessions:detail         POST  405       405       405     405     405     405
sessions:logs           GET   sign-in   404       200     200     200     200
sessions:logs           POST  405       405       405     405     405     405
sessions:events         GET   sign-in   404       200     200     200     200
sessions:events         POST  405       405       405     405     405     405
sessions:slurm          GET   sign-in   404       200     200     200     200
sessions:slurm          POST  405       405       405     405     405     405
sessions:open           GET   405       405       405     405     405     405
sessions:open           POST  sign-in   404       403     403     403     done
sessions:pause          GET   405       405       405     405     405     405
sessions:pause          POST  sign-in   404       403     403     done    done
sessions:resume         GET   405       405       405     405     405     405
sessions:resume         POST  sign-in   404       403     403     done    done
sessions:delete         GET   sign-in   404       302     302     200     200
sessions:delete         POST  sign-in   404       403     403     done    done

presets:list            GET   sign-in   404       200     200     200     200
presets:list            POST  405       405       405     405     405     405
presets:detail          GET   sign-in   404       200     200     200     200
presets:detail          POST  405       405       405     405     405     405
presets:picture         GET   sign-in   404       200     200     200     200
presets:picture         POST  405       405       405     405     405     405

storage:volumes         GET   sign-in   404       200     200     200     200
storage:volumes         POST  405       405       405     405     405     405
storage:volume_new      GET   sign-in   404       403     200     200     200
storage:volume_new      POST  sign-in   404       403     done    done    done
storage:volume_delete   GET   sign-in   404       403     403     200     200
storage:volume_delete   POST  sign-in   404       403     403     done    done
storage:trash           GET   sign-in   404       200     200     200     200
storage:trash           POST  405       405       405     405     405     405
storage:volume_restore  GET   405       405       405     405     405     405
storage:volume_restore  POST  sign-in   404       403     403     done    done
storage:volume_purge    GET   sign-in   404       403     403     200     200
storage:volume_purge    POST  sign-in   404       403     403     done    done
storage:secrets         GET   sign-in   404       200     200     200     200
storage:secrets         POST  405       405       405     405     405     405
storage:secret_write    GET   sign-in   404       403     403     200     403
storage:secret_write    POST  sign-in   404       403     403     done    403
storage:secret_delete   GET   sign-in   404       403     403     200     403
storage:secret_delete   POST  sign-in   404       403     403     done    403

webhooks:list           GET   sign-in   404       403     403     200     403
webhooks:list           POST  405       405       405     405     405     405
webhooks:new            GET   sign-in   404       403     403     200     403
webhooks:new            POST  sign-in   404       403     403     shown   403
webhooks:detail         GET   sign-in   404       403     403     200     403
webhooks:detail         POST  405       405       405     405     405     405
webhooks:edit           GET   sign-in   404       403     403     200     403
webhooks:edit           POST  sign-in   404       403     403     done    403
webhooks:delete         GET   sign-in   404       403     403     200     403
webhooks:delete         POST  sign-in   404       403     403     done    403
webhooks:secret         GET   405       405       405     405     405     405
webhooks:secret         POST  sign-in   404       403     403     shown   403
webhooks:test           GET   405       405       405     405     405     405
webhooks:test           POST  sign-in   404       403     403     done    403
webhooks:delivery       GET   sign-in   404       403     403     200     403
webhooks:delivery       POST  405       405       405     405     405     405
webhooks:replay         GET   405       405       405     405     405     405
webhooks:replay         POST  sign-in   404       403     403     done    403

gateway:authorize       GET   404       404       404     404     404     404
gateway:authorize       POST  404       404       404     404     404     404
gateway:enter           GET   404       404       404     404     404     404
gateway:enter           POST  404       404       404     404     404     404
gateway:refused         GET   404       404       404     404     404     404
gateway:refused         POST  404       404       404     404     404     404
"""
ROWS = [line.split() for line in MATRIX.splitlines() if line]
EXPECTED = {(route, method): dict(zip(PEOPLE, outcomes, strict=True)) for route, method, *outcomes in ROWS}
ROUTES = {route for route, _ in EXPECTED}

FORMS: dict[str, dict[str, str]] = {
    "sessions:draft": {"intent": "save", "rendered_preset": "jupyterlab", "preset": "jupyterlab", "name": "renamed"},
    "storage:volume_new": {"name": "fresh", "kind": "data", "size": "1Gi", "access_mode": "ReadWriteOnce"},
    "storage:volume_delete": {"confirm": "scratch"},
    "storage:volume_purge": {"confirm": "old"},
    "storage:secret_write": {"name": "NEW_SECRET", "value": "canary-typed"},
    "webhooks:new": {"name": "fresh", "url": "https://ci.example.com/", "enabled": "on"},
    "webhooks:edit": {"url": "https://ci.example.com/other", "enabled": "on"},
    "storage:secret_delete": {"confirm": "WAREHOUSE_PASSWORD"},
}


def routes(patterns: Any = None, prefix: str = "/", namespaces: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every address of Slipway: its full name (``sessions:list``; empty last part if it has none) and its pattern."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path, (*namespaces, *filter(None, [pattern.namespace])))
        else:
            assert isinstance(pattern, URLPattern)
            yield ":".join((*namespaces, pattern.name or "")), path


ADMIN_SIGN_IN = r"/admin/(login/\?next=|$)"  # signing out leads to the index, and that to the sign-in
ADMIN_PATTERNS = sorted({path for name, path in routes() if name.startswith("admin:")})


@pytest.fixture
def world(cast: Cast, workspace: Workspace, preset: Preset, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> World:
    return build(cast, workspace, driver, monkeypatch)


def test_every_route_is_listed() -> None:
    elsewhere = ("admin:", "api:")  # derived below; tests/api/test_access.py
    unlisted = {name or path for name, path in routes() if not name.startswith(elsewhere)} ^ ROUTES
    assert not unlisted, f"Say in MATRIX who may use these routes, or drop them there: {sorted(unlisted)}"
    assert {(route, method) for route in ROUTES for method in ("GET", "POST")} == set(EXPECTED)
    assert len(ROWS) == len(EXPECTED)


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_each_person_gets_what_the_matrix_says(world: World, route: str) -> None:
    found: dict[str, dict[str, str]] = {"GET": {}, "POST": {}}
    with ledger() as book:
        for method, person in product(found, PEOPLE):
            client = world.client(person)
            with undone(book):
                found[method][person] = book.outcome(send(client, method, world.url(route), FORMS.get(route)))
    assert found == {method: EXPECTED[route, method] for method in found}


def test_htmx_gets_no_more_than_a_browser(world: World) -> None:
    with ledger() as book:
        for (route, method), expected in EXPECTED.items():
            for person in PEOPLE if method == "GET" else ():
                response = world.client(person).get(world.url(route), headers={"HX-Request": "true"})
                assert book.outcome(response) == expected[person], (route, person)


def test_other_methods_change_nothing(world: World) -> None:
    with ledger() as book:
        for route in sorted(ROUTES):
            for person in ("admin", "owner"):
                for method in ("PUT", "PATCH", "DELETE"):
                    found = book.outcome(world.client(person).generic(method, world.url(route)))
                    assert found in ("200", "302", "sign-in", "403", "404", "405"), (route, person, method)


def test_no_form_is_taken_without_its_csrf_token(world: World) -> None:
    urls = [("staff", url, {"post": "yes"}) for url in admin_urls(world)]
    urls += [(person, world.url(route), FORMS.get(route, {})) for route in sorted(ROUTES) for person in ("owner", "admin")]
    with ledger() as book:
        for person, url, form in urls:
            assert book.outcome(world.client(person, enforce_csrf_checks=True).post(url, form)) == "403", url


def test_what_belongs_to_another_workspace_is_not_found_through_ones_own(world: World, preset: Preset, workspace: Workspace) -> None:
    """The outsider is an admin of "other", and knows every id."""
    preset.workspaces.set([workspace])
    with ledger() as book:
        for (route, method), expected in EXPECTED.items():
            if world.objects(route):
                response = send(world.client("outsider"), method, world.url(route, "other"), FORMS.get(route))
                assert book.outcome(response) == ("405" if expected["owner"] == "405" else "404"), (method, route)


def test_a_volume_of_another_workspace_cannot_be_named(world: World) -> None:
    """Neither for a launch nor on deleting a session."""
    with pytest.raises(Refused):
        services.delete(world.cast.owner, world.running, ["scratch"])
    spec = SpecInput(name="thief", preset="jupyterlab", image="minimal", pod_size="small", home=HomeInput(volume="home-rest"))
    with pytest.raises(Refused) as refused:
        services.launch(world.cast.outsider, Workspace.objects.get(name="other"), spec)
    assert "home.volume" in {problem.field for problem in refused.value.problems}


def test_what_is_typed_as_a_secret_is_not_sent_back(world: World) -> None:
    with ledger() as book:
        refused = {"name": "not a name", "value": "canary-typed"}
        assert book.outcome(world.client("admin").post(world.url("storage:secret_write"), refused)) == "200"
    client, pages = world.client("owner"), [reverse("sessions:draft", args=["research", world.draft.pk, step]) for step in BY_IDENTIFIER]
    row = {"env_row": "0a1b2c3d", "env.0a1b2c3d.name": "not a name", "env.0a1b2c3d.value": "canary-typed"}
    form = {"intent": "check", "rendered_preset": "jupyterlab", "home": "create", "home_size": "5Gi", **row}
    for headers in ({}, {"HX-Request": "true"}):
        answers = [client.post(pages[-1], form, headers=headers, follow=True), *(client.get(page, follow=True) for page in pages)]
        assert not [answer.request["PATH_INFO"] for answer in answers if "canary-" in answer.content.decode()]


@pytest.mark.parametrize(("person", "expected"), [("viewer", "403"), ("member", "done"), ("admin", "done"), ("owner", "done")])
def test_who_can_launch(world: World, person: str, expected: str) -> None:
    launched = Session.objects.count() + (expected == "done")
    url = reverse("sessions:draft", args=["research", uuid.uuid4(), "storage"])
    form = {"intent": "launch", "rendered_preset": "jupyterlab", "home": "create", "home_size": "5Gi"}
    with ledger() as book:
        assert book.outcome(world.client(person).post(url, form)) == expected
    assert Session.objects.count() == launched


def test_staff_are_outsiders_where_they_are_no_members(world: World) -> None:
    with ledger() as book:
        for (route, method), expected in EXPECTED.items():
            client = world.client("staff")
            with undone(book):
                found = book.outcome(send(client, method, world.url(route), FORMS.get(route)))
            # They have no workspace that home could lead them to.
            assert found == ("200" if (route, method) == ("home", "GET") else expected["outsider"]), (method, route)


# The Django admin: whatever is registered, only staff get in.


def a_row_of_every_model(world: World) -> None:
    SlurmAccount.objects.create(slurm_cluster=SlurmCluster.objects.get(), user=world.staff, slurm_user="ada", uid=2001, gid=2001)
    Group.objects.create(name="curators")
    Failure.objects.create(success=False, id="f", name="f", func="sessions.tasks.reconcile", started=timezone.now(), stopped=timezone.now())
    AccessAttempt.objects.create(username="mallory", failures_since_start=1)
    AccessLog.objects.create(username="mallory")
    AccessFailureLog.objects.create(username="mallory")


def admin_urls(world: World) -> list[str]:
    """Every address of the admin, each with a row that is there."""
    if not Group.objects.exists():
        a_row_of_every_model(world)
    rows = {}
    for model in admin.site._registry:
        row = model._default_manager.order_by("pk").first()
        assert row is not None, f"Make a row of {model._meta.label} in a_row_of_every_model."
        rows[f"/admin/{model._meta.app_label}/{model._meta.model_name}/"] = row
    return sorted({_filled(pattern, rows) for pattern in ADMIN_PATTERNS})


def _filled(pattern: str, rows: dict[str, Any]) -> str:
    content_type = ContentType.objects.get_for_model(Session)
    url = pattern.replace("<path:content_type_id>/<path:object_id>", f"{content_type.pk}/{Session.objects.all()[0].pk}")
    url = re.sub(r"\^\(\?P<app_label>(\w+).*", r"\1/", url).replace("(?P<url>.*)$", "nothing-here")
    row = next((row for prefix, row in rows.items() if url.startswith(prefix)), None)
    if row is not None:
        if "/history/([^/]+)" in url:
            version = get_history_manager_for_model(type(row)).filter(**{row._meta.pk.attname: row.pk}).first().pk
            url = url.replace("^([^/]+)/history/([^/]+)/$", f"{row.pk}/history/{version}/")
        url = re.sub(r"<\w+:?\w*>", str(row.pk), url)
    assert not re.search(r"[<(^$]", url), f"Say in _filled how to fill {pattern}."
    return url


def test_the_admin_is_closed_to_all_but_staff(world: World) -> None:
    urls = admin_urls(world)
    with ledger() as book:
        for person in PEOPLE:
            for url in urls:
                for method in ("GET", "POST"):
                    response = send(world.client(person), method, url, {"post": "yes"})
                    found = book.outcome(response)
                    # The admin's own sign-in page tells people who are signed in that they may not.
                    refused = found == "sign-in" or re.match(ADMIN_SIGN_IN, response.headers.get("Location", ""))
                    assert refused or (url, found) == ("/admin/login/", "200"), (person, method, url, found)


def test_the_admin_shows_no_secrets_and_never_crashes(world: World) -> None:
    urls = admin_urls(world)
    with ledger() as book:
        for url in urls:
            client = world.client("staff")
            assert book.outcome(client.get(url)) in ("200", "302", "403", "404", "405"), url
            with undone(book):
                response = client.post(url, b"{}", content_type="application/json")
                book.outcome(response)
                assert response.status_code < 500, url


def test_staff_without_permissions_see_no_rows(world: World) -> None:
    urls = admin_urls(world)
    client = Client(raise_request_exception=False)
    client.force_login(get_user_model().objects.create_user("clerk", password="correct-horse", is_staff=True))
    with ledger() as book:
        for url in urls:
            is_about_rows = url.count("/") > 3 and not url.startswith(("/admin/password_change/", "/admin/r/"))
            for method in ("GET", "POST"):
                with undone(book):
                    found = book.outcome(send(client, method, url, {"post": "yes"}))
                assert found in (("302", "403", "404", "405") if is_about_rows else ("200", "302", "403", "404", "405")), (method, url)
