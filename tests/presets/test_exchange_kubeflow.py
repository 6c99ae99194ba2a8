"""WorkspaceKinds and PodDefaults into the catalog: what is carried, and what is named as not carried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from compute.errors import Refused
from compute.models import Workspace
from presets.exchange import Options, Source, apply, preview, rules
from presets.exchange.report import lines
from presets.models import Configuration, Preset
from tests.presets.exchange import bring, image, kind, kubeflow_file, look, lost, pod, pod_default, schema

pytestmark = pytest.mark.django_db
SECRET = "s3cr3t-hunter2"


def test_kubeflows_own_workspacekind_becomes_a_preset() -> None:
    apply(None, [Source("jupyterlab.yaml", kubeflow_file("jupyterlab-workspacekind.yaml").read_text())], Options())
    preset = Preset.objects.get()
    assert (preset.slug, preset.name, preset.ide) == ("jupyterlab", "JupyterLab Notebook", "jupyterlab")
    assert not preset.hidden and not preset.deprecated and preset.idle_pause_seconds == 86400
    images = {row.name: row for row in preset.images.all()}
    assert next(iter(images)) == "jupyter-scipy:v1.8.0" and len(images) == 5
    oldest, older, newest = (images[f"jupyter-scipy:v1.{minor}"] for minor in ("8.0", "9.2", "10.0"))
    assert oldest.hidden and oldest.redirect_to == older and older.redirect_to == newest and newest.redirect_to is None
    assert newest.is_default and newest.reference == "ghcr.io/kubeflow/kubeflow/notebook-servers/jupyter-scipy:v1.10.0"
    sizes = list(preset.pod_sizes.values_list("slug", "cpu", "memory", "gpus", "is_default"))
    assert sizes == [
        ("tiny-cpu", "100m", "128Mi", 0, True),
        ("small-cpu", "1000m", "2Gi", 0, False),
        ("big-gpu", "4000m", "16Gi", 1, False),
    ]


def test_what_kubeflows_own_workspacekind_loses_is_named() -> None:
    plan = preview([Source("jupyterlab.yaml", kubeflow_file("jupyterlab-workspacekind.yaml").read_text())], Options())
    values = "spec.podTemplate.options"
    assert {
        "spec.spawner.icon.url",
        "spec.filterRules",
        "spec.activityRules[0]",
        "spec.podTemplate.activityProbe.probeIntervalSeconds",
        "spec.podTemplate.podMetadata.labels",
        "spec.podTemplate.extraEnv[NB_PREFIX]",
        f"{values}.imageConfig.values[jupyter-scipy:v1.8.0].redirect.message",
        f"{values}.podConfig.values[big_gpu].spec.tolerations",
        f"{values}.podConfig.values[tiny_cpu].spec.resources.limits.memory",
    } <= set(lost(plan))
    assert not Preset.objects.exists()


def test_kubeflows_own_poddefault_becomes_a_configuration() -> None:
    text = kubeflow_file("poddefault-gcp-secret.yaml").read_text()
    plan = apply(None, [Source("gcp.yaml", text)], Options())
    configuration = Configuration.objects.get()
    assert (configuration.slug, configuration.name, configuration.hidden) == ("add-gcp-secret", "add gcp credential", True)
    assert set(lost(plan)) == {"spec.volumeMounts[/secret/gcp]", "metadata.namespace"}


def fields(part: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in (part.get("properties") or part.get("items", {}).get("properties") or {}).items():
        yield (*path, key)
        yield from fields(inner, (*path, key))


@pytest.mark.parametrize(
    ("name", "table"), [("crd-workspacekinds.yaml", rules.WORKSPACE_KIND), ("crd-poddefaults.yaml", rules.POD_DEFAULT)]
)
def test_the_fate_of_every_field_of_the_crd_is_decided(name: str, table: dict[str, Any]) -> None:
    undecided = []
    for path in fields(schema(name)):
        verdict: Any = table
        for key in path:
            if isinstance(verdict, str):
                break
            verdict = verdict.get(key, verdict.get("*", rules.UNKNOWN))
        if verdict == rules.UNKNOWN:
            undecided.append(".".join(path))
    assert undecided == []


def test_a_field_that_nobody_knows_is_named_without_its_value() -> None:
    plan = look({**kind(), "spec": {**kind()["spec"], "password": SECRET}})
    assert lost(plan)["spec.password"] == rules.UNKNOWN
    assert SECRET not in "\n".join(lines(plan, done=False))


def alpha() -> dict[str, Any]:
    """``kind()`` as alpha.3 has it."""
    document = kind(
        culling={"enabled": True, "maxInactiveSeconds": 3600, "activityProbe": {"jupyter": {"lastActivity": True}}},
        serviceAccount={"name": "default-editor"},
        httpProxy={"removePathPrefix": False, "requestHeaders": {}},
        probes=None,
        extraEnv=[{"name": "BASE", "value": "{{ .PathPrefix }}x"}],
    )
    template = document["spec"]["podTemplate"]
    del template["ports"]
    port = {"id": "jupyterlab", "displayName": "JupyterLab", "port": 8888, "protocol": "HTTP"}
    template["options"]["imageConfig"]["values"][0]["spec"]["ports"] = [port]
    document["spec"]["spawner"]["icon"] = {"configMap": {"name": "logos", "key": "apple-touch-icon.png"}}
    return document


def test_alpha_3_is_read_as_well() -> None:
    plan = bring(alpha())
    preset = Preset.objects.get()
    assert preset.images.get().is_default and preset.pod_sizes.get().is_default
    assert preset.variables.get().value == '{{ httpPathPrefix "jupyterlab" }}x'
    named = lost(plan)
    assert {"spec.spawner.icon.configMap", "spec.podTemplate.serviceAccount", "spec.podTemplate.httpProxy"} <= set(named)
    assert preset.idle_pause_seconds == 3600 and not any("culling" in path or "activity" in path for path in named)
    assert not any("probes" in path for path in named)
    kept = preset.kubeflow["spec"]
    assert kept["activityRules"] == [{"config": {"secondsSinceActive": 3600}, "effect": {"pauseWorkspace": True}}]
    assert kept["podTemplate"]["activityProbe"] == {"jupyter": {"lastActivity": True, "portId": "jupyterlab"}}


def test_a_key_with_a_null_value_is_absent() -> None:
    document = kind(extraEnv=None, extraVolumes=None, probes=None, securityContext=None)
    document["spec"]["spawner"]["deprecationMessage"] = None
    document["spec"]["podTemplate"]["options"]["imageConfig"]["values"][0]["redirect"] = None
    bring(document)
    assert set(lost(look(document))) == {
        "spec.spawner.icon.url",
        "spec.spawner.logo.url",
        "spec.podTemplate.ports[jupyterlab].defaultDisplayName",
    }


def test_hidden_and_deprecated_are_carried() -> None:
    document = kind(images=[image("old", spawner={"displayName": "Old", "hidden": True}), image("new")])
    document["spec"]["spawner"] |= {"deprecated": True, "deprecationMessage": "Use another one.", "hidden": True}
    bring(document)
    preset = Preset.objects.get()
    assert (preset.hidden, preset.deprecated, preset.deprecation_message) == (True, True, "Use another one.")
    assert list(preset.images.values_list("slug", "hidden", "is_default")) == [("old", True, False), ("new", False, True)]


def test_the_default_is_what_is_offered_in_the_end() -> None:
    document = kind(images=[image("a", redirect={"to": "b"}), image("b", redirect={"to": "c"}), image("c"), image("d")])
    document["spec"]["podTemplate"]["options"]["imageConfig"]["spawner"]["default"] = "a"
    plan = bring(document)
    assert Preset.objects.get().images.get(is_default=True).slug == "c"
    assert "spec.podTemplate.options.imageConfig.spawner.default" in lost(plan)


def test_ids_that_are_no_slugs_become_some_and_stay_apart() -> None:
    names = ["scipy:v1.0", "scipy_v1.0", "scipy-v1-0", "Σ", "x" * 200]
    bring(kind(images=[image(name, reference="quay.io/x/y:1") for name in names]))
    slugs = list(Preset.objects.get().images.values_list("slug", flat=True))
    assert len(set(slugs)) == 5 and slugs[2] == "scipy-v1-0" and slugs[3] == "entry" and len(slugs[4]) == 63
    assert not look(kind(images=[image(name, reference="quay.io/x/y:1") for name in names])).is_change


def test_what_can_not_be_an_image_or_a_pod_size_is_left_out_and_named() -> None:
    images = [image("fine"), image("untagged", reference="quay.io/x/y"), image("before", redirect={"to": "untagged"}), image("last")]
    pods = [pod("fine"), pod("huge", cpu="9999"), pod("odd", memory="lots"), {**pod("none"), "spec": {}}]
    plan = bring(kind(images=images, pods=pods))
    preset = Preset.objects.get()
    assert list(preset.images.values_list("slug", "hidden")) == [("fine", False), ("before", True), ("last", False)]
    assert list(preset.pod_sizes.values_list("slug", "cpu", "memory")) == [("fine", "1", "2Gi"), ("none", "500m", "1Gi")]
    named = lost(plan)
    options = "spec.podTemplate.options"
    assert "tag or a digest" in named[f"{options}.imageConfig.values[untagged].spec.image"]
    assert "left out" in named[f"{options}.podConfig.values[huge].spec.resources.requests.cpu"]
    assert "not a quantity" in named[f"{options}.podConfig.values[odd].spec.resources.requests.memory"]
    assert f"{options}.podConfig.values[none].spec.resources" in named


def test_amounts_that_slipway_can_not_tell_apart_are_named() -> None:
    resources = {
        "requests": {"cpu": 1, "memory": "1Gi", "ephemeral-storage": "1Gi"},
        "limits": {"cpu": "1000m", "memory": "2Gi", "amd.com/gpu": 2, "nvidia.com/gpu": 1},
    }
    plan = bring(kind(pods=[{**pod("p"), "spec": {"resources": resources}}]))
    size = Preset.objects.get().pod_sizes.get()
    assert (size.cpu, size.memory, size.gpus) == ("1", "1Gi", 2)
    at = "spec.podTemplate.options.podConfig.values[p].spec.resources"
    assert {f"{at}.limits.memory", f"{at}.requests.ephemeral-storage", f"{at}.limits.nvidia.com/gpu"} <= set(lost(plan))
    assert f"{at}.limits.cpu" not in lost(plan)


def test_variables_are_carried_with_their_templates_and_others_are_named_without_their_values() -> None:
    env = [
        {"name": "BASE_URL", "value": '{{ httpPathPrefix "jupyterlab" }}lab'},
        {"name": "PRICE", "value": "5$$"},
        {"name": "API_TOKEN", "value": SECRET},
        {"name": "NB_PREFIX", "value": '{{ httpPathPrefix "jupyterlab" }}'},
        {"name": "PATH", "value": f"/{SECRET}"},
        {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "EXPANDED", "value": f"$(HOME)/{SECRET}"},
        {"name": "TEMPLATE", "value": "{{ if true }}x{{ end }}"},
    ]
    plan = bring(kind(extraEnv=env))
    variables = {row.name: (row.value, row.is_secret) for row in Preset.objects.get().variables.all()}
    assert variables == {
        "BASE_URL": ('{{ httpPathPrefix "jupyterlab" }}lab', False),
        "PRICE": ("5$", False),
        "API_TOKEN": (SECRET, True),
    }
    named = {f"spec.podTemplate.extraEnv[{name}]" for name in ("NB_PREFIX", "PATH", "FROM", "EXPANDED", "TEMPLATE")}
    assert named <= set(lost(plan))
    assert SECRET not in "\n".join(lines(plan, done=True))


def test_claims_become_data_volumes_and_other_volumes_are_named() -> None:
    plan = bring(
        kind(
            extraVolumes=[
                {"name": "dshm", "emptyDir": {"medium": "Memory"}},
                {"name": "sales", "persistentVolumeClaim": {"claimName": "sales", "readOnly": True}},
                {"name": "host", "hostPath": {"path": "/"}},
                {"name": "idle", "persistentVolumeClaim": {"claimName": "idle"}},
            ],
            extraVolumeMounts=[
                {"name": "dshm", "mountPath": "/dev/shm"},
                {"name": "sales", "mountPath": "/data/sales"},
                {"name": "sales", "mountPath": "/data/again"},
                {"name": "host", "mountPath": "/host"},
                {"name": "nowhere", "mountPath": "/nowhere"},
            ],
        )
    )
    assert list(Preset.objects.get().volumes.values_list("volume", "mount_path", "read_only")) == [("sales", "/data/sales", True)]
    at = "spec.podTemplate"
    named = {f"{at}.extraVolumeMounts[{path}]" for path in ("/data/again", "/host", "/nowhere")} | {f"{at}.extraVolumes[idle]"}
    assert {path for path in lost(plan) if "extraVolume" in path} == named


def test_what_slipway_does_in_its_own_way_is_named_where_it_differs() -> None:
    two_ports = [{"id": "jupyterlab", "port": 9999}, {"id": "tensorboard", "port": 6006}]
    spec = {"image": "x.io/jupyter:latest", "imagePullPolicy": "Never", "ports": two_ports}
    plan = look(
        kind(
            images=[image("a", spec=spec)],
            volumeMounts={"home": "/workspace"},
            securityContext={"fsGroup": 100, "runAsUser": 0},
            containerSecurityContext={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}},
        )
    )
    at, value = "spec.podTemplate", "spec.podTemplate.options.imageConfig.values[a].spec"
    assert {
        f"{at}.volumeMounts.home",
        f"{at}.securityContext.runAsUser",
        f"{at}.containerSecurityContext.capabilities",
        f"{value}.ports[tensorboard]",
        f"{value}.imagePullPolicy",
    } <= set(lost(plan))
    assert f"{at}.securityContext.fsGroup" not in lost(plan)


@pytest.mark.parametrize(
    ("name", "port", "reference", "ide"),
    [
        ("my-rstudio", "main", "x.io/y:1", "rstudio"),
        ("dev", "codeserver", "x.io/notebook-servers/codeserver-python:1", "code-server"),
        ("dev", "main", "x.io/jupyter-scipy:1", "jupyterlab"),
    ],
)
def test_the_ide_is_told_by_name_ports_or_images(name: str, port: str, reference: str, ide: str) -> None:
    document = kind(name, images=[image("a", reference=reference)])
    document["spec"]["podTemplate"]["ports"][0]["id"] = port
    bring(document)
    assert Preset.objects.get().ide == ide


def test_without_a_hint_the_ide_must_be_said() -> None:
    document = kind("dev", images=[image("a", reference="x.io/y:1")])
    document["spec"]["podTemplate"]["ports"][0]["id"] = "main"
    with pytest.raises(Refused, match="which IDE"):
        look(document)
    bring(document, options=Options(ide="rstudio"))
    assert Preset.objects.get().ide == "rstudio"
    assert not look(document).is_change  # the preset tells


def test_a_poddefault_is_for_the_workspaces_with_its_namespace(workspace: Workspace) -> None:
    document = pod_default(
        metadata={"namespace": "research"},
        env=[{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "TEMPLATE", "value": "{{ kept }}"}],
        volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "sales"}}],
        volumeMounts=[{"name": "v", "mountPath": "/data/sales", "readOnly": True}],
        tolerations=[{"operator": "Exists"}],
        automountServiceAccountToken=True,
    )
    plan = bring(document)
    configuration = Configuration.objects.get()
    assert (configuration.name, configuration.hidden, list(configuration.workspaces.all())) == ("Use the proxy", False, [workspace])
    assert set(configuration.variables.values_list("name", flat=True)) == {"HTTPS_PROXY", "TEMPLATE"}
    assert list(configuration.volumes.values_list("volume", "mount_path", "read_only")) == [("sales", "/data/sales", True)]
    assert set(lost(plan)) == {"spec.tolerations", "spec.automountServiceAccountToken"}


def test_who_is_offered_a_configuration_is_the_curators_once_it_is_there(workspace: Workspace) -> None:
    document = pod_default(metadata={"namespace": "elsewhere"})
    bring(document)
    Configuration.objects.update(hidden=False)
    assert not bring(document).is_change
    assert not Configuration.objects.get().hidden


def test_a_list_of_kubectl_is_read_item_by_item() -> None:
    bring({"apiVersion": "v1", "kind": "List", "items": [kind("one"), kind("two"), pod_default()]})
    assert set(Preset.objects.values_list("slug", flat=True)) == {"one", "two"}


def test_a_prefix_keeps_presets_apart() -> None:
    bring(kind())
    bring(kind(), pod_default(), options=Options(prefix="team-"))
    assert set(Preset.objects.values_list("slug", flat=True)) == {"lab", "team-lab"}
    assert Configuration.objects.get().slug == "team-proxy"


def test_text_that_is_too_long_is_cut_and_named() -> None:
    document = kind()
    document["spec"]["spawner"]["description"] = "word " * 200
    plan = bring(document)
    description = Preset.objects.get().description
    assert len(description) <= 300 and description.endswith("…")
    assert "cut" in lost(plan)["spec.spawner.description"]


def test_every_document_of_a_file_is_read() -> None:
    text = yaml.safe_dump_all([kind("one"), None, pod_default(), kind("two")])
    assert len(preview([Source("many.yaml", text)], Options()).items) == 3
