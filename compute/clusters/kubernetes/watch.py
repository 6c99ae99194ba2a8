"""Every change of every session of a cluster, as Observations."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from compute.clusters.base import ClusterError, Stop
from compute.clusters.kubernetes import labels, observe, records
from compute.clusters.kubernetes.client import ApiError, Connection
from compute.clusters.kubernetes.pulse import Pulse
from compute.clusters.kubernetes.records import PVC, Event, Key, Pod, StatefulSet
from compute.clusters.kubernetes.reflector import Kind, Reflector
from compute.clusters.kubernetes.trouble import failed_container
from compute.workload import Observation

SILENCE = 6.0  # seconds without an answer that make a cluster unreachable
HEARTBEAT = 1.0  # how often "nothing new" is said
LOOK_AGAIN = 2.0  # time alone can change what is true of a session that is not settled
SAY_AGAIN = 6.0  # an unsettled session is told again, even when nothing about it has changed
GATHER = 0.005  # seconds that changes are gathered for each further session that isn't settled: a launch makes a dozen
LONGEST_GATHER = 0.4
TELL_DRIFT = 10.0  # seconds for which one drift is told; if nobody could mend it by then, it isn't told again

STATEFULSETS = Kind("statefulsets", "/apis/apps/v1/statefulsets", records.statefulset, labels.SELECTOR)
PODS = Kind("pods", "/api/v1/pods", records.pod, labels.SELECTOR)
CLAIMS = Kind("persistentvolumeclaims", "/api/v1/persistentvolumeclaims", records.pvc, labels.SELECTOR)
EVENTS = Kind("events", "/api/v1/events", records.event, fields=",".join(f"reason!={one}" for one in records.UNEXPLAINING))

log = logging.getLogger(__name__)
LogTail = Callable[[str, str, str, bool], str]  # namespace, pod, container, previous


@dataclass
class Open:
    """A session that isn't settled: something has to happen, or may happen by time alone."""

    told: Observation
    told_at: float
    look_at: float


@dataclass(frozen=True)
class Either:
    """Set when one of the two is; it is the first that people wait for."""

    stop: Stop
    halt: threading.Event

    def is_set(self) -> bool:
        return self.stop.is_set() or self.halt.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        return self.halt.is_set() or self.stop.wait(timeout)


@dataclass(frozen=True)
class Following:
    """How well one kind is followed: ``lag`` in seconds (0: up to date), and the error that it lags for."""

    kind: str
    synced: bool
    lag: float
    objects: int
    problem: str


