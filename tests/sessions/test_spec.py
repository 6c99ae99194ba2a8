"""What a spec may be: each rule of the wizard, at its field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compute.models import Cluster, ComputePool, SlurmCluster, Workspace
from presets.models import Configuration, ConfigurationVariable, ConfigurationVolume, Image, PodSize, Preset, PresetVariable, PresetVolume
from sessions.spec import DataVolumeInput, EnvInput, HomeInput, SpecInput, check, choices, defaults
from storage.models import Secret, Volume
from storage.services import bundle_of
from tests.conftest import Cast
from tests.fakes import FakeDriver
from tests.slurm_cast import slurm_cluster


@pytest.fixture
def checked(cast: Cast, workspace: Workspace, spec: SpecInput) -> Any:
    def checked(**changes: Any) -> list[tuple[str, str]]:
        return [(p.field, p.code) for p in check(cast.owner, workspace, replace(spec, **changes)).problems]

    return checked


@pytest.fixture
def warned(cast: Cast, workspace: Workspace, spec: SpecInput) -> Any:
    def warned(**changes: Any) -> list[tuple[str, str]]:
        result = check(cast.owner, workspace, replace(spec, **changes))
        assert result.problems == []
        return [(p.field, p.code) for p in result.warnings]

    return warned


def test_a_good_spec_has_no_problems(checked: Any) -> None:
    assert checked() == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ""}, ("name", "required")),
        ({"name": "Bad Name"}, ("name", "name_invalid")),
        ({"name": "x" * 46}, ("name", "name_too_long")),
        ({"preset": ""}, ("preset", "required")),
        ({"preset": "gone", "name": ""}, ("preset", "preset_gone")),
        ({"preset": "gone"}, ("preset", "preset_gone")),
        ({"image": ""}, ("image", "required")),
        ({"image": "gone"}, ("image", "image_gone")),
        ({"pod_size": ""}, ("pod_size", "required")),
        ({"pod_size": "gone"}, ("pod_size", "pod_size_gone")),
        ({"compute_pool": "gone"}, ("compute_pool", "pool_not_allowed")),
        ({"slurm_cluster": "gone"}, ("slurm_cluster", "slurm_gone")),
        ({"home": HomeInput()}, ("home", "required")),
        ({"home": HomeInput(create_size="much")}, ("home.size", "quantity")),
        ({"home": HomeInput(create_size="-1")}, ("home.size", "quantity_range")),
        ({"home": HomeInput(volume="gone")}, ("home.volume", "home_gone")),
        ({"data_volumes": (DataVolumeInput("gone", "/data/x"),)}, ("data_volumes.0.volume", "volume_gone")),
        ({"data_volumes": (DataVolumeInput("", "/data/x"),)}, ("data_volumes.0.volume", "required")),
        ({"data_volumes": (DataVolumeInput("sales", ""),)}, ("data_volumes.0.mount_path", "required")),
        ({"data_volumes": (DataVolumeInput("sales", "data"),)}, ("data_volumes.0.mount_path", "path_relative")),
        ({"data_volumes": (DataVolumeInput("sales", "/data/../etc"),)}, ("data_volumes.0.mount_path", "path_not_normal")),
        ({"data_volumes": (DataVolumeInput("sales", "/etc/x"),)}, ("data_volumes.0.mount_path", "path_reserved")),
        ({"data_volumes": (DataVolumeInput("sales", "/home/jovyan/x"),)}, ("data_volumes.0.mount_path", "path_reserved")),
        ({"configurations": ("gone",)}, ("configurations", "configuration_gone")),
        ({"env": (EnvInput("", "x"),)}, ("env.0.name", "required")),
        ({"env": (EnvInput("1A", "x"),)}, ("env.0.name", "env_invalid")),
        ({"env": (EnvInput("PATH", "x"),)}, ("env.0.name", "env_reserved")),
        ({"env": (EnvInput("JUPYTER_TOKEN", "x"),)}, ("env.0.name", "env_reserved")),
        ({"env": (EnvInput("OK", "x\0"),)}, ("env.0.value", "env_value")),
        ({"env": (EnvInput("OK", "€" * 11_000),)}, ("env.0.value", "env_value")),
        ({"env": tuple(EnvInput(f"A{n}", "x" * 32_768) for n in range(17))}, ("env", "env_too_large")),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
def test_each_mistake_is_told_at_its_field(checked: Any, shared_data: Volume, changes: dict[str, Any], problem: tuple[str, str]) -> None:
    assert checked(**changes) == [problem]


def test_a_variable_set_twice_is_told_at_both_rows(checked: Any) -> None:
    assert checked(env=(EnvInput("A", "1"), EnvInput("A", "2"))) == [("env.0.name", "env_twice"), ("env.1.name", "env_twice")]


def test_the_same_volume_twice_and_overlapping_paths(checked: Any, workspace: Workspace, shared_data: Volume) -> None:
    Volume.objects.create(workspace=workspace, name="more", kind="data", access_mode="ReadWriteMany")
    twice = (DataVolumeInput("sales", "/data/a"), DataVolumeInput("sales", "/data/b"))
    assert checked(data_volumes=twice) == [("data_volumes.1.volume", "volume_twice")]
    below = (DataVolumeInput("sales", "/data"), DataVolumeInput("more", "/data/more"))
    assert checked(data_volumes=below) == [("data_volumes.1.mount_path", "path_taken")]


def test_a_hidden_preset_image_or_size_is_no_longer_offered(checked: Any) -> None:
    Image.objects.filter(slug="minimal").update(hidden=True, is_default=False)
    PodSize.objects.filter(slug="small").update(hidden=True, is_default=False)
    assert checked() == [("image", "image_gone"), ("pod_size", "pod_size_gone")]
    Preset.objects.update(hidden=True)
    assert checked() == [("preset", "preset_gone")]


def test_a_preset_limited_to_another_workspace_is_not_offered(checked: Any, preset: Preset, cast: Cast) -> None:
    preset.workspaces.add(Workspace.objects.get(name="other"))
    assert checked() == [("preset", "preset_gone")]


def test_what_the_cluster_cannot_run_is_not_offered(
    checked: Any, cast: Cast, workspace: Workspace, preset: Preset, driver: FakeDriver
) -> None:
    driver.unsupported["local:jupyterlab"] = "Not here."
    assert checked() == [("image", "image_unsupported")]
    assert [image.slug for image in choices(cast.owner, workspace, preset).images] == ["scipy"]
    assert defaults(cast.owner, workspace, preset).image == "scipy"


def test_a_redirected_image_becomes_its_successor_with_a_warning(warned: Any, cast: Cast, workspace: Workspace, preset: Preset) -> None:
    Image.objects.filter(slug="minimal").update(redirect_to=Image.objects.get(slug="scipy"))
    assert warned() == [("image", "image_redirected")]
    assert [image.slug for image in choices(cast.owner, workspace, preset).images] == ["scipy"]


def test_deprecated_things_warn_with_the_admins_words(warned: Any, preset: Preset) -> None:
    for rows in (Preset.objects, preset.images, preset.pod_sizes):
        rows.update(deprecated=True, deprecation_message="Use the new one.")  # type: ignore[attr-defined]
    assert warned() == [("preset", "deprecated"), ("image", "deprecated"), ("pod_size", "deprecated")]


def test_a_pool_for_other_workspaces_or_disabled_is_refused(checked: Any, cluster: Cluster, cast: Cast) -> None:
    gpu = ComputePool.objects.create(cluster=cluster, name="gpu", display_name="GPU", gpu_resource="nvidia.com/gpu")
    assert checked(compute_pool="gpu") == []
    gpu.workspaces.add(Workspace.objects.get(name="other"))
    assert checked(compute_pool="gpu") == [("compute_pool", "pool_not_allowed")]
    ComputePool.objects.filter(name="standard").update(enabled=False)
    assert checked() == [("compute_pool", "pool_unavailable")]


def test_gpus_need_a_pool_that_has_them(checked: Any, cluster: Cluster, preset: Preset, cast: Cast, workspace: Workspace) -> None:
    PodSize.objects.create(preset=preset, slug="gpu", name="GPU", cpu="4", memory="16Gi", gpus=1, position=3)
    assert "gpu" not in {size.slug for size in choices(cast.owner, workspace, preset).pod_sizes}
    assert checked(pod_size="gpu") == [("compute_pool", "pool_without_gpus")]
    ComputePool.objects.create(cluster=cluster, name="gpu", display_name="GPU", gpu_resource="nvidia.com/gpu")
    assert "gpu" in {size.slug for size in choices(cast.owner, workspace, preset).pod_sizes}
    assert checked(pod_size="gpu", compute_pool="gpu") == []


def test_slurm_is_offered_only_where_an_enabled_cluster_serves(checked: Any, cast: Cast, workspace: Workspace, preset: Preset) -> None:
    slurm = slurm_cluster(workspace, cast.owner)
    slurm.workspaces.clear()
    assert choices(cast.owner, workspace, preset).slurm_clusters == []
    slurm.workspaces.add(workspace)
    assert choices(cast.owner, workspace, preset).slurm_clusters == [slurm]
    assert checked(slurm_cluster="hpc") == []
    assert checked(slurm_cluster="hpc", env=(EnvInput("SLURM_JWT", "x"),)) == [("env.0.name", "env_reserved")]
    SlurmCluster.objects.update(enabled=False)
    assert choices(cast.owner, workspace, preset).slurm_clusters == []


def test_a_colleagues_home_is_not_offered_and_cannot_be_named(checked: Any, cast: Cast, workspace: Workspace, preset: Preset) -> None:
    Volume.objects.create(workspace=workspace, owner=cast.colleague, name="home-theirs", kind="home")
    assert choices(cast.owner, workspace, preset).home_volumes == []
    assert checked(home=HomeInput(volume="home-theirs")) == [("home.volume", "home_gone")]


def test_variables_that_are_provided_already_are_named_in_a_warning(warned: Any, workspace: Workspace, cast: Cast) -> None:
    Secret.objects.create(bundle=bundle_of(workspace), name="GITHUB_TOKEN", value="x")
    configuration = Configuration.objects.create(slug="proxy", name="Proxy")
    ConfigurationVariable.objects.create(configuration=configuration, name="HTTP_PROXY", value="x")
    env = (EnvInput("GITHUB_TOKEN", "mine"), EnvInput("HTTP_PROXY", "mine"))
    assert warned(configurations=("proxy",), env=env) == [("env.0.name", "env_provided"), ("env.1.name", "env_provided")]


def test_replacing_a_presets_own_variable_is_told_unless_something_else_does_so_anyway(
    cast: Cast, workspace: Workspace, preset: Preset, spec: SpecInput
) -> None:
    PresetVariable.objects.create(preset=preset, name="HTTP_PROXY", value="x")
    PresetVariable.objects.create(preset=preset, name="GITHUB_TOKEN", value="x")
    PresetVariable.objects.create(preset=Preset.objects.create(slug="other", name="Other", ide="rstudio"), name="THEIRS", value="x")
    Secret.objects.create(bundle=bundle_of(workspace), name="GITHUB_TOKEN", value="x")
    env = tuple(EnvInput(name, "mine") for name in ("HTTP_PROXY", "GITHUB_TOKEN", "THEIRS"))
    proxy, token = check(cast.owner, workspace, replace(spec, env=env)).warnings
    assert (proxy.field, proxy.code) == ("env.0.name", "env_provided")
    assert proxy.message == f"HTTP_PROXY is already set by the preset “{preset}”; yours would replace it."
    assert "secrets bundle" in token.message


def test_configurations_that_clash_with_each_other_are_refused(checked: Any, workspace: Workspace, shared_data: Volume) -> None:
    one, two = (Configuration.objects.create(slug=slug, name=slug) for slug in ("one", "two"))
    ConfigurationVariable.objects.create(configuration=one, name="A", value="1")
    other = ConfigurationVariable.objects.create(configuration=two, name="A", value="1")
    assert checked(configurations=("one", "two")) == []
    other.value = "2"
    other.save()
    assert checked(configurations=("one", "two")) == [("configurations", "configurations_clash")]
    ConfigurationVolume.objects.create(configuration=one, volume="sales", mount_path="/data/sales")
    assert checked(configurations=("one",)) == []
    elsewhere = (DataVolumeInput("sales", "/data/elsewhere", True),)
    assert checked(configurations=("one",), data_volumes=elsewhere) == [("configurations", "volume_clash")]


def test_a_full_cluster_is_told_before_launch(cast: Cast, workspace: Workspace, spec: SpecInput) -> None:
    workspace.quota_cpu = "400m"
    result = check(cast.owner, workspace, spec)
    (line,) = result.quota
    assert line.exceeded
    assert [(p.field, p.code) for p in result.problems] == [("pod_size", "quota_exceeded")]
    assert "0 of 0.4 cores are used, and this makes it 0.5" in result.problems[0].message


def test_a_disabled_cluster_takes_no_new_sessions(checked: Any, cluster: Cluster, workspace: Workspace) -> None:
    workspace.cluster.enabled = False
    assert checked() == [("", "cluster_disabled")]


def test_defaults_are_the_presets(cast: Cast, workspace: Workspace, preset: Preset, shared_data: Volume, launch: Any) -> None:
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data/sales")
    PresetVolume.objects.create(preset=preset, volume="absent", mount_path="/data/absent")
    Configuration.objects.create(slug="on", name="On", on_by_default=True)
    Configuration.objects.create(slug="off", name="Off")
    assert defaults(cast.owner, workspace, preset) == SpecInput(
        name="jupyterlab-1",
        preset="jupyterlab",
        image="minimal",
        pod_size="small",
        home=HomeInput(create_size="5Gi"),
        data_volumes=(DataVolumeInput("sales", "/data/sales", True),),
        configurations=("on",),
    )
    launch(name="jupyterlab-1")
    assert defaults(cast.owner, workspace, preset).name == "jupyterlab-2"


def test_the_presets_home_volume_is_chosen_where_the_user_has_it_free(
    cast: Cast, workspace: Workspace, preset: Preset, home: Volume
) -> None:
    preset.home_volume = "home-owner"
    assert defaults(cast.owner, workspace, preset).home == HomeInput(volume="home-owner")
    assert defaults(cast.colleague, workspace, preset).home == HomeInput(create_size="5Gi")


def test_choices_cost_the_same_however_large_the_catalog(
    cast: Cast, workspace: Workspace, preset: Preset, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        Image.objects.create(preset=preset, slug=f"i{number}", name="I", reference="local:x")
        Configuration.objects.create(slug=f"c{number}", name="C")
        Volume.objects.create(workspace=workspace, name=f"v{number}", kind="data")
    with django_assert_max_num_queries(12):
        defaults(cast.owner, workspace, preset)
