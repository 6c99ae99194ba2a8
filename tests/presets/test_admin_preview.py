"""The Preview button shows the wizard with a member's eyes, and why the rest is not there."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.models import ComputePool, Workspace
from presets.models import Configuration, PodSize, Preset, PresetVolume
from storage.models import Volume
from tests.admin_pages import curator
from tests.conftest import Cast
from tests.fakes import FakeDriver


@pytest.fixture
def admin(db: None) -> Client:
    return curator()


def look(admin: Client, preset: Preset, **query: Any) -> Any:
    return admin.get(reverse("admin:presets_preset_preview", args=[preset.pk]), query)


def section(response: Any, label: str) -> Any:
    return next(s for step in response.context["preview"].steps for s in step.sections if s.label == label)


def test_it_shows_what_a_member_is_offered_and_why_not_the_rest(
    admin: Client, preset: Preset, workspace: Workspace, cast: Cast, driver: FakeDriver, home: Volume, shared_data: Volume
) -> None:
    driver.unsupported["local:jupyterlab"] = "It needs Kubernetes."
    PodSize.objects.create(preset=preset, slug="gpu", name="GPU", cpu="4", memory="16Gi", gpus=1)
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data/sales")
    PresetVolume.objects.create(preset=preset, volume="missing", mount_path="/data/missing")
    Configuration.objects.create(slug="on", name="Switched on", on_by_default=True)
    Configuration.objects.create(slug="off", name="Gone", hidden=True)
    ComputePool.objects.create(cluster=workspace.cluster, name="old", display_name="Old", enabled=False)
    response = look(admin, preset, workspace="research", member=cast.owner.pk)
    images = section(response, "Image")
    assert [(row.name, row.chosen) for row in images.offered] == [("SciPy", True)]
    assert images.left_out[0].why == "It needs Kubernetes."
    sizes = section(response, "Pod size")
    assert [row.name for row in sizes.offered] == ["Small", "Large"]
    assert sizes.offered[0].price_per_hour is not None
    assert "GPU" in sizes.left_out[0].why
    assert section(response, "Compute pool").left_out[0].why == "disabled"
    assert [row.name for row in section(response, "Home volume").offered] == ["Create a new one", "home-owner"]
    data = section(response, "Data volumes")
    assert [row.name for row in data.offered] == ["sales"]
    assert "missing" in data.left_out[0].name
    configurations = section(response, "Configurations")
    assert [(row.name, row.chosen) for row in configurations.offered] == [("Switched on", True)]
    assert configurations.left_out[0].why == "hidden"
    html = response.content.decode()
    assert "It needs Kubernetes." in html
    assert "style=" not in html


def test_it_says_when_the_workspace_does_not_see_the_preset(admin: Client, preset: Preset, workspace: Workspace, cast: Cast) -> None:
    preset.workspaces.add(Workspace.objects.get(name="other"))
    assert "limited to other workspaces" in look(admin, preset, workspace="research").context["preview"].refusal
    Preset.objects.update(hidden=True)
    assert look(admin, preset, workspace="research").context["preview"].refusal == "The preset is hidden."


def test_it_works_before_there_is_a_workspace(admin: Client, preset: Preset) -> None:
    assert "There is no workspace yet" in look(admin, preset).content.decode()


def test_it_works_before_the_workspace_has_a_member(admin: Client, preset: Preset, workspace: Workspace) -> None:
    assert [row.name for row in section(look(admin, preset), "Home volume").offered] == ["Create a new one"]


def test_it_costs_a_fixed_number_of_queries(
    admin: Client, preset: Preset, workspace: Workspace, cast: Cast, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        Configuration.objects.create(slug=f"c-{number}", name="C", hidden=bool(number % 2))
        PodSize.objects.create(preset=preset, slug=f"s-{number}", name="S", cpu="1", memory="1Gi", hidden=bool(number % 2))
    with django_assert_max_num_queries(32):
        assert look(admin, preset, workspace="research").status_code == 200


def test_only_curators_see_it(preset: Preset, cast: Cast) -> None:
    url = reverse("admin:presets_preset_preview", args=[preset.pk])
    assert cast.client("admin").get(url).status_code == 302
    assert Client().get(url).status_code == 302
