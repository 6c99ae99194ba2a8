"""The attached Slurm cluster as a session's page and the API show it: from what was last heard, never by asking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from compute.models import Membership, SlurmCluster
from sessions.marks import mark_of
from sessions.models import Session
from sessions.slurm import why_detached
from sessions.slurm_models import SlurmSight, SlurmState, SlurmTicket
from sessions.slurm_state import want

SOON = 2  # seconds between a page's looks while an answer is awaited
SELDOM = 15


@dataclass(frozen=True)
class Panel:
    """``sight`` is the owner's, whoever looks; but jobs are shown to the owner alone."""

    cluster: SlurmCluster
    detached: str
    state: SlurmState | None
    sight: SlurmSight | None
    ticket: SlurmTicket | None
    is_owner: bool

    @property
    def status(self) -> str:
        """detached, waiting (never asked so far), away (the controller does not answer), unwell (it answers, but not as it should), well."""
        if self.detached:
            return "detached"
        if self.sight is None or self.sight.asked_at is None:
            return "waiting"
        if not self.sight.problem:
            return "well"
        return "away" if self.state is not None and self.state.reachable is False else "unwell"

    @property
    def cause(self) -> str:
        """Why it is not well, in words."""
        return self.detached or (self.sight.problem if self.sight is not None else "")

    @property
    def token_problem(self) -> str:
        """Why the session holds no fresh token, in words, unless that is the cause already."""
        problem = self.ticket.problem if self.ticket is not None else ""
        return "" if problem == self.cause else problem

    @property
    def reachable(self) -> bool | None:
        """None when nobody has asked yet, or none may ask for this session."""
        return None if self.detached or self.state is None else self.state.reachable

    @property
    def since(self) -> datetime | None:
        return None if self.reachable is None or self.state is None else self.state.since

    @property
    def answered_at(self) -> datetime | None:
        return self.sight.answered_at if self.sight is not None and not self.detached else None

    @cached_property
    def seen(self) -> dict[str, Any]:
        """What it said when it last answered; empty if it never did."""
        return self.sight.seen if self.sight is not None and not self.detached else {}

    @property
    def nodes(self) -> dict[str, int] | None:
        return self.seen.get("nodes")

    @property
    def partitions(self) -> list[dict[str, Any]]:
        return self.seen.get("partitions", [])

    @property
    def jobs(self) -> list[dict[str, Any]] | None:
        """The owner's own; None for anybody else."""
        return self.seen.get("jobs", []) if self.is_owner else None

    @property
    def jobs_total(self) -> int | None:
        return self.seen.get("jobs_total", 0) if self.is_owner else None

    @property
    def more_jobs(self) -> int:
        return (self.jobs_total or 0) - len(self.jobs or [])

    @property
    def version(self) -> str:
        return self.seen.get("version", "")

    @property
    def skew(self) -> str:
        return self.seen.get("skew", "")

    @property
    def look_again(self) -> int:
        """After how many seconds the page asks again."""
        sight = self.sight
        awaited = sight is not None and sight.wanted_at is not None and (sight.asked_at is None or sight.asked_at < sight.wanted_at)
        return SOON if awaited else SELDOM

    @property
    def mark(self) -> str:
        """Changes with anything that is shown."""
        asked = self.sight.asked_at if self.sight is not None else None
        shown = (self.status, self.cause, self.token_problem, self.reachable, self.seen, asked, self.look_again)
        return mark_of(*shown)


def panel_of(membership: Membership, session: Session) -> Panel | None:
    """None when no Slurm cluster is attached. What is old is asked for, and will be there at the next look. Four queries, or eight."""
    cluster = session.slurm_cluster
    if cluster is None:
        return None
    is_owner = session.owner_id == membership.user_id
    ticket = SlurmTicket.objects.filter(pk=session.pk).first()
    if detached := why_detached(session):
        return Panel(cluster, detached, None, None, ticket, is_owner)
    sight = want(cluster.pk, session.owner_id)
    return Panel(cluster, "", SlurmState.objects.filter(pk=cluster.pk).first(), sight, ticket, is_owner)
