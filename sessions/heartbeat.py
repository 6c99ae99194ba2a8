"""The worker's heartbeat: a task that travels the whole way (row, pusher, worker, acknowledgement) and leaves a stamp."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.tasks import async_task

from sessions.broker import Broker
from sessions.models import Heartbeat

WORKER = "worker"
CONTROLLER = "controller"


class _RememberingBroker(Broker):
    """Keeps the row that a task became; ``async_task`` itself only tells the task's id, which is no column."""

    row = 0

    def enqueue(self, task: str) -> int:
        self.row = super().enqueue(task)
        return self.row


def beat() -> None:
    """The task: show that the worker works."""
    stamp(WORKER)


def stamp(name: str) -> None:
    """Show that a part of Slipway works. Two queries."""
    Heartbeat.objects.update_or_create(name=name, defaults={"at": timezone.now()})


def queue_beat() -> int:
    """Queue one beat; returns its row in the queue, to be given to :func:`is_done`."""
    broker = _RememberingBroker(list_key=Conf.CLUSTER_NAME)
    async_task("sessions.heartbeat.beat", broker=broker, timeout=10)
    return broker.row


def is_done(row: int) -> bool:
    """Whether the beat of this row was executed and acknowledged."""
    return not OrmQ.objects.filter(pk=row).exists()


def ahead_of(row: int) -> int:
    """How many tasks were queued before this beat and are not acknowledged. It only ever shrinks."""
    return OrmQ.objects.filter(pk__lt=row).count()


def forget(row: int) -> None:
    """Take a beat that nobody did out of the queue."""
    OrmQ.objects.filter(pk=row).delete()


def in_hand() -> int:
    """How many tasks a worker has taken from the queue and not yet acknowledged. Rows that became one task share their lock."""
    return OrmQ.objects.filter(key=Conf.CLUSTER_NAME, lock__gt=timezone.now()).values("lock").distinct().count()


def release() -> None:
    """Give back what a worker that has ended had in hand; otherwise it would wait for its time-out (``retry``). Tasks are
    safe to repeat, so it does no harm if another worker has it."""
    OrmQ.objects.filter(key=Conf.CLUSTER_NAME, lock__gt=timezone.now()).update(lock=timezone.now())


def ages() -> dict[str, float]:
    """Seconds since each part last showed that it works, by its name. One query."""
    now = timezone.now()
    return {name: age(at, now) for name, at in Heartbeat.objects.values_list("name", "at")}


def age(at: datetime, now: datetime) -> float:
    return max(0.0, (now - at).total_seconds())
