"""The wizard as a member of a workspace would see it for one preset, and what it leaves out, and why. For curators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model

from compute.clusters import driver_for
from compute.models import ComputePool, Membership, SlurmCluster, Workspace
from presets.models import Configuration, Image, PodSize, Preset
from sessions.spec import Choices, SpecInput, choices, defaults


@dataclass(frozen=True)
class Offered:
    """One choice. ``notes`` are short remarks such as "deprecated"; ``chosen`` is set for what is chosen beforehand."""

    name: str
    detail: str = ""
    chosen: bool = False
    price_per_hour: Decimal | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """One entry that the wizard does not show, with the reason as half a sentence."""

    name: str
    why: str


@dataclass
class Section:
    """One field of the wizard. ``empty`` is said when nothing is offered; ``missing`` makes that a problem."""

    label: str
    empty: str
    offered: list[Offered] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    needed: bool = False

    @property
    def is_problem(self) -> bool:
        return self.needed and not self.offered


@dataclass(frozen=True)
class Step:
    label: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Preview:
    """``refusal`` says why the workspace does not see the preset at all; the steps show what it would see if it did."""

    refusal: str
    steps: tuple[Step, ...]


def preview(preset: Preset, workspace: Workspace, member: Any | None) -> Preview:
    """Asks what the wizard asks, and then for the rest of the catalog. About 20 queries, whatever the catalog's size."""
    user = member or get_user_model()(pk=0)  # nobody: owns no volume
    offered = choices(user, workspace, preset)
    answers = defaults(user, workspace, preset, offered)
    return Preview(
        refusal=_refusal(preset, workspace),
        steps=(
            Step("Preset", (_images(preset, workspace, offered),)),
            Step("Compute", (_pod_sizes(preset, offered), _pools(workspace, offered), _slurm(workspace, offered))),
            Step(
                "Storage", (_home(preset, offered, answers), _data(preset, offered, answers), _configurations(preset, workspace, offered))
            ),
        ),
    )


def _refusal(preset: Preset, workspace: Workspace) -> str:
    if not workspace.cluster.enabled:
        return f"{workspace.cluster} is disabled: it takes no new sessions."
    if preset.hidden:
        return "The preset is hidden."
    if not Preset.objects.offered_to(workspace).filter(pk=preset.pk).exists():
        return f"The preset is limited to other workspaces: {workspace} does not see it."
    return ""


def _remarks(entry: Image | PodSize | Configuration) -> tuple[str, ...]:
    return (entry.deprecation_message or "deprecated",) if entry.deprecated else ()


def _images(preset: Preset, workspace: Workspace, offered: Choices) -> Section:
    section = Section("Image", "No image of this preset can run here.", needed=True)
    section.offered = [Offered(row.name, row.reference, row == offered.default_image, notes=_remarks(row)) for row in offered.images]
    shown = {image.pk for image in offered.images}
    driver = driver_for(workspace.cluster)
    for image in preset.images.select_related("redirect_to"):
        if image.pk not in shown:
            redirect = f"replaced by {image.redirect_to}" if image.redirect_to else ""
            why = "hidden" if image.hidden else redirect or driver.offers(image.reference)
            section.left_out.append(LeftOut(f"{image.name} ({image.reference})", why))
    return section


def _pod_sizes(preset: Preset, offered: Choices) -> Section:
    section = Section("Pod size", "No pod size is left.", needed=True)
    for size in offered.pod_sizes:
        gpus = f", {size.gpus} GPU" if size.gpus else ""
        price = size.price_per_hour(offered.default_pool) if offered.default_pool else None
        detail = f"{size.cpu} CPU, {size.memory} memory{gpus}"
        section.offered.append(Offered(size.name, detail, size == offered.default_pod_size, price, _remarks(size)))
    shown = {size.pk for size in offered.pod_sizes}
    for size in preset.pod_sizes.exclude(pk__in=shown):
        section.left_out.append(LeftOut(size.name, "hidden" if size.hidden else "needs GPUs, and no pool of this workspace has any"))
    return section


def _pools(workspace: Workspace, offered: Choices) -> Section:
    section = Section("Compute pool", "None: sessions land anywhere, and cost nothing.")
    for pool in offered.pools:
        section.offered.append(Offered(pool.display_name, pool.description or pool.gpu_resource, pool == offered.default_pool))
    shown = {pool.pk for pool in offered.pools}
    for pool in ComputePool.objects.filter(cluster=workspace.cluster).exclude(pk__in=shown):
        section.left_out.append(LeftOut(pool.display_name, "limited to other workspaces" if pool.enabled else "disabled"))
    return section


def _slurm(workspace: Workspace, offered: Choices) -> Section:
    section = Section("Slurm cluster", "Not shown: no enabled Slurm cluster serves this workspace.")
    section.offered = [Offered(slurm.display_name, slurm.controllers) for slurm in offered.slurm_clusters]
    for slurm in SlurmCluster.objects.filter(workspaces=workspace, enabled=False):
        section.left_out.append(LeftOut(slurm.display_name, "disabled"))
    return section


def _home(preset: Preset, offered: Choices, answers: SpecInput) -> Section:
    section = Section("Home volume", "")
    section.offered = [Offered("Create a new one", preset.home_size, chosen=not answers.home.volume)]
    for choice in offered.home_volumes:
        notes = (f"in use by {choice.in_use_by}",) if choice.in_use_by else ()
        section.offered.append(Offered(choice.volume.name, choice.volume.size, choice.volume.name == answers.home.volume, notes=notes))
    if preset.home_volume and answers.home.volume != preset.home_volume:
        section.left_out.append(LeftOut(preset.home_volume, "the preset's choice, but this member has no free home volume of that name"))
    return section


def _data(preset: Preset, offered: Choices, answers: SpecInput) -> Section:
    section = Section("Data volumes", "None is mounted beforehand.")
    for mount in answers.data_volumes:
        access = "read-only" if mount.read_only else "read and write"
        section.offered.append(Offered(mount.volume, f"at {mount.mount_path}, {access}", chosen=True))
    mounted = {mount.volume for mount in answers.data_volumes}
    free = [choice.volume for choice in offered.data_volumes if choice.volume.name not in mounted]
    section.offered += [Offered(volume.name, f"{volume.size}, can be added") for volume in free]
    missing = [mount for mount in preset.volumes.all() if mount.volume not in mounted]
    section.left_out = [LeftOut(str(mount), "the workspace has no data volume of that name") for mount in missing]
    return section


def _configurations(preset: Preset, workspace: Workspace, offered: Choices) -> Section:
    section = Section("Configurations", "None is offered.")
    for row in offered.configurations:
        notes = ("on by default", *_remarks(row)) if row.on_by_default else _remarks(row)
        section.offered.append(Offered(row.name, row.description, row.on_by_default, notes=notes))
    shown = {row.pk for row in offered.configurations}
    others = Configuration.objects.exclude(pk__in=shown).prefetch_related("presets", "workspaces")
    section.left_out = [LeftOut(row.name, _why_not(row, preset, row.presets.all())) for row in others]
    return section


def _why_not(configuration: Configuration, preset: Preset, presets: Iterable[Preset]) -> str:
    if configuration.hidden:
        return "hidden"
    return "limited to other presets" if presets and preset not in presets else "limited to other workspaces"


def members_of(workspace: Workspace) -> list[Any]:
    """The workspace's accounts, those who may launch first."""
    memberships = Membership.objects.filter(workspace=workspace).select_related("user").order_by("user__username")
    return [m.user for m in sorted(memberships, key=lambda m: m.role == "viewer")]
