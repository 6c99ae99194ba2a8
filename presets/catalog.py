"""What a workspace can really launch: presets that are offered to it and have an image that its cluster runs."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Prefetch

from compute.clusters import driver_for
from compute.models import Workspace
from presets.models import Image, PodSize, Preset


def runnable(workspace: Workspace, references: Iterable[str]) -> set[str]:
    """Those of the image references that the workspace's cluster runs. Asks its driver once per reference."""
    driver = driver_for(workspace.cluster)
    return {reference for reference in set(references) if not driver.offers(reference)}


def runnable_preset_count(workspace: Workspace) -> int:
    """How many presets the gallery shows. One query."""
    offered = Preset.objects.offered_to(workspace).order_by().values("pk")
    pairs = list(Image.objects.filter(preset__in=offered, hidden=False, redirect_to=None).order_by().values_list("preset_id", "reference"))
    usable = runnable(workspace, (reference for _, reference in pairs))
    return len({preset for preset, reference in pairs if reference in usable})


def runnable_presets(workspace: Workspace) -> list[Preset]:
    """The presets of the gallery, in the curated order, each with ``offered_images`` and ``offered_pod_sizes``. Three queries."""
    presets = list(
        Preset.objects.offered_to(workspace).prefetch_related(
            Prefetch("images", Image.objects.filter(hidden=False, redirect_to=None), to_attr="offered_images"),
            Prefetch("pod_sizes", PodSize.objects.filter(hidden=False), to_attr="offered_pod_sizes"),
        )
    )
    usable = runnable(workspace, (image.reference for preset in presets for image in images_of(preset)))
    for preset in presets:
        images = [image for image in images_of(preset) if image.reference in usable]
        setattr(preset, "offered_images", images)  # noqa: B010  (prefetched above; not a model field)
    return [preset for preset in presets if images_of(preset)]


def images_of(preset: Preset) -> list[Image]:
    """The images that :func:`runnable_presets` left in a preset."""
    images: list[Image] = getattr(preset, "offered_images")  # noqa: B009
    return images


def pod_sizes_of(preset: Preset) -> list[PodSize]:
    """The pod sizes that :func:`runnable_presets` found for a preset."""
    sizes: list[PodSize] = getattr(preset, "offered_pod_sizes")  # noqa: B009
    return sizes
