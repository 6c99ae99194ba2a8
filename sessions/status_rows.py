"""Statuses and their rows: reading those that a status may be news for, which fields change, and their writing, many at a time.
Only the controller uses it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from compute import log_context
from compute.prepared import insert, padded, prepared
from sessions import launch_times
from sessions.models import Activity, Phase, Session
from sessions.status import Status, View, steps_as_json
from sessions.webhooks.announce import Change, announce

FIELDS = {field.name: field for field in Session._meta.concrete_fields}
log = logging.getLogger(__name__)


def rows_of(hosts: Collection[str]) -> list[Session]:
    return _rows_of(*padded(hosts)) if hosts else []


@prepared
def _rows_of(*hosts: str) -> QuerySet[Session]:
    return Session.objects.filter(host__in=hosts).for_status()


@prepared
def unsettled_rows() -> QuerySet[Session]:
    return Session.objects.unsettled().for_status()


@prepared
def restated_rows() -> QuerySet[Session]:
    return Session.objects.restated().for_status()


@dataclass(frozen=True)
class News:
    """A status that differs from the session's row, and the fields that it changes."""

    session: Session
    view: View
    status: Status
    changed: dict[str, Any]

    @property
    def settled(self) -> bool:
        """Whether a launch has come to its end with it."""
        return "settled_revision" in self.changed

    @property
    def phase_since(self) -> datetime:
        since: datetime = self.changed.get("phase_since", self.session.phase_since)
        return since

    @property
    def told(self) -> bool:
        """Whether it is worth a line of activity: the phase or its reason has changed."""
        return "phase" in self.changed or "reason" in self.changed


def changes(session: Session, view: View, status: Status) -> dict[str, Any]:
    """The row's fields that are not as the status says."""
    seen = view.current
    fresh: dict[str, Any] = {
        "phase": status.phase,
        "reason": status.reason,
        "message": status.message,
        "status_generation": view.intent.generation,
        **launch_times.settled(session, status.phase),
    }
    if session.phase != status.phase:
        fresh["phase_since"] = view.now
        fresh["running_since"] = view.now if status.phase == Phase.RUNNING else None
    if seen is not None:
        fresh |= {
            "steps": steps_as_json(view),
            "warnings": list(seen.warnings),
            "endpoint": seen.endpoint,
            "node": seen.node,
            "log_tail": seen.log_tail[-8000:],
            "restarts": seen.restarts,
            "observed_revision": seen.revision,
        }
    elif session.observed_revision != view.intent.revision:
        fresh |= {"steps": steps_as_json(view), "warnings": [], "endpoint": "", "node": "", "log_tail": ""}
    if status.phase != Phase.RUNNING:
        fresh["endpoint"] = ""
    return {name: value for name, value in fresh.items() if getattr(session, name) != value}


def write(news: Sequence[News]) -> list[News]:
    """Write them in one transaction, with a line of activity and log for each that is worth it; returns those that were written.

    Left out is what was derived for an intent that is no longer the newest: the next round sees that one. So is a row
    that the database refuses; it must not block the others.
    """
    if not news:
        return []
    try:
        with transaction.atomic():
            written = _write(news)
    except (DataError, IntegrityError):
        if len(news) > 1:
            return [written for one in news for written in write([one])]
        log.exception("The status of %s could not be written", news[0].session.host)
        return []
    for one in written:
        if one.told:
            with log_context.bound(session=one.session.host):
                log.info("%s is %s (%s)", one.session.host, one.status.phase, one.status.reason)
    return written


def _write(news: Sequence[News]) -> list[News]:
    written = []
    with connection.cursor() as cursor:
        for one in sorted(news, key=lambda one: one.session.pk):  # as whoever locks several sessions: nobody waits in a circle
            if _update(cursor, one.session.pk, one.view.intent.generation, {**one.changed, "observed_at": one.view.now}):
                written.append(one)
    insert(
        [
            Activity(
                workspace_id=one.session.workspace_id,
                session=one.session,
                host=one.session.host,
                verb="phase",
                phase=one.status.phase,
                reason=one.status.reason,
                message=one.status.message,
            )
            for one in written
            if one.told
        ]
    )
    announce(
        Change(one.session, one.status.phase, one.session.phase, one.status.reason, one.status.message, one.view.now)
        for one in written
        if "phase" in one.changed
    )
    return written


def _update(cursor: CursorWrapper, session_id: int, generation: int, values: dict[str, Any]) -> bool:
    """``filter(pk=…, generation=…).update(**values)``, without having Django compile it anew for every row, which costs more
    than all the rest of a status. Whether there was such a row."""
    prepared = [FIELDS[name].get_db_prep_save(value, connection) for name, value in values.items()]
    cursor.execute(_statement(tuple(values)), [*prepared, session_id, generation])
    return bool(cursor.rowcount)


@lru_cache
def _statement(names: tuple[str, ...]) -> str:
    quote = connection.ops.quote_name
    columns = ", ".join(f"{quote(str(FIELDS[name].column))} = %s" for name in names)
    return f"UPDATE {quote(Session._meta.db_table)} SET {columns} WHERE id = %s AND generation = %s"  # noqa: S608 (names of ours only)
