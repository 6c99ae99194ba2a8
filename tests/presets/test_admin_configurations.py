"""Curating configurations: variables (secret ones are never read back), scripts and volumes."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from compute.models import Workspace
from presets.models import Configuration, ConfigurationVariable
from tests.admin_pages import Page, curator, errors

MODEL = "presets_configuration"
SECRET = "s3cr3t-hunter2"


@pytest.fixture
def admin(db: None) -> Client:
    return curator()


@pytest.fixture
def configuration(db: None) -> Configuration:
    return Configuration.objects.create(slug="team", name="Team")


def test_a_secret_goes_in_and_never_comes_out(admin: Client, configuration: Configuration) -> None:
    page = Page(admin, MODEL, configuration)
    page.add_row("variables", name="TOKEN", new_value=SECRET, is_secret="on")
    # Not after an error …
    response = page.send({"name": ""})
    assert errors(response).keys() == {"name"}
    assert SECRET not in response.content.decode()
    # … nor once it is stored, in the page, its history or the log of changes.
    assert errors(page.send()) == {}
    stored = Page(admin, MODEL, configuration)
    assert SECRET not in stored.html
    assert SECRET not in str(list(Configuration.history.values())) + str(list(LogEntry.objects.values()))
    # Left empty, it stays.
    assert errors(stored.send({"name": "Renamed"})) == {}
    variable = configuration.variables.get()
    assert (variable.value, variable.is_secret) == (SECRET, True)
    # Unticking does not show it.
    assert errors(stored.send({"variables-0-is_secret": None})).keys() == {"variables-0-new_value"}
    assert errors(stored.send({"variables-0-is_secret": None, "variables-0-new_value": "open"})) == {}
    assert "open" in Page(admin, MODEL, configuration).html


def test_an_open_variable_is_shown_may_be_emptied_and_may_become_secret(admin: Client, configuration: Configuration) -> None:
    ConfigurationVariable.objects.create(configuration=configuration, name="REGION", value="north")
    page = Page(admin, MODEL, configuration)
    assert page.fields["variables-0-new_value"] == "north"
    assert errors(page.send({"variables-0-is_secret": "on", "variables-0-new_value": ""})) == {}
    assert configuration.variables.get().value == "north"
    ConfigurationVariable.objects.update(is_secret=False)
    assert errors(page.send({"variables-0-new_value": ""})) == {}
    assert configuration.variables.get().value == ""


def test_names_are_valid_free_and_unique(admin: Client, configuration: Configuration) -> None:
    page = Page(admin, MODEL, configuration)
    for name in ("1ST", "HOME", "SLIPWAY_X", "JUPYTER_TOKEN", "FINE", "FINE", ""):
        page.add_row("variables", name=name, new_value="x")
    assert errors(page.send()).keys() == {f"variables-{number}-name" for number in (0, 1, 2, 3, 5, 6)}


def test_a_new_secret_needs_a_value(admin: Client, configuration: Configuration) -> None:
    page = Page(admin, MODEL, configuration)
    page.add_row("variables", name="TOKEN", is_secret="on")
    assert errors(page.send()).keys() == {"variables-0-new_value"}


def test_scripts_are_parsed_and_their_line_ends_made_unix(admin: Client, configuration: Configuration) -> None:
    assert "init_script" in errors(Page(admin, MODEL, configuration).send({"init_script": "if true; then\r\necho"}))
    assert errors(Page(admin, MODEL, configuration).send({"init_script": "echo one\r\necho two\r\n"})) == {}
    configuration.refresh_from_db()
    assert "\r" not in configuration.init_script


def test_a_volume_is_mounted_once_and_paths_do_not_overlap(admin: Client, configuration: Configuration) -> None:
    page = Page(admin, MODEL, configuration)
    for volume, path in (("a", "/data"), ("a", "/other"), ("b", "/data/b"), ("c", "/data"), ("d", "/home/jovyan/d")):
        page.add_row("volumes", volume=volume, mount_path=path)
    found = errors(page.send())
    assert found.keys() == {"volumes-1-volume", "volumes-2-mount_path", "volumes-3-mount_path", "volumes-4-mount_path"}


def test_what_a_session_switched_on_is_not_deleted(admin: Client, configuration: Configuration, session_using: str) -> None:
    html = admin.post(f"/admin/presets/configuration/{configuration.pk}/delete/", {"post": "yes"}).content.decode()
    assert f"session “{session_using}” in Research" in html
    assert Configuration.objects.filter(pk=configuration.pk).exists()


@pytest.fixture
def session_using(configuration: Configuration, workspace: Workspace, preset: object, cast: object) -> str:
    from presets.models import Image, PodSize, Preset
    from sessions.models import Session, SessionConfiguration

    session = Session.objects.create(
        workspace=workspace,
        owner=cast.owner,  # type: ignore[attr-defined]
        name="forecast",
        preset=Preset.objects.get(),
        image=Image.objects.first(),  # type: ignore[misc]
        pod_size=PodSize.objects.first(),  # type: ignore[misc]
    )
    SessionConfiguration.objects.create(session=session, configuration=configuration)
    return session.name
