"""What the wizard offers a user in a workspace, and what it chooses beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Q

from compute.models import ComputePool, SlurmCluster, Workspace
from compute.validators import NAME_MAX
from presets.catalog import offered_images
from presets.models import Configuration, Image, PodSize, Preset
from sessions.models import Session, SessionVolume
from sessions.spec.inputs import DataVolumeInput, HomeInput, SpecInput
from storage.models import Secret, Volume

EntryT = TypeVar("EntryT", Image, PodSize)


@dataclass(frozen=True)
class VolumeChoice:
    """A volume that can be mounted. ``in_use_by`` names the session that keeps it from being mounted now, or is empty."""

    volume: Volume
    in_use_by: str = ""


@dataclass(frozen=True)
class Choices:
    """Everything offered for one preset, in the curated order. ``default_pool`` is what an empty choice means."""

    images: list[Image]
    pod_sizes: list[PodSize]
    pools: list[ComputePool]
    default_pool: ComputePool | None
    slurm_clusters: list[SlurmCluster]
    home_volumes: list[VolumeChoice]
    data_volumes: list[VolumeChoice]
    configurations: list[Configuration]
    secret_names: list[str]

    @property
    def default_image(self) -> Image | None:
        return default_of(self.images)

    @property
    def default_pod_size(self) -> PodSize | None:
        return default_of(self.pod_sizes)


def default_of(entries: list[EntryT]) -> EntryT | None:
    """The curated default if it is offered, else the first entry."""
    return next((entry for entry in entries if entry.is_default), entries[0] if entries else None)


def exclusive_use(volume_ids: list[int], besides: Session | None = None) -> dict[int, str]:
    """Of these volumes, those that one session at a time may mount and that an active one holds: id → session name.

    One query, none without volumes.
    """
    if not volume_ids:
        return {}
    mounts = SessionVolume.objects.filter(
        volume__in=volume_ids,
        volume__access_mode=Volume.AccessMode.ONCE,
        # Narrowed to the volumes' own sessions: SQLite would list all that use compute, once per question.
        session__in=Session.objects.using_compute().filter(mounts__volume__in=volume_ids),
    )
    if besides is not None:
        mounts = mounts.exclude(session=besides)
    return dict(mounts.values_list("volume_id", "session__name"))


def choices(user: Any, workspace: Workspace, preset: Preset) -> Choices:
    """What the user may choose for this preset now. At most 10 queries, whatever the catalog's size."""
    pools = list(ComputePool.objects.offered_to(workspace))
    has_gpus = any(pool.gpu_resource for pool in pools)
    usable = Q(kind=Volume.Kind.DATA) | Q(owner=user)  # nobody mounts another one's home
    mine = list(Volume.objects.live().filter(usable, workspace=workspace).select_related("owner"))
    used = exclusive_use([volume.pk for volume in mine])
    offered = [VolumeChoice(volume, used.get(volume.pk, "")) for volume in mine]
    return Choices(
        images=offered_images(workspace, preset),
        pod_sizes=[size for size in preset.pod_sizes.filter(hidden=False) if has_gpus or not size.gpus],
        pools=pools,
        default_pool=next((pool for pool in pools if pool.pk == workspace.default_pool_id), None),
        slurm_clusters=list(SlurmCluster.objects.serving(workspace)),
        home_volumes=[choice for choice in offered if choice.volume.kind == Volume.Kind.HOME],
        data_volumes=[choice for choice in offered if choice.volume.kind == Volume.Kind.DATA],
        configurations=list(Configuration.objects.offered_to(workspace, preset).prefetch_related("variables", "volumes")),
        secret_names=list(Secret.objects.filter(bundle__workspace=workspace).values_list("name", flat=True)),
    )


def suggest_name(workspace: Workspace, preset: Preset) -> str:
    """A free session name such as ``jupyterlab-3``. One query."""
    stem = preset.slug[: NAME_MAX - 6].strip("-")
    stem = stem if stem[:1].isalpha() else f"session-{stem}"
    taken = set(Session.objects.filter(workspace=workspace, name__startswith=f"{stem}-").order_by().values_list("name", flat=True))
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def defaults(user: Any, workspace: Workspace, preset: Preset, offered: Choices | None = None) -> SpecInput:
    """The wizard's answers before the user has touched any. Pass ``offered`` to save its queries."""
    offered = offered or choices(user, workspace, preset)
    homes = {choice.volume.name for choice in offered.home_volumes if not choice.in_use_by}
    has_home = preset.home_volume in homes
    data = {choice.volume.name for choice in offered.data_volumes}
    return SpecInput(
        name=suggest_name(workspace, preset),
        preset=preset.slug,
        image=offered.default_image.slug if offered.default_image else "",
        pod_size=offered.default_pod_size.slug if offered.default_pod_size else "",
        home=HomeInput(volume=preset.home_volume) if has_home else HomeInput(create_size=preset.home_size),
        data_volumes=tuple(
            DataVolumeInput(mount.volume, mount.mount_path, mount.read_only) for mount in preset.volumes.all() if mount.volume in data
        ),
        configurations=tuple(c.slug for c in offered.configurations if c.on_by_default),
    )
