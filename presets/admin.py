"""The catalog, curated: presets with their images, pod sizes and volumes; configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adminsortable2.admin import SortableAdminMixin, SortableStackedInline
from django import forms
from django.contrib import admin, messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.html import format_html_join
from django.views.decorators.debug import sensitive_post_parameters

from compute.admin_base import CatalogAdmin, CatalogForm, ReadOnlyMixin
from compute.admin_usage import Use, counts, with_uses
from compute.models import ComputePool
from presets.admin_forms import (
    SESSIONS,
    ConfigurationForm,
    ConfigurationVolumeFormSet,
    EntryFormSet,
    ImageFormSet,
    PodSizeFormSet,
    PresetForm,
    PresetVolumeFormSet,
    VariableForm,
    VariableFormSet,
)
from presets.admin_import import ImportMixin
from presets.exchange import PERMISSIONS
from presets.models import (
    Configuration,
    ConfigurationVariable,
    ConfigurationVolume,
    Image,
    Offer,
    PodSize,
    Preset,
    PresetVariable,
    PresetVolume,
)
from presets.pictures import Picture

SHOWN = ("hidden", "deprecated", "deprecation_message")


class OfferAdmin(CatalogAdmin):
    """What can be hidden or deprecated, and imported."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "may_import": request.user.has_perms(PERMISSIONS)})

    @admin.display(description="State", ordering="hidden")
    def state(self, offer: Offer) -> str:
        return "Hidden" if offer.hidden else "Deprecated" if offer.deprecated else "Offered"


class EntryInline(SortableStackedInline):
    """Rows of a preset's catalog, ordered by drag, each with how often it is used."""

    form = CatalogForm
    extra = 0
    show_change_link = True
    readonly_fields = ("used_by",)
    uses: Sequence[Use] = (SESSIONS,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_uses(super().get_queryset(request), self.uses)

    @admin.display(description="Used by")
    def used_by(self, row: Model | None) -> str:
        return counts(row, self.uses) if row is not None and row.pk else "–"


class ImageInline(EntryInline):
    model = Image
    formset = ImageFormSet
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "slug", "reference"),
                    ("description", "port", "redirect_to", "used_by"),
                    ("is_default", *SHOWN, "position"),
                )
            },
        ),
    )
    uses = ImageFormSet.uses


class PodSizeInline(EntryInline):
    model = PodSize
    formset = PodSizeFormSet
    fieldsets = (
        (None, {"fields": (("name", "slug", "cpu", "memory", "gpus"), ("description", "used_by"), ("is_default", *SHOWN, "position"))}),
    )


class PresetVolumeInline(admin.TabularInline):
    model = PresetVolume
    form = CatalogForm
    formset = PresetVolumeFormSet
    fields = ("volume", "mount_path", "read_only")
    extra = 0
    verbose_name = "data volume"
    verbose_name_plural = "data volumes mounted beforehand, where the workspace has them"


class VariableInline(admin.TabularInline):
    form = VariableForm
    formset = VariableFormSet
    fields = ("name", "new_value", "is_secret")
    extra = 0
    verbose_name = "environment variable"


class PresetVariableInline(VariableInline):
    model = PresetVariable
    verbose_name_plural = "environment variables of each session, unless the workspace, a configuration or the user sets them"


@admin.register(Preset)
class PresetAdmin(ImportMixin, SortableAdminMixin, OfferAdmin):
    form = PresetForm
    list_display = ("name", "slug", "ide", "offered_to", "state", "used_by")
    list_filter = ("ide", "hidden", "deprecated")
    search_fields = ("name", "slug", "images__reference")
    filter_horizontal = ("workspaces",)
    prepopulated_fields = {"slug": ("name",)}
    fieldsets = (
        (None, {"fields": (("name", "slug", "ide"), "description", "used_by_names")}),
        ("Offer", {"fields": (SHOWN, "workspaces")}),
        ("Home volume", {"fields": (("home_size", "home_volume"),)}),
        ("Idle sessions", {"fields": ("idle_pause_seconds",)}),
        ("Pictures", {"fields": ("pictures", ("new_icon", "remove_icon"), ("new_logo", "remove_logo"))}),
        (
            "Readiness probe",
            {
                "classes": ("collapse",),
                "description": "How to see that an IDE answers. Each IDE has its own; say only what has to differ.",
                "fields": ("probe_path", ("probe_period", "probe_timeout", "probe_failures", "probe_delay")),
            },
        ),
    )
    readonly_fields = ("pictures",)
    inlines = (ImageInline, PodSizeInline, PresetVolumeInline, PresetVariableInline)
    uses = (SESSIONS,)
    # A home volume and an image belong to one IDE.
    fixed_when_used = ("ide",)
    cascades = frozenset({"image", "pod size"})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Preset]:
        return super().get_queryset(request).prefetch_related("workspaces")

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        return [path("import/", self.admin_site.admin_view(self.import_view), name="presets_preset_import"), *super().get_urls()]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj else super().get_prepopulated_fields(request, obj)

    @admin.display(description="Now")
    def pictures(self, preset: Preset) -> str:
        """In the page itself, as an image: nothing in a picture can act there."""
        shown = [(label, picture) for label, picture in (("Icon", preset.icon), ("Logo", preset.logo)) if picture is not None]
        images = ((picture.data_url, label) for label, picture in shown)
        return format_html_join(" ", '<img class="preset-picture" src="{}" alt="{}">', images) or "Slipway’s own picture of the IDE"

    def save_model(self, request: HttpRequest, obj: Preset, form: Any, change: bool) -> None:
        Picture.objects.bulk_create(form.new_pictures, ignore_conflicts=True)
        super().save_model(request, obj, form, change)

    @admin.display(description="Workspaces")
    def offered_to(self, preset: Preset) -> str:
        return _names(preset.workspaces.all())

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        for formset in formsets:
            if isinstance(formset, EntryFormSet) and formset.elected is not None:
                messages.info(request, f"“{formset.elected}” is the default {formset.noun} now: none was ticked.")
        warn_of_unserved_sizes(request, form.instance)


