"""The reconcile task: sends the newest generation of a session, or of a few, to its cluster.

A task carries only ids and derives everything again, so losing, repeating or reordering tasks changes nothing but
seconds. Rows are claimed by a conditional UPDATE (a lease), and no lock is held while the cluster is called.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Case, F, Min, Q, QuerySet, Value, When
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from compute import log_context
from compute.clusters import driver_for
from compute.clusters.base import ClusterError, Outdated
from compute.models import Cluster
from compute.namespaces import ensure_namespace
from compute.prepared import insert, prepared
from compute.workload import Workload
from sessions import slurm_tickets, tallies
from sessions.machine import MACHINE
from sessions.models import LEASE, MAX_BACKOFF, Activity, Desired, Session
from sessions.times import outside
from sessions.workload import build
from storage.encryption import UndecryptableValue

log = logging.getLogger(__name__)

# A task that has been in the queue for this long may be lost: another one is queued.
QUEUE_STALE = timedelta(seconds=5)
# What was applied so recently is not applied again: after a long backlog there are more tasks than work.
JUST_NOW = timedelta(seconds=2)
# What a session asks of its cluster, and what came of the last try. The rest of a row is much: it is read if it is asked for.
NEEDED = {
    *("id", "workspace", "owner", "slurm_cluster", "host", "desired", "generation", "revision", "snapshot", "ide_token"),
    *("applied_generation", "applied_at", "attempts", "apply_reason", "apply_message", "error_generation"),
}
NOT_NEEDED = [field.name for field in Session._meta.concrete_fields if field.name not in NEEDED]
BATCH = 8  # sessions that one task may be given
AWAY = 0.5  # seconds between tries of a database that does not answer
PATIENCE = 2.0  # seconds after which a task's step begins with no other session; leases and time-outs are much longer

Ready = dict[int, Workload]  # by session: what is left to apply


def queue(session_id: int) -> bool:
    """Queue a reconcile of the session in the current transaction, unless one is waiting already. One UPDATE, one INSERT."""
    now = timezone.now()
    if not Session.objects.filter(_not_waiting(now - QUEUE_STALE, now), pk=session_id).update(queued_at=now):
        return False
    async_task(reconcile, session_id)
    return True


def queue_new(session: Session) -> None:
    """Save a new session, and queue its first reconcile in the same transaction. Two INSERTs."""
    session.queued_at = timezone.now()
    insert([session])
    async_task(reconcile, session.pk)


def queue_due(limit: int = 500) -> int:
    """Queue what is due and has no task; returns how many. Two queries when there is nothing to do.

    In a long queue a task waits for its turn without being lost: it is there as long as tasks that are older wait.
    """
    now = timezone.now()
    oldest = OrmQ.objects.filter(lock__lte=now).aggregate(Min("lock"))["lock__min"]  # of one that waits: when it was queued
    lost = _not_waiting(min(now, oldest or now) - QUEUE_STALE, now)
    due = list(Session.objects.needing_reconcile().filter(lost).order_by("requested_at").values_list("pk", flat=True)[:limit])
    for start in range(0, len(due), BATCH):
        batch = due[start : start + BATCH]
        with transaction.atomic():
            Session.objects.filter(pk__in=_lock(batch)).update(queued_at=now)
            async_task(reconcile, *batch)
    return len(due)


def _not_waiting(stale: datetime, now: datetime) -> Q:
    return outside("queued_at", stale, now + QUEUE_STALE)


def reconcile(*session_ids: int) -> None:
    """Send sessions to their clusters, one after the other, but for those that other tasks work on. Never raises for a cluster's error.

    Their rows are claimed and recorded together. Those that it has no time for are queued again. So are all of them, by the
    controller, when the database goes away meanwhile: then it waits until they can be given back.
    """
    holder = MACHINE + uuid.uuid4().hex  # so that the machine's next worker can tell which leases a dead one left
    try:
        _reconcile(session_ids, holder)
    except (OperationalError, InterfaceError) as error:
        log.warning("The database failed a reconcile: %s", type(error).__name__)
        _release(holder)


def _reconcile(session_ids: Sequence[int], holder: str) -> None:
    """In two steps, so that the cluster can go on with the claims of all while the sessions are sent one after the other."""
    sessions = _claim(session_ids, holder)
    ready: Ready = {}
    for step in (_prepare, _act):
        until = time.monotonic() + PATIENCE  # of each step: the first session is sent however slow the cluster was to prepare it
        sessions = [session for session in sessions if _do(step, session, ready, holder, until)]
    _record_applied(sessions, holder)
    if well_again := {session.workspace.cluster_id for session in sessions if session.attempts}:
        try_now(well_again)


def _claim(session_ids: Sequence[int], holder: str) -> list[Session]:
    """Take the rows' leases. Left out are rows that are gone, or that another task holds (it queues again if there is more to do)."""
    now = timezone.now()
    unbelievable = now + LEASE * 2
    with transaction.atomic():
        try:
            claimed = _free(now, unbelievable, *session_ids)
        except UndecryptableValue:  # the act that needs it reads it, and fails alone
            claimed = _free_without_secrets(now, unbelievable, *session_ids)
        keys = [session.pk for session in claimed]
        Session.objects.filter(pk__in=keys).update(lease_until=now + LEASE, lease_holder=holder, queued_at=None)
    for held in set(session_ids).difference(keys):
        Session.objects.filter(pk=held).update(queued_at=None)
    return claimed


@prepared
def _free(now: datetime, unbelievable: datetime, *session_ids: int) -> QuerySet[Session]:
    rows = Session.objects.filter(outside("lease_until", now, unbelievable), pk__in=session_ids).select_related("workspace__cluster")
    return rows.order_by("pk").defer(*NOT_NEEDED).select_for_update(of=("self",), no_key=True)


