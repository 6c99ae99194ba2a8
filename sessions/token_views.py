"""The pages of one's API tokens."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_http_methods, require_safe

from compute import tokens
from compute.access import account_view
from compute.errors import Refused
from compute.models import ApiToken
from sessions.token_forms import TokenForm

PER_PAGE = 25
form_view = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@account_view
def token_list(request: Any) -> HttpResponse:
    mine = ApiToken.objects.kept().filter(user=request.user).prefetch_related("workspaces").order_by("-created_at", "-pk")
    page = Paginator(mine, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "account/tokens.html", {"page": page})


@form_view
@account_view
def token_new(request: Any) -> HttpResponse:
    """The form. The answer to it is the only page that ever shows the token."""
    form, new = TokenForm(request.user, request.POST or None), None
    if form.is_valid():
        try:
            new = tokens.create_token(request.user, **form.wanted)
        except Refused as refused:
            form.refuse(refused)
    template = "account/token_made.html" if new else "account/token_new.html"
    response = render(request, template, {"form": form, "new": new, "url": settings.SLIPWAY_URL})
    patch_cache_control(response, no_store=True)
    return response


@form_view
@account_view
def token_revoke(request: Any, token: str) -> HttpResponse:
    """GET asks once more; POST revokes."""
    found = get_object_or_404(ApiToken.objects.kept().filter(user=request.user), public_id=token)
    if request.method == "POST":
        tokens.revoke_token(request.user, found)
        messages.success(request, f"Revoked “{found.name}”. It lets nobody in any more.")
        return redirect("tokens")
    return render(request, "account/token_revoke.html", {"token": found})
