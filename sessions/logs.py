"""What a session wrote, fit for a page."""

from __future__ import annotations

import re
from dataclasses import dataclass

from compute.access import require_log_reader
from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from compute.errors import Forbidden
from compute.models import Membership
from sessions.marks import mark_of
from sessions.models import Session

LINES = 200
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class LogTail:
    """``problem`` is a sentence when the cluster would not tell; then ``text`` is the last that was kept.

    ``hidden`` is a sentence for who may not read it. ``previous``: of the run before the last restart; ``has_previous``:
    there was such a run.
    """

    text: str
    problem: str = ""
    hidden: str = ""
    previous: bool = False
    has_previous: bool = False

    @property
    def mark(self) -> str:
        return mark_of(self.text, self.problem, self.hidden, self.has_previous)


def tail(membership: Membership, session: Session, previous: bool = False, lines: int = LINES) -> LogTail:
    """The last lines of the session's log, asked of its cluster now, once. Never raises for a cluster that is away."""
    if hidden := why_hidden(membership, session):
        return LogTail("", hidden=hidden)
    text, problem = "" if previous else readable(session, session.log_tail), ""
    driver = driver_for(session.workspace.cluster)
    try:
        told = driver.logs(session.workspace.namespace, session.host, tail=lines, previous=previous)
        text = readable(session, told) or text
    except ClusterError as error:
        problem = f"The log can't be read now: {error}"
    return LogTail(text, problem, previous=previous, has_previous=previous or has_previous(membership, session))


def has_previous(membership: Membership, session: Session) -> bool:
    """Whether to offer this member the log of the run before the last restart. Only its own page asks whether it is still there."""
    return session.restarts > 0 and not why_hidden(membership, session)


def why_hidden(membership: Membership, session: Session) -> str:
    """Why this member may not read the session's log; empty for those who may."""
    try:
        require_log_reader(membership, session.owner_id)
    except Forbidden as forbidden:
        return str(forbidden)
    return ""


def readable(session: Session, text: str) -> str:
    """Without terminal codes and overwritten progress lines, and without the IDE's token, should the IDE have printed it."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in ESCAPES.sub("", text).split("\n"))
    plain = CONTROLS.sub("", "\n".join(lines)).rstrip()
    return plain.replace(session.ide_token, "…") if session.ide_token else plain
