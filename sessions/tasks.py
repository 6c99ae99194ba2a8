"""The reconcile task: sends one session's newest generation to its cluster.

A task carries only an id and derives everything again, so losing, repeating or reordering tasks changes nothing but
seconds. Rows are claimed by a conditional UPDATE (a lease), and no lock is held while the cluster is called.
"""

from __future__ import annotations

import hashlib
import logging
import random
import socket
import uuid
from datetime import datetime, timedelta

from django.db.models import F, Q
from django.utils import timezone
from django_q.tasks import async_task

from compute.clusters import driver_for
from compute.clusters.base import ClusterError, Outdated
from compute.namespaces import ensure_namespace
from sessions.models import LEASE, MAX_BACKOFF, Activity, Desired, Session
from sessions.workload import build

log = logging.getLogger(__name__)

# A task that has been in the queue for this long may be lost: another one is queued.
QUEUE_STALE = timedelta(seconds=5)
# What was applied so recently is not applied again: after a long backlog there are more tasks than work.
JUST_NOW = timedelta(seconds=2)

# Leases say on which machine they are held, so that its next worker can tell which ones a dead one left.
MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def queue(session_id: int) -> bool:
    """Queue a reconcile of the session in the current transaction, unless one is waiting already. One UPDATE, one INSERT."""
    now = timezone.now()
    free = Q(queued_at=None) | Q(queued_at__lt=now - QUEUE_STALE) | Q(queued_at__gt=now + QUEUE_STALE)
    if not Session.objects.filter(free, pk=session_id).update(queued_at=now):
        return False
    async_task(reconcile, session_id)
    return True


def queue_new(session: Session) -> None:
    """Save a new session, and queue its first reconcile in the same transaction. Two INSERTs."""
    session.queued_at = timezone.now()
    session.save(force_insert=True)
    async_task(reconcile, session.pk)


def reconcile(session_id: int) -> None:
    """Claim the row, send it to the cluster unless another task just did, record what came of it. Never raises for a cluster's error."""
    holder = MACHINE + uuid.uuid4().hex
    session = _claim(session_id, holder)
    if session is None:
        return
    try:
        if not _was_just_applied(session):
            _act(session)
    except Outdated as newer:
        _overtaken(session, holder, newer.generation)
    except ClusterError as error:
        _record_error(session, holder, error.reason, str(error), retryable=error.retryable)
    except Exception:
        # The traceback goes to the log only: it may hold what a user typed.
        log.exception("Reconciling %s failed", session.host)
        _record_error(session, holder, "InternalError", "Slipway hit an error of its own; its log says more.", retryable=True)
    else:
        if _record_applied(session, holder):
            return
    _queue_if_newer(session)


def _claim(session_id: int, holder: str) -> Session | None:
    """Take the row's lease. None when another task holds it (that task queues again if there is more to do) or it is gone."""
    now = timezone.now()
    free = Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + LEASE * 2)
    if not Session.objects.filter(free, pk=session_id).update(lease_until=now + LEASE, lease_holder=holder, queued_at=None):
        Session.objects.filter(pk=session_id).update(queued_at=None)
        return None
    # What is encrypted is read by the act itself: a key that is missing is an error like others.
    return Session.objects.for_status().filter(pk=session_id).first()


def release_leases() -> None:
    """Free the rows that this machine's worker held when it ended; they would wait for the end of their leases. Tasks are
    safe to repeat, so it does no harm if another worker of this machine holds them."""
    Session.objects.filter(lease_holder__startswith=MACHINE).update(lease_until=None, lease_holder="")


def _was_just_applied(session: Session) -> bool:
    applied_at = session.applied_at
    return session.applied_generation == session.generation and applied_at is not None and abs(timezone.now() - applied_at) < JUST_NOW


def _act(session: Session) -> None:
    driver = driver_for(session.workspace.cluster)
    namespace = session.workspace.namespace
    if session.desired == Desired.RUNNING:
        ensure_namespace(session.workspace)
        session.refresh_from_db(fields=["snapshot", "ide_token"])  # in one query; they were left out until now
        driver.apply(build(session))
    elif session.desired == Desired.PAUSED:
        driver.pause(namespace, session.host, session.generation)
    else:
        driver.remove(namespace, session.host, session.generation)


def _record_applied(session: Session, holder: str) -> bool:
    """Record it and free the row. False when something newer may have been asked for meanwhile."""
    applied = {
        "applied_generation": session.generation,
        "applied_at": timezone.now(),
        "lease_until": None,
        "lease_holder": "",
        "attempts": 0,
        "next_try_at": None,
        "apply_reason": "",
        "apply_message": "",
        "apply_final": False,
    }
    row = Session.objects.filter(pk=session.pk, lease_holder=holder)
    if row.filter(generation=session.generation).update(**applied):
        return True
    row.update(**applied)
    return False


def _overtaken(session: Session, holder: str, theirs: int) -> None:
    """The cluster has acted on a newer generation than this task's.

    So has the row, and this task is late: there is nothing to do. Unless the database is a restored backup: then what it
    says is what is wanted, and is asked for again as a generation that the cluster has not seen.
    """
    Session.objects.filter(pk=session.pk, lease_holder=holder).update(lease_until=None, lease_holder="")
    fresh = {"generation": theirs + 1} | ({"revision": theirs + 1} if session.desired == Desired.RUNNING else {})
    if Session.objects.filter(pk=session.pk, generation=session.generation).update(**fresh):
        log.warning("The cluster of %s is ahead of the database, as after a restore: it is told again what is wanted.", session.host)


def _record_error(session: Session, holder: str, reason: str, message: str, *, retryable: bool) -> None:
    final = not retryable and session.desired == Desired.RUNNING  # a pause or a delete is tried until it works
    updated = Session.objects.filter(pk=session.pk, lease_holder=holder).update(
        lease_until=None,
        lease_holder="",
        attempts=F("attempts") + 1,
        next_try_at=_next_try(session.attempts),
        apply_reason=reason,
        apply_message=message,
        apply_final=final,
        error_generation=session.generation,
    )
    news = (reason, message) != (session.apply_reason, session.apply_message) or session.error_generation != session.generation
    if updated and news:
        Activity.objects.create(
            workspace_id=session.workspace_id, session=session, host=session.host, verb="error", reason=reason, message=message
        )


def _next_try(attempts: int) -> datetime:
    """1, 2, 4 … seconds, at most ``MAX_BACKOFF``; up to a fifth less, so that what failed together does not come back together."""
    wait = min(MAX_BACKOFF, timedelta(seconds=2 ** min(attempts, 10)))
    return timezone.now() + wait * (1 - random.random() / 5)  # noqa: S311 (nothing secret)


def _queue_if_newer(session: Session) -> None:
    """An intent that came while this task worked found the row leased; its own task may have given up."""
    if Session.objects.filter(pk=session.pk, generation__gt=session.generation).exists():
        queue(session.pk)
