"""The pages of webhooks, for admins of the workspace."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from compute.access import WorkspaceRequest, require_role, workspace_view
from compute.errors import Refused
from compute.models import Role
from sessions.webhooks import services
from sessions.webhooks.forms import EditForm, NewForm
from sessions.webhooks.models import Webhook, WebhookDelivery

PER_PAGE = 25
form_view = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@workspace_view
def webhook_list(request: Any) -> HttpResponse:
    """All of them: there are ten at most."""
    _require_admin(request)
    webhooks = Webhook.objects.filter(workspace=request.workspace).defer("secret")
    rows = [(webhook, urlsplit(webhook.url).hostname) for webhook in webhooks]
    return render(request, "webhooks/list.html", {"rows": rows, "is_full": len(rows) >= services.MAX_WEBHOOKS})


@form_view
@workspace_view
def new(request: Any) -> HttpResponse:
    """The form. The answer to it is the only page that ever shows the secret."""
    _require_admin(request)
    form = NewForm(request.POST or None)
    if form.is_valid():
        try:
            return _show_secret(request, services.create(request.user, request.workspace, **form.cleaned_data), "made")
        except Refused as refused:
            form.refuse(refused)
    return render(request, "webhooks/form.html", {"form": form})


@require_safe
@workspace_view
def detail(request: Any, name: str) -> HttpResponse:
    """The webhook and its deliveries, newest first; ``?status=`` narrows them."""
    webhook = _webhook(request, name)
    status = request.GET.get("status", "")
    chosen = Q(status=status) if status in WebhookDelivery.Status.values else Q()
    deliveries = WebhookDelivery.objects.filter(chosen, webhook=webhook).defer("response_text")
    page = Paginator(deliveries, PER_PAGE).get_page(request.GET.get("page"))
    context = {"webhook": webhook, "host": urlsplit(webhook.url).hostname, "page": page, "status": status}
    return render(request, "webhooks/detail.html", {**context, "statuses": WebhookDelivery.Status.choices})


@form_view
@workspace_view
def edit(request: Any, name: str) -> HttpResponse:
    webhook = _webhook(request, name)
    form = EditForm.of(webhook, request.POST or None)
    if form.is_valid():
        try:
            services.edit(request.user, webhook, **form.cleaned_data)
        except Refused as refused:
            form.refuse(refused)
        else:
            messages.success(request, f"Saved “{webhook.name}”.")
            return redirect("webhooks:detail", request.workspace.name, webhook.name)
    return render(request, "webhooks/form.html", {"form": form, "webhook": webhook})


@form_view
@workspace_view
def delete(request: Any, name: str) -> HttpResponse:
    """GET asks once more; POST deletes it with its deliveries."""
    webhook = _webhook(request, name)
    if request.method == "POST":
        services.delete(request.user, webhook)
        messages.success(request, f"Deleted “{webhook.name}”.")
        return redirect("webhooks:list", request.workspace.name)
    return render(request, "webhooks/delete.html", {"webhook": webhook})


@require_POST
@workspace_view
def secret(request: Any, name: str) -> HttpResponse:
    webhook = _webhook(request, name)
    services.renew_secret(request.user, webhook)
    return _show_secret(request, webhook, "renewed")


@require_POST
@workspace_view
def test(request: Any, name: str) -> HttpResponse:
    webhook = _webhook(request, name)
    try:
        sent = services.send_test(request.user, webhook)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("webhooks:detail", request.workspace.name, name)
    return redirect("webhooks:delivery", request.workspace.name, name, sent.event_id)


@require_safe
@workspace_view
def delivery(request: Any, name: str, event: uuid.UUID) -> HttpResponse:
    """What was sent and what was answered. htmx asks for the state again while it waits for its next try."""
    webhook = _webhook(request, name)
    found = _delivery(webhook, event)
    context = {"webhook": webhook, "delivery": found, "payload": json.dumps(found.payload, indent=2, ensure_ascii=False)}
    response = render(request, "webhooks/delivery.html#state" if request.htmx else "webhooks/delivery.html", context)
    patch_cache_control(response, no_store=True)
    return response


@require_POST
@workspace_view
def replay(request: Any, name: str, event: uuid.UUID) -> HttpResponse:
    found = _delivery(_webhook(request, name), event)
    try:
        services.replay(request.user, found)
    except Refused as refused:
        messages.error(request, str(refused))
    return redirect("webhooks:delivery", request.workspace.name, name, event)


def _require_admin(request: WorkspaceRequest) -> None:
    require_role(request.membership, Role.ADMIN, "manage webhooks")


def _webhook(request: WorkspaceRequest, name: str) -> Webhook:
    _require_admin(request)
    webhook = get_object_or_404(Webhook.objects.select_related("created_by").defer("secret"), workspace=request.workspace, name=name)
    webhook.workspace = request.workspace
    return webhook


def _delivery(webhook: Webhook, event: uuid.UUID) -> WebhookDelivery:
    found = get_object_or_404(WebhookDelivery, webhook=webhook, event_id=event)
    found.webhook = webhook
    return found


def _show_secret(request: WorkspaceRequest, webhook: Webhook, how: str) -> HttpResponse:
    response = render(request, "webhooks/secret.html", {"webhook": webhook, "how": how})
    patch_cache_control(response, no_store=True)
    return response
