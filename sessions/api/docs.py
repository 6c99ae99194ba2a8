"""The API's description: for programs (OpenAPI), for people (Swagger UI), and what each error means.

None of it holds anything of any user, so everybody may read it.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sessions.api.problems import KINDS
from sessions.api.schema import description


@require_safe
def openapi(request: HttpRequest) -> JsonResponse:
    """OpenAPI 3.1."""
    return JsonResponse(description())


@require_safe
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """The operations, to read and to try. It carries the reader's CSRF token: never kept by a cache."""
    return render(request, "api/docs.html")


@require_safe
def errors(request: HttpRequest) -> HttpResponse:
    """Every code; a problem's ``type`` is the address of its row."""
    return render(request, "api/errors.html", {"kinds": KINDS})
