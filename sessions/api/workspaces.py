"""The workspaces that you are a member of."""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Role, Workspace
from sessions.api.authentication import token_of
from sessions.api.operations import operation
from sessions.api.scopes import ANY
from sessions.api.serializers import Amount, Answer, Thing, Time, absolute
from sessions.api.views import View, WorkspaceView
from sessions.spec.quota import quota_lines


class ClusterSerializer(Answer):
    """Not its driver and context: how Slipway reaches a cluster is its operators' business."""

    name = serializers.CharField()
    display_name = serializers.CharField()
    enabled = serializers.BooleanField(help_text="false: it takes no new sessions.")


class WorkspaceLinksSerializer(Answer):
    self = serializers.SerializerMethodField()
    page = serializers.SerializerMethodField()

    def get_self(self, workspace: Workspace) -> str:
        return absolute("api:workspace", workspace.name)

    def get_page(self, workspace: Workspace) -> str:
        return absolute("sessions:list", workspace.name)


class WorkspaceSerializer(Thing):
    name = serializers.CharField()
    display_name = serializers.CharField()
    role = serializers.ChoiceField(Role.choices, help_text="Yours.")
    cluster = ClusterSerializer()
    namespace = serializers.CharField()
    default_pool = serializers.CharField(source="default_pool.name", allow_null=True, help_text="A compute pool’s name.")
    created_at = Time()
    links = WorkspaceLinksSerializer(source="*")


class QuotaSerializer(Answer):
    """One limit. Amounts are decimal strings in ``unit``."""

    name = serializers.CharField(source="label")
    unit = serializers.CharField()
    used = Amount()
    limit = Amount()


class WorkspaceDetailSerializer(WorkspaceSerializer):
    quota = serializers.SerializerMethodField(help_text="The limits that are set.")

    @extend_schema_field(QuotaSerializer(many=True))
    def get_quota(self, workspace: Workspace) -> list[dict[str, Any]]:
        return list(QuotaSerializer(quota_lines(workspace, None), many=True).data)


WORKSPACE_EXAMPLE = {
    "name": "research",
    "display_name": "Research",
    "role": "member",
    "cluster": {"name": "gpu-west", "display_name": "GPU West", "enabled": True},
    "namespace": "research",
    "default_pool": "standard",
    "created_at": "2026-11-02T08:00:00Z",
    "links": {
        "self": "https://slipway.example.com/api/v1/workspaces/research",
        "page": "https://slipway.example.com/w/research/sessions/",
    },
}
QUOTA_EXAMPLE = {"name": "CPU", "unit": "cores", "used": "6.5", "limit": "32"}


class Workspaces(View):
    @operation(
        id="workspaces_list",
        summary="List your workspaces",
        scopes=ANY,
        answer=WorkspaceSerializer,
        example=WORKSPACE_EXAMPLE,
        orders=("name", "-name", "created_at", "-created_at"),
    )
    def get(self, request: Request) -> Response:
        """Those that you are a member of, as far as the token reaches."""
        return self.page(self.workspaces())

    def workspaces(self) -> QuerySet[Workspace]:
        mine = Workspace.objects.filter(memberships__user=self.request.user.pk).annotate(role=F("memberships__role"))
        token = token_of(self.request)
        if token is not None and token.is_limited:
            mine = mine.filter(pk__in=token.workspaces.values("pk"))
        return mine.select_related("cluster", "default_pool")


class OneWorkspace(WorkspaceView):
    @operation(
        id="workspaces_get",
        summary="Show a workspace",
        scopes=ANY,
        answer=WorkspaceDetailSerializer,
        example={**WORKSPACE_EXAMPLE, "quota": [QUOTA_EXAMPLE]},
        tagged=True,
    )
    def get(self, request: Request, workspace: str) -> Response:
        """With what it uses of its quota."""
        found: Any = self.workspace
        found.role = self.membership.role
        return self.answer(found)
