"""A workspace's webhooks, for its admins. What is sent to them: ``deliveries``."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Scope
from sessions.api import webhook_examples as examples
from sessions.api.operations import operation
from sessions.api.serializers import Answer, Body, Flag, Text, Thing, Time, absolute
from sessions.api.views import WorkspaceView
from sessions.webhooks import services
from sessions.webhooks.models import Webhook

# Reading too: an address may be a key, and an event tells who works on what.
ADMINS = (Scope.ADMIN,)


class WebhookLinksSerializer(Answer):
    self = serializers.SerializerMethodField()
    page = serializers.SerializerMethodField()

    def get_self(self, webhook: Webhook) -> str:
        return absolute("api:webhook", self.context["workspace"].name, webhook.name)

    def get_page(self, webhook: Webhook) -> str:
        return absolute("webhooks:detail", self.context["workspace"].name, webhook.name)


class WebhookSerializer(Thing):
    """Not its secret: that is shown once, when it is made."""

    name = serializers.CharField()
    url = serializers.CharField()
    phases = serializers.ListField(child=serializers.ChoiceField(services.PHASES), help_text="Those that it is told of; empty: all.")
    enabled = serializers.BooleanField()
    failures = serializers.IntegerField(help_text="Tries in a row that failed; 0: its receiver is well.")
    created_at = Time()
    created_by = serializers.CharField(source="created_by.username", allow_null=True)
    links = WebhookLinksSerializer(source="*")


class WebhookWithSecretSerializer(WebhookSerializer):
    secret = serializers.CharField(
        allow_null=True, help_text="What its events are signed with. Shown once: null when the same is sent again."
    )


class WebhookChanges(Body):
    url = Text(required=False)
    phases = serializers.ListField(child=Text(), max_length=20, required=False, help_text="Absent: as it is; empty: all.")
    enabled = Flag(required=False)


class WebhookBody(WebhookChanges):
    name = Text(help_text="Lower-case letters, digits and hyphens.")
    url = Text(help_text="https, and a public address.")
    phases = serializers.ListField(child=Text(), max_length=20, required=False, help_text="Absent or empty: all.")


class WebhooksView(WorkspaceView):
    represented_by: type[Answer] | None = WebhookSerializer

    def webhooks(self) -> QuerySet[Webhook]:
        """Those of the workspace, or the one that the address names. Raises ``Forbidden`` for everyone but admins."""
        services.require_admin(self.request.user, self.workspace)
        found = Webhook.objects.filter(workspace=self.workspace).select_related("workspace", "created_by").defer("secret")
        return found.filter(name=self.kwargs["webhook"]) if "webhook" in self.kwargs else found

    def shown_once(self, webhook: Webhook, **options: Any) -> Response:
        response = self.answer(webhook, **options)
        response["Cache-Control"] = "no-store"
        return response


class Webhooks(WebhooksView):
    @operation(
        id="webhooks_list",
        summary="List webhooks",
        scopes=ADMINS,
        answer=WebhookSerializer,
        example=examples.WEBHOOK,
        orders=("name", "-name", "created_at", "-created_at"),
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """Those of the workspace, without their secrets."""
        return self.page(self.webhooks())

    @operation(
        id="webhooks_create",
        summary="Make a webhook",
        scopes=ADMINS,
        body=WebhookBody,
        body_example=examples.BODY,
        answer=WebhookWithSecretSerializer,
        example=examples.WITH_SECRET,
        status=201,
        creates=True,
        shown_once=("secret",),
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str) -> Response:
        """The answer is the only place that shows its secret."""
        webhook = services.create(request.user, self.workspace, **self.body)
        return self.shown_once(webhook, location=absolute("api:webhook", workspace, webhook.name))


class OneWebhook(WebhooksView):
    @operation(
        id="webhooks_get",
        summary="Show a webhook",
        scopes=ADMINS,
        answer=WebhookSerializer,
        example=examples.WEBHOOK,
        tagged=True,
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str, webhook: str) -> Response:
        """Without its secret."""
        return self.answer(self.one(self.webhooks()))

    @operation(
        id="webhooks_change",
        summary="Change a webhook",
        scopes=ADMINS,
        body=WebhookChanges,
        body_example={"enabled": False},
        answer=WebhookSerializer,
        example={**examples.WEBHOOK, "enabled": False},
        tagged=True,
        conditional=True,
        refusals=("refused", "forbidden"),
    )
    def patch(self, request: Request, workspace: str, webhook: str) -> Response:
        """What is absent stays. What waits to be sent goes to the new address."""
        with self.unchanged(self.webhooks()) as row:
            services.edit(request.user, row, **{"url": row.url, "phases": row.phases, "enabled": row.enabled, **self.body})
            return self.answer(row)

    @operation(id="webhooks_delete", summary="Delete a webhook", scopes=ADMINS, conditional=True, refusals=("forbidden",))
    def delete(self, request: Request, workspace: str, webhook: str) -> Response:
        """With its deliveries; what waits is not sent any more."""
        with self.unchanged(self.webhooks()) as row:
            services.delete(request.user, row)
        return self.done()


class NewSecret(WebhooksView):
    @operation(
        id="webhooks_renew",
        summary="Replace a webhook’s secret",
        scopes=ADMINS,
        answer=WebhookWithSecretSerializer,
        example=examples.WITH_SECRET,
        creates=True,
        shown_once=("secret",),
        refusals=("forbidden",),
    )
    def post(self, request: Request, workspace: str, webhook: str) -> Response:
        """The answer is the only place that shows the new one; the old one signs nothing any more."""
        row = self.one(self.webhooks())
        services.renew_secret(request.user, row)
        return self.shown_once(row)
