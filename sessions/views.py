"""The session pages: list, detail, log, events, and the actions. The wizard has its own views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event

from compute.access import WorkspaceRequest, has_role, workspace_view
from compute.errors import Refused
from compute.models import Role
from sessions import logs, services
from sessions.actions import actions_for
from sessions.detail import Detail, session_for_detail, volumes_on_delete
from sessions.events import events_of
from sessions.listing import Listing, look_again, watched
from sessions.models import Desired, Phase, Session
from sessions.slurm_panel import panel_of


@require_safe
@workspace_view
def session_list(request: Any) -> HttpResponse:
    """The list. htmx gets the results alone; a poll (``?watch=``) only what has changed since, or 204."""
    listing = Listing(request.membership, request.GET)
    if request.htmx and "watch" in request.GET:
        return _poll_list(request, listing)
    context = _list_context(request, listing)
    context |= {"watch": listing.rows, "look_again": look_again(listing.rows)}
    response = _page(request, "sessions/list.html", "results", context)
    if request.htmx and request.htmx.current_url_abs_path != context["here"]:
        response["HX-Push-Url"] = context["here"]
    return response


def _list_context(request: WorkspaceRequest, listing: Listing) -> dict[str, Any]:
    query = _without(request, "watch")
    return {
        "listing": listing,
        "phases": Phase.choices,
        "may_launch": has_role(request.membership, Role.MEMBER),
        "query": query,
        "here": f"{request.path}?{query}" if query else request.path,
    }


def _poll_list(request: Any, listing: Listing) -> HttpResponse:
    seen = watched(request.GET)
    rows = listing.rows_of(list(seen))
    changed = [row for row in rows if row.mark != seen[row.session.host]]
    gone = seen.keys() - {row.session.host for row in rows}
    if not changed and not gone:
        return HttpResponse(status=204)
    context = _list_context(request, listing)
    if gone and not listing.rows:
        response = render(request, "sessions/list.html#results", {**context, "is_fragment": True})
        response["HX-Retarget"], response["HX-Reswap"] = "#results", "outerHTML"
        return response
    context |= {"changed": changed, "gone": sorted(gone), "watch": rows, "look_again": look_again(rows)}
    return render(request, "sessions/includes/list_poll.html", context)


@require_safe
@workspace_view
def session_detail(request: Any, host: str) -> HttpResponse:
    """The page. htmx gets the living part or the activity; a poll (``?seen=``) gets 204 while nothing has changed."""
    session = session_for_detail(request.workspace, host)
    is_poll = request.htmx and "seen" in request.GET
    if session is None and is_poll:
        messages.info(request, f"The session “{host.rpartition('-')[0]}” has been deleted.")
        return HttpResponseClientRedirect(reverse("sessions:list", args=(request.workspace.name,)))
    if session is None:
        raise Http404("No such session.")
    detail = Detail(request.membership, session, request.GET)
    if is_poll and request.GET["seen"] == detail.mark:
        return HttpResponse(status=204)
    partial = "activity" if request.htmx.target == "activity" else "live"
    response = _page(request, "sessions/detail.html", partial, {"detail": detail, "session": session})
    return trigger_client_event(response, "session-changed") if request.htmx and partial == "live" else response


@require_safe
@workspace_view
def session_logs(request: Any, host: str) -> HttpResponse:
    """The log's end; ``?run=previous``: of the run before. ``?follow`` keeps asking; a poll (``?seen=``) gets 204 while
    nothing was written. A sentence for members who may not read it."""
    session = _session(request, host)
    log = logs.tail(request.membership, session, previous=request.GET.get("run") == "previous")
    if request.htmx and request.GET.get("seen") == log.mark:
        return HttpResponse(status=204)
    follow = "follow" in request.GET and not (log.previous or log.hidden)
    return _page(request, "sessions/logs.html", "log", {"session": session, "log": log, "follow": follow})


@require_safe
@workspace_view
def session_events(request: Any, host: str) -> HttpResponse:
    """The last events. A poll (``?seen=``) gets 204 while there are no new ones."""
    session = _session(request, host)
    events = events_of(session)
    if request.htmx and request.GET.get("seen") == events.mark:
        return HttpResponse(status=204)
    has_previous = logs.has_previous(request.membership, session)
    return _page(request, "sessions/events.html", "events", {"session": session, "events": events, "has_previous": has_previous})


@require_safe
@workspace_view
def session_slurm(request: Any, host: str) -> HttpResponse:
    """The attached Slurm cluster as it was last heard of. A poll (``?seen=``) gets 204 while there is nothing new."""
    session = _session(request, host)
    slurm = panel_of(request.membership, session)
    if slurm is None:
        raise Http404("No Slurm cluster is attached.")
    if request.htmx and request.GET.get("seen") == slurm.mark:
        return HttpResponse(status=204)
    return _page(request, "sessions/slurm.html", "slurm", {"session": session, "slurm": slurm})


@require_POST
@workspace_view
def session_open(request: Any, host: str) -> HttpResponse:
    """To the session's own origin with a one-time ticket; to its page when it can't be opened."""
    session = _session(request, host)
    try:
        return redirect(services.open_session(request.user, session, request.session.session_key or ""))
    except Refused as refused:
        messages.error(request, str(refused))
    return redirect(session)


@require_POST
@workspace_view
def session_pause(request: Any, host: str) -> HttpResponse:
    return _act(request, host, services.pause)


@require_POST
@workspace_view
def session_resume(request: Any, host: str) -> HttpResponse:
    return _act(request, host, services.resume)


@require_http_methods(["GET", "HEAD", "POST"])
@workspace_view
def session_delete(request: Any, host: str) -> HttpResponse:
    """GET asks once more, with the session's volumes to tick; POST deletes."""
    session = _session(request, host)
    chosen = request.POST.getlist("volumes")
    if request.method == "POST":
        try:
            services.delete(request.user, session, chosen)
        except Refused as refused:
            messages.error(request, str(refused))
        else:
            kept = f"In the trash for {settings.SLIPWAY_TRASH_DAYS} days: {', '.join(chosen)}." if chosen else "Its volumes stay."
            messages.success(request, f"Deleting “{session.name}”. {kept}")
            return redirect("sessions:list", request.workspace.name)
    elif not actions_for(request.membership, session).delete:
        if session.desired != Desired.DELETED:
            messages.error(request, f"Only the owner and admins of {request.workspace} can delete “{session.name}”.")
        return redirect(session)
    volumes = volumes_on_delete(request.membership, session)
    context = {"session": session, "volumes": volumes, "chosen": chosen, "trash_days": settings.SLIPWAY_TRASH_DAYS}
    return render(request, "sessions/delete.html", context)


