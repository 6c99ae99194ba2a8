"""From a change of phase to deliveries, in the change's own transaction."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from compute.prepared import padded, prepared
from sessions.models import Session
from sessions.webhooks.delivery import queue_run
from sessions.webhooks.models import DELETED, Webhook, WebhookDelivery

PHASE_CHANGED, SESSION_DELETED, TEST = "session.phase_changed", "session.deleted", "webhook.test"


@dataclass(frozen=True)
class Change:
    """A session's new phase (``DELETED`` for one that is gone) and the one before. The session's row must still be there."""

    session: Session
    phase: str
    previous: str
    reason: str
    message: str
    at: datetime


def announce(changes: Iterable[Change]) -> int:
    """Write deliveries for the webhooks that want to know, and queue their sending; returns how many.

    One query where no webhook of these workspaces does, none for no changes, else five whatever the number.
    """
    moved = list(changes)
    if not moved:
        return 0
    webhooks: dict[int, list[Webhook]] = defaultdict(list)
    for webhook in _enabled_in(*padded({change.session.workspace_id for change in moved})):
        webhooks[webhook.workspace_id].append(webhook)
    wanted = [(one, change) for change in moved for one in webhooks[change.session.workspace_id] if one.wants(change.phase)]
    if not wanted:
        return 0
    people = Session.objects.filter(pk__in={change.session.pk for _, change in wanted})
    known = {pk: (owner, preset) for pk, owner, preset in people.values_list("pk", "owner__username", "preset__slug")}
    WebhookDelivery.objects.bulk_create(_delivery(webhook, change, *known[change.session.pk]) for webhook, change in wanted)
    queue_run()
    return len(wanted)


@prepared
def _enabled_in(*workspaces: int) -> QuerySet[Webhook]:
    return Webhook.objects.filter(enabled=True, workspace__in=workspaces).order_by().only("workspace_id", "phases")


def _delivery(webhook: Webhook, change: Change, owner: str, preset: str) -> WebhookDelivery:
    session = change.session
    event = uuid.uuid4()
    kind = SESSION_DELETED if change.phase == DELETED else PHASE_CHANGED
    told = {
        "name": session.name,
        "host": session.host,
        "owner": owner,
        "preset": preset,
        "phase": change.phase,
        "previous_phase": change.previous,
        "reason": change.reason,
        "message": change.message,
        "url": settings.SLIPWAY_URL + session.get_absolute_url(),
    }
    payload = envelope(event, kind, change.at, session.workspace.name) | {"session": told}
    return WebhookDelivery(webhook=webhook, event_id=event, type=kind, host=session.host, payload=payload, created_at=change.at)


def envelope(event: uuid.UUID, kind: str, at: datetime, workspace: str) -> dict[str, Any]:
    return {"id": str(event), "type": kind, "at": at.isoformat().replace("+00:00", "Z"), "workspace": workspace}
