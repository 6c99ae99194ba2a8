"""Clusters, workspaces and compute pools, and the look of the admin as a whole. Slurm clusters are in ``admin_slurm``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from compute import admin_tokens as _registers_tokens  # noqa: F401
from compute import clusters
from compute.admin_base import CatalogAdmin, CatalogForm, CatalogFormSet
from compute.admin_usage import Use
from compute.models import Cluster, ComputePool, Membership, Workspace

admin.site.site_header = "Slipway"
admin.site.site_title = "Slipway admin"
admin.site.index_title = "Catalog and operations"
# One sign-in page, and so one place that counts failures; the admin's own stays for people who may not enter.
admin.site.login = login_required(admin.site.login)  # type: ignore[method-assign]

SESSIONS = Use("sessions", "session")


class ClusterForm(CatalogForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "context" in cleaned:
            # The driver of a cluster that is in use is fixed, and then no field of the form.
            problem = clusters.context_problem(cleaned.get("driver", self.instance.driver), cleaned["context"])
            if problem:
                self.add_error("context", problem)
        return cleaned


@admin.register(Cluster)
class ClusterAdmin(CatalogAdmin):
    form = ClusterForm
    list_display = ("display_name", "name", "driver", "context", "enabled", "used_by")
    list_filter = ("driver", "enabled")
    search_fields = ("name", "display_name")
    fields = ("display_name", "name", "driver", "context", "identity", "enabled", "used_by_names")
    readonly_fields = ("identity",)
    actions = ("confirm_cluster",)
    uses = (Use("workspaces", "workspace"), Use("pools", "compute pool"))
    # A driver finds what it runs by the cluster's name. The context is not fixed: contexts get new names and credentials, while the
    # cluster behind them stays. Where it does not, its identity tells.
    fixed_when_used = ("name", "driver")

    def save_model(self, request: HttpRequest, obj: Cluster, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "context" in form.changed_data and obj.workspaces.exists():
            messages.warning(
                request,
                f"{obj} is reached in another way now. Should that be another cluster, nothing is done there until you confirm it in "
                "the list of clusters, for its sessions would start again on new, empty volumes: rather put the old context back, "
                "and add a cluster.",
            )

    @admin.action(description="Confirm that selected clusters are other ones now", permissions=["change"])
    def confirm_cluster(self, request: HttpRequest, queryset: QuerySet[Cluster]) -> None:
        """Forget which clusters they were: the next answer of each tells which it is."""
        for cluster in queryset.exclude(identity=""):
            cluster.identity = ""
            cluster.save(update_fields=["identity"])
            self.log_change(request, cluster, "Confirmed that it is another cluster.")
            messages.success(
                request, f"{cluster} is taken for what it is now. Sessions whose volumes aren’t there start on new, empty ones."
            )


class MembershipFormSet(CatalogFormSet):
    unique_in_page = (("user", "This account is a member already."),)


class MembershipInline(admin.TabularInline):
    model = Membership
    form = CatalogForm
    formset = MembershipFormSet
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "workspace")


class WorkspaceAdmin(CatalogAdmin):
    """Registered by ``storage.admin``, where a workspace also gets its secrets bundle."""

    list_display = ("display_name", "name", "cluster", "namespace", "default_pool", "members", "used_by")
    list_filter = ("cluster",)
    list_select_related = ("cluster", "default_pool")
    search_fields = ("name", "display_name", "namespace")
    fieldsets = (
        (None, {"fields": (("display_name", "name"), ("cluster", "namespace"), "default_pool", "used_by_names")}),
        (
            "Quota",
            {
                "description": "What all running sessions and volumes may use together. Empty: no limit.",
                "fields": (("quota_sessions", "quota_cpu", "quota_memory", "quota_gpus", "quota_storage"),),
            },
        ),
    )
    inlines = (MembershipInline,)
    uses = (SESSIONS, Use("volumes", "volume"))
    # What runs and what is stored is found by these.
    fixed_when_used = ("name", "cluster", "namespace")
    cascades = frozenset({"activity", "secrets bundle", "secret", "draft"})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        return super().get_queryset(request).annotate(member_count=Count("memberships"))

    @admin.display(description="Members", ordering="member_count")
    def members(self, workspace: Any) -> int:
        count: int = workspace.member_count
        return count


class ComputePoolForm(CatalogForm):
    class Meta:
        labels = {"price_cpu": "Price per CPU core", "price_memory": "Price per GiB of memory", "price_gpu": "Price per GPU"}

    # An emptied text box means "none", which JSON would store as null.
    def clean_node_selector(self) -> Any:
        return self.cleaned_data["node_selector"] or {}

    def clean_tolerations(self) -> Any:
        return self.cleaned_data["tolerations"] or []

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        workspaces = cleaned.get("workspaces")
        cluster_id = cleaned["cluster"].pk if cleaned.get("cluster") else self.instance.cluster_id
        if not workspaces:
            return cleaned
        elsewhere = [workspace.display_name for workspace in workspaces if workspace.cluster_id != cluster_id]
        if elsewhere:
            self.add_error("workspaces", f"Not on this pool's cluster: {', '.join(elsewhere)}.")
        if self.instance.pk:
            shut_out = self.instance.default_for.exclude(pk__in=workspaces).values_list("display_name", flat=True)
            if shut_out:
                self.add_error("workspaces", f"This is the default pool of {', '.join(shut_out)}: include it, or change its default first.")
        return cleaned


@admin.register(ComputePool)
class ComputePoolAdmin(CatalogAdmin):
    form = ComputePoolForm
    list_display = ("display_name", "name", "cluster", "gpu_resource", "price_cpu", "price_memory", "price_gpu", "enabled", "used_by")
    list_filter = ("cluster", "enabled")
    list_select_related = ("cluster",)
    search_fields = ("name", "display_name")
    filter_horizontal = ("workspaces",)
    fieldsets = (
        (None, {"fields": (("display_name", "name"), "cluster", "description", "enabled", "used_by_names")}),
        ("Where pods land", {"fields": ("node_selector", "tolerations", "gpu_resource")}),
        ("Prices per hour", {"fields": (("price_cpu", "price_memory", "price_gpu"),)}),
        ("Who may use it", {"fields": ("workspaces",)}),
    )
    uses = (SESSIONS, Use("default_for", "default of the workspace"))
    fixed_when_used = ("cluster",)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in ("node_selector", "tolerations"):
            kwargs["widget"] = forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"})
        return super().formfield_for_dbfield(db_field, request, **kwargs)
