"""Where sessions run, and who may use it."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from simple_history.models import HistoricalRecords

from compute import clusters, validators
from compute.slurm_models import SlurmAccount, SlurmCluster, UserMapping  # noqa: F401 (Django looks for models here)


def price() -> models.DecimalField[Decimal, Decimal]:
    return models.DecimalField(max_digits=12, decimal_places=5, default=Decimal(0), validators=[MinValueValidator(0)])


class Cluster(models.Model):
    """A place that runs workloads, reached through a driver."""

    name = models.CharField(max_length=63, unique=True, validators=[validators.validate_dns_label])
    display_name = models.CharField(max_length=100)
    driver = models.CharField(max_length=20, choices=clusters.CHOICES, default="local")
    context = models.CharField(
        "kubeconfig context",
        max_length=253,
        blank=True,
        help_text="Kubernetes only: a context of the kubeconfig that Slipway runs with. Empty: the cluster that Slipway itself runs in, "
        "or else the kubeconfig's current context.",
    )
    identity = models.CharField(
        max_length=64, blank=True, editable=False, help_text="Tells this cluster from every other one; empty until it has answered once."
    )
    enabled = models.BooleanField(default=True, help_text="A disabled cluster takes no new sessions; running ones go on.")
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ("display_name",)

    def __str__(self) -> str:
        return self.display_name


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def visible_to(self, user: models.Model) -> WorkspaceQuerySet:
        """The workspaces that the user is a member of, by name."""
        return self.filter(memberships__user=user).order_by("display_name")


class Workspace(models.Model):
    """A team's slice of a cluster: one namespace, its members, quota and defaults. Empty quotas mean no limit."""

    name = models.CharField(max_length=63, unique=True, validators=[validators.validate_dns_label], help_text="Used in addresses.")
    display_name = models.CharField(max_length=100)
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="workspaces")
    namespace = models.CharField(max_length=63, validators=[validators.validate_dns_label])
    default_pool = models.ForeignKey("ComputePool", on_delete=models.PROTECT, null=True, blank=True, related_name="default_for")
    quota_sessions = models.PositiveIntegerField("Sessions", null=True, blank=True, help_text="Running at the same time.")
    quota_cpu = models.CharField("CPU", max_length=20, blank=True, validators=[validators.validate_cpu])
    quota_memory = models.CharField("Memory", max_length=20, blank=True, validators=[validators.validate_memory])
    quota_gpus = models.PositiveIntegerField("GPUs", null=True, blank=True)
    quota_storage = models.CharField("Storage", max_length=20, blank=True, validators=[validators.validate_storage])
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()
    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        ordering = ("display_name",)
        constraints = [
            models.UniqueConstraint(
                fields=("cluster", "namespace"),
                name="workspace_namespace_unique",
                violation_error_message="Another workspace uses this namespace of the cluster.",
            )
        ]

    def __str__(self) -> str:
        return self.display_name

    def clean(self) -> None:
        pool = self.default_pool
        if pool is None:
            return
        if pool.cluster_id != self.cluster_id:
            raise ValidationError({"default_pool": "Choose a compute pool of the workspace's own cluster."})
        if pool.workspaces.exists() and not pool.workspaces.filter(pk=self.pk).exists():
            raise ValidationError({"default_pool": f"{pool} is limited to other workspaces. Include this one there first."})


class Role(models.TextChoices):
    VIEWER = "viewer", "Viewer"
    MEMBER = "member", "Member"
    ADMIN = "admin", "Admin"


