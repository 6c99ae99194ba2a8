"""Sees every change of every session by looking at its files, and gives a supervisor to sessions that lost theirs.

A look costs two ``stat`` calls per session; files are read only when they changed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from compute.clusters.base import ClusterError, Stop
from compute.clusters.local import layout
from compute.clusters.local.layout import Session
from compute.clusters.local.observe import observation
from compute.clusters.local.processes import Process
from compute.clusters.local.status import State, Status
from compute.workload import Observation

LOOK = 0.15
LIVENESS = 1.5
UNSETTLED = 2.0
SWEEP = 3600.0
logger = logging.getLogger(__name__)


class Seen:
    """What was known of a session at the last look. Times are monotonic."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lock = session.lock
        self.files = (str(session.desired), str(session.status))
        self.stamp: tuple[tuple[int, int], ...] = ()
        self.told_at = self.checked_at = 0.0
        self.ended = self.settled = False

    def changed(self) -> bool:
        """Whether a file was replaced since the last call."""
        stamp = tuple(_stamp(file) for file in self.files)
        same, self.stamp = stamp == self.stamp, stamp
        return not same

    def read(self) -> None:
        """``ended``: what is wanted is true, without any process. ``settled``: or the IDE is ready."""
        wanted, status = layout.read_json(self.session.desired), Status.load(self.session.status)
        if wanted is None or status is None:
            self.ended = self.settled = False
            return
        current = wanted["want"] == "run" and status.revision == wanted["revision"]
        self.ended = (current and status.state == State.FAILED) or (wanted["want"] == "pause" and status.state == State.PAUSED)
        self.settled = self.ended or (current and status.state == State.RUNNING)

    def supervised(self) -> bool:
        supervisor = Process.load(layout.read_json(self.lock))
        return supervisor is not None and supervisor.alive()


class Watch:
    def __init__(self, root: Path, heal: Callable[[str, str], None], sweep: Callable[[], None]) -> None:
        self.root, self.heal, self.sweep = root, heal, sweep
        self.sweep_at = time.monotonic()
        self.seen: dict[tuple[str, str], Seen] = {}

    def run(self, stop: Stop) -> Iterator[Observation | None]:
        """See ``Driver.watch``."""
        while not stop.is_set():
            self._sweep()
            yield from self.look()
            yield None
            stop.wait(LOOK)

    def look(self) -> Iterator[Observation]:
        """What changed since the last look, and what is due anyway."""
        there = set(self._names())
        for key in there:
            seen = self.seen.get(key) or self.seen.setdefault(key, Seen(Session(self.root, *key)))
            try:
                if self._is_due(seen):
                    yield observation(seen.session)
            except (OSError, ValueError, KeyError, TypeError):
                logger.exception("The files of the local session %s cannot be read.", key[1])
        for namespace, name in self.seen.keys() - there:
            del self.seen[namespace, name]
            yield Observation(name=name, namespace=namespace, at=datetime.now(UTC), exists=False, retained=False)

    def _names(self) -> Iterator[tuple[str, str]]:
        folder = self.root / "sessions"
        with suppress(FileNotFoundError):
            for namespace in os.listdir(folder):
                with suppress(FileNotFoundError, NotADirectoryError):
                    for name in os.listdir(folder / namespace):
                        if layout.NAME.fullmatch(name):  # locks of sessions start with a dot
                            yield namespace, name

    def _is_due(self, seen: Seen) -> bool:
        now = time.monotonic()
        due = seen.changed()
        if due:
            seen.read()
        elif now - seen.checked_at >= LIVENESS and not seen.ended:
            seen.checked_at = now
            if not seen.supervised():
                seen.settled = False
                self._heal(seen.session)
            elif not seen.settled:
                seen.read()
        due = due or (not seen.settled and now - seen.told_at >= UNSETTLED)
        if due:
            seen.told_at = now
        return due

    def _sweep(self) -> None:
        """At the start, and then every hour."""
        if time.monotonic() < self.sweep_at:
            return
        self.sweep_at = time.monotonic() + SWEEP
        try:
            self.sweep()
        except ClusterError as error:
            logger.warning("Deleted volumes have to wait: %s", error)

    def _heal(self, session: Session) -> None:
        try:
            self.heal(session.namespace, session.name)
        except ClusterError as error:
            logger.warning("The local session %s has no supervisor: %s", session.name, error)


def _stamp(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)
