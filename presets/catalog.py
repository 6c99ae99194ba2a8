"""What a workspace can really launch: presets that are offered to it and have an image that its cluster runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Exists, OuterRef, Prefetch

from compute.clusters import driver_for
from compute.models import ComputePool, Workspace
from compute.validators import parse_quantity
from presets.models import Configuration, Image, PodSize, Preset, PresetVolume
from storage.models import Volume


@dataclass(frozen=True)
class PricedSize:
    """A pod size and what it costs per hour on the workspace's default pool; None where it has no default pool."""

    size: PodSize
    price: Decimal | None


@dataclass(frozen=True)
class Card:
    """A preset with what of it is usable in one workspace, in the curated order."""

    preset: Preset
    images: list[Image]
    sizes: list[PricedSize]

    @property
    def price_from(self) -> Decimal | None:
        return min((size.price for size in self.sizes if size.price is not None), default=None)

    @property
    def cpu_range(self) -> tuple[str, str]:
        """The smallest and the largest CPU of its pod sizes; empty text without pod sizes."""
        return _range(size.size.cpu for size in self.sizes)

    @property
    def memory_range(self) -> tuple[str, str]:
        return _range(size.size.memory for size in self.sizes)


@dataclass(frozen=True)
class MountedVolume:
    """A volume that the preset mounts where the workspace has one of that name."""

    mount: PresetVolume
    exists: bool


@dataclass(frozen=True)
class Detail:
    card: Card
    volumes: list[MountedVolume]
    configurations: list[Configuration]
    variables: list[str]  # names only: a value may be a secret


def _range(quantities: Iterable[str]) -> tuple[str, str]:
    ordered = sorted(quantities, key=parse_quantity)
    return (ordered[0], ordered[-1]) if ordered else ("", "")


def _runnable(workspace: Workspace, references: Iterable[str]) -> set[str]:
    """Those of the image references that the workspace's cluster runs. Asks its driver once per reference."""
    driver = driver_for(workspace.cluster)
    return {reference for reference in set(references) if not driver.offers(reference)}


def offered_images(workspace: Workspace, preset: Preset) -> list[Image]:
    """The images of one preset that can be launched in the workspace, in the curated order. One query."""
    images = list(preset.images.offered())
    usable = _runnable(workspace, (image.reference for image in images))
    return [image for image in images if image.reference in usable]


def runnable_preset_count(workspace: Workspace) -> int:
    """How many presets the gallery shows. One query."""
    offered = Preset.objects.offered_to(workspace).order_by().values("pk")
    images = Image.objects.offered().filter(preset__in=offered).order_by()
    pairs = list(images.values_list("preset_id", "reference"))
    usable = _runnable(workspace, (reference for _, reference in pairs))
    return len({preset for preset, reference in pairs if reference in usable})


def runnable_presets(workspace: Workspace, slug: str = "") -> list[Preset]:
    """The presets of the gallery, or the one with this slug, in the curated order. Four queries.

    What of them can be launched is in :func:`images_of` and :func:`pod_sizes_of`.
    """
    offered = Preset.objects.offered_to(workspace)
    presets = list(
        (offered.filter(slug=slug) if slug else offered).prefetch_related(
            Prefetch("images", Image.objects.offered(), to_attr="offered_images"),
            Prefetch("pod_sizes", PodSize.objects.filter(hidden=False), to_attr="offered_pod_sizes"),
        )
    )
    usable = _runnable(workspace, (image.reference for preset in presets for image in images_of(preset)))
    # Without a GPU anywhere, a size with GPUs can't be placed: the wizard does not offer it either.
    has_gpus = ComputePool.objects.offered_to(workspace).exclude(gpu_resource="").exists()
    for preset in presets:
        images = [image for image in images_of(preset) if image.reference in usable]
        sizes = [size for size in pod_sizes_of(preset) if has_gpus or not size.gpus]
        vars(preset).update(offered_images=images, offered_pod_sizes=sizes)
    return [preset for preset in presets if images_of(preset)]


def images_of(preset: Preset) -> list[Image]:
    """The images that :func:`runnable_presets` left in a preset, in the curated order. No query."""
    images: list[Image] = vars(preset)["offered_images"]
    return images


def pod_sizes_of(preset: Preset) -> list[PodSize]:
    """The pod sizes that :func:`runnable_presets` left in a preset, in the curated order. No query."""
    sizes: list[PodSize] = vars(preset)["offered_pod_sizes"]
    return sizes


def cards(workspace: Workspace, slug: str = "") -> list[Card]:
    """The gallery, or the one preset with this slug. Four queries."""
    pool = workspace.default_pool
    return [
        Card(
            preset=preset,
            images=images_of(preset),
            sizes=[PricedSize(size, size.price_per_hour(pool) if pool else None) for size in pod_sizes_of(preset)],
        )
        for preset in runnable_presets(workspace, slug)
    ]


def detail(workspace: Workspace, slug: str) -> Detail | None:
    """A preset's page, or None when it can't be launched in the workspace. Seven queries."""
    card = next(iter(cards(workspace, slug)), None)
    if card is None:
        return None
    named = Volume.objects.live().filter(workspace=workspace, kind=Volume.Kind.DATA, name=OuterRef("volume"))
    return Detail(
        card=card,
        volumes=[MountedVolume(mount, mount.exists) for mount in card.preset.volumes.annotate(exists=Exists(named))],
        configurations=list(Configuration.objects.offered_to(workspace, card.preset)),
        variables=list(card.preset.variables.values_list("name", flat=True)),
    )
