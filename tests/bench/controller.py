"""What it takes the controller to catch up with many sessions when it starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django_q.models import OrmQ

from compute.clusters.base import Stop
from compute.workload import Observation
from sessions.controller import Controller
from sessions.models import Desired, Phase, Session
from tests.bench.data import Population
from tests.fakes import FakeDriver

SESSIONS = 1_000
TIMEOUT = 120


class QuietDriver(FakeDriver):
    """Says everything once, as a watch that has just begun; then nothing changes."""

    def watch(self, stop: Stop) -> Iterator[Observation]:
        yield from list(self.observations.values())
        stop.wait()


def measure(population: Population, driver: QuietDriver) -> list[dict[str, Any]]:
    """Twice: all sessions have begun to run while nobody looked; and nothing has changed. Seconds and queries."""
    ids = list(Session.objects.in_workspace(population.workspace).values_list("pk", flat=True)[:SESSIONS])
    Session.objects.exclude(pk__in=ids).update(phase=Phase.PAUSED, desired=Desired.PAUSED)
    Session.objects.filter(pk__in=ids).update(phase=Phase.PENDING, desired=Desired.RUNNING, observed_revision=0)
    OrmQ.objects.all().delete()
    for host in Session.objects.filter(pk__in=ids).values_list("host", flat=True):
        driver.observations["research", host] = Observation(
            name=host, namespace="research", at=datetime.now(UTC), exists=True, revision=1, ready=True, endpoint="unix:/run/ide.sock"
        )
    return [{"name": name, **_catch_up()} for name in (f"{SESSIONS:,} sessions have changed", f"{SESSIONS:,} sessions are as before")]


def _catch_up() -> dict[str, Any]:
    queries = 0

    def count(execute: Any, *args: Any) -> Any:
        nonlocal queries
        queries += 1
        return execute(*args)

    stop = threading.Event()
    controller = Controller(stop)
    started = time.perf_counter()
    with connection.execute_wrapper(count):
        while len(controller.seen) < SESSIONS or Session.objects.filter(phase=Phase.PENDING).exists():
            controller.round()
            if time.perf_counter() - started > TIMEOUT:
                raise RuntimeError("The controller did not catch up.")
    seconds = time.perf_counter() - started
    stop.set()
    for watch in controller.watches.values():
        watch.join()
    return {"seconds": seconds, "queries": queries}