def _session(request: WorkspaceRequest, host: str) -> Session:
    session = Session.objects.in_workspace(request.workspace).select_related("owner", "preset").filter(host=host).first()
    if session is None:
        raise Http404("No such session.")
    session.workspace = request.workspace
    return session


def _act(request: Any, host: str, verb: Callable[[Any, Session], None]) -> HttpResponse:
    """Do it and go back to where the button was; htmx follows and gets its fragment there."""
    session = _session(request, host)
    try:
        verb(request.user, session)
    except Refused as refused:
        messages.error(request, str(refused))
    back = request.POST.get("next", "")
    # No redirect(): to it, a word without a slash is the name of a view.
    return HttpResponseRedirect(back if url_has_allowed_host_and_scheme(back, allowed_hosts=None) else session.get_absolute_url())


def _without(request: HttpRequest, name: str) -> str:
    """The query string, tidied: without ``name`` and without empty answers."""
    query = request.GET.copy()
    for key in list(query):
        if key == name or not any(query.getlist(key)):
            del query[key]
    return query.urlencode()


def _page(request: Any, template: str, partial: str, context: dict[str, Any]) -> HttpResponse:
    """The whole page, or its ``partial`` when htmx asks. One address for both, so caches must tell them apart."""
    wants_partial = request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request
    response = render(request, f"{template}#{partial}" if wants_partial else template, {**context, "is_fragment": wants_partial})
    patch_vary_headers(response, ["HX-Request"])
    patch_cache_control(response, no_store=True)
    return response
