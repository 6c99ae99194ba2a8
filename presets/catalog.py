"""What a workspace can really launch: presets that are offered to it and have an image that its cluster runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

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


def _range(quantities: Iterable[str]) -> tuple[str, str]:
    ordered = sorted(quantities, key=parse_quantity)
    return (ordered[0], ordered[-1]) if ordered else ("", "")


def _runnable(workspace: Workspace, images: Iterable[Image]) -> dict[int, list[Image]]:
    """Of these images, those that the workspace's cluster runs, by preset. Asks its driver once per reference."""
    driver = driver_for(workspace.cluster)
    offers: dict[str, bool] = {}
    found: dict[int, list[Image]] = defaultdict(list)
    for image in images:
        if image.reference not in offers:
            offers[image.reference] = not driver.offers(image.reference)
        if offers[image.reference]:
            found[image.preset_id].append(image)
    return found


def runnable_preset_count(workspace: Workspace) -> int:
    """How many presets the gallery shows. One query."""
    offered = Preset.objects.offered_to(workspace).order_by().values("pk")
    images = Image.objects.filter(preset__in=offered, hidden=False, redirect_to=None).only("preset_id", "reference")
    return len(_runnable(workspace, images))


def cards(workspace: Workspace, slug: str = "") -> list[Card]:
    """The gallery, or the one preset with this slug. Four queries."""
    presets = Preset.objects.offered_to(workspace)
    shown = list(presets.filter(slug=slug) if slug else presets)
    images = _runnable(workspace, Image.objects.filter(preset__in=shown, hidden=False, redirect_to=None))
    # Without a GPU anywhere, a size with GPUs can't be placed: the wizard does not offer it either.
    has_gpus = ComputePool.objects.offered_to(workspace).exclude(gpu_resource="").exists()
    sizes: dict[int, list[PricedSize]] = defaultdict(list)
    for size in PodSize.objects.filter(preset__in=shown, hidden=False):
        if has_gpus or not size.gpus:
            pool = workspace.default_pool
            sizes[size.preset_id].append(PricedSize(size, size.price_per_hour(pool) if pool else None))
    return [Card(preset, images[preset.pk], sizes[preset.pk]) for preset in shown if preset.pk in images]


def detail(workspace: Workspace, slug: str) -> Detail | None:
    """A preset's page, or None when it can't be launched in the workspace. Seven queries."""
    card = next(iter(cards(workspace, slug)), None)
    if card is None:
        return None
    names = set(Volume.objects.live().filter(workspace=workspace, kind=Volume.Kind.DATA).values_list("name", flat=True))
    return Detail(
        card=card,
        volumes=[MountedVolume(mount, mount.volume in names) for mount in card.preset.volumes.all()],
        configurations=list(Configuration.objects.offered_to(workspace, card.preset)),
    )
