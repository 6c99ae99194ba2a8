"""A workspace's webhooks and what was sent to them, for its admins."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Scope
from sessions.api.operations import operation
from sessions.api.serializers import Answer, Body, Flag, Query, Text, Thing, Time, absolute
from sessions.api.views import WorkspaceView
from sessions.webhooks import services
from sessions.webhooks.models import Webhook, WebhookDelivery

# Reading too: an address may be a key, and an event tells who works on what.
ADMINS = (Scope.ADMIN,)
HERE = "https://slipway.example.com/api/v1/workspaces/research/webhooks"


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


class DeliverySerializer(Thing):
    id = serializers.UUIDField(source="event_id", help_text="Slipway-Event-Id: the same at each try and each replay.")
    type = serializers.CharField()
    session = serializers.CharField(source="host", help_text="The session’s host; empty for a test event.")
    status = serializers.ChoiceField(WebhookDelivery.Status.choices)
    attempts = serializers.IntegerField()
    created_at = Time()
    tried_at = Time(allow_null=True)
    next_try_at = serializers.SerializerMethodField(help_text="null when there will be no other.")
    response_code = serializers.IntegerField(allow_null=True)
    response_text = serializers.CharField(help_text="The first 1,024 bytes of the last answer.")
    error = serializers.CharField()
    duration = serializers.FloatField(allow_null=True, help_text="Of the last try, in seconds.")
    payload = serializers.JSONField(help_text="What is sent.")

    def get_next_try_at(self, delivery: WebhookDelivery) -> str | None:
        pending = delivery.status == WebhookDelivery.Status.PENDING
        return str(Time().to_representation(delivery.next_try_at)) if pending else None


class WebhookChanges(Body):
    url = Text(required=False)
    phases = serializers.ListField(child=Text(), max_length=20, required=False, help_text="Absent: as it is; empty: all.")
    enabled = Flag(required=False)


class WebhookBody(WebhookChanges):
    name = Text(help_text="Lower-case letters, digits and hyphens.")
    url = Text(help_text="https, and a public address.")
    phases = serializers.ListField(child=Text(), max_length=20, required=False, help_text="Absent or empty: all.")


class DeliveryQuery(Query):
    status = serializers.ChoiceField(WebhookDelivery.Status.choices, required=False)


WEBHOOK_EXAMPLE: dict[str, Any] = {
    "name": "ci",
    "url": "https://ci.example.com/hooks/slipway",
    "phases": ["Running", "Failed"],
    "enabled": True,
    "failures": 0,
    "created_at": "2026-11-23T09:30:00Z",
    "created_by": "grace",
    "links": {"self": f"{HERE}/ci", "page": "https://slipway.example.com/w/research/webhooks/ci/"},
}
WITH_SECRET_EXAMPLE = {**WEBHOOK_EXAMPLE, "secret": None}
BODY_EXAMPLE = {"name": "ci", "url": "https://ci.example.com/hooks/slipway", "phases": ["Running", "Failed"]}
DELIVERY_EXAMPLE: dict[str, Any] = {
    "id": "0c8f2d0e-8f0b-4f0a-9c39-3f1d7f1c2b7a",
    "type": "webhook.test",
    "session": "",
    "status": "delivered",
    "attempts": 1,
    "created_at": "2026-11-23T09:30:00Z",
    "tried_at": "2026-11-23T09:30:01Z",
    "next_try_at": None,
    "response_code": 200,
    "response_text": "ok",
    "error": "",
    "duration": 0.042,
    "payload": {
        "id": "0c8f2d0e-8f0b-4f0a-9c39-3f1d7f1c2b7a",
        "type": "webhook.test",
        "at": "2026-11-23T09:30:00Z",
        "workspace": "research",
    },
}
PENDING_EXAMPLE = {
    **DELIVERY_EXAMPLE,
    "status": "pending",
    "attempts": 0,
    "tried_at": None,
    "next_try_at": "2026-11-23T09:30:00Z",
    "response_code": None,
    "response_text": "",
    "duration": None,
}


class WebhooksView(WorkspaceView):
    represented_by: type[Answer] | None = WebhookSerializer

    def webhooks(self) -> QuerySet[Webhook]:
        """Raises ``Forbidden`` for everyone but admins."""
        services.require_admin(self.request.user, self.workspace)
        return Webhook.objects.filter(workspace=self.workspace).select_related("workspace", "created_by").defer("secret")

    def deliveries(self, name: str) -> QuerySet[WebhookDelivery]:
        found = WebhookDelivery.objects.filter(webhook=self.one(self.webhooks().filter(name=name)))
        return found.select_related("webhook__workspace").defer("webhook__secret", "webhook__url")

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
        example=WEBHOOK_EXAMPLE,
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
        body_example=BODY_EXAMPLE,
        answer=WebhookWithSecretSerializer,
        example=WITH_SECRET_EXAMPLE,
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
        example=WEBHOOK_EXAMPLE,
        tagged=True,
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str, webhook: str) -> Response:
        """Without its secret."""
        return self.answer(self.one(self.webhooks().filter(name=webhook)))

    @operation(
        id="webhooks_change",
        summary="Change a webhook",
        scopes=ADMINS,
        body=WebhookChanges,
        body_example={"enabled": False},
        answer=WebhookSerializer,
        example={**WEBHOOK_EXAMPLE, "enabled": False},
        tagged=True,
        conditional=True,
        refusals=("refused", "forbidden"),
    )
    def patch(self, request: Request, workspace: str, webhook: str) -> Response:
        """What is absent stays. What waits to be sent goes to the new address."""
        with self.unchanged(self.webhooks().filter(name=webhook)) as row:
            services.edit(request.user, row, **{"url": row.url, "phases": row.phases, "enabled": row.enabled, **self.body})
            return self.answer(row)

    @operation(id="webhooks_delete", summary="Delete a webhook", scopes=ADMINS, conditional=True, refusals=("forbidden",))
    def delete(self, request: Request, workspace: str, webhook: str) -> Response:
        """With its deliveries; what waits is not sent any more."""
        with self.unchanged(self.webhooks().filter(name=webhook)) as row:
            services.delete(request.user, row)
        return self.done()


class NewSecret(WebhooksView):
    @operation(
        id="webhooks_renew_secret",
        summary="Replace a webhook’s secret",
        scopes=ADMINS,
        answer=WebhookWithSecretSerializer,
        example=WITH_SECRET_EXAMPLE,
        creates=True,
        shown_once=("secret",),
        refusals=("forbidden",),
    )
    def post(self, request: Request, workspace: str, webhook: str) -> Response:
        """The answer is the only place that shows the new one; the old one signs nothing any more."""
        row = self.one(self.webhooks().filter(name=webhook))
        services.renew_secret(request.user, row)
        return self.shown_once(row)


class TestEvent(WebhooksView):
    represented_by = DeliverySerializer

    @operation(
        id="webhooks_test",
        summary="Send a test event",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=PENDING_EXAMPLE,
        status=202,
        creates=True,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str, webhook: str) -> Response:
        """Queued at once, also for a receiver that is being left in peace. Read the delivery to see what became of it."""
        sent = services.send_test(request.user, self.one(self.webhooks().filter(name=webhook)))
        return self.answer(sent, location=absolute("api:delivery", workspace, webhook, sent.event_id))


class Deliveries(WebhooksView):
    represented_by = DeliverySerializer

    @operation(
        id="deliveries_list",
        summary="List a webhook’s deliveries",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=DELIVERY_EXAMPLE,
        query=DeliveryQuery,
        orders=("-created_at", "created_at"),
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str, webhook: str) -> Response:
        """What was, or is to be, sent. They are forgotten after some days."""
        found = self.deliveries(webhook)
        return self.page(found.filter(status=self.query["status"]) if "status" in self.query else found)


class OneDelivery(WebhooksView):
    represented_by = DeliverySerializer

    @operation(
        id="deliveries_get",
        summary="Show a delivery",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=DELIVERY_EXAMPLE,
        tagged=True,
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str, webhook: str, delivery: uuid.UUID) -> Response:
        """With what is sent, and how the last answer began."""
        return self.answer(self.one(self.deliveries(webhook).filter(event_id=delivery)))


class Replay(WebhooksView):
    represented_by = DeliverySerializer

    @operation(
        id="deliveries_replay",
        summary="Send a delivery again",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=PENDING_EXAMPLE,
        status=202,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str, webhook: str, delivery: uuid.UUID) -> Response:
        """Whatever became of it: with the same id, and with all its tries."""
        rows = self.deliveries(webhook).filter(event_id=delivery)
        services.replay(request.user, self.one(rows))
        return self.answer(self.one(rows))
