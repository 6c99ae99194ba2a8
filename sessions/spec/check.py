"""Whether a spec can be launched: every problem at its field, every warning, the price and the quota.

Each ``_check_*`` looks at one part and adds what it finds; none stops the others, so a user sees all at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import QuerySet, Value

from compute.clusters import driver_for
from compute.errors import Problem
from compute.models import ComputePool, SlurmCluster, Workspace
from compute.prepared import prepared
from compute.validators import overlapping_paths, validate_env_name, validate_mount_path, validate_name, validate_storage
from compute.workload import Account
from presets.catalog import offered_images
from presets.models import Configuration, Image, PodSize, Preset, PresetVariable
from sessions.models import Session
from sessions.spec import slurm_check
from sessions.spec.choices import VolumeChoice, exclusive_use
from sessions.spec.inputs import SpecInput
from sessions.spec.quota import QuotaLine, quota_lines
from storage.models import Secret, Volume

T = TypeVar("T")
MAX_VARIABLES = 100
MAX_VALUE = 32 * 1024  # bytes, as the next one: Linux takes 128 KiB per variable and 2 MiB in all, Kubernetes 1 MiB in a Secret
MAX_VALUES = 512 * 1024
SLURM_ENV = frozenset({"SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CONF"})


@dataclass(frozen=True)
class Mounted:
    """A data volume of the session; ``source`` is empty for the user's own, else the configuration's name."""

    volume: Volume
    mount_path: str
    read_only: bool
    source: str = ""


@dataclass
class Checked:
    """The outcome. With no ``problems``, every row that a launch needs is set (``pool`` may still be None).

    ``account`` is whom the session runs as because of its Slurm cluster.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    preset: Preset | None = None
    image: Image | None = None
    pod_size: PodSize | None = None
    pool: ComputePool | None = None
    slurm_cluster: SlurmCluster | None = None
    account: Account | None = None
    home: Volume | None = None
    new_home_size: str = ""
    data_volumes: list[Mounted] = field(default_factory=list)
    configurations: list[Configuration] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    price_per_hour: Decimal = Decimal(0)
    quota: list[QuotaLine] = field(default_factory=list)

    def problem(self, where: str, code: str, message: str) -> None:
        self.problems.append(Problem(where, code, message))

    def warn(self, where: str, code: str, message: str) -> None:
        self.warnings.append(Problem(where, code, message))

    def valid(self, where: str, validator: Callable[[str], None], value: str) -> bool:
        """Run a field validator; its message becomes a problem at the field."""
        try:
            validator(value)
        except ValidationError as error:
            self.problem(where, error.code or "invalid", " ".join(error.messages))
            return False
        return True


def check(user: Any, workspace: Workspace, spec: SpecInput) -> Checked:
    """Check everything. Reads only; 5 queries for the plainest spec, up to 15 with all that one can have, whatever the catalog's size.

    Call it under the workspace's lock to rely on it.
    """
    found = Checked()
    if not workspace.cluster.enabled:
        found.problem("", "cluster_disabled", f"{workspace.cluster} takes no new sessions at the moment.")
    _check_preset(found, workspace, spec)
    _check_name(found, workspace, spec)
    if found.preset is not None:
        _check_image(found, workspace, found.preset, spec)
        _check_pod_size(found, found.preset, spec)
    _check_pool(found, workspace, spec)
    _check_volumes(found, user, workspace, spec)
    if found.preset is not None:
        _check_configurations(found, workspace, found.preset, spec)
        _check_paths(found, found.preset, spec)
    _check_slurm(found, user, workspace, spec)
    if spec.env or found.configurations:
        _check_env(found, workspace, spec)
    if found.pod_size is not None:
        found.price_per_hour = found.pod_size.price_per_hour(found.pool)
    found.quota = quota_lines(workspace, found.pod_size, found.new_home_size)
    for line in found.quota:
        if line.exceeded:
            found.problem(line.field, "quota_exceeded", line.sentence)
    return found


def _only(rows: Iterable[T]) -> T | None:
    """The one row that a name leaves over, if any."""
    return next(iter(rows), None)


# The rows that a spec names. Without the order of lists, which takes time to sort.


@prepared
def _preset_named(workspace: int, slug: str) -> QuerySet[Preset]:
    return Preset.objects.offered_to(Workspace(pk=workspace)).filter(slug=slug).order_by()


@prepared
def _image_named(preset: int, slug: str) -> QuerySet[Image]:
    return Image.objects.filter(preset=preset, slug=slug).order_by()


@prepared
def _pod_size_named(preset: int, slug: str) -> QuerySet[PodSize]:
    return PodSize.objects.filter(preset=preset, slug=slug, hidden=False).order_by()


