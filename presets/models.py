"""The catalog that admins curate and the wizard offers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from simple_history.models import HistoricalRecords

from compute import validators
from compute.models import ComputePool, Workspace
from compute.workload import Probe
from presets import ides
from presets.pictures import Picture
from presets.validators import validate_image_reference, validate_probe_path
from storage.encryption import EncryptedJSONField, EncryptedTextField


class Offer(models.Model):
    """What presets and their entries share: an admin can hide them, or keep them with a warning."""

    hidden = models.BooleanField(default=False, help_text="Not offered to new sessions; existing ones keep it.")
    deprecated = models.BooleanField(default=False)
    deprecation_message = models.CharField(max_length=200, blank=True, help_text="Shown beside it, such as “Use JupyterLab 4.6 instead”.")

    class Meta:
        abstract = True


def whole(label: str, least: int, most: int, help_text: str = "") -> models.PositiveIntegerField:
    """A whole number that may be left out."""
    limits = [MinValueValidator(least), MaxValueValidator(most)]
    return models.PositiveIntegerField(label, null=True, blank=True, validators=limits, help_text=help_text)


class PresetQuerySet(models.QuerySet["Preset"]):
    def offered_to(self, workspace: Workspace) -> PresetQuerySet:
        """The presets that the workspace's members see, in the curated order."""
        allowed = Q(workspaces=None) | Q(workspaces=workspace)
        return self.filter(allowed, hidden=False).distinct().order_by("position", "name")


