"""The watchdog of the worker.

django-q2 loses its worker for good when an idle one is killed: the dead process takes a lock of the shared queue
along, and every other one waits for it for ever, alive. So its being there says nothing; only work that is done does.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.util
import os
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, close_old_connections
from django_q.conf import Conf

from config import process
from sessions import heartbeat, tasks

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
BEAT_EVERY = 2.0
STALE_AFTER = 8.0  # a beat takes 0.2 s
BUSY_STALE_AFTER = 45.0  # every worker may be in a call to a slow cluster
START_GRACE = 30.0
STOP_GRACE = 5.0
HANGING_GRACE = 1.0
FIRST_BACKOFF, MAX_BACKOFF = 0.2, 10.0


class FamilyTie:
    """Makes each process that ``multiprocessing`` forks from here on (sentinel, workers, pusher, monitor) die with its
    parent. What they start by ``subprocess`` is left alone: sessions outlive the worker that started them."""

    def __init__(self) -> None:
        multiprocessing.util.register_after_fork(self, FamilyTie.bind)

    def bind(self) -> None:
        process.die_with_parent()
        parent = multiprocessing.parent_process()
        if parent is not None and parent.pid != os.getppid():  # it ended before the kernel was told
            os._exit(1)


class Pulse:
    """Whether the queue is being worked off, told by one beat after the other. Times are monotonic: clock jumps do not matter."""

    def __init__(self, now: float) -> None:
        self.row = 0
        self.ahead = 0
        self.moved = now
        self.done: float | None = None

    def look(self, now: float) -> str:
        """Queue a beat, or see what became of the last one. Returns why the worker must be started again, or nothing."""
        if not self.row:
            if self.done is None or now - self.done >= BEAT_EVERY:
                self.row, self.moved = heartbeat.queue_beat(), now
                self.ahead = heartbeat.ahead_of(self.row)
            return ""
        if heartbeat.is_done(self.row):
            self.row, self.done = 0, now
            return ""
        if (ahead := heartbeat.ahead_of(self.row)) < self.ahead:
            self.ahead, self.moved = ahead, now
        still = now - self.moved
        if still < (START_GRACE if self.done is None else STALE_AFTER):
            return ""
        if still < BUSY_STALE_AFTER and heartbeat.in_hand() >= Conf.WORKERS:
            return ""
        return f"it has done nothing for {still:.0f} s"

    def end(self) -> None:
        """Take the beat that this worker leaves undone out of the queue."""
        if self.row:
            heartbeat.forget(self.row)


class Watchdog:
    """Runs ``start`` (which starts the worker) and starts it again when it ended or stopped working, until ``stop`` is set."""

    def __init__(self, start: Callable[[], process.Child], stop: threading.Event) -> None:
        self.start = start
        self.stop = stop
        self.backoff = FIRST_BACKOFF

    def run(self) -> None:
        self._release()  # what a worker left whose watchdog was killed with it
        while not self.stop.is_set():
            started = time.monotonic()
            worker = self.start()
            why = self._watch(worker)
            # One that hangs does not end when it is asked to; nor is there much left in its hands to finish.
            process.stop_all([worker], HANGING_GRACE if why else STOP_GRACE)
            self._release()
            if self.stop.is_set():
                return
            self.backoff = FIRST_BACKOFF if time.monotonic() - started > START_GRACE else min(self.backoff * 2, MAX_BACKOFF)
            log.warning("The worker is started again in %.1f s: %s.", self.backoff, why)
            self.stop.wait(self.backoff)

    def _watch(self, worker: process.Child) -> str:
        """Returns why the worker is to be started again; empty when asked to stop."""
        pulse = Pulse(time.monotonic())
        why = ""
        while not why and not self.stop.wait(LOOK_EVERY):
            try:
                close_old_connections()
                if (status := worker.poll()) is not None:
                    why = f"it ended with status {status}"
                    pulse.end()
                elif why := pulse.look(time.monotonic()):
                    pulse.end()
            except DatabaseError as error:
                # The worker can do nothing without its database either; starting it again would not help.
                log.warning("The watchdog can't look at the queue: %s", type(error).__name__)
                pulse = Pulse(time.monotonic())
                self.stop.wait(BEAT_EVERY)
        return why

    def _release(self) -> None:
        """The rows first, so that tasks that are given back find them free."""
        try:
            tasks.release_leases()
            heartbeat.release()
        except DatabaseError as error:
            log.warning("What the worker had in hand waits for its time-out: %s", type(error).__name__)
