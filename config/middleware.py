"""What happens around every request: its id, its line in the log, and typed errors of services as pages."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import SimpleLazyObject

from compute import log_context
from compute.errors import Forbidden
from config.logs import ACCESS

log = logging.getLogger(ACCESS)

# What a proxy or a client may name a request: nothing that a log line or a header could be broken with.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    """Sets ``request.request_id``: what ``X-Request-ID`` says, or a fresh one. The answer carries it back."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


class AccessLogMiddleware:
    """Every line that is logged while a request is answered names it, its user and its session; at its end there is a line
    of its own: method, path (never the query, which may hold tickets), status and seconds."""

    # Asked all the time: told only on DEBUG while all is well.
    QUIET = ("/healthz", "/readyz", "/metrics", "/gateway/authorize", f"/{settings.STATIC_URL.strip('/')}/")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.monotonic()
        request_id: str = request.request_id  # type: ignore[attr-defined]
        with log_context.bound(request_id=request_id, user=lambda: _user_of(request)):
            response = self.get_response(request)
            seconds = round(time.monotonic() - began, 4)
            fields = {"method": request.method, "path": request.path, "status": response.status_code, "duration_s": seconds}
            level = logging.DEBUG if request.path.startswith(self.QUIET) and response.status_code < 400 else logging.INFO
            log.log(level, "%s %s %s", request.method, request.path, response.status_code, extra={"fields": fields})
        return response

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: dict[str, Any]) -> None:
        if "host" in kwargs:
            log_context.add(session=kwargs["host"])


def _user_of(request: HttpRequest) -> str:
    """The name of whoever has been found out to ask; asks nobody, and is empty if nobody has wanted to know yet."""
    user = getattr(request, "_cached_user", None) or vars(request).get("user")
    return "" if user is None or isinstance(user, SimpleLazyObject) else str(user.get_username())


class ForbiddenMiddleware:
    """A :class:`Forbidden` that a view let through is a 403 page with its sentence."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, Forbidden):
            return render(request, "403.html", {"message": str(exception)}, status=403)
        return None


def client_address(request: HttpRequest) -> str:
    """Where the request came from, for locking sign-ins. nginx alone reaches the web process, and overwrites the header."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    return forwarded.rsplit(",", 1)[-1].strip() or request.META.get("REMOTE_ADDR", "")
