"""Webhooks and what was, or is to be, sent to them."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from compute import validators
from compute.models import Workspace
from sessions.times import outside
from storage.encryption import EncryptedTextField

DELETED = "Deleted"  # said once of a session that is gone; no phase of its own
FAR = timedelta(days=2)  # no try is put off for longer: a time beyond it is of a clock that was set back


def new_secret() -> str:
    return f"whsec_{secrets.token_urlsafe(32)}"


class Webhook(models.Model):
    """An address that is told. ``url`` is encrypted too: those of chat services are keys themselves.

    ``phases``: those that it is told of, all if empty. ``failures`` and ``resume_at``: a receiver that is down is left in
    peace for a while, whatever there is to tell it.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="webhooks")
    name = models.CharField(max_length=validators.NAME_MAX, validators=[validators.validate_name])
    url = EncryptedTextField()
    secret = EncryptedTextField(default=new_secret)
    phases = models.JSONField(default=list, blank=True)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    updated_at = models.DateTimeField(auto_now=True)
    failures = models.PositiveIntegerField(default=0)
    resume_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "notebook_sessions"
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("workspace", "name"),
                name="webhook_name_unique",
                violation_error_message="The workspace has a webhook of this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def wants(self, phase: str) -> bool:
        return not self.phases or phase in self.phases


class DeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def due(self, now: datetime) -> DeliveryQuerySet:
        """What can be sent now and nobody is sending."""
        return self.filter(
            Q(next_try_at__lte=now) | Q(next_try_at__gt=now + FAR),
            outside("lease_until", now, now + FAR),
            Q(webhook__resume_at=None) | Q(webhook__resume_at__lte=now) | Q(webhook__resume_at__gt=now + FAR),
            status=WebhookDelivery.Status.PENDING,
            webhook__enabled=True,
        )


class WebhookDelivery(models.Model):
    """One event for one webhook. A replay is the same delivery once more, with the same event id."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.UUIDField(default=uuid.uuid4)
    type = models.CharField(max_length=40)
    host = models.CharField(max_length=52, blank=True, help_text="Of the session that it tells of.")
    payload = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    lease_until = models.DateTimeField(null=True, blank=True)
    tried_at = models.DateTimeField(null=True, blank=True)
    response_code = models.PositiveSmallIntegerField(null=True, blank=True)
    response_text = models.TextField(blank=True, help_text="The first bytes of the last answer.")
    error = models.TextField(blank=True)
    duration = models.FloatField(null=True, blank=True, help_text="Of the last try, in seconds.")
    objects = DeliveryQuerySet.as_manager()

    class Meta:
        app_label = "notebook_sessions"
        ordering = ("-created_at", "-pk")
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(fields=("webhook", "event_id"), name="webhookdelivery_once"),
            models.CheckConstraint(condition=Q(status__in=("pending", "delivered", "failed")), name="webhookdelivery_status_known"),
        ]
        indexes = [
            models.Index(fields=("webhook", "-created_at", "-id"), name="webhookdelivery_list"),
            models.Index(fields=("next_try_at",), name="webhookdelivery_due", condition=Q(status="pending")),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"

    @property
    def phase(self) -> str:
        phase: str = (self.payload.get("session") or {}).get("phase", "")
        return phase


class DeliveryRun(models.Model):
    """The one run that sends what is due: whether one is queued, and the task that is at it. A single row."""

    queued_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    holder = models.CharField(max_length=40, blank=True)

    class Meta:
        app_label = "notebook_sessions"

    def __str__(self) -> str:
        return self.holder or "idle"
