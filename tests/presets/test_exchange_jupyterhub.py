"""JupyterHub's profile_list into the catalog."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from compute.errors import Refused
from presets.models import Preset
from tests.presets.exchange import bring, kind, look, lost

PROFILES = yaml.safe_load("""
- display_name: Data science
  slug: data-science
  description: Notebooks with everything
  default: true
  kubespawner_override:
    image: quay.io/jupyter/base-notebook:2026-09-07
    cpu_guarantee: 0.5
    cpu_limit: 0.5
    mem_guarantee: 1G
    mem_limit: 1G
    environment: {REGION: north, WHO: "{username}"}
    node_selector: {pool: cpu}
  profile_options:
    image:
      display_name: Image
      choices:
        scipy: {display_name: SciPy, kubespawner_override: {image: "quay.io/jupyter/scipy-notebook:2026-09-07"}}
        r: {display_name: R, default: true, kubespawner_override: {image: "quay.io/jupyter/r-notebook:2026-09-07"}}
        untagged: {display_name: Untagged, kubespawner_override: {image: quay.io/jupyter/r-notebook}}
      unlisted_choice: {enabled: true, display_name: Other, validation_regex: "^.+$"}
    memory:
      display_name: Memory
      choices:
        small: {display_name: Small, kubespawner_override: {mem_guarantee: 2G, mem_limit: 2G}}
        large: {display_name: Large, default: true, kubespawner_override: {mem_guarantee: 8G, mem_limit: 8G}}
    gpu:
      display_name: GPU
      choices:
        none: {display_name: No GPU, default: true, kubespawner_override: {extra_resource_limits: {}}}
        one: {display_name: One GPU, kubespawner_override: {extra_resource_limits: {nvidia.com/gpu: "1"}}}
- display_name: Plain
  kubespawner_override: {cpu_limit: 2, mem_limit: 4294967296}
""")
VALUES: dict[str, Any] = {
    "singleuser": {"image": {"name": "quay.io/jupyter/minimal-notebook", "tag": "2026-09-07"}, "profileList": PROFILES}
}


@pytest.mark.django_db
def test_profiles_become_presets_with_images_and_sizes() -> None:
    bring(VALUES)
    preset = Preset.objects.get(slug="data-science")
    assert (preset.name, preset.ide, preset.description) == ("Data science", "jupyterlab", "Notebooks with everything")
    assert list(preset.images.values_list("slug", "reference", "is_default")) == [
        ("scipy", "quay.io/jupyter/scipy-notebook:2026-09-07", False),
        ("r", "quay.io/jupyter/r-notebook:2026-09-07", True),
    ]
    assert list(preset.pod_sizes.values_list("name", "cpu", "memory", "gpus", "is_default")) == [
        ("Small, No GPU", "500m", "2Gi", 0, False),
        ("Small, One GPU", "500m", "2Gi", 1, False),
        ("Large, No GPU", "500m", "8Gi", 0, True),
        ("Large, One GPU", "500m", "8Gi", 1, False),
    ]
    assert list(preset.variables.values_list("name", flat=True)) == ["REGION"]
    plain = Preset.objects.get(slug="plain")
    assert plain.images.get().reference == "quay.io/jupyter/minimal-notebook:2026-09-07"
    assert list(plain.pod_sizes.values_list("cpu", "memory")) == [("2", "4294967296")]
    assert not bring(VALUES).is_change


@pytest.mark.django_db
def test_what_profiles_lose_is_named() -> None:
    at = "singleuser.profileList[0]"
    options = f"{at}.profile_options"
    assert set(lost(look(VALUES))) == {
        f"{at}.default",
        f"{at}.kubespawner_override.node_selector",
        f"{at}.kubespawner_override.environment.WHO",
        f"{options}.image.unlisted_choice",
        f"{options}.image.choices.untagged.kubespawner_override.image",
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content", [PROFILES[:1], {"profile_list": PROFILES[:1]}, {"hub": {"config": {"KubeSpawner": {"profile_list": PROFILES[:1]}}}}]
)
def test_a_list_is_found_wherever_it_stands(content: Any) -> None:
    bring(content)
    assert Preset.objects.get().slug == "data-science"


@pytest.mark.django_db
def test_a_profile_without_an_image_is_hidden_and_named() -> None:
    plan = bring({"profile_list": [{"display_name": "Bare"}]})
    assert Preset.objects.get().hidden
    assert {"profile_list[0]", "profile_list[0].kubespawner_override.image"} <= set(lost(plan))


@pytest.mark.django_db
def test_more_combinations_than_anybody_wants_are_left_out() -> None:
    choices = {f"c{number}": {"display_name": str(number), "kubespawner_override": {"cpu_limit": number}} for number in range(1, 9)}
    memory = {f"m{number}": {"display_name": str(number), "kubespawner_override": {"mem_limit": f"{number}G"}} for number in range(1, 9)}
    profile = {"display_name": "Many", "kubespawner_override": {"image": "x.io/y:1", "mem_limit": "1G"}}
    plan = bring([{**profile, "profile_options": {"cpu": {"choices": choices}, "memory": {"choices": memory}}}])
    assert Preset.objects.get().pod_sizes.count() == 8
    assert "[0].profile_options.memory" in lost(plan)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ([{"display_name": "One"}, {"display_name": "one"}], "catalog.yaml, document 1, [1]"),
        ([1], "catalog.yaml, document 1, [0]"),
        ([{}], "catalog.yaml, document 1, [0].display_name"),
        ({"profile_list": []}, "catalog.yaml, document 1, profile_list"),
    ],
)
def test_a_mistake_is_named(content: Any, place: str) -> None:
    with pytest.raises(Refused) as refused:
        look(content)
    assert place in [problem.field for problem in refused.value.problems]


@pytest.mark.django_db
def test_kubeflow_and_jupyterhub_may_come_together() -> None:
    assert len(look(kind(), VALUES).items) == 3
