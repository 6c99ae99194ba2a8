"""Presets and configurations → Kubeflow's documents, as its own CRDs take them.

An imported row is written over the document that it came from: what was not changed in Slipway is spelled as it was, and
what Slipway does not use comes back as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import yaml

from compute.errors import Refused
from compute.models import ComputePool
from presets.durations import spell
from presets.exchange import poddefault, workspacekind
from presets.exchange.drafts import ConfigurationDraft, EntryDraft, Note, PresetDraft
from presets.exchange.reading import Document
from presets.exchange.running import NO_PROBE, ROLES, TIMES
from presets.ides import Ide
from presets.models import Configuration, Image, PodSize, Preset, Variable, VolumeMount
from presets.pictures import Picture
from presets.validators import LOCAL_PREFIX
from presets.variables import is_understood

Json = dict[str, Any]
GPU = "nvidia.com/gpu"
PREFIX_ENV: Json = {"name": "NB_PREFIX", "value": '{{ httpPathPrefix "%s" }}'}


@dataclass
class Export:
    """One document, or None where the row can't be one; ``notes`` say what Kubeflow has no place for."""

    row: Preset | Configuration
    document: Json | None
    notes: list[Note] = field(default_factory=list)

    @property
    def file_name(self) -> str:
        kind = workspacekind.KIND if isinstance(self.row, Preset) else poddefault.KIND
        return f"{kind.lower()}-{self.row.slug}.yaml"


def text_of(document: Json) -> str:
    """The document as YAML, as people read it and as it is read again."""
    written = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    # A line break to YAML, which PyYAML writes as it is.
    return written if "\x85" not in written else yaml.safe_dump(document, sort_keys=False, width=120)


def export(presets: Iterable[Preset], configurations: Iterable[Configuration]) -> list[Export]:
    """One document for each. Eight queries for all of them, when both are query sets."""
    gpu = ComputePool.objects.exclude(gpu_resource="").order_by("pk").values_list("gpu_resource", flat=True).first() or GPU
    found = [_WorkspaceKind(preset, gpu).export() for preset in presets]
    return found + [_pod_default(configuration) for configuration in configurations]


def _padded(text: str) -> str:
    """Kubeflow wants two characters; blanks at the end say nothing."""
    return text.ljust(2)


def _put(target: Json, key: str, new: Any, before: Any, written: Any = None) -> None:
    """Write a value that differs from what the document said; an empty one goes away."""
    if new != before:
        if new:
            target[key] = new if written is None else written
        else:
            target.pop(key, None)


