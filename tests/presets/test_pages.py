"""The preset gallery and a preset's page: only what can be launched here, with its prices."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from compute.models import ComputePool, Workspace
from presets.catalog import Card, cards, images_of, pod_sizes_of, runnable_preset_count, runnable_presets
from presets.models import Configuration, Image, PodSize, Preset, PresetVariable, PresetVolume
from storage.models import Volume
from tests.conftest import Cast
from tests.fakes import FakeDriver

pytestmark = pytest.mark.django_db
LIST, DETAIL = "/w/research/presets/", "/w/research/presets/jupyterlab/"
NEW = "/w/research/sessions/new/?preset=jupyterlab"


def text(response: Any) -> str:
    return str(response.content.decode())


def shown(workspace: Workspace) -> list[Card]:
    """As a request sees it: read from the database, with prices as decimals."""
    return cards(Workspace.objects.get(pk=workspace.pk))


def names(workspace: Workspace) -> list[str]:
    return [card.preset.slug for card in shown(workspace)]


def test_the_gallery_shows_images_sizes_and_the_lowest_price(cast: Cast, preset: Preset) -> None:
    page = text(cast.client("viewer").get(LIST))
    assert f'href="{DETAIL}">JupyterLab</a>' in page
    assert "2 images" in page
    assert "0.5\N{NO-BREAK SPACE}CPU – 4\N{NO-BREAK SPACE}CPU" in page
    assert "1\N{NO-BREAK SPACE}GiB – 16\N{NO-BREAK SPACE}GiB" in page
    assert "from $0.025/h" in page


def test_without_a_default_pool_no_price_is_claimed(cast: Cast, workspace: Workspace, preset: Preset) -> None:
    Workspace.objects.update(default_pool=None)
    assert "from $" not in text(cast.client("owner").get(LIST))
    assert "$" not in text(cast.client("owner").get(DETAIL))


def test_an_empty_gallery_says_what_to_do(cast: Cast) -> None:
    assert "No presets yet" in text(cast.client("owner").get(LIST))


def test_what_the_cluster_cannot_run_is_not_offered(cast: Cast, workspace: Workspace, preset: Preset, driver: FakeDriver) -> None:
    driver.unsupported = {"local:scipy": "There is no recipe scipy."}
    assert [image.slug for image in shown(workspace)[0].images] == ["minimal"]
    driver.unsupported["local:jupyterlab"] = "There is no recipe jupyterlab."
    assert (names(workspace), runnable_preset_count(workspace)) == ([], 0)
    assert cast.client("owner").get(DETAIL).status_code == 404


def test_hidden_redirected_and_other_workspaces_presets_are_not_offered(cast: Cast, workspace: Workspace, preset: Preset) -> None:
    minimal = preset.images.get(slug="minimal")
    Image.objects.filter(slug="scipy").update(redirect_to=minimal)
    assert [image.slug for image in shown(workspace)[0].images] == ["minimal"]
    preset.workspaces.set([Workspace.objects.get(name="other")])
    assert names(workspace) == []
    preset.workspaces.add(workspace)
    assert names(workspace) == ["jupyterlab"]
    Preset.objects.update(hidden=True)
    assert (names(workspace), runnable_preset_count(workspace)) == ([], 0)
    assert cast.client("owner").get(DETAIL).status_code == 404


def test_sizes_with_gpus_show_only_where_a_pool_has_gpus(workspace: Workspace, preset: Preset, pool: ComputePool) -> None:
    PodSize.objects.create(preset=preset, slug="gpu", name="GPU", cpu="8", memory="32Gi", gpus=1, position=3)
    (found,) = runnable_presets(workspace)
    assert [size.slug for size in pod_sizes_of(found)] == ["small", "large"]
    assert [image.slug for image in images_of(found)] == ["minimal", "scipy"]
    ComputePool.objects.update(gpu_resource="nvidia.com/gpu")
    assert [size.slug for size in pod_sizes_of(runnable_presets(workspace)[0])] == ["small", "large", "gpu"]


def test_a_presets_page_says_what_a_session_of_it_gets(cast: Cast, workspace: Workspace, preset: Preset, shared_data: Volume) -> None:
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data/sales")
    PresetVolume.objects.create(preset=preset, volume="gone", mount_path="/data/gone", read_only=False)
    Configuration.objects.create(slug="proxy", name="Company proxy", description="Mirrors.", on_by_default=True)
    PresetVariable.objects.create(preset=preset, name="MODE", value="canary-value")
    page = text(cast.client("owner").get(DETAIL))
    assert "canary-value" not in page
    for words in ("MODE", "local:scipy", "$0.025", "$0.24", "/data/sales", "Company proxy", "On by default", "/home/jovyan"):
        assert words in page
    assert page.count("Not in this workspace: left out.") == 1


def test_members_launch_and_viewers_are_told_why_not(cast: Cast, preset: Preset) -> None:
    assert f'href="{NEW}"' in text(cast.client("owner").get(DETAIL))
    page = text(cast.client("viewer").get(DETAIL))
    assert NEW not in page
    assert "You are a viewer of Research" in page


def test_deprecation_is_said_in_the_gallery_and_on_the_page(cast: Cast, preset: Preset) -> None:
    Preset.objects.update(deprecated=True, deprecation_message="Use JupyterLab 5 instead.")
    client = cast.client("owner")
    assert "Deprecated" in text(client.get(LIST))
    assert "Use JupyterLab 5 instead." in text(client.get(DETAIL))


def test_the_gallery_is_paged_at_a_fixed_cost(cast: Cast, preset: Preset, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        other = Preset.objects.create(slug=f"p-{number}", name=f"P {number}", ide="rstudio", position=number + 1)
        Image.objects.create(preset=other, slug="r", name="R", reference="local:r")
        PodSize.objects.create(preset=other, slug="s", name="S", cpu="1", memory="1Gi")
    client = cast.client("owner")
    client.get(LIST)
    with django_assert_max_num_queries(10):
        response = client.get(LIST)
    assert len(response.context["page"].object_list) == 24
    assert len(client.get(f"{LIST}?page=2").context["page"].object_list) == 7


def test_a_presets_page_costs_a_fixed_number_of_queries(cast: Cast, preset: Preset, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        Image.objects.create(preset=preset, slug=f"i-{number}", name=f"I {number}", reference="local:jupyterlab")
        Configuration.objects.create(slug=f"c-{number}", name=f"C {number}")
        PresetVolume.objects.create(preset=preset, volume=f"v-{number}", mount_path=f"/data/{number}")
    client = cast.client("owner")
    client.get(DETAIL)
    with django_assert_max_num_queries(13):
        assert client.get(DETAIL).status_code == 200


def test_to_an_outsider_there_is_nothing(cast: Cast, preset: Preset) -> None:
    for address in (LIST, DETAIL):
        assert cast.client("outsider").get(address).status_code == 404
        assert Client().get(address)["Location"] == f"/sign-in/?next={address}"
