"""What the frame around every page needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.functional import cached_property

from compute.access import has_role
from compute.models import Role, Workspace
from presets.catalog import runnable_preset_count
from sessions.models import Session
from storage.models import Secret, Volume


@dataclass(frozen=True)
class Counts:
    """What the sidebar shows beside its entries."""

    sessions: int
    presets: int
    volumes: int
    secrets: int


class Shell:
    """The sidebar's data, asked of the database only when a template reads it: fragments pay nothing.

    Outside a workspace (sign-in, error pages, admin) ``current`` is None and the rest is empty.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request: Any = request  # compute.access adds the workspace and the membership

    @cached_property
    def current(self) -> Workspace | None:
        return getattr(self._request, "workspace", None)

    @cached_property
    def membership(self) -> Any:
        return getattr(self._request, "membership", None)

    @cached_property
    def is_admin(self) -> bool:
        return self.membership is not None and has_role(self.membership, Role.ADMIN)

    @cached_property
    def workspaces(self) -> list[Workspace]:
        """The user's workspaces. One query."""
        if self.current is None:
            return []
        return list(Workspace.objects.visible_to(self._request.user).only("name", "display_name"))

    @cached_property
    def counts(self) -> Counts | None:
        """Two queries: one for the catalog, one for the rest."""
        if self.current is None:
            return None

        def count(rows: Any, workspace: str) -> Coalesce:
            grouped = rows.filter(**{workspace: OuterRef("pk")}).order_by().values(workspace)
            return Coalesce(Subquery(grouped.annotate(number=Count("pk")).values("number")), 0)

        sessions, volumes, secrets = (
            Workspace.objects.filter(pk=self.current.pk)
            .values_list(
                count(Session.objects.all(), "workspace"),
                count(Volume.objects.live(), "workspace"),
                count(Secret.objects.all(), "bundle__workspace"),
            )
            .first()
        ) or (0, 0, 0)
        return Counts(sessions, runnable_preset_count(self.current), volumes, secrets)


def shell(request: HttpRequest) -> dict[str, Shell]:
    return {"shell": Shell(request)}
