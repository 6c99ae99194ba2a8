"""The preset gallery and a preset's page."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from compute.access import has_role, workspace_view
from compute.models import Role
from presets import catalog

PER_PAGE = 24


@require_safe
@workspace_view
def preset_list(request: Any) -> HttpResponse:
    page = Paginator(catalog.cards(request.workspace), PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "presets/list.html", {"page": page})


@require_safe
@workspace_view
def preset_detail(request: Any, slug: str) -> HttpResponse:
    """What cannot be launched in this workspace has no page in it."""
    detail = catalog.detail(request.workspace, slug)
    if detail is None:
        raise Http404("No such preset.")
    return render(request, "presets/detail.html", {"detail": detail, "may_launch": has_role(request.membership, Role.MEMBER)})
