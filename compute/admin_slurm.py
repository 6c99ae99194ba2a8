"""Slurm clusters and who is who on them. ``storage.admin_slurm`` adds the signing key and the test, and registers the page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from compute.admin_base import CatalogAdmin, CatalogForm, CatalogFormSet
from compute.admin_usage import Use
from compute.models import SlurmAccount, SlurmCluster

ACCOUNTS_HERE = 50  # accounts that a cluster's own page lists; more have a page of their own, with a search


class SlurmClusterForm(CatalogForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("enabled") and "workspaces" in cleaned and not cleaned["workspaces"]:
            raise ValidationError({"workspaces": "Choose the workspaces that it serves: nobody sees it otherwise."})
        return cleaned


class SlurmAccountFormSet(CatalogFormSet):
    unique_in_page = (("user", "This user has an account on this Slurm cluster."),)


class SlurmAccountInline(admin.TabularInline):
    model = SlurmAccount
    form = CatalogForm
    formset = SlurmAccountFormSet
    fields = ("user", "slurm_user", "uid", "gid")
    autocomplete_fields = ("user",)
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[SlurmAccount]:
        return super().get_queryset(request).select_related("user", "slurm_cluster")


class SlurmClusterAdmin(CatalogAdmin):
    list_display = ("display_name", "name", "controllers", "enabled", "used_by")
    list_filter = ("enabled",)
    search_fields = ("name", "display_name")
    filter_horizontal = ("workspaces",)
    uses = (Use("sessions", "session"),)
    inlines = (SlurmAccountInline,)

    def get_inlines(self, request: HttpRequest, obj: SlurmCluster | None) -> Any:
        many = obj is not None and obj.accounts.count() > ACCOUNTS_HERE
        return () if many else super().get_inlines(request, obj)

    @admin.display(description="Slurm accounts")
    def accounts_link(self, cluster: SlurmCluster | None) -> str | SafeString:
        """How many there are, with the way to the page that finds them."""
        total = cluster.accounts.count() if cluster is not None and cluster.pk else 0
        if not total:
            return "None yet. Needed only when users are mapped by account."
        url = reverse("admin:compute_slurmaccount_changelist")
        return format_html('<a href="{}?slurm_cluster__id__exact={}">{} account{}</a>', url, cluster.pk, total, "" if total == 1 else "s")  # type: ignore[union-attr]


@admin.register(SlurmAccount)
class SlurmAccountAdmin(admin.ModelAdmin):
    """All accounts, to search; a cluster's page lists those of a small one."""

    form = CatalogForm
    list_display = ("user", "slurm_user", "uid", "gid", "slurm_cluster")
    list_filter = ("slurm_cluster",)
    list_select_related = ("user", "slurm_cluster")
    search_fields = ("user__username", "user__email", "slurm_user")
    autocomplete_fields = ("user", "slurm_cluster")
    fields = ("slurm_cluster", "user", "slurm_user", ("uid", "gid"))
