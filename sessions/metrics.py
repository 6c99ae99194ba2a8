"""What ``/metrics`` tells, read from the database at each scrape: any process gives the same answer, and none keeps a count.

A fixed number of queries, whatever the number of sessions. Labels are clusters, phases and reasons, never people,
workspaces or sessions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Min, Q, Sum
from django.utils import timezone
from django_q.models import Failure, OrmQ
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from compute.models import Cluster
from sessions import heartbeat, tallies
from sessions.models import Phase, Session
from sessions.tallies import Tally
from sessions.webhooks.models import WebhookDelivery
from storage.models import Volume


class DatabaseCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        clusters = list(Cluster.objects.order_by("name").values("name", *(f"report__{field}" for field in REPORTED)))
        names = [cluster["name"] for cluster in clusters]
        yield from _sessions(names)
        yield from _queue(names, now)
        yield from _tasks(now)
        yield from _clusters(clusters, now)
        yield from _tallies()
        yield from _webhooks(now)
        yield _heartbeats()
        yield _volumes()

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not ask the database."""
        return iter(())


registry = CollectorRegistry(auto_describe=False)
registry.register(DatabaseCollector())

REPORTED = ("at", "lag_seconds", "unreachable_since", "workloads", "orphan_count")


def _gauge(name: str, says: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"slipway_{name}", says, labels=labels)


def _sessions(names: list[str]) -> Iterator[Metric]:
    """Read from the index ``session_totals`` alone."""
    found = Session.objects.order_by().values("workspace__cluster__name", "phase")
    rows = found.annotate(number=Count("pk"), price=Sum("price_per_hour", filter=Q(phase=Phase.RUNNING)))
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    prices: dict[str, float] = defaultdict(float)
    for row in rows:
        name = row["workspace__cluster__name"]
        numbers[name, row["phase"]] = row["number"]
        prices[name] += float(row["price"] or 0)
    sessions = _gauge("sessions", "Sessions, by phase.", ("cluster", "phase"))
    price = _gauge("price_per_hour", "What the Running sessions cost per hour, in SLIPWAY_CURRENCY.", ("cluster",))
    for name in names:
        for phase in Phase.values:
            sessions.add_metric([name, phase], numbers[name, phase])
        price.add_metric([name], prices[name])
    yield from (sessions, price)


def _queue(names: list[str], now: datetime) -> Iterator[Metric]:
    """What users asked for and the cluster has not got yet. What it refused for good waits for nothing, and is left out."""
    waiting = Session.objects.needing_apply().exclude(apply_final=True, error_generation=F("generation")).order_by()
    rows = waiting.values("workspace__cluster__name", "apply_reason").annotate(number=Count("pk"), oldest=Min("requested_at"))
    depths: dict[str, int] = defaultdict(int)
    oldest: dict[str, datetime] = {}
    failing = _gauge("queue_failing", "Of the queue: sessions whose last try failed, by its reason.", ("cluster", "reason"))
    reasons: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        name = row["workspace__cluster__name"]
        depths[name] += row["number"]
        oldest[name] = min(oldest.get(name, now), row["oldest"])
        if row["apply_reason"]:
            reasons[name, row["apply_reason"]] += row["number"]
    for (name, reason), number in sorted(reasons.items())[: tallies.MAX_LABELS * max(1, len(names))]:
        failing.add_metric([name, reason], number)
    depth = _gauge("queue_depth", "Launches, pauses, resumes and deletes that have not reached the cluster yet.", ("cluster",))
    age = _gauge("queue_oldest_seconds", "For how long the oldest of the queue has been waiting.", ("cluster",))
    for name in names:
        depth.add_metric([name], depths[name])
        age.add_metric([name], _seconds(oldest.get(name), now))
    yield from (depth, age, failing)


def _tasks(now: datetime) -> Iterator[Metric]:
    """django-q2's table: a task's lock lies ahead while a worker has it."""
    numbers = OrmQ.objects.aggregate(waiting=Count("pk", filter=Q(lock__lte=now)), in_hand=Count("pk", filter=Q(lock__gt=now)))
    tasks = _gauge("tasks", "Tasks in the worker's table.", ("state",))
    for state, number in numbers.items():
        tasks.add_metric([state], number)
    yield tasks
    failed = _gauge("tasks_failed", "Tasks that ended in an error of Slipway's own and are kept for somebody to look at.")
    failed.add_metric([], Failure.objects.count())
    yield failed


