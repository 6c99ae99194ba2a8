"""What the API tells of the catalog is what the wizard offers."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import ComputePool, SlurmCluster, Workspace
from presets.models import Configuration, ConfigurationVariable, Image, PodSize, Preset, PresetVariable, PresetVolume
from sessions.spec.choices import choices
from tests.api.conftest import Tokened
from tests.conftest import Cast

HERE = "workspaces/research"


def test_a_preset_shows_what_the_wizard_offers(api: Tokened, cast: Cast, workspace: Workspace, preset: Preset) -> None:
    Image.objects.create(preset=preset, slug="old", name="Old", reference="local:jupyterlab", hidden=True)
    PodSize.objects.create(preset=preset, slug="gpu", name="GPU", cpu="4", memory="16Gi", gpus=1)
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data/sales")
    PresetVariable.objects.create(preset=preset, name="MODE", value="canary-value")
    answer = api().get(f"{HERE}/presets/jupyterlab")
    shown = answer.data
    offered = choices(cast.owner, workspace, preset)
    assert [image["name"] for image in shown["images"]] == [image.slug for image in offered.images] == ["minimal", "scipy"]
    assert [size["name"] for size in shown["pod_sizes"]] == [size.slug for size in offered.pod_sizes] == ["small", "large"]
    assert [image["is_default"] for image in shown["images"]] == [True, False]
    assert shown["pod_sizes"][0]["price_per_hour"] == {"amount": "0.02500", "currency": "$"}
    assert shown["data_volumes"] == [{"claim": "sales", "mount_path": "/data/sales", "read_only": True}]
    assert shown["env"] == ["MODE"]
    assert b"canary" not in answer.response.content


def test_a_preset_that_nobody_can_launch_is_not_found(api: Tokened, workspace: Workspace, preset: Preset) -> None:
    preset.images.update(hidden=True)
    assert api().get(f"{HERE}/presets").data["items"] == []
    assert api().get(f"{HERE}/presets/jupyterlab").status == 404


def test_without_a_default_pool_a_size_has_no_price(api: Tokened, workspace: Workspace, preset: Preset) -> None:
    Workspace.objects.update(default_pool=None)
    assert api().get(f"{HERE}/presets/jupyterlab").data["pod_sizes"][0]["price_per_hour"] is None


def test_pools_tell_their_prices_and_which_is_the_default(api: Tokened, workspace: Workspace, pool: ComputePool) -> None:
    ComputePool.objects.create(cluster=workspace.cluster, name="closed", display_name="Closed", enabled=False)
    (shown,) = api().get(f"{HERE}/compute-pools").data["items"]
    assert shown["name"] == "standard"
    assert shown["is_default"] is True
    assert shown["prices"]["gpu"] == {"amount": "1.20000", "currency": "$"}
    assert "node_selector" not in shown


def test_slurm_clusters_are_those_that_serve_the_workspace(api: Tokened, workspace: Workspace) -> None:
    served = SlurmCluster.objects.create(name="hpc", display_name="HPC", controllers="hpc:6817", enabled=True)
    SlurmCluster.objects.create(name="elsewhere", display_name="Elsewhere", controllers="far:6817", enabled=True)
    assert api().get(f"{HERE}/slurm-clusters").data["items"] == []
    served.workspaces.add(workspace)
    assert api().get(f"{HERE}/slurm-clusters").data["items"] == [{"name": "hpc", "display_name": "HPC"}]


@pytest.fixture
def configurations(workspace: Workspace, preset: Preset) -> None:
    other = Preset.objects.create(slug="rstudio", name="RStudio", ide="rstudio")
    Image.objects.create(preset=other, slug="r", name="R", reference="local:r")
    for slug, presets in (("everywhere", []), ("notebooks", [preset]), ("statistics", [other])):
        configuration = Configuration.objects.create(slug=slug, name=slug.title(), init_script="echo canary-script")
        configuration.presets.set(presets)
        ConfigurationVariable.objects.create(configuration=configuration, name="TOKEN", value="canary-value", is_secret=True)
        ConfigurationVariable.objects.create(configuration=configuration, name="MODE", value="canary-plain")
    Configuration.objects.create(slug="hidden", name="Hidden", hidden=True)


@pytest.mark.usefixtures("configurations")
def test_configurations_are_those_of_the_preset_that_is_asked_for(api: Tokened) -> None:
    def names(**query: Any) -> list[str]:
        return [item["name"] for item in api().get(f"{HERE}/configurations", **query).data["items"]]

    assert names(ordering="name") == ["everywhere", "notebooks", "statistics"]
    assert names(ordering="name", preset="jupyterlab") == ["everywhere", "notebooks"]
    assert api().get(f"{HERE}/configurations", preset="nothing").status == 404


@pytest.mark.usefixtures("configurations")
def test_of_a_configuration_no_value_and_no_script_is_shown(api: Tokened) -> None:
    answer = api().get(f"{HERE}/configurations")
    assert answer.data["items"][0]["env"] == ["MODE", "TOKEN"]
    assert answer.data["items"][0]["has_init_script"] is True
    assert b"canary" not in answer.response.content


@pytest.mark.usefixtures("configurations")
@pytest.mark.parametrize(("path", "queries"), [("presets", 10), ("configurations", 7), ("compute-pools", 5)])
def test_a_list_costs_the_same_however_long(
    api: Tokened, workspace: Workspace, path: str, queries: int, django_assert_max_num_queries: Any
) -> None:
    for number in range(8):
        preset = Preset.objects.create(slug=f"p{number}", name=f"P{number}", ide="jupyterlab")
        Image.objects.create(preset=preset, slug="a", name="A", reference="local:jupyterlab")
        PodSize.objects.create(preset=preset, slug="s", name="S", cpu="1", memory="1Gi")
        Configuration.objects.create(slug=f"c{number}", name=f"C{number}")
        ComputePool.objects.create(cluster=workspace.cluster, name=f"n{number}", display_name=f"N{number}")
    client = api()
    with django_assert_max_num_queries(queries):
        assert len(client.get(f"{HERE}/{path}").data["items"]) >= 8
