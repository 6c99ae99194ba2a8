"""The gateway's side of Django: nginx's question before each request, and the pages of the sessions' origins.

nginx sends every header named here itself and shows ``X-Slipway-Key``; without the key these addresses do not exist.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import cache, wraps
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_GET

from compute import log_context
from sessions import gateway
from sessions.gateway import Decision, Verdict, Visit
from sessions.models import Desired, Phase, Session

RETRY_SECONDS = 3
NOT_FOUND = "No such session, or you are not signed in to it. Open it from Slipway."
WRONG_ORIGIN = "Another site asked for this. Sessions answer only their own pages."


def from_nginx(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answers 404 to everyone but nginx. A socket's file mode would do as well, until someone binds a port."""

    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        if not constant_time_compare(request.headers.get("X-Slipway-Key", ""), gateway.nginx_key()):
            raise Http404("Not here.")
        log_context.add(session=request.headers.get("X-Slipway-Host", ""))
        return view(request)

    return wrapped


def visit_of(request: HttpRequest) -> Visit:
    headers = request.headers
    return Visit(
        host=headers.get("X-Slipway-Host", ""),
        cookie=headers.get("Cookie", ""),
        method=headers.get("X-Slipway-Method", "GET"),
        is_websocket=headers.get("X-Slipway-Websocket") == "1",
        origin=headers.get("Origin", ""),
        fetch_site=headers.get("Sec-Fetch-Site", ""),
        fetch_mode=headers.get("Sec-Fetch-Mode", ""),
        fetch_dest=headers.get("Sec-Fetch-Dest", ""),
    )


@from_nginx
@require_GET
def authorize(request: HttpRequest) -> HttpResponse:
    """204 with where to and as whom, or 403 (nginx then asks :func:`refused` for the answer that the browser gets)."""
    decision = gateway.authorize(visit_of(request))
    if decision.verdict != Verdict.ALLOWED:
        return HttpResponse(status=403)
    headers = {
        "X-Slipway-Upstream": decision.upstream,
        "X-Slipway-Grant": str(decision.grant_id),
        "X-Slipway-Authorization": decision.authorization,
        "X-Slipway-Cookie": decision.cookie,
    }
    return HttpResponse(status=204, headers=headers)


@from_nginx
@require_GET
def enter(request: HttpRequest) -> HttpResponse:
    """Redeem a ticket and go to the IDE. A used ticket is no harm to a browser that is inside already."""
    host = request.headers.get("X-Slipway-Host", "")
    entry = gateway.redeem(host, request.GET.get("ticket", ""))
    if entry is None:
        return _not_found(request)
    if not entry.cookie and gateway.authorize(visit_of(request)).session is None:
        return _page("expired", 410, session_url=_session_url(entry.session))
    response = HttpResponseRedirect(entry.session.preset.ide_definition.landing_path)
    if entry.cookie:
        # Lax, not Strict: the way here from Slipway is a navigation from another site, whose redirect must carry it.
        # No Domain: the cookie is this one host's. No other session's origin, nor the control plane, ever sees it.
        response.set_cookie(
            gateway.cookie_name(),
            entry.cookie,
            max_age=entry.max_age,
            secure=settings.SLIPWAY_APPS_URL.startswith("https:"),
            httponly=True,
            samesite="Lax",
        )
    return _private(response)


@from_nginx
@require_GET
def refused(request: HttpRequest) -> HttpResponse:
    """What the browser gets instead of the IDE: a page when a person is looking, else a line of text."""
    decision = gateway.authorize(visit_of(request))
    if decision.verdict == Verdict.UNKNOWN or decision.session is None:
        return _not_found(request)
    if decision.verdict == Verdict.WRONG_ORIGIN:
        return _text(WRONG_ORIGIN, 403)
    return _waiting(request, decision)


def _not_found(request: HttpRequest) -> HttpResponse:
    return _page("not_found", 404) if _is_navigation(request) else _text(NOT_FOUND, 404)


def _waiting(request: HttpRequest, decision: Decision) -> HttpResponse:
    """The session is not running, or only now is (nginx keeps a refusal for a second)."""
    session = decision.session
    if session is None:
        return _not_found(request)
    if _is_navigation(request):
        response = _page("waiting", 503, refresh=RETRY_SECONDS, session_url=_session_url(session), **_situation(session))
    else:
        response = _text(f"The session is not running ({session.phase}).", 503)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response


def _situation(session: Session) -> dict[str, Any]:
    """Words for the waiting page: what is, and what the user can do about it."""
    starting = session.desired == Desired.RUNNING and session.phase in (Phase.PENDING, Phase.RUNNING, Phase.PAUSED, Phase.UNKNOWN)
    pausing = session.desired == Desired.PAUSED and session.phase != Phase.PAUSED
    if session.desired == Desired.DELETED or (session.phase == Phase.TERMINATING and not pausing):
        title, action = "is being deleted", "See it in Slipway"
    elif starting:
        title, action = "is starting", "See its progress"
    elif pausing:
        title, action = "is pausing", "See it in Slipway"
    elif session.phase == Phase.PAUSED:
        title, action = "is paused", "Resume it"
    else:
        title, action = "has failed", "See why and resume it"
    return {
        "name": session.name,
        "phase": session.phase,
        "reason": session.reason,
        "message": session.message,
        "title": title,
        "action": action,
    }


def _is_navigation(request: HttpRequest) -> bool:
    if request.headers.get("X-Slipway-Method") not in ("GET", "HEAD") or request.headers.get("X-Slipway-Websocket") == "1":
        return False
    mode = request.headers.get("Sec-Fetch-Mode")
    return mode == "navigate" if mode else "text/html" in request.headers.get("Accept", "")


def _session_url(session: Session) -> str:
    return f"{settings.SLIPWAY_URL}{session.get_absolute_url()}"


def _page(page: str, status: int, **context: Any) -> HttpResponse:
    # Rendered without the request: nothing of the visitor is looked up, and equal refusals are equal to the byte.
    html = render_to_string(f"gateway/{page}.html", {"slipway_url": settings.SLIPWAY_URL, **context})
    response = HttpResponse(html, status=status)
    response["Content-Security-Policy"] = (
        f"default-src 'none'; style-src '{_hash('style.css')}'; script-src '{_hash('refresh.js')}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return _private(response)


@cache
def _hash(inlined: str) -> str:
    return f"sha256-{b64encode(sha256(render_to_string(f'gateway/{inlined}').encode()).digest()).decode()}"


def _text(message: str, status: int) -> HttpResponse:
    return _private(HttpResponse(f"{message}\n", status=status, content_type="text/plain; charset=utf-8"))


def _private(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response
