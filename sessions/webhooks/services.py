"""The verbs of webhooks, for admins of their workspace. Pages and API call these and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from compute.access import membership_of, require_role
from compute.errors import Problem, Refused
from compute.models import Role, Workspace
from sessions.models import Phase
from sessions.webhooks import targets
from sessions.webhooks.announce import TEST, envelope
from sessions.webhooks.delivery import queue_run
from sessions.webhooks.models import DELETED, Webhook, WebhookDelivery, new_secret

MAX_WEBHOOKS = 10  # of a workspace: each is told of every session
PHASES = (*Phase.values, DELETED)
RESERVED = ("new",)  # an address of the pages


def require_admin(user: Any, workspace: Workspace) -> None:
    require_role(membership_of(user, workspace), Role.ADMIN, "manage webhooks")


def create(user: Any, workspace: Workspace, *, name: str, url: str, phases: Sequence[str] = (), enabled: bool = True) -> Webhook:
    """A new webhook with a secret of its own, which the caller shows once.

    Raises ``Refused`` with problems at name, url and phases.
    """
    require_admin(user, workspace)
    webhook = Webhook(workspace=workspace, name=name.strip(), url=url.strip(), phases=_ordered(phases), enabled=enabled, created_by=user)
    with transaction.atomic():
        Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)  # so that names and the number hold
        problems = _problems(webhook, phases)
        if Webhook.objects.filter(workspace=workspace).count() >= MAX_WEBHOOKS:
            problems.append(Problem("", "too_many_webhooks", f"A workspace has at most {MAX_WEBHOOKS} webhooks."))
        if problems:
            raise Refused(problems)
        webhook.save()
    return webhook


def edit(user: Any, webhook: Webhook, *, url: str, phases: Sequence[str], enabled: bool) -> None:
    """Change what it is told and where; its name and secret stay. What waits goes to the new address."""
    require_admin(user, webhook.workspace)
    webhook.url, webhook.phases, webhook.enabled = url.strip(), _ordered(phases), enabled
    webhook.failures, webhook.resume_at = 0, None
    if problems := _problems(webhook, phases):
        raise Refused(problems)
    with transaction.atomic():
        webhook.save(update_fields=["url", "phases", "enabled", "failures", "resume_at", "updated_at"])
        queue_run()


def renew_secret(user: Any, webhook: Webhook) -> str:
    """A new secret, shown once; the old one signs nothing any more, from the next try on."""
    require_admin(user, webhook.workspace)
    webhook.secret = new_secret()
    webhook.save(update_fields=["secret", "updated_at"])
    return webhook.secret


def delete(user: Any, webhook: Webhook) -> None:
    """With its deliveries. What waits is not sent any more."""
    require_admin(user, webhook.workspace)
    webhook.delete()


def send_test(user: Any, webhook: Webhook) -> WebhookDelivery:
    """Queue an event of type ``webhook.test``, also to a webhook that is waiting for its receiver to recover."""
    require_admin(user, webhook.workspace)
    if not webhook.enabled:
        raise Refused(Problem("", "webhook_disabled", "The webhook is switched off. Switch it on first."))
    event, now = uuid.uuid4(), timezone.now()
    with transaction.atomic():
        delivery = WebhookDelivery.objects.create(
            webhook=webhook, event_id=event, type=TEST, payload=envelope(event, TEST, now, webhook.workspace.name), created_at=now
        )
        _try_now(webhook)
    return delivery


def replay(user: Any, delivery: WebhookDelivery) -> None:
    """Send it once more, with the same event id, whatever became of it before, and with all its tries."""
    webhook = delivery.webhook
    require_admin(user, webhook.workspace)
    if not webhook.enabled:
        raise Refused(Problem("", "webhook_disabled", "The webhook is switched off. Switch it on first."))
    with transaction.atomic():
        WebhookDelivery.objects.filter(pk=delivery.pk).update(
            status=WebhookDelivery.Status.PENDING, attempts=0, next_try_at=timezone.now(), lease_until=None
        )
        _try_now(webhook)


def _try_now(webhook: Webhook) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(resume_at=None)
    queue_run()


def _ordered(phases: Sequence[str]) -> list[str]:
    return [phase for phase in PHASES if phase in phases]


def _problems(webhook: Webhook, phases: Sequence[str]) -> list[Problem]:
    problems = []
    try:
        webhook.full_clean(exclude=["url", "secret", "workspace", "created_by"])
        webhook.validate_constraints()
    except ValidationError as error:
        for field, items in error.error_dict.items():
            at = "name" if field == "__all__" else field
            problems += [Problem(at, item.code or "invalid", " ".join(item.messages)) for item in items]
    if webhook.name in RESERVED:
        problems.append(Problem("name", "name_reserved", f"“{webhook.name}” can’t be a webhook’s name."))
    if unknown := [phase for phase in phases if phase not in PHASES]:
        problems.append(Problem("phases", "phase_unknown", f"There is no phase “{unknown[0]}”. There are {', '.join(PHASES)}."))
    if found := targets.problem(webhook.url):
        problems.append(found)
    return list(dict.fromkeys(problems))
