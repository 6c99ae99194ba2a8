"""JupyterHub's ``profile_list`` (KubeSpawner), with ``profile_options`` → one preset for each profile. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

from compute.errors import Problem, Refused
from compute.validators import validate_dns_label
from presets.exchange import rules
from presets.exchange.drafts import EntryDraft, PresetDraft, Values, limit, shortened, slug_of, slugs_of
from presets.exchange.parts import amounts, note, refusal, variables
from presets.exchange.reading import Document, Node, root
from presets.exchange.workspacekind import cut
from presets.models import Image, PodSize, Preset
from presets.validators import validate_image_reference

# Where a profile list stands: by itself, in a config file, and in the Helm chart's values.
PLACES = ((), ("profile_list",), ("profileList",), ("singleuser", "profileList"), ("hub", "config", "KubeSpawner", "profile_list"))
MAX_SIZES = 24
BYTES = {"K": "Ki", "M": "Mi", "G": "Gi", "T": "Ti"}  # JupyterHub's K is 1024, as Kubernetes' Ki is


def profiles_in(document: Document) -> Node | None:
    """The list of profiles, wherever it stands; None when the document has none."""
    for place in PLACES:
        value: Any = document.content
        for key in place or ("",):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, list):
            return Node(value, ".".join(place), document)
    return None


def parse(document: Document, ide: str = "", prefix: str = "") -> list[PresetDraft]:
    """The presets that the profiles ask for. Raises :class:`Refused` with every mistake in them."""
    profiles = profiles_in(document)
    if profiles is None:
        raise Refused(Problem(document.place(), "kind", "There is no profile_list in it."))
    usual = _usual_image(document)
    nodes = profiles.items()
    drafts = [_Profile(node, usual, ide or "jupyterlab", prefix).read() for node in nodes]
    slugs = [draft.slug for draft in drafts]
    for draft, node in zip(drafts, nodes, strict=True):
        if slugs.count(draft.slug) > 1:
            node.fault("twice", f"Another profile makes the same preset, “{draft.slug}”: give it a slug.")
    if not drafts and not profiles.faults:
        profiles.fault("required", "At least one profile is needed.")
    if profiles.faults:
        raise Refused(profiles.faults)
    return drafts


def _usual_image(document: Document) -> str:
    """The image of profiles that name none: the Helm chart's."""
    image = root(document).get("singleuser", "image") if isinstance(document.content.get("singleuser"), dict) else None
    if image is None or not isinstance(image.value, dict):
        return ""
    name, tag = image.value.get("name"), image.value.get("tag")
    return f"{name}:{tag}" if isinstance(name, str) and tag else ""


