"""`manage.py stop_local`: end the processes of local sessions and builds. The sessions stay as they were asked for: the
controller, once it runs again, finds them gone and starts them on the same folders."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from compute.clusters.local import LocalDriver
from sessions.models import Session

PATIENCE = 30.0  # IDEs get some seconds to save; then the driver kills them


class Command(BaseCommand):
    help = "End the processes of every session that runs on this machine (stop Slipway first, or it starts them again)."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        LocalDriver("stop").stop_builds()
        sessions = list(Session.objects.filter(workspace__cluster__driver="local").select_related("workspace__cluster"))
        running = [session for session in sessions if self._pause(session)]
        deadline = time.monotonic() + PATIENCE
        while left := [session.host for session in running if _exists(session)]:
            if time.monotonic() > deadline:
                raise CommandError(f"Still running: {', '.join(left)}")
            time.sleep(0.1)

    def _pause(self, session: Session) -> bool:
        """Whether there was anything to end."""
        try:
            if not _exists(session):
                return False
            driver_for(session.workspace.cluster).pause(session.workspace.namespace, session.host)
        except ClusterError as error:
            self.stderr.write(f"{session.host}: {error}")
            return False
        return True


def _exists(session: Session) -> bool:
    return driver_for(session.workspace.cluster).observe(session.workspace.namespace, session.host).exists
