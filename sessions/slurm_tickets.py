"""The tokens of sessions that have a Slurm cluster attached: minted, written into the session's files, renewed in time.

A token exists in one of the session's files and nowhere else: in no row, task, log or answer. It is minted by the task that
starts the session, and again at 80 % of its life for as long as the session runs and may have it. When it may not (it was
paused, its owner left, the cluster was switched off or serves others now, the owner is nobody there any more), the file is
emptied; the token that was in it dies with its time. A failure is tried again, shown, and never fails the session.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone
from django_q.tasks import async_task

from compute import log_context
from compute.clusters import driver_for
from compute.clusters.base import ClusterError, Outdated
from compute.slurm import Identity, NoIdentity, identity_of, mint
from compute.workload import Workload
from sessions.models import Desired, Phase, Session
from sessions.slurm import is_attached, why_detached
from sessions.slurm_models import SlurmSight, SlurmTicket
from sessions.slurm_programs import LIVE_FILE
from storage.encryption import UndecryptableValue
from storage.slurm_keys import key_of

log = logging.getLogger(__name__)

RENEWED_AT = 0.8  # of a token's life
LOST = timedelta(seconds=30)  # after which a task that has not come to an end is queued again
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=2)  # before a failure is tried again
LIMIT = 500  # that one sweep queues
VERSION_CONF = "ClusterName=version\nSlurmctldHost=version\n"  # as little as the commands take to tell their own version


class NoToken(Exception):
    """The session gets none. The message says why, for its page and for whoever types a Slurm command in it."""


def equip(session: Session, workload: Workload) -> Workload:
    """The workload, with a fresh token if a Slurm cluster is attached: for whoever is about to apply it. Never fails for want
    of a token: the session starts without."""
    if workload.account is None or session.slurm_cluster_id is None:
        return workload
    now = timezone.now()
    try:
        token, expires = _mint(session, now)
    except NoToken as why:
        _record_failure(session, str(why), holds_one=False)
        return replace(workload, live_files=_files(session, why=str(why)))
    _record_issued(session, now, expires)
    return replace(workload, live_files=_files(session, token, expires))


def queue_due() -> int:
    """Queue what is to be renewed, or taken away; returns how many. One query when there is nothing to do."""
    now = timezone.now()
    # Times further ahead than they could have been set are a clock that jumped.
    waiting = Q(queued_at__gt=now - LOST, queued_at__lte=now + LOST)
    time_has_come = Q(look_at=None) | Q(look_at__lte=now) | Q(look_at__gt=now + timedelta(days=1))
    # A token that another key has signed is worth nothing any more, whatever its time.
    key_replaced = Q(failures=0, issued_at__lt=F("session__slurm_cluster__signing_key__replaced_at"))
    applied = Q(session__applied_generation=F("session__generation"))
    due = Q(entitled=True) & applied & (time_has_come | key_replaced)
    due |= Q(entitled=False, expires_at__isnull=False) & (Q(failures=0) | time_has_come)
    tickets = SlurmTicket.objects.annotate(entitled=_entitled()).exclude(waiting).filter(due)
    keys = list(tickets.order_by().values_list("pk", flat=True)[:LIMIT])
    for key in keys:
        with transaction.atomic():
            SlurmTicket.objects.filter(pk=key).update(queued_at=now)
            async_task(refresh, key)
    return len(keys)


def _entitled() -> Case:
    """Whether a ticket's session is to run and may have a token, as far as the database alone can tell: ``why_detached`` and
    ``_is_over`` as one expression."""
    running = Q(session__desired=Desired.RUNNING) & ~Q(session__phase=Phase.FAILED)
    return Case(When(running & is_attached("session__"), then=Value(True)), default=Value(False))


def _is_over(session: Session) -> bool:
    return session.desired != Desired.RUNNING or session.phase == Phase.FAILED


def refresh(session_id: int) -> None:
    """Renew a session's token, or take it away. Carries no token; never raises for what the cluster or an admin has to mend."""
    rows = Session.objects.select_related("workspace__cluster", "slurm_cluster", "owner", "slurm_ticket")
    session = rows.filter(pk=session_id, slurm_ticket__isnull=False).defer("env", "snapshot", "ide_token").first()
    if session is None:
        return
    with log_context.bound(session=session.host):
        try:
            if _is_over(session):
                _take_away(session, "The session does not run.", is_news=False)
            else:
                _renew(session)
        except Outdated:
            pass  # something newer was asked for: whoever does that sees to the token
        except ClusterError as error:
            _record_failure(session, f"The cluster that runs the session did not take a fresh token: {error}")
        SlurmTicket.objects.filter(pk=session_id).update(queued_at=None)


