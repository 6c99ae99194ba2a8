"""How a preset's sessions run, as curators set it and people see it: idle pause, readiness probe, ports, pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from compute.workload import Probe
from presets.ides import IDES
from presets.models import Preset
from presets.pictures import Picture, picture_of
from sessions import services
from sessions.models import Session
from sessions.spec import HomeInput, SpecInput, pending_changes
from sessions.workload import build
from tests.admin_pages import Page, curator, errors
from tests.conftest import Cast
from tests.presets.test_exchange_running import PNG, SVG

pytestmark = pytest.mark.django_db
MODEL = "presets_preset"


@pytest.fixture
def session(cast: Cast, preset: Preset) -> Session:
    spec = SpecInput(name="lab", preset="jupyterlab", image="minimal", pod_size="small", home=HomeInput(create_size="5Gi"))
    return services.launch(cast.owner, cast.owner.memberships.get().workspace, spec)


# In the admin


def test_a_curator_types_a_length_of_time_and_reads_it_again(preset: Preset) -> None:
    admin = curator()
    assert errors(Page(admin, MODEL, preset).send({"idle_pause_seconds": "90 min"})) == {}
    page = Page(admin, MODEL, preset)
    assert page.fields["idle_pause_seconds"] == "1\N{NO-BREAK SPACE}h 30\N{NO-BREAK SPACE}min"
    assert errors(page.send()) == {}
    preset.refresh_from_db()
    assert preset.idle_pause_seconds == 5400
    assert preset.history.count() == 3
    assert errors(page.send({"idle_pause_seconds": ""})) == {} and Preset.objects.get().idle_pause_seconds is None


@pytest.mark.parametrize(("typed", "word"), [("a while", "length of time"), ("3 s", "greater than or equal to 16"), ("900 d", "less than")])
def test_what_is_no_limit_is_refused_at_its_field(preset: Preset, typed: str, word: str) -> None:
    found = errors(Page(curator(), MODEL, preset).send({"idle_pause_seconds": typed}))
    assert word in found["idle_pause_seconds"][0]


def test_rstudio_can_not_be_told_to_pause(preset: Preset) -> None:
    found = errors(Page(curator(), MODEL, preset).send({"ide": "rstudio", "idle_pause_seconds": "4 h"}))
    assert "RStudio does not tell" in found["idle_pause_seconds"][0]


def test_pictures_are_uploaded_seen_replaced_and_removed(preset: Preset) -> None:
    admin = curator()
    files = {"new_icon": SimpleUploadedFile("icon.png", PNG), "new_logo": SimpleUploadedFile("logo.svg", SVG)}
    assert errors(Page(admin, MODEL, preset).send(files)) == {}
    preset.refresh_from_db()
    assert (preset.icon_id, preset.logo_id) == (picture_of(PNG).digest, picture_of(SVG).digest)
    page = Page(admin, MODEL, preset)
    assert 'src="data:image/svg+xml;base64,' in page.html and 'src="data:image/png;base64,' in page.html
    assert errors(page.send({"new_icon": SimpleUploadedFile("icon.svg", SVG), "remove_logo": "on"})) == {}
    preset.refresh_from_db()
    assert (preset.icon_id, preset.logo_id) == (picture_of(SVG).digest, None)
    assert errors(Page(admin, MODEL, preset).send()) == {}
    preset.refresh_from_db()
    assert preset.icon_id == picture_of(SVG).digest and Picture.objects.count() == 2


@pytest.mark.parametrize("content", [b"<html><svg></svg></html>", b"\xff\xd8\xff", SVG + b" " * 70_000])
def test_what_is_no_small_picture_is_refused_at_its_field(preset: Preset, content: bytes) -> None:
    found = errors(Page(curator(), MODEL, preset).send({"new_icon": SimpleUploadedFile("icon.svg", content)}))
    assert set(found) - {""} == {"new_icon"} and not Picture.objects.exists()


# On people's pages


def test_a_picture_is_served_so_that_nothing_in_it_can_act(cast: Cast, preset: Preset) -> None:
    scripted = SVG.replace(b"<path", b"<script>alert(1)</script><path")
    preset.logo = picture_of(scripted)
    preset.logo.save()
    preset.save()
    address = f"/w/research/presets/jupyterlab/pictures/{preset.logo_id}/"
    answer = cast.client("viewer").get(address)
    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, "image/svg+xml", scripted)
    assert answer["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert answer["X-Content-Type-Options"] == "nosniff" and "immutable" in answer["Cache-Control"]
    for place in ("presets/", "presets/jupyterlab/"):
        page = cast.client("viewer").get(f"/w/research/{place}").content.decode()
        assert f'src="{address}"' in page and "alert(1)" not in page
    assert cast.client("outsider").get(address).status_code == 404
    assert cast.client("viewer").get(f"/w/research/presets/jupyterlab/pictures/{'0' * 32}/").status_code == 404


def test_pages_with_pictures_ask_the_database_no_more(
    cast: Cast, session: Session, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    client = cast.client("owner")
    client.get("/w/research/sessions/")
    with django_assert_max_num_queries(20) as before:
        assert "<img" not in client.get("/w/research/sessions/").content.decode()
    picture = picture_of(SVG)
    picture.save()
    Preset.objects.update(icon=picture)
    with django_assert_num_queries(len(before)):
        assert f"pictures/{picture.digest}/" in client.get("/w/research/sessions/").content.decode()


def test_people_are_told_beforehand_that_idle_sessions_are_paused(cast: Cast, preset: Preset) -> None:
    Preset.objects.update(idle_pause_seconds=14400)
    client = cast.client("owner")
    for place in ("presets/", "presets/jupyterlab/", "sessions/new/?preset=jupyterlab"):
        assert "4\N{NO-BREAK SPACE}h" in client.get(f"/w/research/{place}", follow=True).content.decode(), place


# In a session


def change_port(preset: Preset) -> None:
    preset.images.update(port=9000)


def change_probe(preset: Preset) -> None:
    Preset.objects.update(probe_path="/ready?x=1", probe_period=10, probe_failures=3)


def test_without_anything_said_the_ides_own_port_and_probe_are_used(session: Session) -> None:
    workload = build(session)
    assert (workload.port, workload.probe) == (8888, IDES["jupyterlab"].probe)


@pytest.mark.parametrize(
    ("change", "told"), [(change_port, ("Port", "8888", "9000")), (change_probe, ("Readiness path", "/api", "/ready?x=1"))]
)
def test_a_change_of_port_or_probe_applies_at_the_next_resume(
    cast: Cast, session: Session, preset: Preset, change: Callable[[Preset], None], told: tuple[str, str, str]
) -> None:
    change(preset)
    session = Session.objects.get(pk=session.pk)
    assert pending_changes(session) == [told]
    services.pause(cast.owner, session)
    services.resume(cast.owner, session)
    workload = build(Session.objects.get(pk=session.pk))
    assert pending_changes(Session.objects.get(pk=session.pk)) == []
    if change is change_port:
        assert workload.port == 9000 and "--ServerApp.port=9000" in workload.command
    else:
        assert workload.probe == Probe("/ready?x=1", (), period=10, failures=3)


def test_a_session_of_an_older_version_runs_on_as_it_was(session: Session) -> None:
    snapshot = {key: value for key, value in session.snapshot.items() if key not in ("port", "probe")}
    Session.objects.filter(pk=session.pk).update(snapshot=snapshot)
    old = Session.objects.get(pk=session.pk)
    assert (build(old).port, build(old).probe) == (8888, IDES["jupyterlab"].probe)
    assert pending_changes(old) == []