class Watch:
    """Satisfies ``Driver.watch`` with ``run``. Its stores outlive errors: ``run`` may be called again and goes on from there.

    ``log_tail`` reads the log of a container once per failure, in a thread of its own; the observation follows without it first.
    """

    def __init__(self, connection: Connection, log_tail: LogTail | None = None) -> None:
        self._log_tail = log_tail
        self._wake = threading.Event()
        self._halt = threading.Event()
        self._dirty: dict[Key, None] = {}
        self._open: dict[Key, Open] = {}
        self._mounting: dict[Key, set[Key]] = {}  # the sessions whose pods mount a claim
        self._drifts: dict[Key, tuple[str, float]] = {}  # the live hash that was told, since when
        self._tails: dict[Key, tuple[str, str]] = {}  # the uid of the pod that failed, the end of its log
        self._started = False
        self._threads: list[threading.Thread] = []
        self.pulse = Pulse(connection)
        self.statefulsets = Reflector[StatefulSet](connection, STATEFULSETS, lambda one: self._touch(one.key))
        self.pods = Reflector[Pod](connection, PODS, self._pod_changed)
        self.claims = Reflector[PVC](connection, CLAIMS, lambda one: self._claim_changed(one.key))
        self.events = Reflector[Event](connection, EVENTS, self._event_changed)
        self._reflectors: tuple[Reflector[Any], ...] = (self.statefulsets, self.pods, self.claims, self.events)

    def health(self) -> tuple[Following, ...]:
        return tuple(
            Following(one.kind.name, one.synced.is_set(), one.lag, len(one.store), str(one.error or "")) for one in self._reflectors
        )

    def run(self, stop: Stop) -> Iterator[Observation | None]:
        """See ``Driver.watch``. Its threads end when ``stop`` is set, or the iterator is closed."""
        self._start(stop)
        lost = False
        readers = ThreadPoolExecutor(2, "log-tail")
        try:
            while not stop.is_set():
                self._check()
                yield from self._news(readers)
                yield None
                stop.wait(min(GATHER * max(0, len(self._open) - 1), LONGEST_GATHER))
                self._wake.wait(HEARTBEAT)
                self._wake.clear()
        except ClusterError:
            lost = True  # the threads go on trying
            raise
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
            if not lost or stop.is_set():
                self._halt.set()

    def _start(self, stop: Stop) -> None:
        if self._halt.is_set():
            self._halt = threading.Event()  # threads of the last run may still be reading; they have their own
            self._threads = []
            # Whoever watches now may be somebody else, who has to hear of every session.
            self._dirty.update(dict.fromkeys(self.statefulsets.store))
            for pod in self.pods.store.values():
                self._pod_changed(pod)
        if not any(thread.is_alive() for thread in self._threads):
            targets = [self.pulse.run, *(one.run for one in self._reflectors)]
            self._threads = [
                threading.Thread(target=run, args=(Either(stop, self._halt),), name="kubernetes-watch", daemon=True) for run in targets
            ]
            for thread in self._threads:
                thread.start()

    def _check(self) -> None:
        """Raise if the cluster does not answer, or something of it can't be followed."""
        silence = self.pulse.silence
        if self.pulse.error is not None and (silence is None or silence > SILENCE):
            raise self.pulse.error
        if silence is not None and silence > SILENCE:
            raise ApiError(0, "Unreachable", "The cluster's API does not answer.")
        for one in self._reflectors:
            error = one.error
            if error is not None and (one.lag > SILENCE or not (one.synced.is_set() or error.retryable)):
                raise error

    def _news(self, readers: ThreadPoolExecutor) -> Iterator[Observation]:
        """What changed since the last call, and what is due."""
        if not self._started:
            if not all(one.synced.is_set() for one in self._reflectors):
                return
            self._started = True
        now = time.monotonic()
        for key in list(self._dirty):
            del self._dirty[key]
            if seen := self._try_to_look(key, readers):
                yield self._tell(key, seen, now)
        for key, open_ in list(self._open.items()):
            if now < open_.look_at:
                continue
            open_.look_at = now + LOOK_AGAIN
            seen = self._try_to_look(key, readers)
            if seen and (now - open_.told_at >= SAY_AGAIN or replace(seen, at=open_.told.at) != open_.told):
                yield self._tell(key, seen, now)

    def _try_to_look(self, key: Key, readers: ThreadPoolExecutor) -> Observation | None:
        """None if it can't be understood: one bad session must not hide the others."""
        try:
            return self._look(key, readers)
        except Exception:
            log.exception("What the cluster says of %s/%s could not be understood", *key)
            return None

    def _look(self, key: Key, readers: ThreadPoolExecutor) -> Observation:
        """One session as the stores have it."""
        namespace, name = key
        statefulset, pod = self.statefulsets.store.get(key), self._pod(key)
        events = self._events(key, pod) if statefulset is not None and statefulset.replicas else []
        claims = {name: claim for name in pod.claims if (claim := self.claims.store.get((namespace, name)))} if pod else {}
        seen = observe.observation(namespace, name, statefulset, [pod] if pod else [], claims, events, datetime.now(UTC))
        drifted = self._is_news(key, statefulset)
        return replace(seen, drifted=drifted, log_tail=self._tail(key, pod, seen.failed, readers))

    def _tell(self, key: Key, seen: Observation, now: float) -> Observation:
        if _settled(seen):
            self._open.pop(key, None)
        else:
            self._open[key] = Open(seen, now, now + LOOK_AGAIN)
        return seen

    def _pod(self, key: Key) -> Pod | None:
        pod = self.pods.store.get((key[0], f"{key[1]}-0"))
        return pod if pod is not None and pod.session == key[1] else None

    def _events(self, key: Key, pod: Pod | None) -> list[Event]:
        namespace, name = key
        objects = [("StatefulSet", name)]
        if pod is not None:
            objects += [("Pod", pod.name), *(("PersistentVolumeClaim", claim) for claim in pod.claims)]
        keys = (records.event_key(namespace, kind, of, reason) for kind, of in objects for reason in records.EXPLAINED[kind])
        return [event for one in keys if (event := self.events.store.get(one))]

    def _is_news(self, key: Key, statefulset: StatefulSet | None) -> bool:
        """Whether to tell that the session drifted. What an apply can't put back is not told for ever."""
        if statefulset is None or not statefulset.drifted:
            self._drifts.pop(key, None)
            return False
        now = time.monotonic()
        told, since = self._drifts.get(key, ("", now))
        if told != statefulset.live_hash:
            since = now
            self._drifts[key] = statefulset.live_hash, now
        return now - since < TELL_DRIFT

    def _tail(self, key: Key, pod: Pod | None, failed: bool, readers: ThreadPoolExecutor) -> str:
        """The end of the failed container's log, once it has been read."""
        if not failed or pod is None or self._log_tail is None:
            self._tails.pop(key, None)
            return ""
        uid, text = self._tails.get(key, ("", ""))
        if uid == pod.uid:
            return text
        self._tails[key] = pod.uid, ""
        container = failed_container(pod)
        if container is not None:
            readers.submit(self._read_log, self._log_tail, key, pod, *container)
        return ""

    def _read_log(self, log_tail: LogTail, key: Key, pod: Pod, container: str, previous: bool) -> None:
        try:
            text = log_tail(pod.namespace, pod.name, container, previous)
        except ClusterError:
            return  # the log is a comfort, not a promise
        if text and self._tails.get(key, ("", ""))[0] == pod.uid:
            self._tails[key] = pod.uid, text
            self._touch(key)

    # Called by the reflectors' threads

    def _touch(self, key: Key) -> None:
        self._dirty[key] = None
        self._wake.set()

    def _pod_changed(self, pod: Pod) -> None:
        if not pod.session or pod.name != f"{pod.session}-0":
            return
        session = pod.namespace, pod.session
        is_there = pod.key in self.pods.store
        for name in pod.claims:
            mounting = self._mounting.setdefault((pod.namespace, name), set())
            (mounting.add if is_there else mounting.discard)(session)
            if not mounting:
                self._mounting.pop((pod.namespace, name), None)
        self._touch(session)

    def _claim_changed(self, key: Key) -> None:
        for session in list(self._mounting.get(key, ())):
            if session in self._open:
                self._touch(session)

    def _event_changed(self, event: Event) -> None:
        """Events of settled sessions are no news."""
        if event.kind == "PersistentVolumeClaim":
            self._claim_changed((event.namespace, event.name))
            return
        key = event.namespace, event.name.removesuffix("-0") if event.kind == "Pod" else event.name
        if key in self._open:
            self._touch(key)


