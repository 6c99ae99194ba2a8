"""Volumes (to look at) and secrets (to write, never to read)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from compute.admin import WorkspaceAdmin
from compute.admin_base import CatalogForm, CatalogFormSet, ReadOnlyMixin
from compute.admin_usage import Use, UsedByMixin
from compute.models import Workspace
from storage import admin_slurm  # noqa: F401 (Django looks for pages of the admin here)
from storage.models import Secret, SecretsBundle, Volume

MAX_SECRET = 32 * 1024


@admin.register(Workspace)
class WorkspaceWithSecretsAdmin(WorkspaceAdmin):
    """Each workspace has a secrets bundle from its first day."""

    def save_model(self, request: HttpRequest, obj: Workspace, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        SecretsBundle.objects.get_or_create(workspace=obj)


def secret_field(label: str = "Value") -> forms.CharField:
    """A field whose text goes in and never comes out again: not into the page, not after an error either."""
    return forms.CharField(
        label=label,
        required=False,
        strip=False,
        max_length=MAX_SECRET,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "spellcheck": "false"}),
        help_text="Leave empty to keep the stored value.",
    )


class SecretForm(CatalogForm):
    """``value`` is no field of this form, so that the stored one is not even read."""

    new_value = secret_field()

    class Meta:
        model = Secret
        fields = ("name", "description")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("new_value"):
            self.instance.value = cleaned["new_value"]
        elif self.instance.pk is None:
            self.add_error("new_value", "Type the secret's value.")
        return cleaned


class SecretFormSet(CatalogFormSet):
    unique_in_page = (("name", "The bundle has a secret of this name."),)


class SecretInline(admin.TabularInline):
    model = Secret
    form = SecretForm
    formset = SecretFormSet
    fields = ("name", "description", "new_value", "updated_at", "updated_by")
    readonly_fields = ("updated_at", "updated_by")
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Secret]:
        return super().get_queryset(request).select_related("updated_by").defer("value")


@admin.register(SecretsBundle)
class SecretsBundleAdmin(admin.ModelAdmin):
    """A bundle comes and goes with its workspace; here its secrets are written."""

    list_display = ("workspace", "secret_count", "created_at")
    list_select_related = ("workspace",)
    search_fields = ("workspace__name", "workspace__display_name")
    fields = ("workspace", "created_at")
    readonly_fields = ("workspace", "created_at")
    inlines = (SecretInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[SecretsBundle]:
        return super().get_queryset(request).annotate(secret_total=Count("secrets"))

    @admin.display(description="Secrets", ordering="secret_total")
    def secret_count(self, bundle: Any) -> int:
        count: int = bundle.secret_total
        return count

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for secret in formset.save(commit=False):
            secret.updated_by = request.user
            secret.save()
        for secret in formset.deleted_objects:
            secret.delete()


@admin.register(Volume)
class VolumeAdmin(ReadOnlyMixin, UsedByMixin, admin.ModelAdmin):
    """Read-only: the application deletes volumes, through the trash, because a row without its claim is lost data."""

    list_display = ("name", "workspace", "kind", "owner", "size", "access_mode", "trashed_at", "used_by")
    list_filter = ("kind", "access_mode", ("trashed_at", admin.EmptyFieldListFilter), "workspace")
    list_select_related = ("workspace", "owner")
    search_fields = ("name", "claim", "owner__username", "workspace__name")
    fields = (
        *("name", "workspace", "owner", "kind", "size", "access_mode", "storage_class", "claim"),
        *("uid", "gid", "created_at", "trashed_at", "trashed_by", "purge_after", "used_by_names"),
    )
    actions = ("forget_owner",)
    uses = (Use("mounts", "session", via="session"),)

    @admin.action(description="Forget whom the files belong to (an admin has handed them over)")
    def forget_owner(self, request: HttpRequest, volumes: QuerySet[Volume]) -> None:
        """Whoever mounts them next owns them: a session of another uid is refused only a volume that is known to be somebody's."""
        if not request.user.has_perm("storage.change_volume"):
            raise PermissionDenied
        count = volumes.update(uid=None, gid=None)
        self.message_user(request, f"{count} volumes will belong to whoever mounts them next.")
