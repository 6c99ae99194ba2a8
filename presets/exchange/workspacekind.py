"""Kubeflow's WorkspaceKind (v1beta1, as of beta.0; alpha.3 is made into that first) → a preset. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings

from compute.errors import Refused
from compute.validators import validate_dns_label
from presets.exchange import rules
from presets.exchange.drafts import EntryDraft, Note, PresetDraft, Values, limit, shortened, slug_of, slugs_of
from presets.exchange.older import modern
from presets.exchange.parts import amounts, note, refusal, security, variables, volumes
from presets.exchange.reading import Document, Node, root
from presets.exchange.running import ROLES, Shelf, idle_pause, is_findable, is_own, pictures_of, readiness
from presets.ides import IDES
from presets.models import Entry, Image, PodSize, Preset
from presets.validators import validate_image_reference

API_VERSION, KIND = "kubeflow.org/v1beta1", "WorkspaceKind"
IDE_ANNOTATION = "slipway.dev/ide"
IDE_WORDS = {
    "rstudio": ("rstudio", "rocker"),
    "code-server": ("code-server", "codeserver", "vscode", "vs-code"),
    "jupyterlab": ("jupyter",),
}
CUT = "It is longer than Slipway's {} characters, and cut there."


def parse(document: Document, ide: str = "", prefix: str = "", shelf: Shelf | None = None) -> PresetDraft:
    """The preset that the document asks for. Raises :class:`Refused` with every mistake in it.

    ``ide`` is what the caller knows of it; the name of the preset gets the ``prefix``. The ``shelf`` has the ConfigMaps that came
    with it.
    """
    top = root(replace(document, content=modern(document.content)))
    notes = list(rules.left_out(document.content, rules.WORKSPACE_KIND))
    name = top.get("metadata", "name").text(required=True)
    spec = top.get("spec")
    template = spec.get("podTemplate")
    draft = PresetDraft(slug=slug_of(f"{prefix}{name}"), place=document.place(), values={}, notes=notes)
    if name and (why := refusal(validate_dns_label, draft.slug)):
        top.get("metadata", "name").fault("name", why)
    draft.values = _shown(spec.get("spawner"), draft.slug, notes)
    draft.values["ide"] = _ide(top.get("metadata", "annotations", IDE_ANNOTATION), ide) or _guessed_ide(name, template)
    draft.images = _Options(template.get("options", "imageConfig"), Image, notes).read()
    draft.pod_sizes = _Options(template.get("options", "podConfig"), PodSize, notes).read()
    if not _offered(draft.images) or not _offered(draft.pod_sizes):
        if not draft.values["hidden"]:
            note(notes, template.get("options"), "It has nothing left to offer, so the preset is hidden.", "no image or no pod size")
        draft.values["hidden"] = True
    draft.pictures = pictures_of(spec.get("spawner"), shelf or Shelf(), notes)
    _running(spec, draft)
    _environment(template, draft, top)
    if top.faults:
        raise Refused(top.faults)
    return draft


def _shown(spawner: Node, slug: str, notes: list[Note]) -> Values:
    shown = {
        "name": cut(spawner.get("displayName"), Preset, "name", notes) or slug,
        "description": cut(spawner.get("description"), Preset, "description", notes),
        "hidden": spawner.get("hidden").flag(),
        "deprecated": spawner.get("deprecated").flag(),
        "deprecation_message": cut(spawner.get("deprecationMessage"), Preset, "deprecation_message", notes),
    }
    if not spawner:
        spawner.fault("required", "This is missing.")
    return shown


def cut(node: Node, model: Any, name: str, notes: list[Note]) -> str:
    """The text on one line, as long as the model's field takes it; a note where that is shorter."""
    text, most = " ".join(node.text().split()), limit(model, name)
    if len(text) > most:
        note(notes, node, CUT.format(most), f"{len(text)} characters")
    return shortened(text, most)


def _ide(annotation: Node, given: str) -> str:
    said = annotation.text()
    return given or (said if said in IDES else "")


