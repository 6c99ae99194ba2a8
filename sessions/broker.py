"""The queue between services and worker: django-q2's own table, with three things of ours (docs/adr/0008).

* On PostgreSQL the worker is told of a new task by the COMMIT that brings it. Polling goes on, for a word that got lost.
* Reconciles that wait are handed to the workers in batches: as many as come while the workers are busy. When many come, they
  are gathered for a moment.
* A database that is away for a moment is asked again a moment later.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, connections
from django.db.models import QuerySet
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import BadSignature, SignedPackage

from compute.prepared import prepared
from sessions import tasks

log = logging.getLogger(__name__)

CHANNEL = "slipway_queue"
BUSY = 2  # reconciles in a second: those that come beyond it are gathered
GATHER = 0.05  # seconds, for each of them
LONGEST_GATHER = 0.5
MOMENT = timedelta(microseconds=1)
POLL_BESIDES = 1.0  # seconds between looks when nothing is said, while what is said does arrive
HEARD_LATELY = 10.0  # seconds
AWAY = 1.0  # seconds between questions to a database that does not answer

Row = tuple[int, str]  # primary key, payload
Task = tuple[list[int], str]  # the rows that it was made of, payload


class Broker(ORM):
    """Rows of one task share their ``lock``, the time until which they are in hand, and no two tasks do."""

    _listening: object = None  # the connection that listens; a new one has to be told to

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._word = False  # whether the last wait ended with one
        self._heard = -HEARD_LATELY  # when (monotonic) the last one came
        self._recent: deque[tuple[float, int]] = deque()  # when (monotonic) and how many reconciles were taken in the last second

    def enqueue(self, task: str) -> int:
        """Add a task in the current transaction; returns its row."""
        row: int = super().enqueue(task)
        connection = connections[Conf.ORM]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")  # sent by the COMMIT
        return row

    def dequeue(self) -> list[Task]:
        """What waits, made into at most one task per worker; after a while (``poll``), nothing."""
        try:
            self._listen()
            busy = self._gather()
            if taken := self._take(tasks.BATCH if busy else 1):
                return taken
            self._wait()
        except DatabaseError as error:
            log.warning("The queue can't be read: %s", type(error).__name__)
            connections[Conf.ORM].close()
            time.sleep(AWAY)
        return []

    def delete(self, rows: Sequence[int]) -> None:
        self.get_connection().filter(pk__in=rows).delete()

    def _gather(self) -> bool:
        """When many have come in the last second, wait for more since the last was taken, unless more wait already than can be
        taken at once. Whether many have come."""
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - 1:
            self._recent.popleft()
        beyond = sum(number for _, number in self._recent) - BUSY
        if beyond <= 0:
            return False
        taken_at, number = self._recent[-1]
        if number < _most():
            time.sleep(max(0.0, taken_at + min(GATHER * beyond, LONGEST_GATHER) - now))
        return True

    def _take(self, together: int) -> list[Task]:
        now = timezone.now()
        rows = _waiting(self.list_key, now)
        until = now + timedelta(seconds=Conf.RETRY)
        found, reconciles = _batches(rows, together)
        if reconciles:
            self._recent.append((time.monotonic(), reconciles))
        claimed = (self._claim(task, now, until + number * MOMENT) for number, task in enumerate(found))
        return [task for task in claimed if task is not None]

    def _claim(self, task: Task, now: datetime, until: datetime) -> Task | None:
        """The task as it can be had: another worker may have been faster, and then it is left as a whole to the next look."""
        rows, _ = task
        queue = OrmQ.objects.using(Conf.ORM)
        if queue.filter(pk__in=rows, lock__lt=now).update(lock=until) == len(rows):
            return task
        queue.filter(pk__in=rows, lock=until).update(lock=now)
        return None

    def _listen(self) -> None:
        connection = connections[Conf.ORM]
        if connection.vendor == "postgresql" and (connection.connection is None or connection.connection is not self._listening):
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            self._listening = connection.connection

    def _wait(self) -> None:
        """Until the next word, but not longer than a poll: seldom while words come (there is a beat every two seconds); as often
        as ``poll`` says where they get lost, and after a word that was early by this machine's clock."""
        connection = connections[Conf.ORM]
        if connection.vendor != "postgresql":
            time.sleep(Conf.POLL)
            return
        seldom = not self._word and time.monotonic() - self._heard < HEARD_LATELY
        self._word = False
        with connection.wrap_database_errors:
            for _ in connection.connection.notifies(timeout=max(Conf.POLL, POLL_BESIDES) if seldom else Conf.POLL, stop_after=1):
                self._word, self._heard = True, time.monotonic()


@prepared
def _waiting(key: str, now: datetime) -> QuerySet[OrmQ, Row]:
    return OrmQ.objects.filter(key=key, lock__lt=now).order_by("pk").values_list("pk", "payload")[: _most()]


def _most() -> int:
    """Reconciles that can be in hand at once."""
    most: int = tasks.BATCH * Conf.WORKERS
    return most


def _batches(rows: Sequence[Row], together: int) -> tuple[list[Task], int]:
    """Reconciles together, evenly for all workers but at least so many in a task; every other task on its own. And how many
    reconciles they are."""
    alone: list[Task] = []
    reconciles: list[tuple[int, dict[str, Any]]] = []
    for row, payload in rows:
        task = _opened(payload)
        if task is not None and task["func"] is tasks.reconcile:
            reconciles.append((row, task))
        else:
            alone.append(([row], payload))
    size = max(together, -(-len(reconciles) // Conf.WORKERS))
    batches = [reconciles[start : start + size] for start in range(0, len(reconciles), size)]
    return alone + [_merged(batch) for batch in batches], len(reconciles)


def _opened(payload: str) -> dict[str, Any] | None:
    """None for one that we did not sign; whoever gets it throws it away."""
    try:
        task: dict[str, Any] = SignedPackage.loads(payload)
    except (TypeError, BadSignature):
        return None
    return task


def _merged(batch: Sequence[tuple[int, dict[str, Any]]]) -> Task:
    first = batch[0][1]
    ids = dict.fromkeys(session_id for _, task in batch for session_id in task["args"])
    return [row for row, _ in batch], SignedPackage.dumps({**first, "args": tuple(ids)})
