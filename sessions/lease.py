"""The controller's lease: of any number of controllers, on any number of machines, one leads; the rest are in reserve.

It is the controller's heartbeat row with a holder, taken by a conditional UPDATE. Statuses are derived from what is, so
the moment in which an old leader has not noticed yet that it is one no more costs a repeated write and nothing else.
"""

from __future__ import annotations

import time
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from sessions import machine
from sessions.heartbeat import CONTROLLER
from sessions.models import Heartbeat

TERM = timedelta(seconds=15)  # how long a leader that says nothing stays one
RENEW_EVERY = 2.0


class Lease:
    """This process's claim to lead. Not thread-safe: one loop uses it."""

    def __init__(self) -> None:
        self.holder = machine.this_process()
        self.renewed = 0.0

    def take(self) -> bool:
        """Become or stay the leader, if nobody else is. One to three queries."""
        now = timezone.now()
        Heartbeat.objects.get_or_create(name=CONTROLLER, defaults={"at": now - TERM * 2})
        # A time far ahead is of a clock that has been set back since: it holds nobody up.
        free = Q(holder__in=("", self.holder)) | Q(at__lt=now - TERM) | Q(at__gt=now + TERM)
        row = Heartbeat.objects.filter(name=CONTROLLER)
        taken = row.filter(free).update(holder=self.holder, at=now)
        # Nobody needs to wait for the term of one that has ended.
        if not taken and machine.has_ended(before := row.values_list("holder", flat=True).get()):
            taken = row.filter(holder=before).update(holder=self.holder, at=now)
        if taken:
            self.renewed = time.monotonic()
        return bool(taken)

    def hold(self) -> bool:
        """Whether this process still leads, renewing the lease when it is due."""
        if time.monotonic() - self.renewed < RENEW_EVERY:
            return True
        now = timezone.now()
        if not Heartbeat.objects.filter(name=CONTROLLER, holder=self.holder).update(at=now):
            return False
        self.renewed = time.monotonic()
        return True

    def release(self) -> None:
        """Let the next one in reserve take over at once."""
        Heartbeat.objects.filter(name=CONTROLLER, holder=self.holder).update(holder="")
