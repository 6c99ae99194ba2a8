"""Everybody's API tokens, to look at and to revoke. Their users make them, on a page of their own; a value is nowhere to be seen."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from compute import tokens
from compute.admin_base import ReadOnlyMixin
from compute.models import ApiToken


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("working", "Working"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        now = timezone.now()
        match self.value():
            case "working":
                return queryset.filter(revoked_at=None, expires_at__gt=now)
            case "expired":
                return queryset.filter(revoked_at=None, expires_at__lte=now)
            case "revoked":
                return queryset.exclude(revoked_at=None)
        return queryset


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyMixin, admin.ModelAdmin):
    list_display = ("name", "user", "begins_with", "scope_names", "reach", "last_used_at", "expires_at", "state")
    list_filter = (StateFilter,)
    list_select_related = ("user",)
    search_fields = ("name", "user__username", "user__email", "public_id")
    show_full_result_count = False
    actions = ("revoke_selected",)
    fields = ("name", "user", "begins_with", "scope_names", "reach", "created_at", "last_used_at", "expires_at", "revoked_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return super().get_queryset(request).defer("secret_hash").prefetch_related("workspaces")

    @admin.display(description="begins with", ordering="public_id")
    def begins_with(self, token: ApiToken) -> str:
        return f"{tokens.PREFIX}_{token.public_id}_…"

    @admin.display(description="scopes")
    def scope_names(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description="workspaces")
    def reach(self, token: ApiToken) -> str:
        return (", ".join(workspace.name for workspace in token.workspaces.all()) or "none") if token.is_limited else "all of the user’s"

    @admin.display(ordering="revoked_at")
    def state(self, token: ApiToken) -> str:
        return "Revoked" if token.revoked_at else "Expired" if token.is_expired else "Working"

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("compute.change_apitoken"))

    @admin.action(description="Revoke selected API tokens", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """From now on; it can't be undone."""
        chosen = list(queryset.kept())  # type: ignore[attr-defined]  # ApiToken's own queryset
        for token in chosen:
            tokens.revoke_token(token.user, token)
            self.log_change(request, token, "Revoked.")
        messages.success(request, f"{len(chosen)} revoked: {', '.join(map(str, chosen[:10]))}{' …' if len(chosen) > 10 else ''}")