def _settled(seen: Observation) -> bool:
    """Whether only the cluster's word can change it: it runs, is paused, or is gone."""
    return (seen.ready and not seen.drifted) or not seen.exists


def observe_now(connection: Connection, namespace: str, name: str) -> Observation:
    """One session, read from the cluster now: two requests, and some more for what is not ready. Raises :class:`ApiError`."""
    apps, core = f"/apis/apps/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}"
    found = connection.get(f"{apps}/statefulsets/{name}")
    ours = found is not None and labels.is_ours(found["metadata"])
    statefulset = records.statefulset(found) if found and ours else None
    raw = connection.get(f"{core}/pods/{name}-0")
    pod = records.pod(raw) if raw and labels.is_ours(raw["metadata"]) else None
    claims: dict[str, PVC] = {}
    events: list[Event] = []
    if statefulset is not None and statefulset.replicas and (pod is None or not pod.is_true("Ready")):
        for claim in pod.claims if pod else ():
            if one := connection.get(f"{core}/persistentvolumeclaims/{claim}"):
                claims[claim] = records.pvc(one)
        uids = {statefulset.uid, pod.uid if pod else "", *(claim.uid for claim in claims.values())}
        listed = (raw for page in connection.pages(f"{core}/events") for raw in page.get("items") or ())
        events = [event for one in listed if (event := records.event(one)) and event.about in uids]
    return observe.observation(namespace, name, statefulset, [pod] if pod else [], claims, events, datetime.now(UTC))
