"""Numbers that only grow, for the metrics: they are rows, so they survive restarts and are the same in every process."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from django.db import models
from django.db.models import F

# Of the histograms, in seconds. A change begins new series: what was counted in other buckets stays in theirs.
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
BEYOND = "+Inf"
MAX_LABELS = 40  # of one name and cluster: reasons are the cluster's words, and every label is a series for ever
OTHER = "Other"

LAUNCH_APPLIED = "launch_applied"
LAUNCH_RUNNING = "launch_running"
LAUNCHES = "launches"
RECONCILE_ERRORS = "reconcile_errors"
WEBHOOK_TRIES = "webhook_tries"


class Tally(models.Model):
    """How often something happened, and the sum of what was measured. Only :func:`add` and :func:`observe` write it.

    ``cluster`` is a name, empty where none is meant; ``label`` is a reason, a result, or a histogram bucket's upper end.
    """

    name = models.CharField(max_length=40)
    cluster = models.CharField(max_length=63, blank=True)
    label = models.CharField(max_length=60, blank=True)
    count = models.PositiveBigIntegerField(default=0)
    total = models.FloatField(default=0)

    class Meta:
        app_label = "notebook_sessions"
        constraints = [models.UniqueConstraint(fields=("name", "cluster", "label"), name="tally_unique")]
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.name} {self.cluster} {self.label}"


def add(name: str, cluster: str = "", label: str = "", *, count: int = 1, total: float = 0.0) -> None:
    """Count something. One UPDATE; the first time of a label a few queries."""
    grown = {"count": F("count") + count, "total": F("total") + total}
    row = Tally.objects.filter(name=name, cluster=cluster, label=label)
    if row.update(**grown):
        return
    if label != OTHER and Tally.objects.filter(name=name, cluster=cluster).count() >= MAX_LABELS:
        add(name, cluster, OTHER, count=count, total=total)
        return
    Tally.objects.get_or_create(name=name, cluster=cluster, label=label)
    row.update(**grown)


def observe(name: str, cluster: str, seconds: Iterable[float]) -> None:
    """Put durations into a histogram's buckets. One UPDATE per bucket that gets any."""
    counts: Counter[str] = Counter()
    totals: dict[str, float] = defaultdict(float)
    for value in seconds:
        measured = max(0.0, value)  # a clock that was set back
        label = next((str(bound) for bound in BUCKETS if measured <= bound), BEYOND)
        counts[label] += 1
        totals[label] += measured
    for label, count in sorted(counts.items()):  # in one order, so that two transactions can't wait for each other
        add(name, cluster, label, count=count, total=totals[label])
