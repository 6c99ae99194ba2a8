"""`manage.py stop_local`: end the processes of local sessions. The sessions stay as they were asked for: the
controller, once it runs again, finds them gone and starts them on the same folders."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from sessions.models import Desired, Session


class Command(BaseCommand):
    help = "End the processes of every session that runs on this machine (stop Slipway first, or it starts them again)."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        running = Session.objects.filter(workspace__cluster__driver="local", desired=Desired.RUNNING)
        for session in running.select_related("workspace__cluster"):
            try:
                driver_for(session.workspace.cluster).pause(session.workspace.namespace, session.host)
            except ClusterError as error:
                self.stderr.write(f"{session.host}: {error}")
