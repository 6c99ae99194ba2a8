"""Waiting for a phase without asking again and again: one thread per process looks for all who wait, in one query."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, connection

from sessions.models import Desired, Phase, Session

log = logging.getLogger(__name__)
LOOK = 0.3  # seconds
DELETED = "Deleted"
# The phases worth waiting for; Deleted is when there is no such session any more.
WANTED = (Phase.RUNNING.value, Phase.PAUSED.value, Phase.FAILED.value, DELETED)


@dataclass(frozen=True)
class State:
    """What decides whether a wait is over."""

    phase: str
    desired: str
    is_settled: bool

    @classmethod
    def of(cls, session: Session) -> State:
        return cls(session.phase, session.desired, session.status_generation >= session.generation)


def is_over(state: State | None, wanted: str) -> bool:
    """Whether the phase is there, or can't come any more. None: the session is gone."""
    if state is None:
        return True
    if state.is_settled and state.phase == wanted:
        return True
    if wanted == Phase.RUNNING:
        return state.desired != Desired.RUNNING or (state.is_settled and state.phase == Phase.FAILED)
    if wanted == Phase.PAUSED:
        return state.desired != Desired.PAUSED
    return wanted == DELETED and state.desired != Desired.DELETED


class Waiters:
    """The requests of this process that wait. At most ``SLIPWAY_API_WAITERS`` at once: the others must be served, too."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: Counter[int] = Counter()
        self._states: dict[int, State | None] = {}
        self._thread: threading.Thread | None = None

    def wait(self, session: Session, wanted: str, timeout: float) -> bool:
        """Until the wait is over or the time is; at once when it is over already. False: there was no place to wait."""
        if is_over(State.of(session), wanted):
            return True
        key = session.pk
        with self._changed:
            if self._watched.total() >= settings.SLIPWAY_API_WAITERS:
                return False
            self._watched[key] += 1
            self._start()
            try:
                self._changed.wait_for(self._came(key, wanted), timeout)
            finally:
                self._watched[key] -= 1
                if not self._watched[key]:
                    del self._watched[key]
                    self._states.pop(key, None)
        return True

    def _came(self, key: int, wanted: str) -> Callable[[], bool]:
        return lambda: key in self._states and is_over(self._states[key], wanted)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="api-waiters", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        """Look for everybody, tell everybody, until nobody waits."""
        try:
            while True:
                with self._changed:
                    self._changed.wait(LOOK)
                    keys = list(self._watched)
                    if not keys:
                        self._thread = None
                        return
                try:
                    found = self._read(keys)
                except DatabaseError:
                    log.exception("Looking for waited-for sessions failed; trying again")
                    connection.close()
                    continue
                with self._changed:
                    self._states = {key: found.get(key) for key in keys}
                    self._changed.notify_all()
        finally:
            connection.close()

    @staticmethod
    def _read(keys: list[int]) -> dict[int, State]:
        rows = Session.objects.filter(pk__in=keys).only("phase", "desired", "generation", "status_generation").order_by()
        return {row.pk: State.of(row) for row in rows}


waiters = Waiters()