def _guessed_ide(name: str, template: Node) -> str:
    """What the name says, else the ids of the ports, else the images; empty if none of them tells."""
    ports = " ".join(str(port.get("id").value) for port in template.get("ports").items())
    images = " ".join(str(value.get("spec", "image").value) for value in template.get("options", "imageConfig", "values").items())
    for text in (name, ports, images):
        found = [ide for ide, words in IDE_WORDS.items() if any(word in text.lower() for word in words)]
        if len(found) == 1:
            return found[0]
    return ""


def _offered(entries: list[EntryDraft]) -> bool:
    return any(not entry.values["hidden"] and not entry.redirect for entry in entries)


def _running(spec: Node, draft: PresetDraft) -> None:
    """How its sessions run; and what Slipway does in its own way, where that differs."""
    template, ide = spec.get("podTemplate"), IDES.get(draft.values["ide"])
    ports = {image.values["port"] for image in draft.images if image.values.get("port")}
    draft.values["idle_pause_seconds"] = idle_pause(spec.get("activityRules"), ide, draft.notes)
    draft.values |= readiness(template.get("probes", "readinessProbe"), ports, draft.notes)
    home = template.get("volumeMounts", "home")
    path = home.text(required=True)
    if ide and path and path.rstrip("/") != ide.home_path:
        note(draft.notes, home, f"In {ide.label}, Slipway mounts the home volume at {ide.home_path}.")
    for context in ("securityContext", "containerSecurityContext"):
        security(template.get(context), draft.notes)
    for image in template.get("options", "imageConfig", "values").items("id"):
        for number, port in enumerate(image.get("spec", "ports").items("id")):
            if number:
                note(draft.notes, port, "A session serves one port: its IDE's, which comes first.", port.get("id").text())
            if port.get("displayName"):
                note(draft.notes, port.get("displayName"), rules.PORT_NAME)


def _environment(template: Node, draft: PresetDraft, top: Node) -> None:
    """Variables and volumes, and everything that is kept for an export: the rest of the document."""
    env = variables(template.get("extraEnv"), draft.notes, templates=True)
    mounted = volumes(template.get("extraVolumes"), template.get("extraVolumeMounts"), draft.notes)
    draft.variables, draft.volumes = env.carried, mounted.carried
    lists = {"extraEnv": env.kept, "extraVolumes": mounted.kept_volumes, "extraVolumeMounts": mounted.kept_mounts}
    kept = {key: value for key, value in template.mapping().items() if key not in lists}
    kept |= {key: value for key, value in lists.items() if value}
    spawner = {
        key: value
        for key, value in top.get("spec", "spawner").mapping().items()
        # The export writes the preset's own.
        if key not in ROLES or not (key in draft.pictures or is_own(value) or not is_findable(value))
    }
    spec = {**top.get("spec").mapping(), "spawner": spawner, "podTemplate": kept}
    draft.kept = {**described(top.get("metadata")), "spec": spec}


def own_picture(ide: str) -> dict[str, str]:
    """The icon that an export writes where a document has none."""
    return {"url": f"{settings.SLIPWAY_URL}{settings.STATIC_URL}img/ides/{ide}.svg"}


