"""What was, or is to be, sent to a webhook, for its workspace's admins."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from sessions.api import webhook_examples as examples
from sessions.api.operations import operation
from sessions.api.serializers import Query, Thing, Time, absolute
from sessions.api.webhooks import ADMINS, WebhooksView
from sessions.webhooks import services
from sessions.webhooks.models import WebhookDelivery


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


class DeliveryQuery(Query):
    status = serializers.ChoiceField(WebhookDelivery.Status.choices, required=False)


class DeliveriesView(WebhooksView):
    represented_by = DeliverySerializer

    def deliveries(self) -> QuerySet[WebhookDelivery]:
        """Those of the webhook that the address names, or the one that it names as well."""
        found = WebhookDelivery.objects.filter(webhook=self.one(self.webhooks()))
        found = found.select_related("webhook__workspace").defer("webhook__secret", "webhook__url")
        return found.filter(event_id=self.kwargs["delivery"]) if "delivery" in self.kwargs else found


class TestEvent(DeliveriesView):
    @operation(
        id="webhooks_test",
        summary="Send a test event",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=examples.PENDING,
        status=202,
        creates=True,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str, webhook: str) -> Response:
        """Queued at once, also for a receiver that is being left in peace. Read the delivery to see what became of it."""
        sent = services.send_test(request.user, self.one(self.webhooks()))
        return self.answer(sent, location=absolute("api:delivery", workspace, webhook, sent.event_id))


class Deliveries(DeliveriesView):
    @operation(
        id="deliveries_list",
        summary="List a webhook’s deliveries",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=examples.DELIVERY,
        query=DeliveryQuery,
        orders=("-created_at", "created_at"),
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str, webhook: str) -> Response:
        """What was, or is to be, sent. They are forgotten after some days."""
        found = self.deliveries()
        return self.page(found.filter(status=self.query["status"]) if "status" in self.query else found)


class OneDelivery(DeliveriesView):
    @operation(
        id="deliveries_get",
        summary="Show a delivery",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=examples.DELIVERY,
        tagged=True,
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str, webhook: str, delivery: uuid.UUID) -> Response:
        """With what is sent, and how the last answer began."""
        return self.answer(self.one(self.deliveries()))


class Replay(DeliveriesView):
    @operation(
        id="deliveries_replay",
        summary="Send a delivery again",
        scopes=ADMINS,
        answer=DeliverySerializer,
        example=examples.PENDING,
        status=202,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str, webhook: str, delivery: uuid.UUID) -> Response:
        """Whatever became of it: with the same id, and with all its tries."""
        services.replay(request.user, self.one(self.deliveries()))
        return self.answer(self.one(self.deliveries()))
