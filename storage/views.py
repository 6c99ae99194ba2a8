"""The pages of volumes, their trash, and secrets."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from compute.access import WorkspaceRequest, has_role, require_owner_or_admin, require_role, workspace_view
from compute.errors import Refused
from compute.models import Role
from storage import listing, services
from storage.forms import ConfirmForm, SecretForm, VolumeForm
from storage.models import Secret, Volume

PER_PAGE = 25
form_view = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@workspace_view
def volumes(request: Any) -> HttpResponse:
    """The live volumes. htmx gets the results alone."""
    text, kind = request.GET.get("q", "").strip(), request.GET.get("kind", "")
    page = Paginator(listing.search(request.workspace, text, kind), PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": listing.rows(request.membership, page.object_list),
        "text": text,
        "kind": kind,
        "kinds": Volume.Kind.choices,
        "may_create": has_role(request.membership, Role.MEMBER),
    }
    wants_results = request.htmx and not request.htmx.history_restore_request
    response = render(request, "storage/volumes.html#results" if wants_results else "storage/volumes.html", context)
    patch_vary_headers(response, ["HX-Request"])
    patch_cache_control(response, no_store=True)
    return response


@form_view
@workspace_view
def volume_new(request: Any) -> HttpResponse:
    require_role(request.membership, Role.MEMBER, "create volumes")
    form = VolumeForm(request.POST or None)
    if form.is_valid():
        try:
            volume = services.create_volume(request.user, request.workspace, **form.cleaned_data)
        except Refused as refused:
            form.refuse(refused)
        else:
            messages.success(request, f"Created “{volume.name}”. Choose it in the Storage step of a session.")
            return redirect("storage:volumes", request.workspace.name)
    return render(request, "storage/volume_new.html", {"form": form})


@form_view
@workspace_view
def volume_delete(request: Any, pk: int) -> HttpResponse:
    """GET names the volume and asks for its name; POST puts it into the trash."""
    volume = _volume(request, pk, trashed=False)
    require_owner_or_admin(request.membership, volume.owner_id, "delete this volume")
    form = ConfirmForm(volume.name, request.POST or None)
    if form.is_valid():
        try:
            services.trash_volume(request.user, volume)
        except Refused as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, f"“{volume.name}” is in the trash for {settings.SLIPWAY_TRASH_DAYS} days.")
            return redirect("storage:volumes", request.workspace.name)
    (row,) = listing.rows(request.membership, [volume])
    context = {"form": form, "row": row, "volume": volume, "days": settings.SLIPWAY_TRASH_DAYS}
    return render(request, "storage/volume_delete.html", context)


@require_safe
@workspace_view
def trash(request: Any) -> HttpResponse:
    trashed = Volume.objects.trashed().filter(workspace=request.workspace).select_related("owner", "trashed_by")
    page = Paginator(trashed.order_by("-trashed_at", "-pk"), PER_PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "rows": listing.rows(request.membership, page.object_list), "days": settings.SLIPWAY_TRASH_DAYS}
    return render(request, "storage/trash.html", context)


@require_POST
@workspace_view
def volume_restore(request: Any, pk: int) -> HttpResponse:
    volume = _volume(request, pk, trashed=True)
    try:
        restored = services.restore_volume(request.user, volume)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("storage:trash", request.workspace.name)
    if restored.name == volume.name:
        messages.success(request, f"Restored “{restored.name}”.")
    else:
        messages.success(request, f"Restored “{volume.name}” as “{restored.name}”: its name had been taken meanwhile.")
    return redirect("storage:volumes", request.workspace.name)


@form_view
@workspace_view
def volume_purge(request: Any, pk: int) -> HttpResponse:
    """GET asks for the volume's name; POST deletes it and its data for good."""
    volume = _volume(request, pk, trashed=True)
    require_owner_or_admin(request.membership, volume.owner_id, "delete this volume for good")
    form = ConfirmForm(volume.name, request.POST or None)
    if form.is_valid():
        try:
            services.purge_volume(request.user, volume)
        except Refused as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, f"“{volume.name}” and its data are deleted for good.")
        return redirect("storage:trash", request.workspace.name)
    return render(request, "storage/volume_purge.html", {"form": form, "volume": volume})


@require_safe
@workspace_view
def secrets(request: Any) -> HttpResponse:
    """Names and what is known about them; ``defer`` keeps even the encrypted values in the database."""
    found = Secret.objects.filter(bundle__workspace=request.workspace).select_related("updated_by").defer("value")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "storage/secrets.html", {"page": page, "may_write": has_role(request.membership, Role.ADMIN)})


@sensitive_post_parameters("value")
@form_view
@workspace_view
def secret_write(request: Any) -> HttpResponse:
    """Create a secret, or replace the one that ``?name=`` names."""
    require_role(request.membership, Role.ADMIN, "write secrets")
    name = request.GET.get("name", "")
    existing = Secret.objects.filter(bundle__workspace=request.workspace, name=name).defer("value").first() if name else None
    initial = {"name": existing.name, "description": existing.description} if existing else {"name": name}
    form = SecretForm(request.POST or None, initial=initial)
    if form.is_valid():
        try:
            secret = services.write_secret(request.user, request.workspace, **form.cleaned_data)
        except Refused as refused:
            form.refuse(refused)
        else:
            messages.success(request, f"Saved {secret.name}. Sessions that run now get it at their next resume.")
            return redirect("storage:secrets", request.workspace.name)
    return render(request, "storage/secret_write.html", {"form": form, "existing": existing})


@form_view
@workspace_view
def secret_delete(request: Any, pk: int) -> HttpResponse:
    require_role(request.membership, Role.ADMIN, "delete secrets")
    found = Secret.objects.select_related("bundle__workspace").defer("value")
    secret = get_object_or_404(found, pk=pk, bundle__workspace=request.workspace)
    form = ConfirmForm(secret.name, request.POST or None)
    if form.is_valid():
        services.delete_secret(request.user, secret)
        messages.success(request, f"Deleted {secret.name}.")
        return redirect("storage:secrets", request.workspace.name)
    return render(request, "storage/secret_delete.html", {"form": form, "secret": secret})


def _volume(request: WorkspaceRequest, pk: int, *, trashed: bool) -> Volume:
    found = Volume.objects.trashed() if trashed else Volume.objects.live()
    return get_object_or_404(found.select_related("owner", "workspace__cluster"), pk=pk, workspace=request.workspace)
