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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django_q.tasks import async_task

from compute import log_context, tokens
from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from compute.models import Cluster, Workspace
from compute.workload import Observation, Step
from sessions import cluster_reports, drafts, gateway, idle, launch_times, pace, services, slurm_state, slurm_tickets, tasks
from sessions.api import idempotency
from sessions.cluster_watch import ClusterWatch
from sessions.lease import Lease
from sessions.models import MOVING, Activity, Desired, Phase, Session
from sessions.status import UNREACHABLE_AFTER, View, derive, intent_of
from sessions.status_rows import News, changes, restated_rows, rows_of, unsettled_rows, write
from sessions.webhooks import delivery
from sessions.webhooks.announce import Change, announce
from sessions.webhooks.models import DELETED
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
ASK_AFTER = timedelta(seconds=2)  # what was sent so recently will be mentioned
FULL = 500  # workloads of which there is news that fill a round
WRITTEN_TOGETHER = 50  # rows per transaction
LOOK_EVERY = 1.0  # at most, for what time alone changes; what users ask for is seen within a tick


def lead(stop: threading.Event) -> None:
    """Be the controller whenever nobody else is, until ``stop`` is set. Then the next one in reserve takes over at once."""
    lease = Lease()
    while not stop.is_set():
        try:
            if lease.take():
                log.info("Leading")
                Controller(stop).run(lease)
        except DatabaseError as error:
            log.warning("The database failed: %s", type(error).__name__)
            connection.close()
        stop.wait(1)
    with suppress(DatabaseError):
        lease.release()