def warn_of_unserved_sizes(request: HttpRequest, preset: Preset) -> None:
    """Say which pod sizes nobody can choose, because no pool that members may use has GPUs. Not an error: pools may come later."""
    greedy = list(preset.pod_sizes.filter(gpus__gt=0, hidden=False))
    pools = ComputePool.objects.filter(enabled=True).exclude(gpu_resource="")
    workspaces = list(preset.workspaces.all())
    if workspaces:
        pools = pools.filter(Q(workspaces=None) | Q(workspaces__in=workspaces), cluster__in={row.cluster_id for row in workspaces})
    if greedy and not pools.exists():
        names = ", ".join(f"“{size}”" for size in greedy)
        messages.warning(request, f"No enabled compute pool has GPUs, so nobody is offered {names}.")


def _names(rows: Any) -> str:
    names = [str(row) for row in rows]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "All"


class EntryAdmin(ReadOnlyMixin, OfferAdmin):
    """The history and the uses of one entry. It is edited, with its neighbours, on its preset's page."""

    list_display = ("name", "preset", "state", "used_by")
    list_select_related = ("preset",)
    list_filter = ("preset", "hidden", "deprecated")
    search_fields = ("name", "slug", "preset__name")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Image)
class ImageAdmin(EntryAdmin):
    fields = ("preset", "name", "slug", "reference", "port", "description", "is_default", *SHOWN, "redirect_to", "used_by_names")
    uses = ImageFormSet.uses


@admin.register(PodSize)
class PodSizeAdmin(EntryAdmin):
    fields = ("preset", "name", "slug", "cpu", "memory", "gpus", "description", "is_default", *SHOWN, "used_by_names")
    uses = (SESSIONS,)


class ConfigurationVariableInline(VariableInline):
    model = ConfigurationVariable


class ConfigurationVolumeInline(admin.TabularInline):
    model = ConfigurationVolume
    form = CatalogForm
    formset = ConfigurationVolumeFormSet
    fields = ("volume", "mount_path", "read_only")
    extra = 0
    verbose_name = "data volume"


@admin.register(Configuration)
class ConfigurationAdmin(SortableAdminMixin, OfferAdmin):
    form = ConfigurationForm
    list_display = ("name", "slug", "on_by_default", "for_presets", "for_workspaces", "state", "used_by")
    list_filter = ("on_by_default", "hidden", "deprecated")
    search_fields = ("name", "slug", "variables__name")
    filter_horizontal = ("presets", "workspaces")
    prepopulated_fields = {"slug": ("name",)}
    fieldsets = (
        (None, {"fields": (("name", "slug"), "description", "on_by_default", "used_by_names")}),
        ("Before the IDE starts", {"fields": ("init_script",)}),
        ("Offer", {"fields": (SHOWN, "presets", "workspaces")}),
    )
    inlines = (ConfigurationVariableInline, ConfigurationVolumeInline)
    uses = (SESSIONS,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Configuration]:
        return super().get_queryset(request).prefetch_related("presets", "workspaces")

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj else super().get_prepopulated_fields(request, obj)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "init_script":
            kwargs["widget"] = forms.Textarea(attrs={"rows": 8, "class": "mono", "spellcheck": "false"})
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    @admin.display(description="Presets")
    def for_presets(self, configuration: Configuration) -> str:
        return _names(configuration.presets.all())

    @admin.display(description="Workspaces")
    def for_workspaces(self, configuration: Configuration) -> str:
        return _names(configuration.workspaces.all())
