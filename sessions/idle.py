"""Pausing what nobody uses: running sessions of presets that say after how long.

Each IDE says itself when it was used last (``presets.ides``). A task asks it, seldom while there is time and again right
before its session would be paused. An IDE that does not answer is not idle: only its own word pauses it. What Slipway itself
knows counts as use as well: the start, a click on Open, a Slurm job that runs. Only this module writes a session's fields
``last_activity``, ``activity_problem`` and ``ask_activity_at``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import cast

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django_q.tasks import async_task

from compute import log_context
from presets.durations import spell
from presets.models import Preset
from sessions import gateway, questions, services, slurm
from sessions.models import Activity, Desired, Phase, Session, SessionQuerySet
from storage.encryption import UndecryptableValue

log = logging.getLogger(__name__)

BATCH = 20  # sessions per task
LIMIT = 400  # that one sweep queues
LEAST, MOST = timedelta(seconds=2), timedelta(minutes=5)  # between two questions
CLAIM = timedelta(seconds=30)  # a task that has not asked by then is lost, and another one is queued
SOON = timedelta(minutes=15)  # before the pause, its page warns; of a shorter limit its last quarter


@dataclass(frozen=True)
class Idleness:
    """``pauses_at`` is when a running session will be paused unless it is used; None: as far as is known, never."""

    limit: timedelta
    last_activity: datetime | None
    pauses_at: datetime | None
    is_near: bool
    problem: str

    @property
    def words(self) -> str:
        return f"Pauses after {spell(int(self.limit.total_seconds()))} without activity"


def idleness_of(session: Session) -> Idleness | None:
    """What there is to say of a session whose preset pauses idle ones; None of any other. No query when the preset is loaded."""
    seconds = session.preset.idle_pause_seconds
    if seconds is None:
        return None
    limit, running = timedelta(seconds=seconds), session.can_open and session.status_generation == session.generation
    known = running and session.last_activity is not None and not session.activity_problem
    pauses_at = _used(session) + limit if known else None
    is_near = pauses_at is not None and pauses_at - timezone.now() <= _warning(limit)
    return Idleness(limit, session.last_activity, pauses_at, is_near, session.activity_problem if running else "")


def queue_due() -> int:
    """Queue questions to the IDEs that are due; returns how many. One query when no preset pauses, two when nothing is due."""
    presets = Preset.objects.filter(idle_pause_seconds__isnull=False).order_by().values_list("pk", "idle_pause_seconds")
    limits: dict[int, list[int]] = {}
    for pk, seconds in presets:
        limits.setdefault(cast("int", seconds), []).append(pk)
    if not limits:
        return 0
    now = timezone.now()
    due = reduce(or_, (_due(timedelta(seconds=seconds), keys, now) for seconds, keys in limits.items()))
    found = list(_running().filter(due).order_by().values_list("pk", flat=True)[:LIMIT])
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        with transaction.atomic():
            Session.objects.filter(pk__in=batch).update(ask_activity_at=now + CLAIM)
            async_task(ask, *batch)
    return len(found)


def _due(limit: timedelta, presets: list[int], now: datetime) -> Q:
    """Those whose time has come; and those to be asked later than they should be: the limit is a new one, or the clock jumped."""
    late = Q(ask_activity_at__gt=now + max(CLAIM, _interval(limit)) + LEAST)
    return Q(preset__in=presets) & (Q(ask_activity_at=None) | Q(ask_activity_at__lte=now) | late)


def ask(*session_ids: int) -> None:
    """Ask these sessions' IDEs, write down what they say, and pause those that nobody has used for too long."""
    sessions = _load(session_ids)
    answers = questions.ask([_question(session) for session in sessions])
    for session, answer in zip(sessions, answers, strict=True):
        with log_context.bound(session=session.host):
            _take(session, answer)


def _running() -> SessionQuerySet:
    settled = Session.objects.filter(phase=Phase.RUNNING, desired=Desired.RUNNING, status_generation=F("generation"))
    return settled.exclude(endpoint="")


def _load(session_ids: Sequence[int]) -> list[Session]:
    """Those that may be asked still. One whose token can't be decrypted is left out; nobody can open it either."""
    rows = _running().filter(pk__in=session_ids, preset__idle_pause_seconds__isnull=False).select_related("preset", "workspace")
    rows = rows.defer("env", "snapshot", "steps", "log_tail", "warnings")
    try:
        found = list(rows)
    except UndecryptableValue:
        return [session for one in session_ids for session in _load([one])] if len(session_ids) > 1 else []
    return [row for row in found if row.preset.ide_definition.activity and gateway.ENDPOINT.fullmatch(row.endpoint)]


def _question(session: Session) -> questions.Question:
    ide = session.preset.ide_definition
    assert ide.activity is not None
    return questions.Question(session.endpoint, ide.activity.paths, ide.upstream_headers(session.ide_token))


def _take(session: Session, answer: list[object] | questions.NoAnswer) -> None:
    """Write down what the IDE said. The row is left alone when anything newer was asked for meanwhile."""
    now = timezone.now()
    assert session.preset.idle_pause_seconds is not None
    limit = timedelta(seconds=session.preset.idle_pause_seconds)
    try:
        said = _last_use(session, answer, now)
    except questions.NoAnswer as reason:
        _write(session, activity_problem=str(reason)[:200], ask_activity_at=now + _interval(limit))
        return
    session.last_activity = min(now, max(said or _started(session), _used(session)))  # what was use an hour ago still was
    if now - session.last_activity >= limit - _warning(limit):
        session.last_activity = max(session.last_activity, _known_use(session, now))
    left = session.last_activity + limit - now
    _write(
        session,
        last_activity=session.last_activity,
        activity_problem="",
        ask_activity_at=now + max(LEAST, min(left, _interval(limit))),
    )
    if left <= timedelta(0):
        since = f"It was last used at {session.last_activity:%H:%M} UTC on {session.last_activity:%-d %B}."
        if services.pause_idle(session, f"After {spell(int(limit.total_seconds()))} without activity. {since}"):
            log.info("%s is idle: paused", session.host)


def _last_use(session: Session, answer: list[object] | questions.NoAnswer, now: datetime) -> datetime | None:
    if isinstance(answer, questions.NoAnswer):
        raise answer
    activity = session.preset.ide_definition.activity
    assert activity is not None
    try:
        said = activity.last_use(answer, now)
        if said is not None and timezone.is_naive(said):
            raise ValueError("a time without a zone")
    except Exception:  # a session's own code may have written the answer
        raise questions.NoAnswer("Its answer could not be understood.") from None
    return said


def _write(session: Session, **fields: object) -> None:
    Session.objects.filter(pk=session.pk, generation=session.generation).update(**fields)


def _started(session: Session) -> datetime:
    return session.running_since or session.phase_since


def _used(session: Session) -> datetime:
    """When it was last used, as far as is known: at its start, at the latest."""
    return max(_started(session), session.last_activity or _started(session))


def _known_use(session: Session, now: datetime) -> datetime:
    """What counts as use although the IDE does not notice. Asked only when it matters."""
    if slurm.has_running_job(session):
        return now
    opened = Activity.objects.filter(session=session, verb="open").order_by("-at").values_list("at", flat=True).first()
    return opened or _started(session)


def _interval(limit: timedelta) -> timedelta:
    return max(LEAST, min(limit / 10, MOST))


def _warning(limit: timedelta) -> timedelta:
    return min(SOON, limit / 4)
