"""`manage.py run_controller`: watch the clusters and keep every session's status true. Any number may run; one leads."""

from __future__ import annotations

import gc
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from sessions.controller import lead

# A cluster's lists are large JSON trees without cycles. Python's own thresholds look for some after every 700 new objects, which
# takes longer than to decode them.
GC_THRESHOLDS = (50_000, 20, 20)


class Command(BaseCommand):
    help = "Watches the clusters, writes the status of sessions, and sweeps what is due. One leads, others wait in reserve."

    requires_system_checks = []  # `run_all` and `check` make them; a controller that is started again must be quick

    def handle(self, **_: Any) -> None:
        gc.set_threshold(*GC_THRESHOLDS)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        lead(stop)