class _WorkspaceKind:
    def __init__(self, preset: Preset, gpu: str) -> None:
        self.preset, self.gpu = preset, gpu
        self.ide: Ide = preset.ide_definition
        self.kept: Json = deepcopy(preset.kubeflow or {"spec": self._fresh()})
        self.spec: Json = self.kept["spec"]
        self.template: Json = self.spec["podTemplate"]
        self.result = Export(preset, None)
        self.draft = _parsed(self.kept["spec"], preset) if preset.kubeflow else None

    def export(self) -> Export:
        self._spawner()
        images = [image for image in self.preset.images.all() if not image.reference.startswith(LOCAL_PREFIX)]
        for image in self.preset.images.all():
            if image not in images:
                self._note(f"images.{image.slug}", image.reference, "A recipe of the local driver is no container image.")
        written = self._options("imageConfig", images, self.draft.images if self.draft else [])
        written = self._options("podConfig", list(self.preset.pod_sizes.all()), self.draft.pod_sizes if self.draft else []) and written
        self._environment()
        self._idle_pause()
        self._readiness()
        if self.preset.workspaces.all():
            names = ", ".join(str(workspace) for workspace in self.preset.workspaces.all())
            self._note("workspaces", names, "Kubeflow limits a kind by filter rules on labels: write one.")
        if written:
            self.result.document = {
                "apiVersion": workspacekind.API_VERSION,
                "kind": workspacekind.KIND,
                "metadata": self._metadata(),
                "spec": self.spec,
            }
        else:
            self._note("", str(self.preset), "It is left out: Kubeflow wants at least one image and one pod size.")
        return self.result

    def _note(self, path: str, value: str, why: str) -> None:
        self.result.notes.append(Note(f"{self.preset.slug}.{path}".rstrip("."), value, why))

    def _fresh(self) -> Json:
        """What a preset that was made in Slipway has in Kubeflow."""
        return {
            "spawner": {},
            "podTemplate": {
                "volumeMounts": {"home": self.ide.home_path},
                "ports": [{"id": self.ide.slug, "defaultDisplayName": self.ide.label, "protocol": "HTTP"}],
                "extraEnv": [{**PREFIX_ENV, "value": PREFIX_ENV["value"] % self.ide.slug}],
            },
        }

    def _metadata(self) -> Json:
        annotations = {**self.kept.get("annotations", {}), workspacekind.IDE_ANNOTATION: self.preset.ide}
        labels = {"labels": self.kept["labels"]} if self.kept.get("labels") else {}
        return {"name": self.preset.slug, **labels, "annotations": annotations}

    def _spawner(self) -> None:
        spawner, before = self.spec["spawner"], self.draft.values if self.draft else {}
        for name, key in (("name", "displayName"), ("description", "description"), ("deprecation_message", "deprecationMessage")):
            text = getattr(self.preset, name)
            _put(spawner, key, text, before.get(name), _padded(text))
        spawner.setdefault("description", _padded(""))
        for name in ("hidden", "deprecated"):
            _put(spawner, name, getattr(self.preset, name), before.get(name, False))
        for name in ROLES:
            picture: Picture | None = getattr(self.preset, name)
            if picture is not None:
                spawner[name] = {"url": picture.data_url}
            spawner.setdefault(name, workspacekind.own_picture(self.preset.ide))

    def _options(self, key: str, rows: Sequence[Any], drafts: Sequence[EntryDraft]) -> bool:
        """Write the rows over the entries that they came from, in their order. False when there is nothing to write."""
        options = self.template.setdefault("options", {}).setdefault(key, {"spawner": {}, "values": []})
        came = {draft.slug: draft for draft in drafts}
        before: dict[str, Json] = {value["id"]: value for value in options["values"]}
        ids = {row.slug: came[row.slug].id if row.slug in came else _free_id(row.slug, before) for row in rows}
        values = {ids[row.slug]: self._entry(row, before.get(ids[row.slug]), came.get(row.slug), ids) for row in rows}
        left_out = [id_ for id_ in before if id_ not in {draft.id for draft in drafts}]
        order = [id_ for id_ in before if id_ in values or id_ in left_out]
        if [id_ for id_ in order if id_ in values] != [id_ for id_ in values if id_ in before]:
            order = [*(id_ for id_ in values if id_ in before), *left_out]  # a curator's order
        order += [id_ for id_ in values if id_ not in before]
        options["values"] = [values.get(id_) or before[id_] for id_ in order]
        for value in options["values"]:
            if value.get("redirect", {}).get("to") not in order:
                value.pop("redirect", None)
        chosen = next((row.slug for row in rows if row.is_default), "")
        was = next((draft.slug for draft in drafts if draft.values["is_default"]), "")
        if chosen != was or options["spawner"].get("default") not in order:
            options["spawner"]["default"] = ids.get(chosen) or next(iter(order), "")
        return bool(order)

    def _entry(self, row: Image | PodSize, value: Json | None, draft: EntryDraft | None, ids: dict[str, str]) -> Json:
        before = draft.values if draft else {}
        value = value or {"id": ids[row.slug], "spawner": {}, "spec": {}}
        spawner = value["spawner"]
        for name, key in (("name", "displayName"), ("description", "description")):
            text = getattr(row, name)
            _put(spawner, key, text, before.get(name), _padded(text))
        _put(spawner, "hidden", row.hidden, before.get("hidden", False))
        if row.deprecated:
            told = row.deprecation_message or "deprecated"
            self._note(f"{row._meta.verbose_name} {row.slug}", told, "In Kubeflow a kind can be deprecated, its entries not.")
        if isinstance(row, PodSize):
            self._amounts(row, value["spec"].setdefault("resources", {}), before)
            return value
        _put(value["spec"], "image", row.reference, before.get("reference"))
        ports = self.template.get("ports") or [{"id": self.ide.slug}]
        listed = value["spec"].setdefault("ports", [{"id": ports[0]["id"], "port": row.port or self.ide.port}])
        if (row.port or self.ide.port) != before.get("port", self.ide.port):
            listed[0]["port"] = row.port or self.ide.port
        successor = row.redirect_to.slug if row.redirect_to else ""
        if successor != (draft.redirect if draft else ""):
            value.pop("redirect", None)
            if successor in ids:
                value["redirect"] = {"to": ids[successor]}
        return value

    def _amounts(self, row: PodSize, resources: Json, before: Json) -> None:
        for name in ("cpu", "memory"):
            if getattr(row, name) != before.get(name):
                for kind in ("requests", "limits"):
                    resources.setdefault(kind, {})[name] = getattr(row, name)
        if row.gpus != before.get("gpus", 0):
            named = [key for kind in ("limits", "requests") for key in resources.get(kind, {}) if "gpu" in key.lower()]
            for kind in ("requests", "limits"):
                for key in named:
                    resources.get(kind, {}).pop(key, None)
            if row.gpus:
                resources.setdefault("limits", {})[named[0] if named else self.gpu] = row.gpus

    def _idle_pause(self) -> None:
        """The rule for every session; those for some of them come back as they were."""
        seconds = self.preset.idle_pause_seconds
        if seconds == (self.draft.values["idle_pause_seconds"] if self.draft else None):
            return
        kept = [rule for rule in self.spec.get("activityRules", []) if rule.get("match")]
        own = {"config": {"secondsSinceActive": seconds}, "effect": {"pauseWorkspace": True}}
        _put(self.spec, "activityRules", kept + ([own] if seconds else []), None)
        if seconds and self.preset.ide == "jupyterlab":
            ports = self.template.get("ports") or [{"id": self.ide.slug}]
            self.template.setdefault("activityProbe", {"jupyter": {"lastActivity": True, "portId": ports[0]["id"]}})
        elif seconds and "activityProbe" not in self.template:
            self._note(
                "idle_pause_seconds", spell(seconds), f"Kubeflow asks {self.ide.label} by a script that you write: activityProbe.podExec."
            )

    def _readiness(self) -> None:
        before = self.draft.values if self.draft else NO_PROBE
        if all(getattr(self.preset, name) == before[name] for name in NO_PROBE):
            return
        probes: Json = self.template.setdefault("probes", {})
        if any(getattr(self.preset, name) for name in NO_PROBE):
            probe = probes.setdefault("readinessProbe", {})
            for other in ("exec", "grpc", "tcpSocket"):
                probe.pop(other, None)
            default = next((image for image in self.preset.images.all() if image.is_default), None)
            asks = probe.setdefault("httpGet", {"port": (default and default.port) or self.ide.port})
            asks["path"] = self.preset.probe_path or self.ide.probe.path
            for key, name in TIMES.items():
                _put(probe, key, getattr(self.preset, name), before[name])
        else:
            probes.pop("readinessProbe", None)
        if not probes:
            del self.template["probes"]

    def _environment(self) -> None:
        env, notes = _variables(self.preset, list(self.preset.variables.all()), templates=True)
        self.result.notes += notes
        _extend(self.template, "extraEnv", env)
        volumes, mounts = _volumes(list(self.preset.volumes.all()), self.template.get("extraVolumes", []))
        _extend(self.template, "extraVolumes", volumes)
        _extend(self.template, "extraVolumeMounts", mounts)


