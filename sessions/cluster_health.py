"""How every cluster is, as the controller last reported it: no cluster is asked for a page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from compute.models import Cluster
from sessions.cluster_reports import is_stale
from sessions.models import ClusterReport

SLOW_WATCH = 10.0  # seconds behind that an operator should know of
SLOW_CHECK = timedelta(minutes=5)


@dataclass(frozen=True)
class ClusterHealth:
    """One cluster's row of the panel. ``report`` is None when the controller has never said anything of it."""

    cluster: Cluster
    report: ClusterReport | None

    @property
    def state(self) -> str:
        """ok, attention, away, or silent: the controller is, so that nobody knows."""
        if self.report is None or is_stale(self.report):
            return "silent"
        if self.is_away:
            return "away"
        return "attention" if self.problems or self.report.orphan_count else "ok"

    @property
    def is_away(self) -> bool:
        """Whether neither the watch nor the last health check had an answer. A cluster can answer and yet not be watched."""
        report = self.report
        if report is None or report.unreachable_since is None:
            return False
        return not report.version or report.asked_at is None or report.asked_at < report.unreachable_since

    @property
    def problems(self) -> list[str]:
        """One sentence each; what the watch says first."""
        if self.report is None:
            return []
        said = [*self._watch_problems(self.report), *self._check_problems(self.report)]
        return list(dict.fromkeys(said))

    def _watch_problems(self, report: ClusterReport) -> list[str]:
        if report.unreachable_since is not None:
            return [report.problem if self.is_away else f"The controller can't watch it: {report.problem}"]
        if (report.lag_seconds or 0) > SLOW_WATCH:
            return ["The controller is behind: sessions show late what happens to them."]
        return []

    def _check_problems(self, report: ClusterReport) -> list[str]:
        if report.asked_at is None:
            return ["It has not said yet how it is."]
        if report.at - report.asked_at > SLOW_CHECK:
            minutes = (report.at - report.asked_at) // timedelta(minutes=1)
            return [*report.health_problems, f"It has not said for {minutes} minutes how it is."]
        return list(report.health_problems)

    @property
    def more_orphans(self) -> int:
        return max(0, self.report.orphan_count - len(self.report.orphans)) if self.report else 0


def look() -> list[ClusterHealth]:
    """Every cluster. One query."""
    clusters = Cluster.objects.select_related("report")
    return [ClusterHealth(cluster, getattr(cluster, "report", None)) for cluster in clusters]
