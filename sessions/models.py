"""A session is one IDE of one user. Its fields are of four kinds, each with one writer.

* spec: what is wanted. Only ``sessions.services`` writes it, and raises ``generation`` when it does.
* applied: what was sent to the cluster. Only ``sessions.tasks`` writes it.
* status: what the cluster says. Only the controller writes it.
* use: what the IDE says. Only ``sessions.idle`` writes it.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from compute import validators
from compute.models import Cluster, ComputePool, SlurmCluster, Workspace
from presets.models import Configuration, Image, PodSize, Preset
from sessions.slurm_models import SlurmSight, SlurmState, SlurmTicket  # noqa: F401 (Django looks for models here)
from sessions.tallies import Tally  # noqa: F401
from sessions.times import outside
from sessions.webhooks.models import DeliveryRun, Webhook, WebhookDelivery  # noqa: F401
from storage.encryption import EncryptedJSONField, EncryptedTextField
from storage.models import Volume, unique_name


class Desired(models.TextChoices):
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    DELETED = "deleted", "Deleted"


class Phase(models.TextChoices):
    PENDING = "Pending", "Pending"
    RUNNING = "Running", "Running"
    PAUSED = "Paused", "Paused"
    FAILED = "Failed", "Failed"
    TERMINATING = "Terminating", "Terminating"
    UNKNOWN = "Unknown", "Unknown"


LEASE = timedelta(seconds=20)  # of the reconcile task that works on a row; longer than its slowest call
MAX_BACKOFF = timedelta(seconds=8)  # between tries of a generation that the cluster refuses: it may be well again any moment
MOVING = (Phase.PENDING, Phase.TERMINATING, Phase.UNKNOWN)


def new_token() -> str:
    return secrets.token_urlsafe(32)


# Fields that a status is derived from, compared with, and told with.
STATUS_NEEDS = (
    *("workspace", "name", "host", "desired", "generation", "requested_at", "revision"),
    *("applied_generation", "applied_at", "reached_at", "apply_reason", "apply_message", "apply_final", "error_generation"),
    *("phase", "reason", "message", "steps", "warnings", "endpoint", "node", "log_tail", "restarts"),
    *("observed_revision", "phase_since", "running_since", "status_generation", "settled_revision"),
)


class SessionQuerySet(models.QuerySet["Session"]):
    def in_workspace(self, workspace: Workspace) -> SessionQuerySet:
        return self.filter(workspace=workspace)

    def using_compute(self) -> SessionQuerySet:
        """Sessions that hold compute, or are about to: what quotas and exclusive volumes count.

        One that was asked to pause or go holds it until the cluster has said that it is paused.
        """
        return self.filter(Q(desired=Desired.RUNNING) | ~Q(phase=Phase.PAUSED, status_generation=F("generation")))

    def for_display(self) -> SessionQuerySet:
        return self.select_related("workspace", "owner", "preset", "image", "pod_size", "compute_pool", "slurm_cluster")

    def for_status(self) -> SessionQuerySet:
        """What the controller reads, without what is encrypted: a key that is missing must not stop it. The workspaces, of which
        there are few, come from itself."""
        return self.order_by().only(*STATUS_NEEDS)

    def unsettled(self) -> SessionQuerySet:
        """Sessions whose status may change without a word from the cluster: they move, or were asked for something new.

        Not those that are Unknown: only the cluster's own word changes them.
        """
        return self.filter(Q(phase__in=(Phase.PENDING, Phase.TERMINATING)) | Q(status_generation__lt=F("generation")))

    def restated(self) -> SessionQuerySet:
        """Sessions that were asked for something that their status does not speak of yet."""
        return self.filter(status_generation__lt=F("generation"))

    def needing_apply(self) -> SessionQuerySet:
        """Rows whose newest generation has not reached the cluster: the queue."""
        return self.filter(applied_generation__lt=F("generation"))

    def needing_reconcile(self) -> SessionQuerySet:
        """Rows of the queue that nothing is working on, and that are due."""
        now = timezone.now()
        return (
            self.needing_apply()
            .filter(
                outside("lease_until", now, now + LEASE * 2),
                # Like ``outside``: what is further ahead than it could have been set does not hold it up.
                Q(next_try_at=None) | Q(next_try_at__lte=now) | Q(next_try_at__gt=now + MAX_BACKOFF * 2),
            )
            .exclude(apply_final=True, error_generation=F("generation"))
        )


class Session(models.Model):
    """See the module's docstring for who writes what."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="sessions")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="notebook_sessions")
    name = models.CharField(max_length=validators.NAME_MAX, validators=[validators.validate_name])
    host = models.CharField(max_length=52, unique=True, editable=False, help_text="Its origin and its object's name; never used again.")
    created_at = models.DateTimeField(auto_now_add=True)

    # Spec
    preset = models.ForeignKey(Preset, on_delete=models.PROTECT, related_name="sessions")
    image = models.ForeignKey(Image, on_delete=models.PROTECT, related_name="sessions")
    pod_size = models.ForeignKey(PodSize, on_delete=models.PROTECT, related_name="sessions")
    compute_pool = models.ForeignKey(ComputePool, on_delete=models.PROTECT, null=True, blank=True, related_name="sessions")
    slurm_cluster = models.ForeignKey(SlurmCluster, on_delete=models.PROTECT, null=True, blank=True, related_name="sessions")
    configurations = models.ManyToManyField(Configuration, blank=True, through="SessionConfiguration", related_name="sessions")
    env = EncryptedJSONField(default=dict, blank=True)
    ide_token = EncryptedTextField(default=new_token)
    desired = models.CharField(max_length=10, choices=Desired.choices, default=Desired.RUNNING)
    generation = models.PositiveIntegerField(default=1)
    requested_at = models.DateTimeField(default=timezone.now, help_text="When the newest generation was asked for.")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    revision = models.PositiveIntegerField(default=1, help_text="The generation of the newest launch or resume.")
    snapshot = EncryptedJSONField(default=dict, help_text="The resolved spec that this revision runs; sessions.workload reads it.")
    price_per_hour = models.DecimalField(max_digits=12, decimal_places=5, default=Decimal(0))

    # Applied
    applied_generation = models.PositiveIntegerField(default=0)
    applied_at = models.DateTimeField(null=True, blank=True)
    reached_at = models.DateTimeField(null=True, blank=True, help_text="When a newer generation than before first reached the cluster.")
    queued_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_holder = models.CharField(max_length=40, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    apply_reason = models.CharField(max_length=60, blank=True)
    apply_message = models.TextField(blank=True)
    apply_final = models.BooleanField(default=False, help_text="The error is not worth another try of that generation.")
    error_generation = models.PositiveIntegerField(default=0, help_text="The generation that the error speaks of.")

    # Status
    phase = models.CharField(max_length=12, choices=Phase.choices, default=Phase.PENDING, db_index=True)
    reason = models.CharField(max_length=60, blank=True)
    message = models.TextField(blank=True)
    steps = models.JSONField(default=list, blank=True)
    warnings = models.JSONField(default=list, blank=True)
    endpoint = models.CharField(max_length=200, blank=True)
    node = models.CharField(max_length=253, blank=True)
    log_tail = models.TextField(blank=True)
    restarts = models.PositiveIntegerField(default=0)
    observed_revision = models.PositiveIntegerField(default=0)
    observed_at = models.DateTimeField(null=True, blank=True)
    phase_since = models.DateTimeField(default=timezone.now)
    running_since = models.DateTimeField(null=True, blank=True)
    status_generation = models.PositiveIntegerField(default=0, help_text="The generation that the status was derived for.")
    settled_revision = models.PositiveIntegerField(default=0, help_text="The newest launch or resume that has come to Running or Failed.")

    # Use
    last_activity = models.DateTimeField(
        null=True, blank=True, help_text="As far as the IDE was asked: its preset has to pause idle sessions."
    )
    activity_problem = models.CharField(max_length=200, blank=True, help_text="Why the IDE did not tell.")
    ask_activity_at = models.DateTimeField(null=True, blank=True, help_text="When the IDE is to be asked next.")

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=("workspace", "name"),
                name="session_name_unique",
                violation_error_message="The workspace has a session of this name.",
            ),
            models.CheckConstraint(condition=Q(phase__in=Phase.values), name="session_phase_known"),
            models.CheckConstraint(condition=Q(desired__in=Desired.values), name="session_desired_known"),
            models.CheckConstraint(condition=Q(applied_generation__lte=F("generation")), name="session_applied_not_ahead"),
            models.CheckConstraint(condition=Q(revision__lte=F("generation")), name="session_revision_not_ahead"),
        ]
        indexes = [
            models.Index(fields=("workspace", "-created_at", "-id"), name="session_list"),
            models.Index(fields=("workspace", "phase", "price_per_hour"), name="session_totals"),
            models.Index(fields=("workspace", "owner"), name="session_owners"),
            models.Index(fields=("requested_at",), name="session_due", condition=Q(applied_generation__lt=F("generation"))),
            models.Index(fields=("phase_since",), name="session_moving", condition=Q(phase__in=("Pending", "Terminating", "Unknown"))),
            models.Index(fields=("preset", "ask_activity_at"), name="session_idle", condition=Q(phase="Running")),
            models.Index(fields=("id",), name="session_restated", condition=Q(status_generation__lt=F("generation"))),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.host:
            self.host = unique_name(self.name)
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return reverse("sessions:detail", args=(self.workspace.name, self.host))

    @property
    def is_moving(self) -> bool:
        """Whether its page should look again soon: the phase, or what was asked for, is not settled."""
        return self.phase in MOVING or self.status_generation < self.generation

    @property
    def can_open(self) -> bool:
        return self.phase == Phase.RUNNING and self.desired == Desired.RUNNING

    @property
    def can_pause(self) -> bool:
        return self.desired == Desired.RUNNING

    @property
    def can_resume(self) -> bool:
        return self.desired == Desired.PAUSED or (self.desired == Desired.RUNNING and self.phase == Phase.FAILED)

    @property
    def can_delete(self) -> bool:
        return self.desired != Desired.DELETED


class SessionConfiguration(models.Model):
    """A configuration that a session has switched on. PROTECT keeps what is used from being deleted."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE)
    configuration = models.ForeignKey(Configuration, on_delete=models.PROTECT)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("session", "configuration"), name="sessionconfiguration_unique")]

    def __str__(self) -> str:
        return f"{self.configuration} in {self.session}"


class SessionVolume(models.Model):
    """A volume that a session mounts, attached for as long as the session is there, running or not."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="mounts")
    volume = models.ForeignKey(Volume, on_delete=models.PROTECT, related_name="mounts")
    mount_path = models.CharField(max_length=255)
    read_only = models.BooleanField(default=False)
    is_home = models.BooleanField(default=False)

    class Meta:
        ordering = ("-is_home", "mount_path")
        constraints = [
            models.UniqueConstraint(fields=("session", "volume"), name="sessionvolume_volume_unique"),
            models.UniqueConstraint(fields=("session", "mount_path"), name="sessionvolume_path_unique"),
            models.UniqueConstraint(fields=("session",), condition=Q(is_home=True), name="sessionvolume_one_home"),
            models.CheckConstraint(condition=Q(is_home=False) | Q(read_only=False), name="sessionvolume_home_writable"),
        ]

    def __str__(self) -> str:
        return f"{self.volume} at {self.mount_path}"


class Activity(models.Model):
    """What happened to a session and who asked for it. Only ever added to; it outlives the session."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="activity")
    session = models.ForeignKey(Session, on_delete=models.SET_NULL, null=True, related_name="activity")
    host = models.CharField(max_length=52, db_index=True)
    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    verb = models.CharField(max_length=40, help_text="launch, pause, resume, delete, open, phase, error …")
    phase = models.CharField(max_length=12, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    message = models.TextField(blank=True)

    class Meta:
        ordering = ("-at", "-pk")
        verbose_name_plural = "activity"
        indexes = [models.Index(fields=("session", "-at"), name="activity_of_session")]

    def __str__(self) -> str:
        return f"{self.verb} {self.host}"


class Draft(models.Model):
    """What a user has typed into the wizard so far: survives reloads, sign-outs and catalog changes.

    ``data`` is the raw answers by step ({"preset": {...}, "compute": {...}, "storage": {...}}), encrypted because
    variables may be secrets. ``session`` is set once, by the launch that used it: a second launch finds it.
    """

    id = models.UUIDField(primary_key=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="drafts")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="drafts")
    data = EncryptedJSONField(default=dict)
    session = models.ForeignKey(Session, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    launched_host = models.CharField(max_length=52, blank=True)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)

    def __str__(self) -> str:
        return f"Draft of {self.owner} in {self.workspace}"


class Grant(models.Model):
    """A user's way into one session through the gateway: first a one-time ticket, then a cookie.

    Only hashes are stored. ``login_key`` ties it to the sign-in that made it: signing out ends it.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="grants")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="grants")
    login_key = models.CharField(max_length=64)
    ticket_hash = models.CharField(max_length=64, unique=True)
    ticket_expires_at = models.DateTimeField()
    cookie_hash = models.CharField(max_length=64, unique=True, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.user} → {self.session}"