@prepared
def _free_without_secrets(now: datetime, unbelievable: datetime, *session_ids: int) -> QuerySet[Session]:
    rows = Session.objects.filter(outside("lease_until", now, unbelievable), pk__in=session_ids).select_related("workspace__cluster")
    return rows.order_by("pk").defer(*NOT_NEEDED, "snapshot", "ide_token").select_for_update(of=("self",), no_key=True)


def _lock(session_ids: Sequence[int]) -> list[int]:
    """Lock rows until the transaction's end, in the order of their keys as the controller does, so that nobody waits in a circle."""
    if len(session_ids) == 1:
        return list(session_ids)
    rows = Session.objects.filter(pk__in=session_ids).order_by("pk").select_for_update(no_key=True)
    return list(rows.values_list("pk", flat=True))


def _give_back(session: Session, holder: str) -> None:
    """Another task takes it: leases are for a few calls, not for a wait behind a slow cluster."""
    if Session.objects.filter(pk=session.pk, lease_holder=holder).update(lease_until=None, lease_holder=""):
        queue(session.pk)


def _release(holder: str) -> None:
    """Free the holder's rows as soon as the database answers; at the end of their leases they are free without it."""
    until = time.monotonic() + LEASE.total_seconds()
    while time.monotonic() < until:
        connection.close()  # it may be one that the database has forgotten
        try:
            Session.objects.filter(lease_holder=holder).update(lease_until=None, lease_holder="")
        except (OperationalError, InterfaceError):
            time.sleep(AWAY)
        else:
            return


def _do(step: Callable[[Session, Ready], None], session: Session, ready: Ready, holder: str, until: float) -> bool:
    """Whether the cluster has taken it. If not, what came of it is recorded, and the row is free; also when it is too late for it
    (``until``, monotonic)."""
    if time.monotonic() > until:
        _give_back(session, holder)
        return False
    with log_context.bound(session=session.host):
        try:
            if not _was_just_applied(session):
                step(session, ready)
        except Outdated as newer:
            _overtaken(session, holder, newer.generation)
        except ClusterError as error:
            _record_error(session, holder, error.reason, str(error), retryable=error.retryable)
        except Exception:
            # The traceback goes to the log only: it may hold what a user typed.
            log.exception("Reconciling %s failed", session.host)
            _record_error(session, holder, "InternalError", "Slipway hit an error of its own; its log says more.", retryable=True)
        else:
            return True
        _queue_if_newer(session)
        return False


def try_now(clusters: Collection[int]) -> None:
    """What failed on these clusters (by primary key) is due at once: they have recovered. One query."""
    Session.objects.needing_apply().filter(workspace__cluster__in=clusters).exclude(next_try_at=None).update(next_try_at=None)


def remove_again(cluster_id: int, namespace: str, host: str) -> None:
    """Remove what writes that were delayed on their way have made again of a deleted session. Tried once."""
    cluster = Cluster.objects.filter(pk=cluster_id).first()
    if cluster is None:
        return
    try:
        driver_for(cluster).remove(namespace, host)
    except ClusterError as error:
        log.warning("Removing %s again failed: %s", host, error)


def release_leases() -> None:
    """Free the rows that this machine's worker held when it ended; they would wait for the end of their leases. Tasks are
    safe to repeat, so it does no harm if another worker of this machine holds them."""
    Session.objects.filter(lease_holder__startswith=MACHINE).update(lease_until=None, lease_holder="")


def _was_just_applied(session: Session) -> bool:
    applied_at = session.applied_at
    return session.applied_generation == session.generation and applied_at is not None and abs(timezone.now() - applied_at) < JUST_NOW


def _prepare(session: Session, ready: Ready) -> None:
    if session.desired == Desired.RUNNING:
        ensure_namespace(session.workspace)
        ready[session.pk] = driver_for(session.workspace.cluster).prepare(build(session))


def _act(session: Session, ready: Ready) -> None:
    driver = driver_for(session.workspace.cluster)
    namespace = session.workspace.namespace
    if session.desired == Desired.RUNNING:
        driver.apply(slurm_tickets.equip(session, ready.get(session.pk) or build(session)))
    elif session.desired == Desired.PAUSED:
        driver.pause(namespace, session.host, session.generation)
    else:
        driver.remove(namespace, session.host, session.generation)


def _record_applied(sessions: Sequence[Session], holder: str) -> None:
    """Record what was sent, and free the rows. A few queries, one more for each if something newer was asked for meanwhile."""
    by_generation: dict[int, list[Session]] = {}
    for session in sessions:
        by_generation.setdefault(session.generation, []).append(session)
    for generation, alike in by_generation.items():
        now = timezone.now()
        applied: dict[str, Any] = {
            "applied_generation": generation,
            "applied_at": now,
            "reached_at": Case(When(applied_generation__lt=generation, then=Value(now)), default=F("reached_at")),
            "lease_until": None,
            "lease_holder": "",
            "attempts": 0,
            "next_try_at": None,
            "apply_reason": "",
            "apply_message": "",
            "apply_final": False,
        }
        with transaction.atomic():
            rows = Session.objects.filter(pk__in=_lock([session.pk for session in alike]), lease_holder=holder)
            done = rows.filter(generation=generation).update(**applied)
            if done < len(alike):
                rows.update(**applied)
        if done < len(alike):
            for session in alike:
                _queue_if_newer(session)


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
    if updated:
        tallies.add(tallies.RECONCILE_ERRORS, session.workspace.cluster.name, reason)
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