class Membership(models.Model):
    """What an account may do in a workspace: viewers look, members launch, admins manage all of it."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("workspace", "user"), name="membership_unique", violation_error_message="This account is a member already."
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()} of {self.workspace}"


class ComputePoolQuerySet(models.QuerySet["ComputePool"]):
    def offered_to(self, workspace: Workspace) -> ComputePoolQuerySet:
        """The pools that new sessions of the workspace may use, by name."""
        allowed = Q(workspaces=None) | Q(workspaces=workspace)
        return self.filter(allowed, cluster=workspace.cluster_id, enabled=True).distinct().order_by("display_name")


class ComputePool(models.Model):
    """Where pods may land, and what that costs per hour."""

    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="pools")
    name = models.CharField(max_length=63, validators=[validators.validate_dns_label])
    display_name = models.CharField(max_length=100)
    description = models.CharField(max_length=200, blank=True)
    node_selector = models.JSONField(default=dict, blank=True, validators=[validators.validate_node_selector])
    tolerations = models.JSONField(default=list, blank=True, validators=[validators.validate_tolerations])
    gpu_resource = models.CharField(
        max_length=100,
        blank=True,
        validators=[validators.validate_resource_name],
        help_text="Such as nvidia.com/gpu; empty if the pool has no GPUs.",
    )
    price_cpu = price()
    price_memory = price()
    price_gpu = price()
    workspaces = models.ManyToManyField(
        Workspace, blank=True, related_name="pools", help_text="None chosen: every workspace of the cluster."
    )
    enabled = models.BooleanField(default=True)
    history = HistoricalRecords()
    objects = ComputePoolQuerySet.as_manager()

    class Meta:
        ordering = ("display_name",)
        constraints = [
            models.UniqueConstraint(
                fields=("cluster", "name"), name="pool_name_unique", violation_error_message="The cluster has a pool of this name."
            ),
            models.CheckConstraint(condition=Q(price_cpu__gte=0, price_memory__gte=0, price_gpu__gte=0), name="pool_prices_not_negative"),
        ]

    def __str__(self) -> str:
        return self.display_name

    def price_per_hour(self, cpu: str, memory: str, gpus: int) -> Decimal:
        """What a pod of this size costs per hour: CPU cores, GiB of memory and GPUs times their prices."""
        gib = validators.parse_quantity(memory) / validators.GIB
        return self.price_cpu * validators.parse_quantity(cpu) + self.price_memory * gib + self.price_gpu * gpus


class Scope(models.TextChoices):
    """What a token may be used for. The user's own role still counts: a token never does more than its user may."""

    READ = "read", "Read: see everything that you can see"
    SESSIONS = "sessions", "Sessions: launch, open, pause, resume and delete your sessions"
    VOLUMES = "volumes", "Volumes: create, trash, restore and purge volumes"
    CATALOG = "catalog", "Catalog: import and export catalogs (staff)"
    ADMIN = "admin", "Admin: secrets, webhooks and other people’s sessions (workspace admins)"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def kept(self) -> ApiTokenQuerySet:
        """Those that were not revoked; some may have expired."""
        return self.filter(revoked_at=None)


class ApiToken(models.Model):
    """A user's token for the API: ``slw_<public id>_<secret>``, of which only the secret's hash is stored.

    ``workspaces`` counts only when ``is_limited``: a limited token whose workspaces are gone reaches none.
    ``window`` and ``used`` count the requests of the running minute; with ``last_used_at`` they are one UPDATE per request.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    public_id = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    name = models.CharField(max_length=100)
    scopes = models.JSONField(default=list)
    is_limited = models.BooleanField(default=False, help_text="To the workspaces below; else all of the user's, also later ones.")
    workspaces = models.ManyToManyField(Workspace, blank=True, related_name="api_tokens")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    window = models.DateTimeField(null=True, blank=True, editable=False)
    used = models.PositiveIntegerField(default=0, editable=False)
    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        verbose_name = "API token"
        constraints = [
            models.UniqueConstraint(
                fields=("user", "name"),
                condition=Q(revoked_at=None),
                name="apitoken_name_unique",
                violation_error_message="You have a token of this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    def allows(self, workspace: Workspace) -> bool:
        """Whether the token reaches the workspace, if its user does. One query for a limited token."""
        return not self.is_limited or self.workspaces.filter(pk=workspace.pk).exists()
