"""What a session's cluster says has happened to it, fit for a page."""

from __future__ import annotations

from dataclasses import dataclass

from compute.clusters import driver_for
from compute.clusters.base import ClusterError, Event
from sessions.logs import readable
from sessions.marks import mark_of
from sessions.models import Session

SHOWN = 100


@dataclass(frozen=True)
class EventRow:
    event: Event
    message: str

    @property
    def is_warning(self) -> bool:
        return self.event.kind == "Warning"


@dataclass(frozen=True)
class Events:
    """Newest first. ``total`` counts those that are not shown, too; ``problem`` is a sentence when the cluster would not tell."""

    rows: tuple[EventRow, ...] = ()
    total: int = 0
    problem: str = ""

    @property
    def mark(self) -> str:
        return mark_of(self.rows, self.total, self.problem)


def events_of(session: Session) -> Events:
    """The last events, asked of the session's cluster now. Never raises for a cluster that is away."""
    try:
        told = driver_for(session.workspace.cluster).events(session.workspace.namespace, session.host)
    except ClusterError as error:
        return Events(problem=f"The events can't be read now: {error}")
    rows = (EventRow(event, readable(session, event.message)) for event in reversed(told[-SHOWN:]))
    return Events(tuple(rows), len(told))
