"""The starter catalog: there after one command, unchanged after a second, and every row of it fit to launch."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from compute.models import Workspace
from presets.models import Configuration, Image, Preset
from tests.admin_pages import Page, curator, errors
from tests.conftest import Cast
from tests.fakes import FakeDriver


def seed() -> str:
    out = StringIO()
    call_command("seed_catalog", stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_it_brings_three_ides_with_one_default_each() -> None:
    seed()
    assert list(Preset.objects.values_list("slug", flat=True)) == ["jupyterlab", "vscode", "rstudio"]
    for preset in Preset.objects.all():
        assert preset.images.filter(is_default=True).count() == preset.pod_sizes.filter(is_default=True).count() == 1
        assert preset.images.exclude(reference__startswith="local:").exists()


@pytest.mark.django_db
def test_every_row_of_it_passes_its_own_admin_page() -> None:
    seed()
    admin: Client = curator()
    for preset in Preset.objects.all():
        assert errors(Page(admin, "presets_preset", preset).send()) == {}
    for configuration in Configuration.objects.all():
        assert errors(Page(admin, "presets_configuration", configuration).send()) == {}


@pytest.mark.django_db
def test_a_second_time_creates_nothing_and_keeps_what_admins_did() -> None:
    seed()
    preset = Preset.objects.get(slug="jupyterlab")
    preset.images.filter(slug="minimal").update(name="Ours", reference="registry.example.com/ours:1")
    preset.images.filter(is_default=True).update(is_default=False)
    preset.images.filter(slug="scipy").update(is_default=True)
    preset.images.get(slug="scipy-local").delete()
    Preset.objects.get(slug="rstudio").delete()
    renamed = Preset.objects.get(slug="vscode")
    renamed.slug = "editor"
    renamed.save()
    before = list(Image.objects.values()), list(Preset.objects.values())
    assert "0 created" in seed()
    assert (list(Image.objects.values()), list(Preset.objects.values())) == before


@pytest.mark.django_db
def test_it_adds_beside_an_admins_own_catalog(preset: Preset) -> None:
    """The preset “jupyterlab” exists already, with its own default: new entries come after and are no default."""
    seed()
    assert list(preset.images.filter(is_default=True).values_list("slug", flat=True)) == ["minimal"]
    assert list(preset.images.values_list("slug", flat=True))[:2] == ["minimal", "scipy"]


@pytest.mark.django_db
def test_a_workspace_is_offered_what_its_cluster_runs(workspace: Workspace, driver: FakeDriver, cast: Cast) -> None:
    from sessions.spec import choices

    seed()
    preset = Preset.objects.get(slug="jupyterlab")
    for image in preset.images.exclude(reference__startswith="local:"):
        driver.unsupported[image.reference] = "It needs Kubernetes."
    offered = choices(cast.owner, workspace, preset)
    assert [image.reference for image in offered.images] == ["local:jupyterlab", "local:scipy"]
    assert offered.default_image == offered.images[0]