def _renew(session: Session) -> None:
    now = timezone.now()
    try:
        token, expires = _mint(session, now)
    except NoToken as why:
        _take_away(session, str(why))
        return
    _write(session, _files(session, token, expires))
    _record_issued(session, now, expires)


def _take_away(session: Session, why: str, is_news: bool = True) -> None:
    """Empty the file. ``is_news``: the session runs on without a token, which its page has to say."""
    _write(session, _files(session, why=why))
    if is_news:
        _record_failure(session, why, holds_one=False)
    else:
        SlurmTicket.objects.filter(pk=session.pk).update(expires_at=None, look_at=None, failures=0, problem="", since=None)


def _mint(session: Session, now: datetime) -> tuple[str, datetime]:
    """A token for who the session runs as, and when it expires. A few queries."""
    cluster = session.slurm_cluster
    assert cluster is not None
    if why := why_detached(session):
        raise NoToken(why)
    try:
        attached = session.snapshot.get("slurm") or {}
        identity = identity_of(cluster, session.owner)
        key = key_of(cluster)
    except NoIdentity as error:
        raise NoToken(str(error)) from None
    except UndecryptableValue:
        raise NoToken(
            f"{cluster}’s signing key can’t be read, or the session can’t. An operator has to look at Slipway’s own keys."
        ) from None
    if key is None:
        raise NoToken(f"{cluster} has no signing key. An admin has to set it.")
    if identity != Identity(attached["user"], attached["uid"], attached["gid"]):
        raise NoToken(f"You are “{identity.user}” (uid {identity.uid}) on {cluster} now. Pause and resume the session to become it.")
    return mint(key, identity.user, timedelta(minutes=cluster.token_minutes), now)


def _files(session: Session, token: str = "", expires: datetime | None = None, why: str = "") -> dict[str, str]:
    """What the session's commands read, see ``slurm_programs/command.sh``."""
    lines = (token, str(int(expires.timestamp())) if expires else "0", _controller_version(session), " ".join(why.split()))
    return {LIVE_FILE: "".join(f"{line}\n" for line in lines), "version.conf": VERSION_CONF}


def _controller_version(session: Session) -> str:
    """What the controller said last of its version, empty if nothing. One query."""
    said = SlurmSight.objects.filter(slurm_cluster=session.slurm_cluster_id, answered_at__isnull=False).order_by("-answered_at")
    seen = said.values_list("seen", flat=True).first() or {}
    return str(seen.get("version") or "")


def _write(session: Session, files: dict[str, str]) -> None:
    workspace = session.workspace
    driver_for(workspace.cluster).write_files(workspace.namespace, session.host, files, session.generation)


def _record_issued(session: Session, now: datetime, expires: datetime) -> None:
    fresh = {"issued_at": now, "expires_at": expires, "look_at": now + (expires - now) * RENEWED_AT}
    SlurmTicket.objects.update_or_create(session=session, defaults={**fresh, "failures": 0, "problem": "", "since": None})


def _record_failure(session: Session, problem: str, *, holds_one: bool = True) -> None:
    """``holds_one``: the file may still have the token of before."""
    now = timezone.now()
    before = SlurmTicket.objects.filter(session=session).first() or SlurmTicket(session=session)
    failures = before.failures + 1
    values = {
        "failures": failures,
        "look_at": now + min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 10)),
        "problem": problem,
        "since": before.since or now,
    }
    if not holds_one:
        values["expires_at"] = None
    SlurmTicket.objects.update_or_create(session=session, defaults=values)
    if problem != before.problem:
        log.warning("%s has no fresh Slurm token: %s", session.host, problem)
