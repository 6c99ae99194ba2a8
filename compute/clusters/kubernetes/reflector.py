"""A copy of one kind of a cluster's objects that keeps itself up to date: a paged list, then a watch.

The copy outlives every failure: what was known stays known until the cluster says otherwise.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from compute.clusters.base import ClusterError, Stop
from compute.clusters.kubernetes.client import ApiError, Connection, selection
from compute.clusters.kubernetes.records import Event, Key

# A connection that died silently is noticed when a watch that the server should have ended long ago is still open.
WATCH_SECONDS = 10
GRACE_SECONDS = 5.0
RELIST_SECONDS = 600.0
LONGEST_BACKOFF = 2.0
GONE = 410
log = logging.getLogger(__name__)


class Record(Protocol):
    @property
    def key(self) -> Key: ...

    @property
    def uid(self) -> str: ...


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Kind(Generic[R]):
    """``trim`` makes a record from an object and the record before it; None leaves the object out."""

    name: str
    path: str
    trim: Callable[[dict[str, Any], R | None], R | None]
    selector: str = ""  # of labels
    fields: str = ""  # a selector, too


class Reflector(Generic[R]):
    """``store`` may be read by any thread; ``changed`` is called in the reflector's own, after the store has changed."""

    def __init__(
        self,
        connection: Connection,
        kind: Kind[R],
        changed: Callable[[R], None],
        *,
        watch_seconds: int = WATCH_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
        relist_seconds: float = RELIST_SECONDS,
        longest_backoff: float = LONGEST_BACKOFF,
    ) -> None:
        self.connection, self.kind, self.changed = connection, kind, changed
        self.watch_seconds, self.grace_seconds = watch_seconds, grace_seconds
        self.relist_seconds, self.longest_backoff = relist_seconds, longest_backoff
        self.store: dict[Key, R] = {}
        self.synced = threading.Event()
        self.failing_since: float | None = None  # monotonic, as are all times here
        self.error: ClusterError | None = None
        self.version = ""  # of the cluster's history, up to which the store is true; empty: list first
        self._listed_at = 0.0
        self._failures = 0

    @property
    def lag(self) -> float:
        """For how many seconds the store may have been missing something; 0 while it follows the cluster."""
        since = self.failing_since
        return time.monotonic() - since if since is not None else 0.0

    def run(self, stop: Stop) -> None:
        """Follow the cluster until ``stop``; never raises."""
        while not stop.is_set():
            try:
                if not self.version or time.monotonic() - self._listed_at > self.relist_seconds:
                    self._list()
                self._follow(stop)
            except ClusterError as error:
                if isinstance(error, ApiError) and error.status == GONE:
                    self.version = ""
                self._failed(error, stop)
            except Exception:
                # A bug, or an object as nobody has seen one: not a reason to never look again.
                log.exception("Reading %s failed", self.kind.name)
                self.version = ""
                self._failed(ClusterError("Unreadable", f"The cluster's {self.kind.name} could not be read; the log says more."), stop)

    def _failed(self, error: ClusterError, stop: Stop) -> None:
        """Back off with full jitter: many clients that failed together must not come back together."""
        self.error = error
        self.failing_since = self.failing_since or time.monotonic()
        self._failures += 1
        if not (self._failures == 1 and isinstance(error, ApiError) and error.status == GONE):
            stop.wait(random.uniform(0, min(self.longest_backoff, 0.25 * 2 ** min(self._failures, 10))))  # noqa: S311

    def _list(self) -> None:
        """Replace the store by what the cluster holds now, page by page; all or nothing."""
        found: dict[Key, R] = {}
        version = ""
        for page in self.connection.pages(self.kind.path, self.kind.selector, self.kind.fields):
            for raw in page.get("items") or ():
                self._keep(found, raw)
            version = page["metadata"]["resourceVersion"]
        before, self.store = self.store, found
        self.version, self._listed_at = version, time.monotonic()
        self.failing_since, self.error = None, None
        self.synced.set()
        for key, record in found.items():
            if before.get(key) != record:
                self.changed(record)
        for key in before.keys() - found.keys():
            self.changed(before[key])

    def _follow(self, stop: Stop) -> None:
        """Watch from ``version`` on until the server ends it; what each event says is in the store when it returns."""
        # After a failure a short one first: its end tells that the cluster answers again, even when nothing happens there.
        seconds = 1 if self._failures else self.watch_seconds
        query: dict[str, str | int | bool] = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self.version,
            "timeoutSeconds": seconds,
            **selection(self.kind.selector, self.kind.fields),
        }
        began, heard = time.monotonic(), False
        events = self.connection.stream(self.kind.path, query=query, timeout=(3, seconds + self.grace_seconds))
        for event in events:
            heard = True
            self._take(event["type"], event["object"])
            if self._failures:
                self._answered()
            if stop.is_set():
                return
        if not heard and time.monotonic() - began < 0.5:
            # Asking again at once would be a busy loop, for a server that ends every watch at once.
            raise ApiError(0, "WatchEnded", f"The cluster ends every watch of {self.kind.name} at once.")
        self._answered()

    def _take(self, happened: str, raw: dict[str, Any]) -> None:
        if happened == "DELETED":
            self._drop(raw)
        elif happened in ("ADDED", "MODIFIED"):
            self._put(raw)
        self.version = raw["metadata"]["resourceVersion"]

    def _keep(self, store: dict[Key, R], raw: dict[str, Any]) -> R | None:
        """Put one object's record into ``store``; None if there is nothing new in it."""
        record = self._trim(raw)
        if record is None:
            return None
        before = store.get(record.key)
        if before == record or (before is not None and _is_older(record, before)):
            return None
        store[record.key] = record
        return record

    def _put(self, raw: dict[str, Any]) -> None:
        record = self._keep(self.store, raw)
        if record is not None:
            self.changed(record)

    def _drop(self, raw: dict[str, Any]) -> None:
        record = self._trim(raw)
        known = self.store.get(record.key) if record else None
        if known is not None and known.uid == raw["metadata"].get("uid", ""):
            del self.store[known.key]
            self.changed(known)

    def _trim(self, raw: dict[str, Any]) -> R | None:
        """None for an object that can't be read as well: one bad object must not hide the others."""
        meta = raw["metadata"]
        try:
            return self.kind.trim(raw, self.store.get((meta.get("namespace", ""), meta["name"])))
        except Exception:
            log.exception("Could not read %s %s/%s", self.kind.name, meta.get("namespace"), meta.get("name"))
            return None

    def _answered(self) -> None:
        self.failing_since, self.error, self._failures = None, None, 0


def _is_older(record: Record, known: Record) -> bool:
    """Events of one reason share a key, and come in any order: the newest one stays."""
    if not isinstance(record, Event) or not isinstance(known, Event) or record.uid == known.uid:
        return False
    return record.at is not None and known.at is not None and record.at < known.at