def _clusters(clusters: list[dict[str, Any]], now: datetime) -> Iterator[Metric]:
    """What the controller last wrote of each cluster; nothing of one that it has not looked at yet."""
    families = {
        "reachable": _gauge("cluster_reachable", "Whether the controller hears from the cluster.", ("cluster",)),
        "age": _gauge("cluster_report_age_seconds", "Since when the controller has not said how the cluster is.", ("cluster",)),
        "lag": _gauge("watch_lag_seconds", "Since when the cluster's watch has said nothing.", ("cluster",)),
        "workloads": _gauge("cluster_workloads", "Workloads that the controller knows of.", ("cluster",)),
        "orphans": _gauge("cluster_orphans", "Workloads that no session owns.", ("cluster",)),
    }
    for cluster in clusters:
        if (at := cluster["report__at"]) is None:
            continue
        lag = cluster["report__lag_seconds"]
        values = {
            "reachable": cluster["report__unreachable_since"] is None,
            "age": _seconds(at, now),
            "lag": None if lag is None else lag + _seconds(at, now),
            "workloads": cluster["report__workloads"],
            "orphans": cluster["report__orphan_count"],
        }
        for name, value in values.items():
            if value is not None:
                families[name].add_metric([cluster["name"]], float(value))
    yield from families.values()


def _tallies() -> Iterator[Metric]:
    rows: dict[str, list[Tally]] = defaultdict(list)
    for row in Tally.objects.order_by("cluster", "label"):
        rows[row.name].append(row)
    for name, says in (
        (tallies.LAUNCH_APPLIED, "From the request (launch, resume, retry) until the cluster had it; of launches that came to an end."),
        (tallies.LAUNCH_RUNNING, "From the request (launch, resume, retry) until Running."),
    ):
        yield _histogram(f"slipway_{name}_seconds", says, rows[name])
    for name, says, label in (
        (tallies.LAUNCHES, "Launches, resumes and retries that came to Running or Failed.", "result"),
        (tallies.RECONCILE_ERRORS, "Tries to send a session to its cluster that failed, by reason.", "reason"),
    ):
        counter = CounterMetricFamily(f"slipway_{name}", says, labels=("cluster", label))
        for row in rows[name]:
            counter.add_metric([row.cluster, row.label], row.count)
        yield counter
    tries = CounterMetricFamily("slipway_webhook_tries", "Tries to deliver an event to a webhook.", labels=("result",))
    for row in rows[tallies.WEBHOOK_TRIES]:
        tries.add_metric([row.label], row.count)
    yield tries


def _histogram(name: str, says: str, rows: list[Tally]) -> HistogramMetricFamily:
    """Rows hold what fell into one bucket; Prometheus wants everything up to it."""
    family = HistogramMetricFamily(name, says, labels=("cluster",))
    by_cluster: dict[str, dict[str, Tally]] = defaultdict(dict)
    for row in rows:
        by_cluster[row.cluster][row.label] = row
    for cluster, buckets in by_cluster.items():
        so_far = 0
        cumulative: list[tuple[str, float]] = []
        for label in (*map(str, tallies.BUCKETS), tallies.BEYOND):
            so_far += buckets[label].count if label in buckets else 0
            cumulative.append((label, so_far))
        family.add_metric([cluster], cumulative, sum(row.total for row in buckets.values()))
    return family


def _webhooks(now: datetime) -> Iterator[Metric]:
    due = WebhookDelivery.objects.due(now).aggregate(number=Count("pk"), oldest=Min("next_try_at"))
    number = _gauge("webhooks_due", "Deliveries to webhooks that could be sent now and are not.")
    number.add_metric([], due["number"])
    oldest = _gauge("webhooks_due_oldest_seconds", "For how long the oldest of them has been due.")
    oldest.add_metric([], _seconds(due["oldest"], now))
    yield from (number, oldest)


def _heartbeats() -> Metric:
    family = _gauge("heartbeat_age_seconds", "Since when a part (worker, controller) has not shown that it works.", ("part",))
    for name, age in sorted(heartbeat.ages().items()):
        family.add_metric([name], age)
    return family


def _volumes() -> Metric:
    numbers = Volume.objects.aggregate(live=Count("pk", filter=Q(trashed_at=None)), trash=Count("pk", filter=Q(trashed_at__isnull=False)))
    family = _gauge("volumes", "Volumes, in use or not, and those in the trash.", ("state",))
    for state, number in numbers.items():
        family.add_metric([state], number)
    return family


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
