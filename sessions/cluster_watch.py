"""Who follows one cluster, for the controller: a thread for what happens there, one for how the cluster itself is."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone

from compute.clusters import driver_for
from compute.clusters.base import ClusterError, Health
from compute.models import Cluster, Workspace
from compute.workload import Observation
from sessions.cluster_reports import Checkup

log = logging.getLogger(__name__)

BACKOFF = (0.5, 1)
CHECK_EVERY = 60.0  # seconds between questions of how a cluster is
CHECK_AGAIN = 10.0  # after it did not answer


class ClusterWatch(threading.Thread):
    """Follows one cluster's watch until it is retired. ``unreachable_since`` and ``problem`` tell whether it can, ``heard``
    (monotonic) when it last did. ``checkup`` is what the cluster last said of itself, None before it has; ``namespaces`` are
    those that it is asked about."""

    def __init__(self, cluster: Cluster, inbox: queue.Queue[tuple[int, Observation]], stop: threading.Event) -> None:
        super().__init__(name=f"watch-{cluster.name}", daemon=True)
        self.cluster, self.inbox, self.stop = cluster, inbox, stop
        self.unreachable_since: datetime | None = None
        self.problem = ""
        self.heard = time.monotonic()
        self.checkup: Checkup | None = None
        self.know_namespaces()
        self.retired = False  # its cluster is gone, or is reached in another way now

    def is_set(self) -> bool:
        """With :meth:`wait`, a ``Stop`` for the driver."""
        return self.retired or self.stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        self.stop.wait(timeout)
        return self.is_set()

    def know_namespaces(self) -> None:
        """Those of the cluster's workspaces by now. One query."""
        found = Workspace.objects.filter(cluster=self.cluster.pk).order_by("namespace")
        self.namespaces = list(found.values_list("namespace", flat=True))

    def follows(self, cluster: Cluster) -> bool:
        """Whether it is alive and reaches the cluster as the row says now."""
        mine, its = ((row.driver, row.context, row.identity) for row in (self.cluster, cluster))
        return self.is_alive() and mine == its

    def run(self) -> None:
        # A check waits for many answers; what happens to sessions must not wait with it.
        threading.Thread(target=self._check, name=f"health-{self.cluster.name}", daemon=True).start()
        failures = 0
        while not self.is_set():
            try:
                for observation in driver_for(self.cluster).watch(self):
                    failures, self.unreachable_since, self.problem = 0, None, ""
                    self.heard = time.monotonic()
                    if observation is not None:
                        self.inbox.put((self.cluster.pk, observation))
            except Exception as error:
                # A driver's own bug must not end the watch either: it is told, and tried again.
                if not isinstance(error, ClusterError):
                    log.exception("Watching %s failed", self.cluster.name)
                self.problem = str(error) if isinstance(error, ClusterError) else "Its driver failed; the log says more."
                self.unreachable_since = self.unreachable_since or timezone.now()
                failures += 1
            self.wait(BACKOFF[min(failures, len(BACKOFF) - 1)])

    def _check(self) -> None:
        """Ask how the cluster is, again and again. With the controller's account, which is the worker's too: what is missing of
        its rights would fail sessions."""
        while not self.is_set():
            health = _health(self.cluster, self.namespaces)
            self.checkup = Checkup(health, timezone.now())
            self.wait(CHECK_EVERY if health.version else CHECK_AGAIN)


def _health(cluster: Cluster, namespaces: Sequence[str]) -> Health:
    try:
        return driver_for(cluster).health(namespaces)
    except ClusterError as error:
        return Health(ok=False, problems=(str(error),))
    except Exception:
        log.exception("Asking how %s is failed", cluster.name)
        return Health(ok=False, problems=("Its driver failed; the controller's log says more.",))
