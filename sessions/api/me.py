"""Who is asking, and with what."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Membership, Role
from sessions.api.operations import operation
from sessions.api.scopes import ANY
from sessions.api.serializers import Answer
from sessions.api.tokens import TOKEN_EXAMPLE, TokenSerializer
from sessions.api.views import View


class MyWorkspaceSerializer(Answer):
    name = serializers.CharField(source="workspace.name")
    display_name = serializers.CharField(source="workspace.display_name")
    role = serializers.ChoiceField(Role.choices)


class MeSerializer(Answer):
    username = serializers.CharField(source="get_username")
    name = serializers.CharField(source="get_full_name")
    email = serializers.CharField()
    is_staff = serializers.BooleanField(help_text="Whether the account may use the admin pages.")
    workspaces = serializers.SerializerMethodField(help_text="Those that the token reaches, by name.")
    token = serializers.SerializerMethodField(help_text="The token of this request; null for a browser.")

    @extend_schema_field(MyWorkspaceSerializer(many=True))
    def get_workspaces(self, user: Any) -> list[dict[str, Any]]:
        memberships = Membership.objects.filter(user=user).select_related("workspace").order_by("workspace__name")
        token = self.context["token"]
        if token is not None and token.is_limited:
            memberships = memberships.filter(workspace__in=token.workspaces.all())
        return list(MyWorkspaceSerializer(memberships, many=True).data)

    @extend_schema_field(TokenSerializer(allow_null=True))
    def get_token(self, user: Any) -> dict[str, Any] | None:
        token = self.context["token"]
        return None if token is None else dict(TokenSerializer(token).data)


ME_EXAMPLE = {
    "username": "ada",
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "is_staff": False,
    "workspaces": [{"name": "research", "display_name": "Research", "role": "member"}],
    "token": TOKEN_EXAMPLE,
}


class Me(View):
    @operation(id="me_get", summary="Who you are", scopes=ANY, answer=MeSerializer, example=ME_EXAMPLE)
    def get(self, request: Request) -> Response:
        """Your account, your workspaces with your role in each, and the token that you came with."""
        return self.answer(request.user)
