"""What outlives a session: volumes, and the secrets that a workspace's sessions share."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from compute import validators
from compute.models import SlurmCluster, Workspace
from storage.encryption import EncryptedTextField

# No vowels and nothing that looks alike: random endings never spell a word.
ALPHABET = "bcdfghjkmnpqrstvwxz2456789"


def unique_name(name: str) -> str:
    """``name`` with six random characters: a cluster object's name that is never used twice."""
    return f"{name}-{''.join(secrets.choice(ALPHABET) for _ in range(6))}"


class VolumeQuerySet(models.QuerySet["Volume"]):
    def live(self) -> VolumeQuerySet:
        return self.filter(trashed_at=None)

    def trashed(self) -> VolumeQuerySet:
        return self.filter(trashed_at__isnull=False)

    def due_for_purge(self) -> VolumeQuerySet:
        """Volumes whose time in the trash is over, and that nothing holds any more."""
        return self.filter(purge_after__lte=timezone.now())


class Volume(models.Model):
    """A persistent volume claim of a workspace. ``claim`` is its name on the cluster and is never used again.

    A home volume belongs to its owner; a data volume (owner optional) is the workspace's.
    """

    class Kind(models.TextChoices):
        HOME = "home", "Home"
        DATA = "data", "Data"

    class AccessMode(models.TextChoices):
        ONCE = "ReadWriteOnce", "One session at a time (ReadWriteOnce)"
        MANY = "ReadWriteMany", "Many sessions (ReadWriteMany)"
        READ = "ReadOnlyMany", "Many sessions, read-only (ReadOnlyMany)"

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="volumes")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="volumes")
    name = models.CharField(max_length=45, validators=[validators.validate_name])
    claim = models.CharField(max_length=52, editable=False)
    kind = models.CharField(max_length=4, choices=Kind.choices)
    size = models.CharField(max_length=20, default="5Gi", validators=[validators.validate_storage])
    access_mode = models.CharField(max_length=13, choices=AccessMode.choices, default=AccessMode.ONCE)
    storage_class = models.CharField(max_length=63, blank=True)
    uid = models.PositiveIntegerField(null=True, blank=True, help_text="Whom its files belong to: who mounted it first. Empty: unknown.")
    gid = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    trashed_at = models.DateTimeField(null=True, blank=True, editable=False)
    trashed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    purge_after = models.DateTimeField(null=True, blank=True, editable=False)
    objects = VolumeQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("workspace", "name"),
                condition=Q(trashed_at=None),
                name="volume_name_unique",
                violation_error_message="The workspace has a volume of this name.",
            ),
            models.UniqueConstraint(fields=("workspace", "claim"), name="volume_claim_unique"),
            models.CheckConstraint(
                condition=Q(trashed_at=None, purge_after=None) | Q(trashed_at__isnull=False, purge_after__isnull=False),
                name="volume_trash_dates_together",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: object, **kwargs: object) -> None:
        if not self.claim:
            self.claim = unique_name(self.name)
        super().save(*args, **kwargs)  # type: ignore[arg-type]

    @property
    def is_shared(self) -> bool:
        """Whether several running sessions may mount it at once."""
        return self.access_mode != self.AccessMode.ONCE

    def trash(self, user: models.Model | None) -> None:
        """Mark as deleted; the data stays until ``purge_after``. The caller saves."""
        self.trashed_at = timezone.now()
        self.trashed_by = user  # type: ignore[assignment]
        self.purge_after = self.trashed_at + timedelta(days=settings.SLIPWAY_TRASH_DAYS)


class SecretsBundle(models.Model):
    """A workspace's managed secrets. Every session of the workspace gets them as environment variables."""

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, related_name="secrets_bundle")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Secrets of {self.workspace}"


class Secret(models.Model):
    """One managed secret. ``value`` is write-only: no page, form or API ever shows it again."""

    bundle = models.ForeignKey(SecretsBundle, on_delete=models.CASCADE, related_name="secrets")
    name = models.CharField(max_length=128, validators=[validators.validate_env_name])
    description = models.CharField(max_length=200, blank=True)
    value = EncryptedTextField()
    updated_at = models.DateTimeField(auto_now=True)
    updated_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("bundle", "name"), name="secret_name_unique", violation_error_message="The bundle has a secret of this name."
            )
        ]

    def __str__(self) -> str:
        return self.name


class SlurmKey(models.Model):
    """The key that a Slurm cluster's tokens are signed with, as base64 of the key file's bytes.

    Whoever has it is anybody on that cluster, so it is write-only and never leaves the control plane:
    only :mod:`storage.slurm_keys` reads it.
    """

    slurm_cluster = models.OneToOneField(SlurmCluster, on_delete=models.CASCADE, primary_key=True, related_name="signing_key")
    value = EncryptedTextField()
    replaced_at = models.DateTimeField(default=timezone.now)
    replaced_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    def __str__(self) -> str:
        return f"Signing key of {self.slurm_cluster}"
