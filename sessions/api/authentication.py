"""Who asks: a token of the API, or a browser that is signed in (with CSRF, as for every form)."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from compute import tokens
from compute.models import ApiToken
from sessions.api.problems import ProblemError


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer slw_…``. A token that lets nobody in is an error, not a reason to look for a cookie."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            token = tokens.authenticate(credentials.strip())
        except tokens.TokenRejected as rejected:
            raise ProblemError(
                rejected.code, str(rejected), headers={"WWW-Authenticate": 'Bearer realm="slipway", error="invalid_token"'}
            ) from None
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="slipway"'


class BrowserAuthentication(SessionAuthentication):
    """Slipway's own sign-in. ``request.auth`` stays None: a person at the page has no scopes to lack."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied:
            raise ProblemError("csrf_failed") from None


def token_of(request: Request) -> ApiToken | None:
    """The token that the request came with, or None for a browser."""
    return request.auth if isinstance(request.auth, ApiToken) else None