@prepared
def _offered_pools(workspace: int, cluster: int) -> QuerySet[ComputePool]:
    return ComputePool.objects.offered_to(Workspace(pk=workspace, cluster_id=cluster))


@prepared
def _session_named(workspace: int, name: str) -> QuerySet[Session, tuple[int]]:
    return Session.objects.filter(workspace=workspace, name=name).order_by().values_list("pk")


def _check_name(found: Checked, workspace: Workspace, spec: SpecInput) -> None:
    if not spec.name:
        if found.preset is not None:  # else the preset is what to mend: with it comes a name
            found.problem("name", "required", "Give the session a name.")
    elif found.valid("name", validate_name, spec.name) and _session_named(workspace.pk, spec.name):
        found.problem("name", "name_taken", f"{workspace} has a session named “{spec.name}” already. Choose another name.")


def _check_preset(found: Checked, workspace: Workspace, spec: SpecInput) -> None:
    if not spec.preset:
        found.problem("preset", "required", "Choose a preset.")
        return
    found.preset = _only(_preset_named(workspace.pk, spec.preset))
    if found.preset is None:
        found.problem("preset", "preset_gone", f"The preset “{spec.preset}” is no longer offered here. Choose another one.")
    elif found.preset.deprecated:
        found.warn("preset", "deprecated", found.preset.deprecation_message or f"{found.preset} is deprecated.")


def _check_image(found: Checked, workspace: Workspace, preset: Preset, spec: SpecInput) -> None:
    if not spec.image:
        if offered_images(workspace, preset):
            found.problem("image", "required", "Choose an image.")
        else:
            found.problem("preset", "preset_unsupported", f"{workspace.cluster} can run no image of {preset}. Choose another preset.")
        return
    image = _only(_image_named(preset.pk, spec.image))
    successor = image.successor() if image else None
    if image is None or successor is None or successor.hidden:
        found.problem("image", "image_gone", f"The image “{spec.image}” is no longer offered by {preset}. Choose another one.")
        return
    if reason := driver_for(workspace.cluster).offers(successor.reference):
        found.problem("image", "image_unsupported", f"{successor} can't run on {workspace.cluster}: {reason}")
        return
    if successor != image:
        found.warn("image", "image_redirected", f"{image} has been replaced by {successor}; the session will use that.")
    if successor.deprecated:
        found.warn("image", "deprecated", successor.deprecation_message or f"{successor} is deprecated.")
    found.image = successor


def _check_pod_size(found: Checked, preset: Preset, spec: SpecInput) -> None:
    if not spec.pod_size:
        found.problem("pod_size", "required", "Choose a pod size.")
        return
    found.pod_size = _only(_pod_size_named(preset.pk, spec.pod_size))
    if found.pod_size is None:
        found.problem("pod_size", "pod_size_gone", f"The pod size “{spec.pod_size}” is no longer offered by {preset}. Choose another one.")
    elif found.pod_size.deprecated:
        found.warn("pod_size", "deprecated", found.pod_size.deprecation_message or f"{found.pod_size} is deprecated.")


def _check_pool(found: Checked, workspace: Workspace, spec: SpecInput) -> None:
    pools = _offered_pools(workspace.pk, workspace.cluster_id)
    if spec.compute_pool:
        found.pool = next((pool for pool in pools if pool.name == spec.compute_pool), None)
        if found.pool is None:
            names = ", ".join(pool.display_name for pool in pools) or "none"
            found.problem("compute_pool", "pool_not_allowed", f"{workspace} may not use this compute pool. It may use: {names}.")
            return
    elif workspace.default_pool_id:
        found.pool = next((pool for pool in pools if pool.pk == workspace.default_pool_id), None)
        if found.pool is None:
            found.problem("compute_pool", "pool_unavailable", "The workspace's default pool is not available. Choose another one.")
            return
    if found.pod_size and found.pod_size.gpus and not (found.pool and found.pool.gpu_resource):
        fit = ", ".join(pool.display_name for pool in pools if pool.gpu_resource)
        mend = f"Choose a pool with GPUs ({fit})" if fit else "Choose a pod size without GPUs"
        found.problem("compute_pool", "pool_without_gpus", f"{found.pod_size} needs GPUs, which this pool does not have. {mend}.")


def _check_slurm(found: Checked, user: Any, workspace: Workspace, spec: SpecInput) -> None:
    rows = {row.volume: f"data_volumes.{number}.volume" for number, row in enumerate(spec.data_volumes)}
    writable = [("home.volume", found.home)] if found.home else []
    writable += [(rows.get(mount.volume.name, "configurations"), mount.volume) for mount in found.data_volumes if not mount.read_only]
    if not spec.slurm_cluster:
        for where, volume in writable:
            if words := slurm_check.foreign(volume, workspace.cluster):
                found.warn(where, "volume_owner", words)
        return
    found.slurm_cluster = SlurmCluster.objects.serving(workspace).filter(name=spec.slurm_cluster).first()
    if found.slurm_cluster is None:
        found.problem("slurm_cluster", "slurm_gone", "This Slurm cluster does not serve the workspace (any more). Choose another or none.")
    else:
        found.account, problems = slurm_check.check(found.slurm_cluster, user, workspace.cluster, writable)
        found.problems += problems


