"""Keeps what the pages and the API say of Slurm clusters fresh: once a minute while a running session is attached, and
within seconds when somebody looks. A task asks, never a request; one per cluster at a time, so that a cluster that hangs
holds up one worker for seconds and no session at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django_q.tasks import async_task

from compute.models import SlurmCluster
from compute.slurm import NoIdentity, identity_of, mint
from compute.slurm_causes import AWAY, SlurmError
from compute.slurm_client import Client, answering
from sessions.models import Desired, Phase, Session, SessionQuerySet
from sessions.slurm import is_attached
from sessions.slurm_models import SlurmSight, SlurmState
from sessions.times import outside
from storage.slurm_keys import signing_key

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=60)  # while a running session is attached
OLD = timedelta(seconds=15)  # when somebody looks
KEPT = timedelta(days=7)  # after anybody asked
READING = timedelta(minutes=2)  # the life of the tokens that only ask
PATIENCE = 5.0  # seconds after which no other user is begun with; the longest answer takes 42, and q2 waits for 60
LEASE = timedelta(seconds=70)
QUEUE_STALE = timedelta(seconds=10)


def want(slurm_cluster_id: int, user_id: int) -> SlurmSight:
    """What the user sees there, as far as is known; asked again soon if that is old. One query, a few more if it is."""
    now = timezone.now()
    sight = SlurmSight.objects.filter(slurm_cluster=slurm_cluster_id, user=user_id).first()
    if sight is not None and (_within(OLD, sight.asked_at, now) or _within(QUEUE_STALE, sight.wanted_at, now)):
        return sight
    sight, _ = SlurmSight.objects.update_or_create(slurm_cluster_id=slurm_cluster_id, user_id=user_id, defaults={"wanted_at": now})
    queue(slurm_cluster_id)
    return sight


def _within(length: timedelta, at: datetime | None, now: datetime) -> bool:
    return at is not None and abs(now - at) < length


def queue_due() -> None:
    """For the sweep: the clusters of which a running session's owner has not been told for a minute. One query when there are none."""
    now = timezone.now()
    for cluster_id in _untold(now).values_list("slurm_cluster", flat=True).distinct():
        queue(cluster_id)


def queue(slurm_cluster_id: int) -> None:
    """Queue a look at the cluster, unless one is waiting already."""
    now = timezone.now()
    SlurmState.objects.get_or_create(pk=slurm_cluster_id)
    waiting_no_more = outside("queued_at", now - QUEUE_STALE, now + QUEUE_STALE)
    if SlurmState.objects.filter(waiting_no_more, pk=slurm_cluster_id).update(queued_at=now):
        async_task(refresh, slurm_cluster_id)


def refresh(slurm_cluster_id: int) -> None:
    """The task: ask the cluster on behalf of every user who is due, unless another task is at it."""
    now = timezone.now()
    state = SlurmState.objects.filter(pk=slurm_cluster_id)
    state.update(queued_at=None)
    free = outside("lease_until", now, now + LEASE * 2)
    if not state.filter(free).update(lease_until=now + LEASE):
        return
    try:
        cluster = SlurmCluster.objects.filter(pk=slurm_cluster_id, enabled=True).first()
        left = cluster is not None and _ask(cluster, _due(cluster, now))
    finally:
        state.update(lease_until=None)
    SlurmSight.objects.filter(slurm_cluster=slurm_cluster_id, asked_at__lt=now - KEPT).delete()
    if left:
        queue(slurm_cluster_id)


def _untold(now: datetime) -> SessionQuerySet:
    """Running sessions with a Slurm cluster attached whose owner has not been told of it for a minute."""
    told = SlurmSight.objects.filter(
        slurm_cluster=OuterRef("slurm_cluster"), user=OuterRef("owner"), asked_at__gt=now - EVERY, asked_at__lt=now + EVERY
    )
    running = Session.objects.filter(is_attached(), desired=Desired.RUNNING, phase=Phase.RUNNING)
    return running.exclude(Exists(told)).order_by()


def _due(cluster: SlurmCluster, now: datetime) -> list[User]:
    """For whom the cluster is to be asked, longest waiting first: who looks at a page, and owners of attached sessions. Three queries."""
    sights = SlurmSight.objects.filter(slurm_cluster=cluster)
    looking = sights.filter(Q(asked_at=None) | Q(asked_at__lt=F("wanted_at")), wanted_at__isnull=False).values_list("user", flat=True)
    owners = _untold(now).filter(slurm_cluster=cluster).values_list("owner", flat=True).distinct()
    users = get_user_model().objects.in_bulk({*looking, *owners})
    asked = dict(sights.filter(user__in=users).values_list("user", "asked_at"))
    return [users[pk] for pk in sorted(users, key=lambda pk: (asked.get(pk) is not None, asked.get(pk) or now))]


@sensitive_variables()
def _ask(cluster: SlurmCluster, users: list[User]) -> bool:
    """Whether there was no time for some of the users. What is wrong for all is recorded for all, and asked once."""
    if not users:
        return False
    until = time.monotonic() + PATIENCE
    waiting = iter(users)
    try:
        key = signing_key(cluster)
        controllers = answering(cluster.controllers)
        for user in waiting:
            _ask_for(cluster, user, key, controllers)
            if time.monotonic() > until:
                break
    except SlurmError as error:
        _record_problem(cluster, users, error.code, str(error))
        if error.code in AWAY:
            _reached(cluster, False)
        return False
    _reached(cluster, True)
    return next(waiting, None) is not None


@sensitive_variables()
def _ask_for(cluster: SlurmCluster, user: User, key: bytes, controllers: list[str]) -> None:
    """Record what one user sees. Raises :class:`SlurmError` for what is the same for all of them."""
    try:
        identity = identity_of(cluster, user)
        token, _ = mint(key, identity.user, READING, timezone.now())
        client = Client(controllers, token)
        overview, jobs = client.overview(), client.jobs(identity.uid)
    except NoIdentity as nobody:
        _record_problem(cluster, [user], nobody.code, str(nobody), seen={}, running_jobs=0)
    except SlurmError as error:
        if error.for_all:
            raise
        _record_problem(cluster, [user], error.code, str(error))
    else:
        seen = {**asdict(overview), "skew": overview.skew, "jobs": [asdict(job) for job in jobs.listed], "jobs_total": jobs.total}
        now = timezone.now()
        SlurmSight.objects.update_or_create(
            slurm_cluster=cluster,
            user=user,
            defaults={
                "asked_at": now,
                "answered_at": now,
                "problem_code": "",
                "problem": "",
                "seen": seen,
                "running_jobs": jobs.running,
            },
        )


def _record_problem(cluster: SlurmCluster, users: Iterable[User], code: str, words: str, **gone: object) -> None:
    """Why these users see nothing new; what they saw last is kept, unless ``gone`` says otherwise."""
    now = timezone.now()
    for user in users:
        problem = {"asked_at": now, "problem_code": code, "problem": words, **gone}
        SlurmSight.objects.update_or_create(slurm_cluster=cluster, user=user, defaults=problem)
    log.info("Slurm cluster %s: %s", cluster.name, code)


def _reached(cluster: SlurmCluster, reachable: bool) -> None:
    now = timezone.now()
    state = SlurmState.objects.filter(pk=cluster.pk)
    state.exclude(reachable=reachable).update(reachable=reachable, since=now)
    state.update(asked_at=now)
