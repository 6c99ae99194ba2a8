"""The controller: watches every cluster, and is the only writer of a session's status.

One thread per cluster follows the driver's watch; everything else happens in one loop that reads observations, derives
statuses (``sessions.status``, pure), writes what changed, and sweeps: rows that are due get a task, what expired is
purged, what no session owns is reported. Any part of it may be lost or repeated; the next round makes it good.
Several may run, on several machines: one leads (``sessions.lease``), the others wait.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django_q.tasks import async_task

from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from compute.models import Cluster
from compute.workload import Observation, Step
from sessions import cluster_reports, drafts, gateway, heartbeat, launch_times, services, tasks
from sessions.cluster_watch import ClusterWatch
from sessions.lease import Lease
from sessions.models import Activity, Desired, Phase, Session
from sessions.status import UNREACHABLE_AFTER, Status, View, derive, intent_of, steps_as_json
from storage import services as storage

log = logging.getLogger(__name__)

TICK = 0.25  # seconds between looks at intents that changed without a word from the cluster
RESYNC = 30.0  # how often sessions that the watch has not mentioned are asked for one by one
HOUSEKEEPING = 60.0
CLOCK_DRIFT = 3600.0  # seconds between the clock and time itself that make the clock unbelievable
DEADLINES = {Step(step): seconds for step, seconds in settings.SLIPWAY_STEP_TIMEOUTS.items()}
DUE_EVERY = 1.0  # seconds between looks for rows that are to be tried now
BATCH = 200  # sessions of a cluster that went away or came back that are told in one round
LATE = 120.0  # seconds after which nothing that was sent to a cluster can still take effect: its API server gives up after 60
ASK_EVERY = 2.0  # seconds between direct questions about one workload that the watch has not mentioned


def lead(stop: threading.Event) -> None:
    """Be the controller whenever nobody else is, until ``stop`` is set. Then the next one in reserve takes over at once."""
    lease = Lease()
    while not stop.is_set():
        try:
            if lease.take():
                log.info("Leading")
                controller = Controller(stop, lease)
                controller.run()
        except DatabaseError as error:
            log.warning("The database failed: %s", type(error).__name__)
            connection.close()
        stop.wait(1)
    with suppress(DatabaseError):
        lease.release()


class Controller:
    """The leading controller. ``run`` returns when ``stop`` is set, or when another process has the lease."""

    def __init__(self, stop: threading.Event, lease: Lease | None = None) -> None:
        self.stop = stop
        self.lease = lease
        self.inbox: queue.Queue[tuple[int, Observation]] = queue.Queue()
        self.watches: dict[int, ClusterWatch] = {}
        self.settled: list[tuple[Session, str, datetime]] = []  # launches that have come to their end and are not counted yet
        self.seen: dict[str, Observation] = {}
        self.where: dict[str, int] = {}  # the cluster of each workload that was seen
        self.orphans: set[str] = set()
        self.asked: dict[str, float] = {}
        self.silent: set[int] = set()  # clusters that do not answer
        self.away: set[int] = set()  # those of them whose sessions are told that they are Unknown
        self.untold: list[int] = []  # sessions of clusters that went away or came back
        self.deleted: deque[tuple[float, int, str, str]] = deque()  # when to remove again: cluster, namespace and host
        # Monotonic times: a clock that is set back must not put these off.
        now = self.started = time.monotonic()
        self.started_at = timezone.now()
        self.next_due = self.next_sweep = self.next_housekeeping = now
        self.next_resync = now + 5

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                try:
                    if self.lease is not None and not self.lease.hold():
                        log.warning("Another controller leads now")
                        return
                    self.round()
                except DatabaseError:
                    log.exception("The database failed; trying again")
                    connection.close()
                    self.stop.wait(1)
        finally:
            for watch in self.watches.values():
                watch.retired = True

    def round(self) -> None:
        """Everything once: what the clusters said, what users asked for, and what is due."""
        hosts = self.read_inbox()
        sessions = Session.objects.for_status()
        if hosts:
            rows = list(sessions.filter(host__in=hosts))
            self.report_orphans(hosts - {row.host for row in rows})
            self.update(rows)
        self.update(sessions.unsettled().exclude(host__in=hosts))
        self.follow_outages()
        now = time.monotonic()
        if now >= self.next_due:
            self.next_due = now + DUE_EVERY
            tasks.queue_due()
        if now >= self.next_sweep:
            self.next_sweep = now + settings.SLIPWAY_SWEEP_SECONDS
            self.sweep(now)

    def read_inbox(self) -> set[str]:
        """Wait up to a tick for observations, take all there are, and remember the newest of each workload."""
        hosts: set[str] = set()
        try:
            item = self.inbox.get(timeout=TICK)
            while True:
                self.where[item[1].name], observation = item
                self.seen[observation.name] = observation
                hosts.add(observation.name)
                if len(hosts) >= 500:
                    break
                item = self.inbox.get_nowait()
        except queue.Empty:
            pass
        return hosts

    def update(self, rows: Iterable[Session]) -> None:
        """Derive and write each row's status; one bad row never blocks the rest."""
        for row in rows:
            try:
                self.update_one(row)
            except DatabaseError:
                raise
            except Exception:
                log.exception("Deriving the status of %s failed", row.host)
        ended, self.settled = self.settled, []
        launch_times.count(ended)

    def update_one(self, session: Session) -> None:
        view = self.view(session)
        status = derive(view)
        if status.gone:
            self.forget(session)
            return
        before = session.settled_revision
        if write_status(session, view, status):
            log.info("%s is %s (%s)", session.host, status.phase, status.reason)
        if session.settled_revision > before:
            self.settled.append((session, session.phase, session.phase_since))
        if status.reapply:
            tasks.queue(session.pk)

    def view(self, session: Session) -> View:
        now = timezone.now()
        watch = self.watches.get(session.workspace.cluster_id)
        return View(
            intent=intent_of(session, now, settings.SLIPWAY_START_TIMEOUT, DEADLINES),
            observation=self.seen.get(session.host) or self.ask(session, watch),
            now=now,
            unreachable_since=watch.unreachable_since if watch else None,
            unreachable_message=watch.problem if watch else "",
        )

    def ask(self, session: Session, watch: ClusterWatch | None) -> Observation | None:
        """One workload that was sent to the cluster and that the watch has not mentioned yet, asked for directly.

        None when it was asked for a moment ago, or the cluster does not answer.
        """
        now = time.monotonic()
        unreachable = watch is not None and watch.unreachable_since is not None
        sent = session.applied_generation >= session.generation
        if unreachable or not sent or now - self.asked.get(session.host, -ASK_EVERY) < ASK_EVERY:
            return None
        self.asked[session.host] = now
        try:
            observation = driver_for(session.workspace.cluster).observe(session.workspace.namespace, session.host)
        except ClusterError:
            return None
        if observation.exists or observation.retained:
            self.seen[session.host] = observation
            self.asked.pop(session.host, None)
        return observation

    def forget(self, session: Session) -> None:
        """The cluster holds nothing of a deleted session: its row goes, its activity and its volumes stay."""
        with transaction.atomic():
            Activity.objects.create(
                workspace_id=session.workspace_id, session=session, host=session.host, verb="deleted", message="Nothing of it is left."
            )
            session.delete()
        self.seen.pop(session.host, None)
        self.asked.pop(session.host, None)
        self.where.pop(session.host, None)
        self.deleted.append((time.monotonic() + LATE, session.workspace.cluster_id, session.workspace.namespace, session.host))
        log.info("%s is deleted", session.host)

    def report_orphans(self, hosts: set[str]) -> None:
        """Workloads that no session owns: said once. They are not removed: an old database must not end people's work.

        But for those whose session this very database knows to be deleted: a call that was delayed made them again.
        """
        deleted = set(Activity.objects.filter(host__in=hosts, verb="deleted").values_list("host", flat=True)) if hosts else set()
        for host in hosts:
            seen = self.seen[host]
            if not seen.exists and not seen.retained:
                self.orphans.discard(host)
                self.seen.pop(host, None)
                self.where.pop(host, None)
            elif host not in self.orphans:
                self.orphans.add(host)
                log.warning("Orphan: %s runs in %s, but no session owns it", host, seen.namespace)
            if host in deleted and host in self.seen:
                self.remove_again(seen)

    def remove_again(self, seen: Observation) -> None:
        watch = self.watches.get(self.where[seen.name])
        if watch is None or watch.unreachable_since is not None:
            return
        try:
            driver_for(watch.cluster).remove(seen.namespace, seen.name)
        except ClusterError as error:
            log.warning("Removing %s again failed: %s", seen.name, error)

    def remove_late(self, now: float) -> None:
        """A write that was delayed on its way may have made a deleted session's Secret again. Nobody may list Secrets, so each
        is removed once more when nothing can be on its way any longer. (A StatefulSet is seen, see ``report_orphans``.)"""
        while self.deleted and self.deleted[0][0] <= now:
            _, cluster_id, namespace, host = self.deleted.popleft()
            if cluster_id in self.silent:
                self.deleted.append((now + LATE, cluster_id, namespace, host))
            else:
                async_task(tasks.remove_again, cluster_id, namespace, host)

    def report_clusters(self) -> None:
        """What only the controller knows, for the admin's start page."""
        held = Counter(self.where[host] for host in self.seen if host in self.where)
        for pk, watch in self.watches.items():
            cluster_reports.record(
                pk,
                unreachable_since=watch.unreachable_since,
                problem=watch.problem,
                lag=time.monotonic() - watch.heard,
                workloads=held[pk],
                orphans=[host for host in self.orphans if self.where.get(host) == pk],
                checkup=watch.checkup,
            )

    def sweep(self, now: float) -> None:
        """What is due: a heartbeat, watches of new clusters, lost tasks, silent sessions, and (rarely) housekeeping."""
        if self.lease is None:
            heartbeat.stamp(heartbeat.CONTROLLER)
        self.follow_clusters()
        self.report_clusters()
        self.remove_late(now)
        if now >= self.next_resync:
            self.next_resync = now + RESYNC
            self.resync()
        if now >= self.next_housekeeping:
            self.next_housekeeping = now + HOUSEKEEPING
            services.pause_abandoned()
            drafts.purge_old()
            gateway.purge_expired()
            if self.clock_is_steady():
                storage.purge_due()

    def clock_is_steady(self) -> bool:
        """Whether the clock has gone on as time has: one that jumps ahead by weeks must not empty the trash."""
        drift = (timezone.now() - self.started_at).total_seconds() - (time.monotonic() - self.started)
        if abs(drift) > CLOCK_DRIFT:
            log.warning("The clock jumped by %d s: nothing in the trash is purged until the controller is started again", drift)
        return abs(drift) <= CLOCK_DRIFT

    def follow_clusters(self) -> None:
        """One living watch thread per cluster, reaching it as its row says."""
        clusters = {cluster.pk: cluster for cluster in Cluster.objects.all()}
        for pk in self.watches.keys() - clusters.keys():
            self.watches.pop(pk).retired = True
        for pk, cluster in clusters.items():
            watch = self.watches.get(pk)
            if watch is None or not watch.follows(cluster):
                if watch is not None:
                    watch.retired = True
                self.watches[pk] = ClusterWatch(cluster, self.inbox, self.stop)
                self.watches[pk].start()

    def follow_outages(self) -> None:
        """When a cluster goes away, its sessions are told once; when it is back, at once, and what it missed is tried again.

        Many sessions are told in many rounds, so that those of other clusters, and the lease, do not wait.
        """
        now = timezone.now()
        silent = {pk: watch.unreachable_since for pk, watch in self.watches.items() if watch.unreachable_since}
        away = {pk for pk, since in silent.items() if abs(now - since) >= UNREACHABLE_AFTER}
        if changed := away ^ self.away:
            sessions = Session.objects.filter(workspace__cluster__in=changed).exclude(desired=Desired.PAUSED, phase=Phase.PAUSED)
            self.untold = list({*self.untold, *sessions.values_list("pk", flat=True)})
            self.away = away
        if back := self.silent - silent.keys():
            tasks.try_now(back)
            self.next_due = 0.0
        self.silent = set(silent)
        if self.untold:
            batch, self.untold = self.untold[:BATCH], self.untold[BATCH:]
            self.update(Session.objects.for_status().filter(pk__in=batch))

    def resync(self) -> None:
        """Running sessions that no watch has mentioned since the start are asked for one by one: they may be lost. And
        whatever is Unknown although its cluster answers."""
        silent = Session.objects.filter(phase=Phase.RUNNING).exclude(host__in=self.seen).for_status()
        self.update(silent[:200])
        self.update(Session.objects.filter(phase=Phase.UNKNOWN).exclude(workspace__cluster__in=self.away).for_status()[:500])


def write_status(session: Session, view: View, status: Status) -> bool:
    """Write the row's status fields if they changed; True when the phase or its reason did. Recorded in the activity."""
    seen = view.current
    now = view.now
    moved = session.phase != status.phase
    fresh: dict[str, object] = {
        "phase": status.phase,
        "reason": status.reason,
        "message": status.message,
        "status_generation": view.intent.generation,
        **launch_times.settled(session, status.phase),
    }
    if moved:
        fresh["phase_since"] = now
        fresh["running_since"] = now if status.phase == Phase.RUNNING else None
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
    changed = {name: value for name, value in fresh.items() if getattr(session, name) != value}
    if not changed:
        return False
    told = moved or "reason" in changed
    with transaction.atomic():
        # Only for the generation that it was derived from: a newer intent gets its own status in the next round.
        current = Session.objects.filter(pk=session.pk, generation=view.intent.generation)
        if not current.update(observed_at=now, **changed):
            return False
        if told:
            Activity.objects.create(
                workspace_id=session.workspace_id,
                session=session,
                host=session.host,
                verb="phase",
                phase=status.phase,
                reason=status.reason,
                message=status.message,
            )
    for name, value in changed.items():
        setattr(session, name, value)
    return told