class Controller:
    """The leading controller. ``run`` returns when ``stop`` is set, or when another process has the lease."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.inbox: queue.Queue[tuple[int, Observation]] = queue.Queue()
        self.watches: dict[int, ClusterWatch] = {}
        self.seen: dict[str, Observation] = {}
        self.where: dict[str, int] = {}  # the cluster of each workload that was seen
        self.orphans: set[str] = set()
        self.moving: set[str] = set()  # sessions that were last seen on their way: only for the pace
        self.workspaces: dict[int, Workspace] = {}
        self.unrecorded = False  # whether a session awaits nothing but the worker's record
        self.asked: dict[str, float] = {}
        self.silent: set[int] = set()  # clusters that do not answer
        self.away: set[int] = set()  # those of them whose sessions are told that they are Unknown
        self.untold: list[int] = []  # sessions of clusters that went away or came back
        self.deleted: deque[tuple[float, int, str, str]] = deque()  # when to remove again: cluster, namespace and host
        self.ended = launch_times.Ended()
        # Monotonic times: a clock that is set back must not put these off.
        now = self.started = time.monotonic()
        self.started_at = timezone.now()
        self.next_round = self.next_look = self.next_glance = self.next_due = self.next_sweep = self.next_housekeeping = now
        self.next_resync = now + 5

    def run(self, lease: Lease) -> None:
        try:
            while not self.stop.is_set():
                try:
                    if not lease.hold():
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
            with suppress(DatabaseError):
                self.ended.count()

    def round(self) -> None:
        """Everything once: what the clusters said, what users asked for, and what is due."""
        hosts = self.read_inbox()
        now = time.monotonic()
        if hosts:
            rows = rows_of(hosts)
            self.report_orphans(hosts - {row.host for row in rows})
            self.update(rows)
            self.next_round = pace.gather(len(self.moving))
        self.look(hosts)
        self.follow_outages()
        self.ended.count_if_due()
        if now >= self.next_due:
            self.next_due = now + DUE_EVERY
            tasks.queue_due()
        if now >= self.next_sweep:
            self.next_sweep = now + settings.SLIPWAY_SWEEP_SECONDS
            self.sweep(now)

    def look(self, besides: set[str]) -> None:
        """See what has changed without a word from the clusters."""
        now = time.monotonic()
        if now >= self.next_look:
            began, self.unrecorded = time.thread_time(), False
            self.update(row for row in unsettled_rows() if row.host not in besides)
            self.next_look = max(now if self.unrecorded else pace.next_look(pace.cost(began)), now + LOOK_EVERY)
        elif now >= self.next_glance:
            self.update(row for row in restated_rows() if row.host not in besides)
        else:
            return
        self.next_glance = time.monotonic() + TICK

    def read_inbox(self) -> set[str]:
        """The workloads of which there is news. Waits for some for up to a tick, and then gathers more until the next round is
        due; of each workload only the newest counts."""
        hosts: set[str] = set()
        try:
            item = self.inbox.get(timeout=TICK)
            while self.inbox.qsize() < FULL and (pause := self.next_round - time.monotonic()) > 0:
                self.stop.wait(min(pause, TICK))
            while True:
                self.take(*item, hosts)
                if len(hosts) >= FULL:
                    break
                item = self.inbox.get_nowait()
        except queue.Empty:
            pass
        return hosts

    def take(self, cluster_id: int, observation: Observation, hosts: set[str]) -> None:
        """Remember what is said of a workload; its name goes to ``hosts`` unless the same was said before."""
        name = observation.name
        before = self.seen.get(name)
        self.where[name] = cluster_id
        self.seen[name] = observation
        if before is None or name in self.orphans or replace(before, at=observation.at) != observation:
            hosts.add(name)

    def update(self, rows: Iterable[Session]) -> None:
        """Derive and write the rows' statuses; one bad row never blocks the rest."""
        for batch in _batched(rows, WRITTEN_TOGETHER):
            self.know_workspaces(batch)
            news: list[News] = []
            reapply: list[int] = []
            for row in batch:
                with log_context.bound(session=row.host):
                    try:
                        self.update_one(row, news, reapply)
                    except DatabaseError:
                        raise
                    except Exception:
                        log.exception("Deriving the status of %s failed", row.host)
            self.ended.add((one.session, one.status.phase, one.phase_since) for one in write(news) if one.settled)
            for session_id in reapply:
                tasks.queue(session_id)

    def know_workspaces(self, sessions: Sequence[Session]) -> None:
        """Put the rows' workspaces, with their clusters, in place; each is read once between two sweeps."""
        if unknown := {session.workspace_id for session in sessions} - self.workspaces.keys():
            self.workspaces |= Workspace.objects.select_related("cluster").in_bulk(unknown)
        for session in sessions:
            session.workspace = self.workspaces[session.workspace_id]

    def update_one(self, session: Session, news: list[News], reapply: list[int]) -> None:
        view = self.view(session)
        status = derive(view)
        (self.moving.add if status.phase in MOVING else self.moving.discard)(session.host)
        if view.unrecorded:  # the worker says no word when it has
            self.unrecorded, self.next_look = True, min(self.next_look, time.monotonic() + LOOK_EVERY)
        if status.gone:
            return self.forget(session)
        if view.observation is None and status.phase == Phase.PENDING and _is_up(session):
            return  # nobody has said that it does not run
        if changed := changes(session, view, status):
            news.append(News(session, view, status, changed))
        if status.reapply:
            reapply.append(session.pk)

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

        None when it was sent or asked for a moment ago, or the cluster does not answer.
        """
        now = time.monotonic()
        unreachable = watch is not None and watch.unreachable_since is not None
        sent = session.applied_generation >= session.generation
        fresh = session.applied_at is not None and abs(timezone.now() - session.applied_at) < ASK_AFTER
        if unreachable or not sent or fresh or now - self.asked.get(session.host, -ASK_EVERY) < ASK_EVERY:
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
            announce([Change(session, DELETED, session.phase, "", "", timezone.now())])
            Activity.objects.create(
                workspace_id=session.workspace_id, session=session, host=session.host, verb="deleted", message="Nothing of it is left."
            )
            session.delete()
        self.seen.pop(session.host, None)
        self.asked.pop(session.host, None)
        self.where.pop(session.host, None)
        self.moving.discard(session.host)
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
        """What is due: watches of new clusters, lost tasks, silent sessions, and (rarely) housekeeping."""
        self.workspaces.clear()
        self.follow_clusters()
        self.report_clusters()
        delivery.queue_due()
        slurm_state.queue_due()
        slurm_tickets.queue_due()
        idle.queue_due()
        self.remove_late(now)
        if now >= self.next_resync:
            self.next_resync = now + RESYNC
            self.resync()
        if now >= self.next_housekeeping:
            self.next_housekeeping = now + HOUSEKEEPING
            for watch in self.watches.values():
                watch.know_namespaces()
            services.pause_abandoned()
            drafts.purge_old()
            gateway.purge_expired()
            delivery.purge_old()
            idempotency.purge_old()
            tokens.purge_old()
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
            if watch := self.watches.get(pk):
                cluster_reports.remember(cluster, watch.checkup)
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
        running = Session.objects.filter(phase=Phase.RUNNING).order_by().values_list("host", flat=True)
        silent = [host for host in running.iterator() if host not in self.seen][:200]
        if silent:
            self.update(Session.objects.filter(host__in=silent).for_status())
        self.update(Session.objects.filter(phase=Phase.UNKNOWN).exclude(workspace__cluster__in=self.away).for_status()[:500])


def _is_up(session: Session) -> bool:
    return session.phase == Phase.RUNNING and session.status_generation == session.generation


def _batched(rows: Iterable[Session], size: int) -> Iterator[list[Session]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch
