"""Pages that belong to no app: home, sign-in, sign-out, health and errors."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from compute.access import usual_membership
from config import readiness
from config.demo_accounts import DEMO_ACCOUNTS
from sessions import heartbeat
from sessions.metrics import registry


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """To the sessions of the workspace that was last looked at, else of the first one by name."""
    membership = usual_membership(request)
    return redirect("sessions:list", membership.workspace.name) if membership else render(request, "home.html")


class SignIn(LoginView):
    """The sign-in page. In the demo, and only there, it shows the demo's accounts."""

    template_name = "registration/login.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(demo_accounts=DEMO_ACCOUNTS if settings.SLIPWAY_DEMO else (), **kwargs)


class SignOut(LogoutView):
    """POST only. The sessions that this sign-in opened close with it."""


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while this process can serve requests, which takes its database. What the other parts last showed comes along,
    in seconds, for people and dashboards; a dead worker is no reason to take the web away."""
    try:
        ages = heartbeat.ages()
    except DatabaseError:
        return JsonResponse({"ok": False, "database": "unreachable"}, status=503)
    return JsonResponse({"ok": True, "seconds_since": {name: round(seconds, 1) for name, seconds in sorted(ages.items())}})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 while this process can serve; 503 names what is missing, for whoever sends requests here to send them elsewhere."""
    problems = readiness.problems()
    return JsonResponse({"ready": not problems, "problems": problems}, status=503 if problems else 200)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """For Prometheus, with SLIPWAY_METRICS_TOKEN as its bearer token. Without such a setting the address does not exist."""
    token = settings.SLIPWAY_METRICS_TOKEN
    if not token:
        raise Http404("No metrics.")
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
        return HttpResponse("A bearer token is needed.\n", status=401, headers={"WWW-Authenticate": "Bearer"}, content_type="text/plain")
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form's own secret had expired. Nothing was changed."""
    return render(request, "403_csrf.html", status=403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Above all a form that is larger than Django takes (DATA_UPLOAD_MAX_MEMORY_SIZE)."""
    return render(request, "400.html", status=400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Looks the same for what is not there and for what the user may not know of."""
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Rendered without context processors: whatever broke may break them too."""
    return HttpResponse(render_to_string("500.html"), status=500)