def _check_volumes(found: Checked, user: Any, workspace: Workspace, spec: SpecInput) -> None:
    names = {spec.home.volume, *(row.volume for row in spec.data_volumes)} - {""}
    rows = {volume.name: volume for volume in Volume.objects.live().filter(workspace=workspace, name__in=names)} if names else {}
    used = exclusive_use([volume.pk for volume in rows.values()])
    choices = {name: VolumeChoice(volume, used.get(volume.pk, "")) for name, volume in rows.items()}
    _check_home(found, user, choices, spec)
    seen: set[str] = set()
    for number, row in enumerate(spec.data_volumes):
        where = f"data_volumes.{number}"
        choice = choices.get(row.volume)
        if not row.volume:
            found.problem(f"{where}.volume", "required", "Choose a volume, or remove this row.")
        elif choice is None or choice.volume.kind != Volume.Kind.DATA:
            found.problem(f"{where}.volume", "volume_gone", f"There is no data volume “{row.volume}” (any more). Choose another one.")
        elif row.volume in seen:
            found.problem(f"{where}.volume", "volume_twice", f"“{row.volume}” is mounted twice. Remove one of the rows.")
        elif choice.in_use_by:
            found.problem(f"{where}.volume", "volume_in_use", _in_use(row.volume, choice.in_use_by))
        elif choice.volume.access_mode == Volume.AccessMode.READ and not row.read_only:
            found.problem(f"{where}.read_only", "volume_read_only", f"“{row.volume}” can only be mounted read-only. Tick read-only.")
        else:
            found.data_volumes.append(Mounted(choice.volume, row.mount_path, row.read_only))
        seen.add(row.volume)


def _in_use(volume: str, session: str) -> str:
    return f"“{volume}” is in use by the session “{session}”, and one session at a time may mount it. Pause that session, or choose another volume."


def _check_home(found: Checked, user: Any, choices: dict[str, VolumeChoice], spec: SpecInput) -> None:
    if spec.home.volume:
        choice = choices.get(spec.home.volume)
        if choice is None or choice.volume.kind != Volume.Kind.HOME or choice.volume.owner_id != user.pk:
            found.problem(
                "home.volume", "home_gone", f"You have no home volume “{spec.home.volume}” (any more). Choose another one, or a new one."
            )
        elif choice.in_use_by:
            found.problem("home.volume", "home_in_use", _in_use(spec.home.volume, choice.in_use_by))
        else:
            found.home = choice.volume
    elif not spec.home.create_size:
        found.problem("home", "required", "Create a home volume, or choose an existing one.")
    elif found.valid("home.size", validate_storage, spec.home.create_size):
        found.new_home_size = spec.home.create_size.strip()


def _check_configurations(found: Checked, workspace: Workspace, preset: Preset, spec: SpecInput) -> None:
    if not spec.configurations:
        return
    offered = Configuration.objects.offered_to(workspace, preset).filter(slug__in=spec.configurations)
    found.configurations = list(offered.prefetch_related("variables", "volumes"))
    if gone := sorted(set(spec.configurations) - {item.slug for item in found.configurations}):
        found.problem("configurations", "configuration_gone", f"No longer offered: {', '.join(gone)}. Switch it off.")
    setters: dict[str, tuple[Configuration, str]] = {}
    for item in found.configurations:
        if item.deprecated:
            found.warn("configurations", "deprecated", item.deprecation_message or f"{item} is deprecated.")
        for variable in item.variables.all():
            other, value = setters.setdefault(variable.name, (item, variable.value))
            if value != variable.value:
                found.problem(
                    "configurations",
                    "configurations_clash",
                    f"“{other}” and “{item}” set {variable.name} differently. Switch one of them off.",
                )
    _mount_configurations(found, workspace)