def described(metadata: Node) -> dict[str, Any]:
    """The labels and annotations that a person wrote."""
    machine = (IDE_ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration")
    annotations = {key: value for key, value in metadata.get("annotations").mapping().items() if key not in machine}
    written: dict[str, Mapping[str, Any]] = {"labels": metadata.get("labels").mapping(), "annotations": annotations}
    return {key: value for key, value in written.items() if value}


@dataclass
class _Options:
    """The values of ``imageConfig`` or ``podConfig``, in their order."""

    config: Node
    model: type[Entry]
    notes: list[Note]

    def read(self) -> list[EntryDraft]:
        nodes = self.config.get("values").items("id")
        if not self.config.get("values").value:
            self.config.get("values").fault("required", "At least one is needed.")
        slugs = slugs_of(node.get("id").text() for node in nodes)
        entries = [entry for node in nodes if (entry := self._entry(node, slugs))]
        self._follow(nodes, entries, slugs)
        self._choose(entries, slugs)
        return entries

    def _entry(self, node: Node, slugs: dict[str, str]) -> EntryDraft | None:
        spawner, id_ = node.get("spawner"), node.get("id").text()
        content = self._image(node.get("spec")) if self.model is Image else amounts(node.get("spec", "resources"), self.notes)
        if content is None:
            return None
        values = {
            "name": cut(spawner.get("displayName"), self.model, "name", self.notes) or shortened(id_, limit(self.model, "name")),
            "description": cut(spawner.get("description"), self.model, "description", self.notes),
            "hidden": spawner.get("hidden").flag(),
            "is_default": False,
            **content,
        }
        return EntryDraft(id_, slugs[id_], values, node.path)

    def _image(self, spec: Node) -> Values | None:
        node = spec.get("image")
        reference = node.text(required=True)
        if not reference:
            return None
        too_long = len(reference) > limit(Image, "reference") and "The reference is too long."
        if why := refusal(validate_image_reference, reference) or too_long:
            note(self.notes, node, f"The image is left out. {why}")
            return None
        pull = spec.get("imagePullPolicy").text()
        usual = "Always" if reference.endswith(":latest") else "IfNotPresent"
        if pull and pull != usual:
            note(self.notes, spec.get("imagePullPolicy"), rules.PULL)
        return {"reference": reference, **self._port(spec)}

    def _port(self, spec: Node) -> Values:
        """That of the IDE, which is the first; nothing when the document has none."""
        for first in spec.get("ports").items("id")[:1]:
            number = first.get("port").number()
            if 0 < number < 65536:
                return {"port": number}
            note(self.notes, first.get("port"), "This is no port from 1 to 65535.")
        return {}

    def _follow(self, nodes: list[Node], entries: list[EntryDraft], slugs: dict[str, str]) -> None:
        """Redirects of images become redirects; a pod size that redirects is hidden, as Kubeflow shows neither."""
        by_slug = {entry.slug: entry for entry in entries}
        for node in nodes:
            entry, to = by_slug.get(slugs[node.get("id").text()]), node.get("redirect", "to")
            if not to:
                continue
            if to.text() not in slugs:
                to.fault("redirect", "There is no such id among the values.")
            elif self.model is PodSize:
                note(
                    self.notes, node.get("redirect"), "Pod sizes do not redirect in Slipway: this one is hidden instead.", f"to {to.text()}"
                )
                if entry:
                    entry.values["hidden"] = True
            elif entry:
                entry.redirect = slugs[to.text()]
                if entry.redirect not in by_slug:
                    note(self.notes, to, "Its successor is left out, so this image is hidden instead.")
                    entry.redirect, entry.values["hidden"] = "", True
        for entry in entries:
            if _circle(entry, by_slug):
                self.config.get("values").fault("redirect", f"The redirects of “{entry.id[:60]}” go in a circle.")

    def _choose(self, entries: list[EntryDraft], slugs: dict[str, str]) -> None:
        """Exactly one default among what is offered: the one that is named, its successor, or the first."""
        node = self.config.get("spawner", "default")
        wanted = node.text(required=True)
        if wanted and wanted not in slugs and slugs:
            node.fault("default", "There is no such id among the values.")
        by_slug = {entry.slug: entry for entry in entries}
        chosen = by_slug.get(slugs.get(wanted, ""))
        seen: set[str] = set()
        while chosen and chosen.redirect and chosen.slug not in seen:
            seen.add(chosen.slug)
            chosen = by_slug.get(chosen.redirect)
        if chosen is None or chosen.values["hidden"] or chosen.redirect:
            chosen = next((entry for entry in entries if not entry.values["hidden"] and not entry.redirect), None)
        if chosen:
            chosen.values["is_default"] = True
            if chosen.slug != slugs.get(wanted) and wanted in slugs:
                note(self.notes, node, f"It is not offered: “{chosen.values['name']}” is chosen beforehand.")


def _circle(entry: EntryDraft, by_slug: dict[str, EntryDraft]) -> bool:
    seen, step = set(), entry
    while step.redirect:
        if step.slug in seen:
            return True
        seen.add(step.slug)
        step = by_slug[step.redirect]
    return False
