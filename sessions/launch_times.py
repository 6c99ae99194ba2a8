"""How long launches took and how they ended, for the metrics. Resumes and retries are launches as well."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime

from sessions import tallies
from sessions.models import Desired, Phase, Session

COUNT_EVERY = 5.0  # seconds; what collects metrics asks less often


def settled(session: Session, phase: str) -> dict[str, int]:
    """The status field that says that a launch has come to its end, which it does once; empty while it has not."""
    has_ended = session.desired == Desired.RUNNING and phase in (Phase.RUNNING, Phase.FAILED)
    return {"settled_revision": session.revision} if has_ended and session.settled_revision < session.revision else {}


class Ended:
    """Launches that have just settled, gathered for a few seconds: each count is many small UPDATEs. What a controller that is
    killed has not counted yet is missing in the metrics for good."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Session, str, datetime]] = []
        self.due = 0.0  # monotonic

    def add(self, ended: Iterable[tuple[Session, str, datetime]]) -> None:
        """Session, phase and when."""
        self.waiting += ended

    def count_if_due(self) -> None:
        if self.waiting and time.monotonic() >= self.due:
            self.count()

    def count(self) -> None:
        """A few UPDATEs per cluster, none without any."""
        self.due = time.monotonic() + COUNT_EVERY
        ended, self.waiting = self.waiting, []
        _count(ended)


def _count(ended: Iterable[tuple[Session, str, datetime]]) -> None:
    results: Counter[tuple[str, str]] = Counter()
    applied: dict[str, list[float]] = defaultdict(list)
    running: dict[str, list[float]] = defaultdict(list)
    for session, phase, at in ended:
        cluster = session.workspace.cluster.name
        results[cluster, phase] += 1
        if session.reached_at is not None and session.reached_at >= session.requested_at:  # else it never reached the cluster
            applied[cluster].append((session.reached_at - session.requested_at).total_seconds())
        if phase == Phase.RUNNING:
            running[cluster].append((at - session.requested_at).total_seconds())
    for (cluster, phase), number in sorted(results.items()):
        tallies.add(tallies.LAUNCHES, cluster, phase, count=number)
    for name, found in ((tallies.LAUNCH_APPLIED, applied), (tallies.LAUNCH_RUNNING, running)):
        for cluster, seconds in sorted(found.items()):
            tallies.observe(name, cluster, seconds)
