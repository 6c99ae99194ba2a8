"""How every cluster is, asked of all at once and never for longer than ``LIMIT``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from compute.clusters import driver_for
from compute.clusters.base import ClusterError, Health
from compute.models import Cluster
from sessions.cluster_reports import is_stale
from sessions.models import ClusterReport

log = logging.getLogger(__name__)

LIMIT = 8.0  # seconds; a driver's own time limits may be longer
SLOW_WATCH = 10.0  # seconds behind that an operator should know of


class _Asking(threading.Thread):
    """Asks one driver. A daemon: one that hangs must not keep the process from ending."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(name=f"health-{cluster.name}", daemon=True)
        self.cluster = cluster
        self.answer: Health | None = None

    def run(self) -> None:
        try:
            self.answer = driver_for(self.cluster).health()
        except ClusterError as error:
            self.answer = Health(ok=False, problems=(str(error),))
        except Exception:
            log.exception("Asking how %s is failed", self.cluster.name)
            self.answer = Health(ok=False, problems=("Its driver failed; the log of the web process says more.",))


_asking: dict[tuple[str, str, str], _Asking] = {}  # the newest of each
_turn = threading.Lock()


@dataclass(frozen=True)
class ClusterHealth:
    """One cluster's row of the panel. ``report`` is the controller's, None when it has never said anything of it."""

    cluster: Cluster
    health: Health
    report: ClusterReport | None

    @property
    def state(self) -> str:
        """ok, attention or away."""
        if not self.is_reachable:
            return "away"
        return "ok" if self.health.ok and not self.watch_problem and not self.orphans else "attention"

    @property
    def is_reachable(self) -> bool:
        """A driver that has reached its cluster says the version, whatever else is wrong."""
        return self.health.ok or bool(self.health.version)

    @property
    def unreachable_since(self) -> datetime | None:
        return self.report.unreachable_since if self.report else None

    @property
    def is_watched(self) -> bool:
        return self.report is not None and not is_stale(self.report)

    @property
    def watch_problem(self) -> str:
        """What is wrong between the controller and the cluster; empty when it follows as it should, or the cluster is away."""
        if self.report is None:
            return "The controller has not reported on it yet."
        if is_stale(self.report):
            return "The controller is silent: what sessions show is as old as its last report."
        if self.report.unreachable_since and self.is_reachable:
            return f"The controller can't watch it: {self.report.problem}"
        if (self.report.lag_seconds or 0) > SLOW_WATCH:
            return "The controller is behind: sessions show late what happens to them."
        return ""

    @property
    def orphans(self) -> list[str]:
        return self.report.orphans if self.report else []

    @property
    def more_orphans(self) -> int:
        return max(0, self.report.orphan_count - len(self.report.orphans)) if self.report else 0


def look(clusters: Iterable[Cluster], limit: float = LIMIT) -> list[ClusterHealth]:
    """Every cluster's health, in their order. No queries if the clusters came with their reports (``select_related``)."""
    asked = [(cluster, _ask(cluster)) for cluster in clusters]
    deadline = time.monotonic() + limit
    for _, asking in asked:
        asking.join(max(0.0, deadline - time.monotonic()))
    late = Health(ok=False, problems=(f"It did not answer within {limit:g} seconds.",))
    return [ClusterHealth(cluster, asking.answer or late, getattr(cluster, "report", None)) for cluster, asking in asked]


def _ask(cluster: Cluster) -> _Asking:
    """Someone who asks the cluster; one who still waits for the answer to an earlier look is joined, not doubled."""
    with _turn:
        key = (cluster.driver, cluster.name, cluster.context)
        asking = _asking.get(key)
        if asking is None or not asking.is_alive():
            asking = _asking[key] = _Asking(cluster)
            asking.start()
        return asking
