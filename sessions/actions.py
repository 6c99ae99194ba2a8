"""What a member may do with a session now: which buttons a page shows. The services check again."""

from __future__ import annotations

from dataclasses import dataclass

from compute.access import has_role, require_owner_or_admin
from compute.errors import Forbidden
from compute.models import Membership, Role
from sessions.models import Phase, Session


@dataclass(frozen=True)
class Actions:
    open: bool = False
    pause: bool = False
    resume: bool = False
    retry: bool = False
    delete: bool = False

    @property
    def any(self) -> bool:
        return self.open or self.pause or self.resume or self.delete


def actions_for(membership: Membership, session: Session) -> Actions:
    """No queries. ``retry`` goes with ``resume`` and only changes its word."""
    try:
        require_owner_or_admin(membership, session.owner_id, "manage this session")
    except Forbidden:
        return Actions()
    return Actions(
        open=session.can_open and session.owner_id == membership.user_id and has_role(membership, Role.MEMBER),
        pause=session.can_pause,
        resume=session.can_resume,
        retry=session.can_resume and session.phase == Phase.FAILED,
        delete=session.can_delete,
    )
