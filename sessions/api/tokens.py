"""Your API tokens. Tokens read about tokens; only a person at a browser makes or revokes them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import tokens
from compute.models import ApiToken, Scope
from sessions.api.operations import operation
from sessions.api.scopes import ANY, BROWSER_ONLY
from sessions.api.serializers import Body, Text, Thing, Time, absolute
from sessions.api.views import View


class TokenSerializer(Thing):
    """No secret, nor its hash: a token is shown once, when it is made."""

    id = serializers.CharField(source="public_id", help_text="The part of the token between its underscores.")
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    workspaces = serializers.SerializerMethodField(help_text="Names of those it is limited to; null for all of yours.")
    created_at = Time()
    expires_at = Time()
    last_used_at = Time(allow_null=True)

    def get_workspaces(self, token: ApiToken) -> list[str] | None:
        return sorted(workspace.name for workspace in token.workspaces.all()) if token.is_limited else None


class NewTokenSerializer(TokenSerializer):
    token = serializers.SerializerMethodField(help_text="The token itself. Shown once: null when the same create is sent again.")

    def get_token(self, token: ApiToken) -> str | None:
        plain: str = vars(token)["plain"]
        return plain


class TokenBody(Body):
    name = Text(help_text="What it is for, such as ci.")
    scopes = serializers.ListField(child=Text(), max_length=20, help_text=f"Any of {', '.join(Scope.values)}.")
    workspaces = serializers.ListField(
        child=Text(), max_length=100, required=False, allow_null=True, help_text="Names to limit it to; absent or null: all of yours."
    )
    expires_at = Time(required=False, help_text="At most 366 days ahead; absent: in 90 days.")


TOKEN_EXAMPLE = {
    "id": "9f2c4e6a8b1d",
    "name": "ci",
    "scopes": ["read", "sessions"],
    "workspaces": ["research"],
    "created_at": "2026-11-23T09:30:00Z",
    "expires_at": "2027-02-21T09:30:00Z",
    "last_used_at": None,
}
# Shown as it looks once more: null. An example of a secret would be taken for one.
NEW_TOKEN_EXAMPLE = {**TOKEN_EXAMPLE, "token": None}
TOKEN_BODY_EXAMPLE = {"name": "ci", "scopes": ["read", "sessions"], "workspaces": ["research"]}


class OwnTokens(View):
    represented_by = TokenSerializer

    def tokens(self) -> QuerySet[ApiToken]:
        """Those of the user that were not revoked, expired ones too."""
        return ApiToken.objects.kept().filter(user=self.request.user.pk).prefetch_related("workspaces")


class Tokens(OwnTokens):
    @operation(
        id="tokens_list",
        summary="List your tokens",
        scopes=ANY,
        answer=TokenSerializer,
        example=TOKEN_EXAMPLE,
        orders=("-created_at", "created_at", "name", "-name", "expires_at", "-expires_at"),
    )
    def get(self, request: Request) -> Response:
        """Expired tokens are listed until they are revoked; revoked ones are not."""
        return self.page(self.tokens())

    @operation(
        id="tokens_create",
        summary="Make a token",
        scopes=BROWSER_ONLY,
        body=TokenBody,
        body_example=TOKEN_BODY_EXAMPLE,
        answer=NewTokenSerializer,
        example=NEW_TOKEN_EXAMPLE,
        status=201,
        creates=True,
        shown_once=("token",),
        refusals=("refused",),
    )
    def post(self, request: Request) -> Response:
        """The answer is the only place that shows the token."""
        new = tokens.create_token(request.user, **self.body)
        row: Any = new.row
        row.plain = new.plain
        response = self.answer(row, location=absolute("api:token", row.public_id))
        response["Cache-Control"] = "no-store"
        return response


class Token(OwnTokens):
    @operation(id="tokens_get", summary="Show a token", scopes=ANY, answer=TokenSerializer, example=TOKEN_EXAMPLE, tagged=True)
    def get(self, request: Request, token: str) -> Response:
        """One of your own tokens, without its secret."""
        return self.answer(self.one(self.tokens().filter(public_id=token)))

    @operation(id="tokens_revoke", summary="Revoke a token", scopes=BROWSER_ONLY, conditional=True)
    def delete(self, request: Request, token: str) -> Response:
        """From now on it lets nobody in, and what was opened with it closes."""
        with self.unchanged(self.tokens().filter(public_id=token)) as row:
            tokens.revoke_token(request.user, row)
        return self.done()
