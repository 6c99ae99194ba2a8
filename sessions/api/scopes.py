"""What a token may be used for. Roles are the services' business; a scope only ever takes away."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from compute.models import Scope
from sessions.api.authentication import token_of
from sessions.api.problems import ProblemError

ANY = tuple(Scope)
BROWSER_ONLY: tuple[Scope, ...] = ()


class HasScope(BasePermission):
    """One of the operation's scopes is enough. People who are signed in with a browser need none."""

    def has_permission(self, request: Request, view: Any) -> bool:
        require_scope(request, *view.operation.scopes)
        return True


def require_scope(request: Request, *scopes: Scope) -> None:
    """For a scope that depends on more than the operation, such as whose session it is. None at all: browsers only."""
    token = token_of(request)
    if token is None:
        return
    if not scopes:
        raise ProblemError("browser_only", "No token may do this: sign in, and do it on the page.")
    if not set(scopes) & set(token.scopes):
        wanted = " or ".join(f"“{scope.value}”" for scope in scopes)
        raise ProblemError("scope_missing", f"This token lacks the scope {wanted}.")


def require_own_scope(request: Request, owner_id: int | None, scope: Scope) -> None:
    """``scope`` for what is the user's own; other people's things want the scope of admins, whatever the role says."""
    require_scope(request, scope if owner_id == request.user.pk else Scope.ADMIN)
