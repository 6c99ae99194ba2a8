"""What the controller alone knows of the clusters it watches, left where the admin's pages find it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from compute.clusters.base import Health
from compute.models import Cluster
from sessions.models import ClusterReport

NAMED = 20
AT_MOST_EVERY = timedelta(seconds=3)
AT_LEAST_EVERY = timedelta(seconds=10)
STALE = timedelta(seconds=45)  # with time for a controller that waits for its database
LONGEST_VERSION = 100


@dataclass(frozen=True)
class Checkup:
    """What a cluster's driver said of it, and when. A driver that has reached its cluster says the version, whatever else is wrong."""

    health: Health
    at: datetime


_written: dict[int, tuple[datetime, dict[str, Any]]] = {}


def record(
    cluster_id: int,
    *,
    unreachable_since: datetime | None,
    problem: str,
    lag: float | None,
    workloads: int,
    orphans: Collection[str],
    checkup: Checkup | None = None,
) -> bool:
    """Say how a cluster is; call it as often as you like. True when it was written.

    Written when something other than the lag has changed, but not within seconds of the last time, and else every ten
    seconds. One query then (the first time a few), none otherwise. ``lag`` is in seconds, None when it is not known.
    """
    now = timezone.now()
    report: dict[str, Any] = {
        "unreachable_since": unreachable_since,
        "problem": problem,
        "workloads": workloads,
        "orphans": sorted(orphans)[:NAMED],
        "orphan_count": len(orphans),
    }
    if checkup is not None:
        report |= {
            "asked_at": checkup.at,
            "version": checkup.health.version[:LONGEST_VERSION],
            "health_problems": list(checkup.health.problems),
            "health_notes": list(checkup.health.notes),
        }
    at, last = _written.get(cluster_id, (None, None))
    # A clock that was set back makes the last time one of the future, which must not hold this up.
    age = now - at if at is not None and at <= now else AT_LEAST_EVERY
    if age < AT_MOST_EVERY or (report == last and age < AT_LEAST_EVERY):
        return False
    fresh = {**report, "at": now, "lag_seconds": lag}
    if not ClusterReport.objects.filter(pk=cluster_id).update(**fresh):
        if not Cluster.objects.filter(pk=cluster_id).exists():
            return False  # deleted while it was watched
        ClusterReport.objects.update_or_create(cluster_id=cluster_id, defaults=fresh)
    _written[cluster_id] = (now, report)
    return True


def remember(cluster: Cluster, checkup: Checkup | None) -> None:
    """Which cluster it is, the first time that it says so. One query then, none otherwise."""
    if checkup is not None and checkup.health.identity and not cluster.identity:
        cluster.identity = checkup.health.identity
        Cluster.objects.filter(pk=cluster.pk, identity="").update(identity=cluster.identity)


def is_stale(report: ClusterReport) -> bool:
    """Whether the controller has been silent for so long that what it said may no longer be true."""
    return timezone.now() - report.at > STALE