def _free_id(slug: str, taken: dict[str, Json]) -> str:
    return slug if slug not in taken else f"{slug}-slipway"


def _parsed(spec: Json, preset: Preset) -> PresetDraft | None:
    """What an import makes of the document that the preset came from."""
    content = {"metadata": {"name": preset.slug}, "spec": deepcopy(spec)}
    try:
        return workspacekind.parse(Document("", 1, content), preset.ide)
    except Refused:  # kept by another version of Slipway
        return None


def _pod_default(configuration: Configuration) -> Export:
    kept: Json = deepcopy(configuration.kubeflow or {"spec": {"selector": {"matchLabels": {configuration.slug: "true"}}}})
    spec = kept["spec"]
    result = Export(configuration, None)
    before: ConfigurationDraft | None = None
    if configuration.kubeflow:
        content = {"metadata": {"name": configuration.slug}, "spec": deepcopy(spec)}
        before = poddefault.parse(Document("", 1, content))
    if before is None or before.values["name"] != configuration.name:
        spec["desc"] = configuration.name
    env, result.notes = _variables(configuration, list(configuration.variables.all()), templates=False)
    _extend(spec, "env", env)
    volumes, mounts = _volumes(list(configuration.volumes.all()), spec.get("volumes", []))
    _extend(spec, "volumes", volumes)
    _extend(spec, "volumeMounts", mounts)
    if configuration.init_script.strip():
        why = "A PodDefault has init containers, each with an image of its own."
        result.notes.append(Note(f"{configuration.slug}.init_script", f"{len(configuration.init_script)} characters", why))
    described = {key: kept[key] for key in ("namespace", "labels", "annotations") if kept.get(key)}
    result.document = {
        "apiVersion": poddefault.API_VERSION,
        "kind": poddefault.KIND,
        "metadata": {"name": configuration.slug, **described},
        "spec": spec,
    }
    return result


def _extend(target: Json, key: str, items: list[Json]) -> None:
    if items:
        target[key] = [*target.get(key, []), *items]


def _variables(owner: Preset | Configuration, rows: Sequence[Variable], templates: bool) -> tuple[list[Json], list[Note]]:
    """Entries of ``env``. Secret values never leave Slipway."""
    found, notes = [], []
    for row in rows:
        if row.is_secret:
            notes.append(Note(f"{owner.slug}.variables.{row.name}", "a secret", "Secret values are not exported."))
        elif templates and not is_understood(row.value):
            why = "Kubeflow would read the braces in it as a template."
            notes.append(Note(f"{owner.slug}.variables.{row.name}", f"{len(row.value)} characters", why))
        else:
            # Kubernetes expands $(NAME); two dollars stand for one.
            found.append({"name": row.name, "value": row.value.replace("$", "$$")})
    return found, notes


def _volumes(rows: Sequence[VolumeMount], kept: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    taken = {volume.get("name") for volume in kept}
    volumes, mounts = [], []
    for row in rows:
        name = row.volume if row.volume not in taken else f"{row.volume}-claim"
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": row.volume}})
        mounts.append({"name": name, "mountPath": row.mount_path, **({"readOnly": True} if row.read_only else {})})
    return volumes, mounts


def exported_presets() -> Any:
    """All presets with what an export reads of them."""
    related = ("images__redirect_to", "pod_sizes", "variables", "volumes", "workspaces")
    return Preset.objects.select_related("icon", "logo").prefetch_related(*related)


def exported_configurations() -> Any:
    return Configuration.objects.prefetch_related("variables", "volumes")
