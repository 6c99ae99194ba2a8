"""The workspace's managed secrets, by name. A value goes in and never comes out."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Scope
from sessions.api.operations import operation
from sessions.api.serializers import Answer, Body, Text, Thing, Time, absolute
from sessions.api.views import WorkspaceView
from storage import services
from storage.models import Secret

# Who launches sessions has to see which variables these have already.
READING = (Scope.READ, Scope.ADMIN, Scope.SESSIONS)


class SecretLinksSerializer(Answer):
    self = serializers.SerializerMethodField()

    def get_self(self, secret: Secret) -> str:
        return absolute("api:secret", self.context["workspace"].name, secret.name)


class SecretSerializer(Thing):
    """Not its value, to nobody: it is write-only."""

    name = serializers.CharField(help_text="The environment variable that sessions get.")
    description = serializers.CharField()
    updated_at = Time()
    updated_by = serializers.CharField(source="updated_by.username", allow_null=True)
    links = SecretLinksSerializer(source="*")


class SecretBody(Body):
    value = Text(help_text="Can’t be read again.")
    description = Text(required=False, help_text="Absent: stays as it is.")


SECRET_EXAMPLE: dict[str, Any] = {
    "name": "WAREHOUSE_TOKEN",
    "description": "Reads the sales warehouse.",
    "updated_at": "2026-11-23T09:30:00Z",
    "updated_by": "grace",
    "links": {"self": "https://slipway.example.com/api/v1/workspaces/research/secrets/WAREHOUSE_TOKEN"},
}
SECRET_BODY_EXAMPLE = {"value": "the new value", "description": "Reads the sales warehouse."}


class SecretsView(WorkspaceView):
    represented_by = SecretSerializer

    def secrets(self) -> QuerySet[Secret]:
        """``defer`` keeps even the encrypted values in the database."""
        return Secret.objects.filter(bundle__workspace=self.workspace).select_related("updated_by", "bundle__workspace").defer("value")


class Secrets(SecretsView):
    @operation(
        id="secrets_list",
        summary="List secrets",
        scopes=READING,
        answer=SecretSerializer,
        example=SECRET_EXAMPLE,
        orders=("name", "-name", "updated_at", "-updated_at"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """The names that every session of the workspace gets as environment variables."""
        return self.page(self.secrets())


class OneSecret(SecretsView):
    @operation(id="secrets_get", summary="Show a secret", scopes=READING, answer=SecretSerializer, example=SECRET_EXAMPLE, tagged=True)
    def get(self, request: Request, workspace: str, secret: str) -> Response:
        """What is known about it, without its value."""
        return self.answer(self.one(self.secrets().filter(name=secret)))

    @operation(
        id="secrets_write",
        summary="Write a secret",
        scopes=(Scope.ADMIN,),
        body=SecretBody,
        body_example=SECRET_BODY_EXAMPLE,
        answer=SecretSerializer,
        example=SECRET_EXAMPLE,
        tagged=True,
        conditional=True,
        refusals=("refused", "forbidden"),
    )
    def put(self, request: Request, workspace: str, secret: str) -> Response:
        """Makes it or replaces it; with If-Match only replaces. Running sessions get it at their next resume."""
        rows = self.secrets().filter(name=secret)
        with transaction.atomic():
            if "If-Match" in request.headers:
                with self.unchanged(rows) as row:
                    before = row.description
            else:
                before = next(iter(rows.values_list("description", flat=True)), "")
            wanted = {"description": before, **self.body}
            return self.answer(services.write_secret(request.user, self.workspace, name=secret, **wanted))

    @operation(id="secrets_delete", summary="Delete a secret", scopes=(Scope.ADMIN,), conditional=True, refusals=("forbidden",))
    def delete(self, request: Request, workspace: str, secret: str) -> Response:
        """Running sessions keep it until they are paused."""
        with self.unchanged(self.secrets().filter(name=secret)) as row:
            services.delete_secret(request.user, row)
        return self.done()
