"""Exports: Kubeflow's own CRD schemas take them, and a round trip changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from django.conf import settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from compute.models import Workspace
from presets.exchange import Options, Source, apply, export, preview
from presets.exchange.export import exported_configurations, exported_presets, text_of
from presets.models import Configuration, ConfigurationVariable, Image, PodSize, Preset, PresetVariable, PresetVolume
from tests.presets.exchange import bring, image, kind, kubeflow_file, pod, pod_default, schema_errors, written
from tests.presets.test_exchange_kubeflow import alpha

pytestmark = pytest.mark.django_db
RICH = kind(
    images=[
        image("old:1", redirect={"to": "new:2", "message": {"level": "Info", "text": "Newer."}}),
        image("new:2", spawner={"displayName": "New", "labels": [{"key": "python", "value": "3.12"}]}),
        image("untagged", reference="quay.io/x/y"),
    ],
    pods=[
        pod("small_cpu"),
        {**pod("open"), "spec": {"resources": {"requests": {"cpu": "100m"}, "limits": {"nvidia.com/gpu": "1"}}, "affinity": {}}},
        pod("gone", cpu="9999"),
        pod("moved", redirect={"to": "small_cpu"}),
    ],
    extraEnv=[
        {"name": "NB_PREFIX", "value": '{{ httpPathPrefix "jupyterlab" }}'},
        {"name": "PRICE", "value": "5$$ {{ httpPathPrefix `jupyterlab` }}"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
    extraVolumes=[{"name": "dshm", "emptyDir": {"medium": "Memory"}}, {"name": "d", "persistentVolumeClaim": {"claimName": "sales"}}],
    extraVolumeMounts=[{"name": "dshm", "mountPath": "/dev/shm"}, {"name": "d", "mountPath": "/data/sales", "readOnly": True}],
    probes={"startupProbe": {"httpGet": {"path": "/", "port": 8888}}},
    podMetadata={"labels": {"team": "a"}},
)
RICH["spec"]["podTemplate"]["options"]["imageConfig"]["spawner"]["default"] = "new:2"
RICH["metadata"]["annotations"] = {"note": "kept"}
PROXY = pod_default(
    env=[
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128/$$x"},
        {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
    volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "sales"}}, {"name": "s", "secret": {"secretName": "gcp"}}],
    volumeMounts=[{"name": "v", "mountPath": "/data/sales"}, {"name": "s", "mountPath": "/secret"}],
    tolerations=[{"operator": "Exists"}],
    sidecars=[{"name": "proxy", "image": "x/y:1"}],
)


def rows() -> list[Any]:
    """The whole catalog, but for what was written when."""
    models = (Preset, Image, PodSize, PresetVariable, PresetVolume, Configuration, ConfigurationVariable)
    times = ("created_at", "updated_at")
    return [{k: v for k, v in row.items() if k not in times} for model in models for row in model._default_manager.order_by("pk").values()]


@pytest.mark.parametrize("documents", [[RICH], [PROXY], [alpha()], [kind()], [RICH, PROXY, alpha() | {"metadata": {"name": "other"}}]])
def test_import_export_import_changes_nothing(documents: list[Any]) -> None:
    bring(*documents)
    before = rows()
    exported = written()
    assert len(exported) == len(documents)
    plan = bring(*exported)
    assert not plan.is_change
    assert rows() == before
    assert written() == exported
    assert [error for document in exported for error in schema_errors(document)] == []


@pytest.mark.parametrize("name", ["jupyterlab-workspacekind.yaml", "poddefault-gcp-secret.yaml"])
def test_kubeflows_own_samples_make_the_round_trip(name: str) -> None:
    text = kubeflow_file(name).read_text()
    apply(None, [Source(name, text)], Options())
    (exported,) = written()
    assert schema_errors(exported) == []
    assert not preview([Source("again.yaml", yaml.safe_dump(exported))], Options()).is_change
    came = yaml.safe_load(text)
    if exported["kind"] == "WorkspaceKind":  # nothing of it is lost, but for what an environment in Slipway holds
        del exported["metadata"]["annotations"], came["spec"]["podTemplate"]["probes"]
    assert exported == came


def test_what_was_not_changed_is_spelled_as_it_was_and_what_was_is_new() -> None:
    bring(RICH)
    preset = Preset.objects.get()
    Preset.objects.update(name="Renamed", deprecated=True, deprecation_message="Old.")
    preset.pod_sizes.filter(slug="open").update(cpu="2", gpus=2)
    preset.pod_sizes.filter(slug="small-cpu").update(is_default=False)
    preset.pod_sizes.filter(slug="open").update(is_default=True)
    preset.images.filter(slug="new-2").update(reference="quay.io/jupyter/new:3")
    Image.objects.create(preset=preset, slug="added", name="Added", reference="quay.io/x/y:2", position=9)
    (exported,) = written()
    assert schema_errors(exported) == []
    spec = exported["spec"]
    assert {"displayName": "Renamed", "deprecated": True, "deprecationMessage": "Old."}.items() <= spec["spawner"].items()
    options = spec["podTemplate"]["options"]
    images = {value["id"]: value for value in options["imageConfig"]["values"]}
    assert list(images) == ["old:1", "new:2", "untagged", "added"]
    assert images["old:1"]["redirect"]["message"]["text"] == "Newer."
    assert images["new:2"]["spec"]["image"] == "quay.io/jupyter/new:3"
    assert images["new:2"]["spawner"]["labels"] == [{"key": "python", "value": "3.12"}]
    open_ = next(value for value in options["podConfig"]["values"] if value["id"] == "open")
    assert open_["spec"]["resources"] == {"requests": {"cpu": "2"}, "limits": {"cpu": "2", "nvidia.com/gpu": 2}}
    assert options["podConfig"]["spawner"]["default"] == "open"
    bring(exported)
    assert Preset.objects.get().name == "Renamed"


def test_an_order_of_the_curators_and_a_deleted_image_are_exported() -> None:
    bring(kind(images=[image("a"), image("b", redirect={"to": "c"}), image("c"), image("d", redirect={"to": "b"})]))
    preset = Preset.objects.get()
    preset.images.filter(slug="d").update(redirect_to=None, position=0, is_default=False)
    preset.images.filter(slug="b").delete()
    (exported,) = written()
    values = exported["spec"]["podTemplate"]["options"]["imageConfig"]["values"]
    assert [value["id"] for value in values] == ["d", "a", "c"]
    assert not any("redirect" in value for value in values)


def test_secrets_scripts_and_local_images_stay_and_are_named(preset: Preset, workspace: Workspace) -> None:
    Image.objects.create(preset=preset, slug="real", name="Real", reference="quay.io/x/y:1", position=3)
    preset.images.filter(slug="minimal").update(deprecated=True)
    preset.images.filter(slug="real").update(deprecated=True, deprecation_message="Soon gone.")
    preset.workspaces.add(workspace)
    PresetVariable.objects.create(preset=preset, name="API_TOKEN", value="s3cr3t-hunter2", is_secret=True)
    PresetVariable.objects.create(preset=preset, name="BRACES", value="{{ mine }}")
    configuration = Configuration.objects.create(slug="team", name="Team", init_script="echo")
    ConfigurationVariable.objects.create(configuration=configuration, name="PASS", value="s3cr3t-hunter2", is_secret=True)
    found = export(exported_presets(), exported_configurations())
    assert "s3cr3t" not in str([one.document for one in found]) + str([one.notes for one in found])
    assert [schema_errors(one.document) for one in found if one.document] == [[], []]
    assert {note.path for one in found for note in one.notes} == {
        "jupyterlab.images.minimal",
        "jupyterlab.images.scipy",
        "jupyterlab.image real",
        "jupyterlab.variables.API_TOKEN",
        "jupyterlab.variables.BRACES",
        "jupyterlab.workspaces",
        "team.variables.PASS",
        "team.init_script",
    }
    assert found[0].document["spec"]["spawner"]["icon"]["url"].startswith(settings.SLIPWAY_URL)  # type: ignore[index]


def test_a_preset_with_local_images_only_is_left_out(preset: Preset) -> None:
    (one,) = export(exported_presets(), exported_configurations())
    assert one.document is None
    assert one.notes[-1].path == "jupyterlab"


def test_an_export_costs_the_same_for_any_number_of_rows(preset: Preset, django_assert_max_num_queries: Any) -> None:
    bring(*(kind(f"kind-{number}") for number in range(5)), *(pod_default(f"default-{number}") for number in range(5)))
    with django_assert_max_num_queries(10):
        assert len(export(exported_presets(), exported_configurations())) == 11


names = (
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=100)
    .map(lambda text: " ".join(text.split()))
    .filter(bool)
)
entries = st.lists(st.tuples(names, st.booleans()), min_size=1, max_size=4)
variables = st.dictionaries(
    st.from_regex(r"[A-Z]{1,8}", fullmatch=True), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40), max_size=3
)


@given(
    name=names,
    description=st.one_of(st.just(""), names),
    images=entries,
    sizes=entries,
    env=variables,
    ide=st.sampled_from(["jupyterlab", "code-server", "rstudio"]),
)
@hypothesis_settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_a_curator_made_kubeflow_takes_and_reading_it_changes_no_row(
    name: str, description: str, images: Any, sizes: Any, env: dict[str, str], ide: str
) -> None:
    Image.objects.update(redirect_to=None)
    Preset.objects.all().delete()
    preset = Preset.objects.create(slug="p", name=name, description=description, ide=ide)
    previous: Image | None = None
    for number, (called, hidden) in enumerate(images):
        shared = {"slug": f"i{number}", "name": called, "position": number + 1}
        redirect = previous if hidden and number % 2 else None
        previous = Image.objects.create(preset=preset, reference="quay.io/x/y:1", hidden=hidden, redirect_to=redirect, **shared)
    for number, (called, hidden) in enumerate(sizes):
        shared = {"slug": f"s{number}", "name": called, "position": number + 1}
        PodSize.objects.create(preset=preset, cpu="1", memory="1Gi", gpus=number, hidden=hidden, **shared)
    for relation in (preset.images.filter(redirect_to=None), preset.pod_sizes):
        first = relation.filter(hidden=False).first()
        if first is None:
            Preset.objects.update(hidden=True)
        else:
            type(first).objects.filter(pk=first.pk).update(is_default=True)
    for key, value in env.items():
        PresetVariable.objects.create(preset=preset, name=f"X_{key}", value=value)
    (exported,) = written()
    assert schema_errors(exported) == []
    text = text_of(exported)
    changed = [row for item in preview([Source("p.yaml", text)], Options()).items for row in item.changes]
    assert [change.label for row in changed for change in row.fields] == ["Document kept for export"]