class _Profile:
    """One profile. Its ``base`` are the settings that every choice starts from."""

    def __init__(self, node: Node, usual_image: str, ide: str, prefix: str) -> None:
        self.node, self.usual_image, self.prefix = node, usual_image, prefix
        self.document = node.document
        name = node.get("display_name").text(required=True)
        slug = slug_of(prefix + (node.get("slug").text() or name))
        self.notes = list(rules.left_out(node.value, rules.PROFILE, node.path))
        self.base = node.get("kubespawner_override")
        shown: Values = {
            "name": cut(node.get("display_name"), Preset, "name", self.notes) or slug,
            "description": cut(node.get("description"), Preset, "description", self.notes),
            "hidden": False,
            "ide": ide,
        }
        self.draft = PresetDraft(slug=slug, place=self.document.place(node.path), values=shown, notes=self.notes)
        if name and (why := refusal(validate_dns_label, slug)):
            node.get("slug").fault("slug", why)

    def read(self) -> PresetDraft:
        image_options, size_options = self._sorted_options()
        self.draft.images = self._entries(self._images(image_options), Image)
        self.draft.pod_sizes = self._entries(self._sizes(size_options), PodSize)
        if not self.draft.images or not self.draft.pod_sizes:
            note(self.notes, self.node, "It has nothing to offer, so the preset is hidden.", "no image or no pod size")
            self.draft.values["hidden"] = True
        environment = self.base.get("environment")
        listed = [{"name": key, "value": node.text()} for key, node in environment.entries()]
        found = variables(Node(listed, environment.path, self.document, self.node.faults), self.notes, templates=False)
        for key, value in found.carried.items():
            if re.search(r"\{\w+\}", value):
                note(self.notes, environment.get(key), "Slipway takes values as they are: it puts no user's name into them.", "a template")
            else:
                self.draft.variables[key] = value
        return self.draft

    def _sorted_options(self) -> tuple[list[Node], list[Node]]:
        """The options that choose the image, and those that choose the size."""
        image_options: list[Node] = []
        size_options: list[Node] = []
        for _, option in self.node.get("profile_options").entries():
            keys = {key for _, choice in option.get("choices").entries() for key in choice.get("kubespawner_override").mapping()}
            of_image, of_size = "image" in keys, bool(keys & set(rules.AMOUNTS))
            if of_image and image_options:
                note(self.notes, option, "One option chooses the image; this is a second one.")
                continue
            image_options += [option] if of_image else []
            size_options += [option] if of_size else []
            if of_image and of_size:
                note(self.notes, option, "It chooses image and size together; in Slipway they are two choices.")
            elif not of_image and not of_size:
                note(self.notes, option, "It chooses neither image nor size: publish a configuration.")
        return image_options, size_options

    def _images(self, options: list[Node]) -> Iterator[tuple[str, str, bool, Values | None]]:
        if not options:
            reference = self.base.get("image").text() or self.usual_image
            yield "default", reference.rpartition("/")[2] or "Image", True, self._image(self.base.get("image"), reference)
            return
        for key, choice in options[0].get("choices").entries():
            node = choice.get("kubespawner_override", "image")
            reference = node.text() or self.base.get("image").text() or self.usual_image
            yield key, choice.get("display_name").text() or key, choice.get("default").flag(), self._image(node, reference)

    def _image(self, node: Node, reference: str) -> Values | None:
        if not reference:
            note(self.notes, node, "The image is left out: none is named, and the hub's own is not in the file.", "no image")
        elif why := refusal(validate_image_reference, reference):
            note(self.notes, node, f"The image is left out. {why}", reference[:80])
        elif len(reference) > limit(Image, "reference"):
            note(self.notes, node, "The image is left out: the reference is too long.")
        else:
            return {"reference": reference}
        return None

    def _sizes(self, options: list[Node]) -> Iterator[tuple[str, str, bool, Values | None]]:
        """Every combination of the options that choose amounts, in their order."""
        lists = [list(option.get("choices").entries()) for option in options]
        count = 1
        for number, choices in enumerate(lists):
            count *= len(choices)
            if count > MAX_SIZES:
                note(
                    self.notes,
                    options[number],
                    f"There are more than {MAX_SIZES} combinations of sizes: it is left out, and its first is used.",
                )
                lists[number] = choices[:1]
                count //= max(1, len(choices))
        for combination in product(*lists):
            nodes = [self.base, *(choice.get("kubespawner_override") for _, choice in combination)]
            key = "-".join(key for key, _ in combination) or "default"
            name = ", ".join(choice.get("display_name").text() or key for key, choice in combination) or "Default"
            chosen = all(choice.get("default").flag() for _, choice in combination)
            yield key, name, chosen, amounts(self._resources(nodes), self.notes)

    def _resources(self, nodes: list[Node]) -> Node:
        """What they ask for, as a container's resources; a later one wins."""
        asked: dict[str, dict[str, Any]] = {"requests": {}, "limits": {}}
        for node in nodes:
            for kind, suffix in (("requests", "guarantee"), ("limits", "limit")):
                cpu, memory = node.get(f"cpu_{suffix}"), node.get(f"mem_{suffix}")
                asked[kind] |= {"cpu": _cores(cpu.quantity())} if cpu else {}
                asked[kind] |= {"memory": _bytes(memory.quantity())} if memory else {}
                asked[kind] |= node.get(f"extra_resource_{suffix}s").mapping()
        return Node(asked, f"{self.node.path}.kubespawner_override", self.document, self.node.faults)

    def _entries(self, found: Iterator[tuple[str, str, bool, Values | None]], model: type[Image | PodSize]) -> list[EntryDraft]:
        listed = [(key, name, chosen, values) for key, name, chosen, values in found if values is not None]
        slugs = slugs_of(key for key, *_ in listed)
        entries = [
            EntryDraft(
                key,
                slugs[key],
                {"name": shortened(name, limit(model, "name")), "hidden": False, "is_default": chosen, **values},
                self.node.path,
            )
            for key, name, chosen, values in listed
        ]
        first = next((entry for entry in entries if entry.values["is_default"]), entries[0] if entries else None)
        for entry in entries:
            entry.values["is_default"] = entry is first
        return entries


def _cores(text: str) -> str:
    """Fractions of a core as Kubernetes writes them: ``0.5`` → ``500m``."""
    return f"{round(float(text) * 1000)}m" if re.fullmatch(r"[0-9]{0,6}\.[0-9]{1,9}", text) and float(text) % 1 else text.removesuffix(".0")


def _bytes(text: str) -> str:
    return text[:-1] + BYTES[text[-1]] if text[-1:] in BYTES else text.removesuffix(".0")
