"""The API's description for programs (OpenAPI). It holds nothing of any user: everybody may read it."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from sessions.api.schema import description


@require_safe
def openapi(request: HttpRequest) -> JsonResponse:
    """OpenAPI 3.1."""
    return JsonResponse(description())
