"""Runs the worker (django-q2's cluster) under its watchdog."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django_q.cluster import Cluster

from config.watchdog import FamilyTie, Watchdog, start_worker


class Command(BaseCommand):
    help = "Runs the worker that reconciles sessions, and starts it again whenever it stops working."

    requires_system_checks = []  # `run_all` and `check` make them; a worker that is started again must be quick

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--unwatched", action="store_true", help="Run the worker itself, without the watchdog.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["unwatched"]:
            run_cluster()
            return
        stop = threading.Event()
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, lambda *_: stop.set())
        Watchdog(start_worker, stop).run()


def run_cluster() -> None:
    tie = FamilyTie()  # noqa: F841 (kept alive: multiprocessing holds it weakly)
    cluster = Cluster()
    cluster.start()
    cluster.sentinel.join()
