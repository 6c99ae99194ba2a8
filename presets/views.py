"""The preset gallery and a preset's page."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Exists, Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from compute.access import has_role, workspace_view
from compute.models import Role
from presets import catalog
from presets.models import Preset
from presets.pictures import Picture

PER_PAGE = 24
# Opened as a page of its own, a picture can run nothing and fetch nothing.
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


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


@require_safe
@workspace_view
def preset_picture(request: Any, slug: str, digest: str) -> HttpResponse:
    """The icon or logo of a preset that is the workspace's or that its sessions use. What is at an address never changes."""
    known = Q(workspaces=None) | Q(workspaces=request.workspace) | Q(sessions__workspace=request.workspace)
    shown = Preset.objects.filter(known, Q(icon=digest) | Q(logo=digest), slug=slug)
    picture = get_object_or_404(Picture, Exists(shown), pk=digest)
    headers = {
        "Content-Security-Policy": PICTURE_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    return HttpResponse(bytes(picture.content), content_type=picture.media_type, headers=headers)