class Preset(Offer):
    """A WorkspaceKind: it sets the IDE and curates images, pod sizes and volumes."""

    slug = models.SlugField(max_length=63, unique=True, validators=[validators.validate_dns_label])
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=300, blank=True)
    ide = models.CharField("IDE", max_length=20, choices=ides.CHOICES)
    position = models.PositiveIntegerField(default=0, db_index=True)
    workspaces = models.ManyToManyField(Workspace, blank=True, related_name="presets", help_text="None chosen: every workspace.")
    home_size = models.CharField(
        "Home volume size", max_length=20, default="5Gi", validators=[validators.validate_storage], help_text="Of a new home volume."
    )
    home_volume = models.CharField(
        max_length=45,
        blank=True,
        validators=[validators.validate_name],
        help_text="Name of an existing home volume to choose beforehand, where the user has one of that name.",
    )
    idle_pause_seconds = whole("Pause when idle for", 16, 366 * 86400)
    probe_path = models.CharField(
        "Readiness path",
        max_length=200,
        blank=True,
        validators=[validate_probe_path],
        help_text="Answers as soon as the IDE serves, without signing in. Empty: the IDE's own.",
    )
    probe_period = whole("Ask every (seconds)", 1, 300, "Empty: 1.")
    probe_timeout = whole("Time-out (seconds)", 1, 60, "Empty: 5.")
    probe_failures = whole("Failures in a row", 1, 1000, "So many, and the session counts as not answering. Empty: 6.")
    probe_delay = whole("First asked after (seconds)", 0, 3600, "Empty: at once.")
    icon = models.ForeignKey(Picture, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    logo = models.ForeignKey(Picture, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    kubeflow = EncryptedJSONField(
        null=True, editable=False, help_text="Parts of the imported WorkspaceKind that Slipway does not use: an export writes them again."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()
    objects = PresetQuerySet.as_manager()

    class Meta:
        ordering = ("position", "name")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        ide = ides.IDES.get(self.ide)
        if ide and self.idle_pause_seconds is not None and ide.activity is None:
            message = f"{ide.label} does not tell when it was used last: its sessions can't be paused for being idle. Leave this empty."
            raise ValidationError({"idle_pause_seconds": ValidationError(message, code="activity_unknown")})

    @property
    def ide_definition(self) -> ides.Ide:
        return ides.IDES[self.ide]

    @property
    def small_picture(self) -> str:
        """The digest of the picture for small places; empty: the IDE's own picture."""
        return self.icon_id or self.logo_id or ""

    @property
    def large_picture(self) -> str:
        return self.logo_id or self.icon_id or ""

    @property
    def probe(self) -> Probe:
        """The IDE's own, with what the preset says otherwise."""
        own = self.ide_definition.probe
        said = {
            "period": self.probe_period,
            "timeout": self.probe_timeout,
            "failures": self.probe_failures,
            "delay": self.probe_delay,
        }
        asked = replace(own, path=self.probe_path, statuses=()) if self.probe_path else own
        return replace(asked, **{name: value for name, value in said.items() if value is not None})


def one_default(entries: str) -> models.UniqueConstraint:
    return models.UniqueConstraint(
        fields=("preset",),
        condition=Q(is_default=True),
        name=f"{entries}_one_default",
        violation_error_message="Another entry of this preset is the default already.",
    )


class Entry(Offer):
    """An ordered entry of a preset's catalog."""

    slug = models.SlugField(max_length=63, validators=[validators.validate_dns_label])
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=200, blank=True)
    position = models.PositiveIntegerField(default=0, db_index=True)
    is_default = models.BooleanField("Default", default=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.is_default and self.hidden:
            raise ValidationError({"is_default": "A hidden entry can't be the default: nobody would see it chosen."})


class ImageQuerySet(models.QuerySet["Image"]):
    def offered(self) -> ImageQuerySet:
        """Those that a new session may get: visible, and at the end of their redirects."""
        return self.filter(hidden=False, redirect_to=None)


class Image(Entry):
    """A container image (Kubernetes) or a ``local:`` recipe (local driver). A redirect sends new sessions to its successor."""

    preset = models.ForeignKey(Preset, on_delete=models.CASCADE, related_name="images")
    reference = models.CharField(max_length=300, validators=[validate_image_reference])
    port = whole("Port", 1, 65535, "Where its IDE is to listen. Empty: the IDE's usual one. On this machine sessions use no ports.")
    redirect_to = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="redirected_from", help_text="Its successor in this preset."
    )
    history = HistoricalRecords()
    objects = ImageQuerySet.as_manager()

    class Meta:
        ordering = ("position", "name")
        constraints = [
            models.UniqueConstraint(
                fields=("preset", "slug"), name="image_slug_unique", violation_error_message="The preset has an image with this id."
            ),
            one_default("image"),
            models.CheckConstraint(
                condition=~Q(redirect_to=models.F("pk")),
                name="image_redirect_not_itself",
                violation_error_message="An image can't redirect to itself.",
            ),
        ]

    def clean(self) -> None:
        super().clean()
        if self.redirect_to is None:
            return
        if self.redirect_to.preset_id != self.preset_id:
            raise ValidationError({"redirect_to": "Choose an image of the same preset."})
        if self.is_default:
            raise ValidationError({"is_default": "An image that redirects can't be the default: make its successor the default."})
        seen: set[int] = {self.pk} if self.pk else set()
        step: Image | None = self.redirect_to
        while step is not None:
            if step.pk in seen:
                raise ValidationError({"redirect_to": "These redirects go in a circle."})
            seen.add(step.pk)
            step = step.redirect_to

    def successor(self) -> Image:
        """The image at the end of the redirects: itself when there are none. One query per redirect."""
        image, seen = self, {self.pk}
        # The admin refuses circles; two admins who close one at the same moment must not hang every wizard.
        while image.redirect_to is not None and image.redirect_to_id not in seen:
            image = image.redirect_to
            seen.add(image.pk)
        return image


class PodSize(Entry):
    """How much of a machine a session gets. ``cpu`` and ``memory`` are Kubernetes quantities."""

    preset = models.ForeignKey(Preset, on_delete=models.CASCADE, related_name="pod_sizes")
    cpu = models.CharField("CPU", max_length=20, validators=[validators.validate_cpu])
    memory = models.CharField(max_length=20, validators=[validators.validate_memory])
    gpus = models.PositiveSmallIntegerField(
        "GPUs",
        default=0,
        validators=[MaxValueValidator(64, "One pod gets at most %(limit_value)s GPUs: they must be in one machine.")],
    )
    history = HistoricalRecords()

    class Meta:
        ordering = ("position", "name")
        constraints = [
            models.UniqueConstraint(
                fields=("preset", "slug"), name="podsize_slug_unique", violation_error_message="The preset has a pod size with this id."
            ),
            one_default("podsize"),
        ]

    def price_per_hour(self, pool: ComputePool | None) -> Decimal:
        return pool.price_per_hour(self.cpu, self.memory, self.gpus) if pool else Decimal(0)


class VolumeMount(models.Model):
    """A workspace's data volume, by name, that is mounted where the workspace has one of that name."""

    volume = models.CharField(max_length=45, validators=[validators.validate_name], help_text="Name of a data volume.")
    mount_path = models.CharField(max_length=255, validators=[validators.validate_mount_path])
    read_only = models.BooleanField(default=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.volume} at {self.mount_path}"

    def clean(self) -> None:
        for ide in ides.IDES.values():
            if self.mount_path and validators.overlapping_paths([self.mount_path, ide.home_path]):
                message = f"{ide.home_path} is the home volume's place in {ide.label}. Choose a path such as /data/sales."
                raise ValidationError({"mount_path": ValidationError(message, code="path_reserved")})

    def clash_with(self, other: VolumeMount) -> str:
        """Why one session can't have both mounts, as the end of a sentence about ``other``; empty if it can."""
        if (self.volume, self.mount_path, self.read_only) == (other.volume, other.mount_path, other.read_only):
            return ""
        if self.volume == other.volume:
            return f"mounts “{self.volume}” as well, differently (at {other.mount_path})"
        if validators.overlapping_paths([self.mount_path, other.mount_path]):
            return f"mounts “{other.volume}” at {other.mount_path}"
        return ""


class Variable(models.Model):
    """An environment variable. A secret one is write-only once saved."""

    name = models.CharField(max_length=128, validators=[validators.validate_env_name])
    value = EncryptedTextField(blank=True)
    is_secret = models.BooleanField("Secret", default=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class PresetVariable(Variable):
    """An environment variable of each of the preset's sessions, unless anything else sets it (``presets.variables.render``)."""

    preset = models.ForeignKey(Preset, on_delete=models.CASCADE, related_name="variables")

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("preset", "name"),
                name="presetvariable_unique",
                violation_error_message="The preset sets this variable already.",
            )
        ]


class PresetVolume(VolumeMount):
    """A data volume that the preset pre-mounts."""

    preset = models.ForeignKey(Preset, on_delete=models.CASCADE, related_name="volumes")

    class Meta:
        ordering = ("mount_path",)
        constraints = [
            models.UniqueConstraint(
                fields=("preset", "volume"),
                name="presetvolume_volume_unique",
                violation_error_message="The preset mounts this volume already.",
            ),
            models.UniqueConstraint(
                fields=("preset", "mount_path"),
                name="presetvolume_path_unique",
                violation_error_message="The preset uses this path already.",
            ),
        ]


class ConfigurationQuerySet(models.QuerySet["Configuration"]):
    def published_in(self, workspace: Workspace) -> ConfigurationQuerySet:
        """What sessions of this workspace may toggle, each with some preset, in the curated order."""
        return self.filter(Q(workspaces=None) | Q(workspaces=workspace), hidden=False).distinct().order_by("position", "name")

    def offered_to(self, workspace: Workspace, preset: Preset) -> ConfigurationQuerySet:
        """What sessions of this preset in this workspace may toggle, in the curated order."""
        return self.published_in(workspace).filter(Q(presets=None) | Q(presets=preset))


class Configuration(Offer):
    """A pod default that admins publish: variables, an init script and volumes that a user toggles per session."""

    slug = models.SlugField(max_length=63, unique=True, validators=[validators.validate_dns_label])
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=300, blank=True)
    position = models.PositiveIntegerField(default=0, db_index=True)
    on_by_default = models.BooleanField(default=False)
    init_script = models.TextField(blank=True, help_text="A POSIX shell script that runs before the IDE starts, as the session's user.")
    presets = models.ManyToManyField(Preset, blank=True, related_name="configurations", help_text="None chosen: every preset.")
    workspaces = models.ManyToManyField(Workspace, blank=True, related_name="configurations", help_text="None chosen: every workspace.")
    kubeflow = EncryptedJSONField(
        null=True, editable=False, help_text="Parts of the imported PodDefault that Slipway does not use: an export writes them again."
    )
    history = HistoricalRecords()
    objects = ConfigurationQuerySet.as_manager()

    class Meta:
        ordering = ("position", "name")

    def __str__(self) -> str:
        return self.name


class ConfigurationVariable(Variable):
    """An environment variable of a configuration."""

    configuration = models.ForeignKey(Configuration, on_delete=models.CASCADE, related_name="variables")

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("configuration", "name"),
                name="configurationvariable_unique",
                violation_error_message="The configuration sets this variable already.",
            )
        ]


class ConfigurationVolume(VolumeMount):
    """A data volume that a configuration mounts."""

    configuration = models.ForeignKey(Configuration, on_delete=models.CASCADE, related_name="volumes")

    class Meta:
        ordering = ("mount_path",)
        constraints = [
            models.UniqueConstraint(
                fields=("configuration", "mount_path"),
                name="configurationvolume_path_unique",
                violation_error_message="The configuration uses this path already.",
            ),
            models.UniqueConstraint(
                fields=("configuration", "volume"),
                name="configurationvolume_volume_unique",
                violation_error_message="The configuration mounts this volume already.",
            ),
        ]
