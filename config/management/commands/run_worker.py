"""Runs the worker (django-q2's cluster) under its watchdog."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection
from django_q.cluster import Cluster as Workers

from compute.clusters import driver_for
from compute.models import Cluster
from config.process import Fork
from config.watchdog import FamilyTie, Watchdog

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Runs the worker that reconciles sessions, and starts it again whenever it stops working."

    requires_system_checks = []  # `run_all` and `check` make them; a worker that is started again must be quick

    def handle(self, **_: Any) -> None:
        stop = threading.Event()
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, lambda *_: stop.set())
        Watchdog(start, stop).run()


def start() -> Fork:
    """Not a program of its own: to load everything once more would keep every task waiting for seconds when it was killed."""
    connection.close()  # forks must not share it
    return Fork(run_cluster)


def run_cluster() -> None:
    load_drivers()
    tie = FamilyTie()  # noqa: F841 (kept alive: multiprocessing holds it weakly)
    workers = Workers()
    workers.start()
    workers.sentinel.join()


def load_drivers() -> None:
    """Import once, before the workers are forked, what each of them will use."""
    try:
        for cluster in Cluster.objects.all():
            driver_for(cluster)
    except Exception as error:  # whoever needs it meets it again, and says so where it matters
        log.warning("The clusters' drivers can't be loaded: %s", type(error).__name__)
    finally:
        connection.close()  # as above
