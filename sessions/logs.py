"""What a session wrote, fit for a page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2s

from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from sessions.models import Session

LINES = 200
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class LogTail:
    """``problem`` is a sentence when the cluster would not tell; then ``text`` is the last that was kept."""

    text: str
    problem: str = ""

    @property
    def mark(self) -> str:
        return blake2s(f"{self.problem}\n{self.text}".encode(), digest_size=8).hexdigest()


def tail(session: Session) -> LogTail:
    """The last lines of the session's log, asked of its cluster now. Never raises for a cluster that is away."""
    try:
        told = driver_for(session.workspace.cluster).logs(session.workspace.namespace, session.host, tail=LINES)
    except ClusterError as error:
        return LogTail(readable(session, session.log_tail), f"The log can't be read now: {error}")
    return LogTail(readable(session, told or session.log_tail))


def readable(session: Session, text: str) -> str:
    """Without terminal codes and overwritten progress lines, and without the IDE's token, should the IDE have printed it."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in ESCAPES.sub("", text).split("\n"))
    plain = CONTROLS.sub("", "\n".join(lines)).rstrip()
    return plain.replace(session.ide_token, "…") if session.ide_token else plain