class Heartbeat(models.Model):
    """When a part of Slipway (worker, controller) last showed that it works. The controller's is its lease as well."""

    name = models.CharField(max_length=40, primary_key=True)
    at = models.DateTimeField()
    holder = models.CharField(max_length=60, blank=True, help_text="The process that leads; empty where there is nothing to lead.")

    def __str__(self) -> str:
        return self.name


class ClusterReport(models.Model):
    """What the controller last saw of a cluster, for the admin's start page. Only ``sessions.cluster_reports`` writes it.

    ``unreachable_since``, ``problem`` and ``lag_seconds`` are its watch's: how far behind the cluster Slipway is, and why.
    ``version`` (empty: it did not answer), ``health_problems`` and ``health_notes`` are what the cluster's driver said at
    ``asked_at``. ``orphans``: the first names of the ``orphan_count`` workloads that no session owns.
    """

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, primary_key=True, related_name="report")
    at = models.DateTimeField()
    unreachable_since = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)
    lag_seconds = models.FloatField(null=True, blank=True)
    workloads = models.PositiveIntegerField(default=0)
    orphans = models.JSONField(default=list, blank=True)
    orphan_count = models.PositiveIntegerField(default=0)
    asked_at = models.DateTimeField(null=True, blank=True)
    version = models.CharField(max_length=100, blank=True)
    health_problems = models.JSONField(default=list, blank=True)
    health_notes = models.JSONField(default=list, blank=True)

    def __str__(self) -> str:
        return f"Report on {self.cluster}"


class IdempotencyRecord(models.Model):
    """The answer to a create that came with an ``Idempotency-Key``, written in the transaction of its effect.

    ``fingerprint`` is of the request's method, path and body; ``answer`` is empty only inside that transaction.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    answer = EncryptedJSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("user", "key"), name="idempotency_key_unique")]

    def __str__(self) -> str:
        return self.key