def _mount_configurations(found: Checked, workspace: Workspace) -> None:
    wanted = [(item, mount) for item in found.configurations for mount in item.volumes.all()]
    if not wanted:
        return
    live = Volume.objects.live().filter(workspace=workspace, kind=Volume.Kind.DATA, name__in={mount.volume for _, mount in wanted})
    volumes = {volume.name: volume for volume in live}
    used = exclusive_use([volume.pk for volume in volumes.values()])
    for item, mount in wanted:
        volume = volumes.get(mount.volume)
        if volume is None:
            found.warn(
                "configurations", "volume_missing", f"“{item}” mounts “{mount.volume}”, which {workspace} does not have; it is left out."
            )
            continue
        same = next((other for other in found.data_volumes if other.volume == volume), None)
        if same is None and volume.pk in used:
            found.problem("configurations", "volume_in_use", f"“{item}”: {_in_use(volume.name, used[volume.pk])}")
        elif same is None:
            read_only = mount.read_only or volume.access_mode == Volume.AccessMode.READ
            found.data_volumes.append(Mounted(volume, mount.mount_path, read_only, item.name))
        elif same.mount_path != mount.mount_path or same.read_only != mount.read_only:
            where = f"“{same.source}”" if same.source else "your data volumes"
            found.problem(
                "configurations",
                "volume_clash",
                f"“{item}” mounts “{volume}” at {mount.mount_path}, and so do {where}, differently. Keep one.",
            )


def _check_paths(found: Checked, preset: Preset, spec: SpecInput) -> None:
    home = preset.ide_definition.home_path
    rows: list[tuple[str, str, str]] = []  # path, field, whose
    for number, row in enumerate(spec.data_volumes):
        where = f"data_volumes.{number}.mount_path"
        if not row.mount_path:
            found.problem(where, "required", "Say where to mount it, such as /data/sales.")
        elif found.valid(where, validate_mount_path, row.mount_path):
            if overlapping_paths([home, row.mount_path]):
                found.problem(
                    where, "path_reserved", f"{home} is the home volume's place. Choose a path such as /data/{row.volume or 'sales'}."
                )
            rows.append((row.mount_path, where, f"“{row.volume}”"))
    rows += [(m.mount_path, "configurations", f"the configuration “{m.source}”") for m in found.data_volumes if m.source]
    for index, (path, where, _) in enumerate(rows):
        for other, _, whose in rows[:index]:
            if overlapping_paths([path, other]):
                overlap = "is already the place" if path == other else f"overlaps {other}, the place"
                found.problem(where, "path_taken", f"{path} {overlap} of {whose}. Choose another path.")


def _check_env(found: Checked, workspace: Workspace, spec: SpecInput) -> None:
    told = _told_of_variables(found, workspace)
    counts = Counter(row.name for row in spec.env)
    if len(spec.env) > MAX_VARIABLES:
        found.problem("env", "env_too_many", f"Use at most {MAX_VARIABLES} variables.")
    if sum(len(row.value.encode(errors="replace")) for row in spec.env) > MAX_VALUES:
        found.problem("env", "env_too_large", "All values together may have at most 512 KiB. Keep large texts in a volume.")
    for number, row in enumerate(spec.env):
        where = f"env.{number}.name"
        if not row.name:
            found.problem(where, "required", "Give the variable a name, or remove this row.")
            continue
        if not found.valid(where, validate_env_name, row.name):
            continue
        if len(row.value.encode(errors="replace")) > MAX_VALUE or "\0" in row.value:
            found.problem(f"env.{number}.value", "env_value", "A value is text of at most 32 KiB.")
        if counts[row.name] > 1:
            found.problem(where, "env_twice", f"{row.name} is set twice. Keep one.")
        elif spec.slurm_cluster and row.name in SLURM_ENV:
            found.problem(where, "env_reserved", f"{row.name} comes with the attached Slurm cluster. Remove this row, or attach none.")
        elif row.name in told:
            found.warn(where, "env_provided", told[row.name])
        found.env[row.name] = row.value


def _told_of_variables(found: Checked, workspace: Workspace) -> dict[str, str]:
    """By name of a variable that sessions get anyway: what to tell whom replaces it. Tells of configurations that do. One query."""
    columns = ("name", "is_bundle")
    bundle = Secret.objects.filter(bundle__workspace=workspace).annotate(is_bundle=Value(True)).order_by().values_list(*columns)
    own = PresetVariable.objects.filter(preset=found.preset).annotate(is_bundle=Value(False)).order_by().values_list(*columns)
    rows = list(own.union(bundle))
    secrets = {name for name, is_bundle in rows if is_bundle}
    provided = {variable.name: item.name for item in found.configurations for variable in item.variables.all()}
    for name in sorted(secrets & set(provided)):
        found.warn(
            "configurations",
            "env_overrides_bundle",
            f"“{provided[name]}” sets {name}, which replaces the one of the workspace's secrets bundle.",
        )
    of_preset = f"is already set by the preset “{found.preset}”; yours would replace it."
    of_bundle = "is already provided by the workspace's secrets bundle. Leave it out, unless yours is to replace it."
    return (
        {name: f"{name} {of_preset}" for name, _ in rows}
        | {name: f"{name} {of_bundle}" for name in secrets}
        | {name: f"{name} is already provided by the configuration “{item}”; yours would replace it." for name, item in provided.items()}
    )
