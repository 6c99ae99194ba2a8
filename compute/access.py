"""Who may do what in a workspace: the only place that compares roles.

To people who are not members a workspace and everything in it does not exist (404); members who may look but not
do get :class:`Forbidden` with a sentence (403, ``config.middleware``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.db.models import Case, OuterRef, QuerySet, When
from django.http import Http404, HttpRequest, HttpResponse

from compute.errors import Forbidden
from compute.models import Membership, Role, Workspace
from compute.prepared import prepared

P = ParamSpec("P")
RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.ADMIN: 2}
LAST_WORKSPACE = "workspace"


class WorkspaceRequest(HttpRequest):
    """A signed-in member's request inside a workspace."""

    user: Any
    workspace: Workspace
    membership: Membership


def membership_of(user: Any, workspace: Workspace | str, *, lock: bool = False) -> Membership:
    """The user's membership with its workspace and cluster, in one query. Raises ``Http404`` for non-members.

    With ``lock`` the workspace stays locked until the transaction's end, and is as it was when the lock was got.
    """
    name = workspace.name if isinstance(workspace, Workspace) else workspace
    found = (_locked_membership if lock else _membership)(user.pk, name)
    if not found:
        raise Http404("No such workspace.")
    return found[0]


@prepared
def _membership(user: int, workspace: str) -> QuerySet[Membership]:
    found = Membership.objects.filter(user=user, workspace__name=workspace, user__is_active=True)
    return found.select_related("workspace__cluster", "workspace__default_pool", "user")


@prepared
def _locked_membership(user: int, workspace: str) -> QuerySet[Membership]:
    found = Membership.objects.filter(user=user, workspace__name=workspace, user__is_active=True).select_related("workspace__cluster")
    # No key: what only refers to the workspace, such as the controller's activity, does not wait for it (nor deadlock).
    return found.select_for_update(of=("workspace",), no_key=True)


def usual_membership(request: Any) -> Membership | None:
    """Of the workspace that the user looked at last, else of the first by name; None for a member of nothing. One query."""
    looked_at = Case(When(workspace__name=request.session.get(LAST_WORKSPACE, ""), then=0), default=1)
    mine = Membership.objects.select_related("workspace__cluster", "workspace__default_pool", "user").filter(user=request.user)
    return mine.order_by(looked_at, "workspace__display_name").first()


def has_role(membership: Membership, role: Role) -> bool:
    return RANK[Role(membership.role)] >= RANK[role]


def require_role(membership: Membership, role: Role, to: str) -> None:
    """Raises :class:`Forbidden` unless the member has at least this role. ``to`` completes "… can ___"."""
    if not has_role(membership, role):
        people = "Members and admins" if role == Role.MEMBER else "Only admins"
        raise Forbidden(f"{people} of {membership.workspace.display_name} can {to}. Ask an admin of the workspace.")


def require_owner_or_admin(membership: Membership, owner_id: int | None, to: str) -> None:
    """For things that have an owner: their owner (while at least a member) or an admin of the workspace."""
    require_role(membership, Role.MEMBER, to)
    if owner_id != membership.user_id and not has_role(membership, Role.ADMIN):
        raise Forbidden(f"Only the owner and admins of {membership.workspace.display_name} can {to}.")


def require_log_reader(membership: Membership, owner_id: int | None) -> None:
    """A session's log may hold whatever its owner printed, secrets too: its owner (while at least a member) and admins read it."""
    is_owner = owner_id == membership.user_id and has_role(membership, Role.MEMBER)
    if not (is_owner or has_role(membership, Role.ADMIN)):
        who = f"Only the owner and admins of {membership.workspace.display_name} can read a session’s log"
        raise Forbidden(f"{who}: it may hold anything that was printed there.")


def may_own(user_id: int | OuterRef, workspace_id: int | OuterRef) -> QuerySet[Membership]:
    """Not empty for whom a session may run: an active account that is at least a member. Takes values or ``OuterRef``s."""
    able = [role for role in Role if RANK[role] >= RANK[Role.MEMBER]]
    return Membership.objects.filter(user=user_id, workspace=workspace_id, user__is_active=True, role__in=able)


def workspace_view(
    view: Callable[Concatenate[Any, P], HttpResponse],
) -> Callable[..., HttpResponse]:
    """A view inside ``/w/<workspace>/``: signed in, a member; sets ``request.workspace`` and ``request.membership``."""

    @login_required
    @wraps(view)
    def wrapped(request: Any, workspace: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        request.membership = membership_of(request.user, workspace)
        request.workspace = request.membership.workspace
        if request.session.get(LAST_WORKSPACE) != workspace:
            request.session[LAST_WORKSPACE] = workspace
        return view(request, *args, **kwargs)

    return wrapped


def account_view(view: Callable[Concatenate[Any, P], HttpResponse]) -> Callable[..., HttpResponse]:
    """A view of what is the user's own, in no workspace: signed in. The frame shows the user's usual workspace."""

    @login_required
    @wraps(view)
    def wrapped(request: Any, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        membership = usual_membership(request)
        if membership is not None:  # else the frame does without
            request.membership, request.workspace = membership, membership.workspace
        return view(request, *args, **kwargs)

    return wrapped
