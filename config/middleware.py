"""Turns typed errors of services into pages."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from compute.errors import Forbidden


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
