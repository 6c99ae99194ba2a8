"""Sessions to look at and to stop; what happened to them; and the Preview button of presets, which needs the wizard's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path
from django_q import admin as _registered_by_queue  # noqa: F401  (so that there is something to unregister)
from django_q.models import Failure, OrmQ, Schedule, Success

from compute.admin_base import ReadOnlyMixin
from compute.errors import Forbidden, Refused
from compute.models import Workspace
from presets.admin import PresetAdmin
from presets.models import Preset
from sessions import admin_clusters as _registers_clusters  # noqa: F401
from sessions import services
from sessions.logs import readable
from sessions.models import Activity, Session
from sessions.preview import members_of, preview

admin.site.unregister(Preset)
# Of the queue an operator needs what waits and what failed, to look at. Successes are not kept, schedules not used.
for model in (Success, Schedule, Failure, OrmQ):
    admin.site.unregister(model)


@admin.register(Preset)
class PresetWithPreviewAdmin(PresetAdmin):
    """Only this layer knows the wizard; so the preset's page gets its Preview button here."""

    change_form_template = "admin/presets/preset/change_form.html"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.preview_view)
        return [path("<int:pk>/preview/", view, name="presets_preset_preview"), *super().get_urls()]

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Reads only. ``?workspace=`` (a name) and ``?member=`` (an id) choose whose eyes to use."""
        preset = get_object_or_404(Preset, pk=pk)
        if not self.has_view_permission(request, preset):
            raise PermissionDenied
        workspaces = list(Workspace.objects.select_related("cluster", "default_pool"))
        chosen = request.GET.get("workspace", "")
        workspace = next((row for row in workspaces if row.name == chosen), workspaces[0] if workspaces else None)
        members = members_of(workspace) if workspace else []
        member = next((row for row in members if str(row.pk) == request.GET.get("member")), members[0] if members else None)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": preset,
            "title": f"Preview of {preset}",
            "workspaces": workspaces,
            "workspace": workspace,
            "members": members,
            "member": member,
            "preview": preview(preset, workspace, member) if workspace else None,
        }
        return TemplateResponse(request, "admin/presets/preset/preview.html", context)


@admin.register(Session)
class SessionAdmin(ReadOnlyMixin, admin.ModelAdmin):
    """Fields that hold secrets (variables, tokens, the snapshot) are not shown. Actions ask the services, as everyone does."""

    list_display = ("name", "workspace", "owner", "preset", "image", "pod_size", "phase", "reason", "created_at")
    list_filter = ("phase", "desired", "workspace", "preset")
    list_select_related = ("workspace", "owner", "preset", "image", "pod_size")
    search_fields = ("name", "host", "owner__username", "owner__email")
    date_hierarchy = "created_at"
    show_full_result_count = False
    actions = ("pause_selected", "delete_selected_sessions")
    fieldsets = (
        (None, {"fields": (("name", "host"), ("workspace", "owner"), "created_at")}),
        ("Wanted", {"fields": (("preset", "image", "pod_size"), ("compute_pool", "slurm_cluster"), ("desired", "generation", "revision"))}),
        ("Applied", {"fields": (("applied_generation", "applied_at", "attempts"), ("next_try_at", "apply_reason"), "apply_message")}),
        ("Status", {"fields": (("phase", "reason", "phase_since"), "message", ("node", "restarts", "observed_at"), "log")}),
    )
    readonly_fields = ("log",)

    @admin.display(description="Log tail")
    def log(self, session: Session) -> str:
        return readable(session, session.log_tail)

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("notebook_sessions.change_session"))

    @admin.action(description="Pause selected sessions", permissions=["manage"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        self._each(request, queryset, services.pause, "will be paused")

    @admin.action(description="Delete selected sessions (keeps their volumes)", permissions=["manage"])
    def delete_selected_sessions(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        self._each(request, queryset, services.delete, "will be deleted; volumes stay")

    def _each(self, request: HttpRequest, queryset: QuerySet[Session], verb: Callable[[Any, Session], None], done: str) -> None:
        """Ask the service for each; one refusal does not hold up the others."""
        names = []
        for session in queryset.select_related("workspace"):
            try:
                verb(request.user, session)
                names.append(session.name)
            except Http404:
                messages.error(request, f"{session.name}: you are no member of {session.workspace}. Add yourself as its admin first.")
            except (Forbidden, Refused) as refusal:
                messages.error(request, f"{session.name}: {refusal}")
        if names:
            messages.success(
                request, f"{len(names)} of {queryset.count()} {done}: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}"
            )


@admin.register(Activity)
class ActivityAdmin(ReadOnlyMixin, admin.ModelAdmin):
    list_display = ("at", "verb", "host", "workspace", "actor", "phase", "reason", "message")
    list_filter = ("verb", "phase", "workspace")
    list_select_related = ("workspace", "actor")
    search_fields = ("host", "actor__username", "message")
    date_hierarchy = "at"
    show_full_result_count = False
    fields = list_display


@admin.register(OrmQ)
class QueueAdmin(ReadOnlyMixin, admin.ModelAdmin):
    """Tasks that wait. Their payload is an id."""

    list_display = ("id", "lock")
    fields = ("id", "key", "lock")


@admin.register(Failure)
class FailedTaskAdmin(ReadOnlyMixin, admin.ModelAdmin):
    """Tasks that raised: a defect, for refusals of clusters are recorded as activity. The sweep tries their sessions again."""

    list_display = ("func", "started", "stopped", "attempt_count")
    search_fields = ("func", "result")
    fields = ("id", "func", "args", "started", "stopped", "attempt_count", "result")
