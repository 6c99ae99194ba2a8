"""Slurm clusters that sessions attach, and who a user is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from simple_history.models import HistoricalRecords

from compute import validators

if TYPE_CHECKING:
    from compute.models import Workspace

TOKEN_MINUTES = (2, 1440)  # a token must outlive a few looks of the control plane; a day is long for one that can't be taken back


class UserMapping(models.TextChoices):
    USERNAME = "username", "The user name: looked up among the control plane’s own accounts"
    ACCOUNT = "account", "The accounts below, one per user"


class SlurmClusterQuerySet(models.QuerySet["SlurmCluster"]):
    def serving(self, workspace: Workspace) -> SlurmClusterQuerySet:
        """The enabled Slurm clusters that the workspace may attach, by name."""
        return self.filter(enabled=True, workspaces=workspace).order_by("display_name")


class SlurmCluster(models.Model):
    """A Slurm cluster that sessions of some workspaces may attach. None enabled: nobody sees the word.

    Its signing key is :class:`storage.models.SlurmKey`, because encryption at rest is storage's.
    """

    name = models.CharField(max_length=63, unique=True, validators=[validators.validate_dns_label])
    display_name = models.CharField(max_length=100)
    controllers = models.CharField(
        max_length=300,
        validators=[validators.validate_host_ports],
        help_text="host:port of the controller; several (primary first), with commas between.",
    )
    token_minutes = models.PositiveIntegerField(
        "token lifetime in minutes",
        default=30,
        validators=[MinValueValidator(TOKEN_MINUTES[0]), MaxValueValidator(TOKEN_MINUTES[1])],
        help_text="A running session gets a fresh token at 80 % of it. A token can’t be taken back: shorter is safer.",
    )
    user_mapping = models.CharField(
        "who a user is on Slurm",
        max_length=10,
        choices=UserMapping.choices,
        default=UserMapping.USERNAME,
        help_text="A job is refused unless its user id is that user’s on the controller.",
    )
    client_image = models.CharField(
        max_length=255,
        blank=True,
        validators=[validators.validate_container_image],
        help_text="Kubernetes only: an image whose Slurm client is put into sessions whose own image has none. Empty: only the image’s own.",
    )
    workspaces = models.ManyToManyField("compute.Workspace", blank=True, related_name="slurm_clusters")
    enabled = models.BooleanField(default=False)
    history = HistoricalRecords()
    objects = SlurmClusterQuerySet.as_manager()

    class Meta:
        ordering = ("display_name",)
        verbose_name = "Slurm cluster"
        constraints = [
            models.CheckConstraint(condition=Q(token_minutes__range=TOKEN_MINUTES), name="slurmcluster_token_minutes"),
            models.CheckConstraint(condition=Q(user_mapping__in=UserMapping.values), name="slurmcluster_user_mapping_known"),
        ]

    def __str__(self) -> str:
        return self.display_name


class SlurmAccount(models.Model):
    """Who a user is on one Slurm cluster: the name its tokens are for, and the ids its sessions run with."""

    slurm_cluster = models.ForeignKey(SlurmCluster, on_delete=models.CASCADE, related_name="accounts")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="slurm_accounts")
    slurm_user = models.CharField("Slurm user", max_length=64, validators=[validators.validate_slurm_user])
    uid = models.PositiveIntegerField("uid", validators=[MinValueValidator(1)])
    gid = models.PositiveIntegerField("gid", validators=[MinValueValidator(1)])

    class Meta:
        ordering = ("user__username",)
        verbose_name = "Slurm account"
        constraints = [
            models.UniqueConstraint(
                fields=("slurm_cluster", "user"),
                name="slurmaccount_unique",
                violation_error_message="This user has an account on this Slurm cluster.",
            ),
            models.CheckConstraint(condition=Q(uid__gt=0, gid__gt=0), name="slurmaccount_ids_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.slurm_user} on {self.slurm_cluster}"
