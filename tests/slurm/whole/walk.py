"""A person in a session that has a Slurm cluster attached."""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta

from django.utils import timezone

from compute.clusters.local.layout import Session as Folders
from sessions.models import Session
from sessions.slurm_models import SlurmTicket
from tests.laboratory import wait_until
from tests.smoke import Walk, run_cell

SOON = 30.0  # for a sweep and a task on a busy machine


class SlurmWalk(Walk):
    """A person's session with the cluster attached. ``sh`` runs a command in a cell, as ``!`` does."""

    def launch(self) -> None:
        page = self.browser.get(f"/w/{self.workspace}/sessions/new/?preset={self.preset}")
        page = self.browser.submit(page, page.form("/preset/"), {}, "next")
        page = self.browser.submit(page, page.form("/compute/"), {"slurm_cluster": "hpc"}, "next")
        page = self.browser.submit(page, page.form("/storage/"), {}, "launch")
        self.host = page.path.rstrip("/").rpartition("/")[2]
        self.origin = self.stack.session_url(self.host)

    def start_kernel(self) -> None:
        kernel = self.call("POST", "/api/kernels", {"name": "python3"})["id"]
        self.channels = self.browser.websocket(
            f"{self.origin.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?session_id={uuid.uuid4()}"
        )

    def sh(self, command: str, **env: str) -> str:
        cell = (
            f"import json, os, subprocess; given = {{**os.environ, **{env!r}}}\n"
            f"done = subprocess.run({command!r}, shell=True, capture_output=True, text=True, env=given)\n"
            "print(json.dumps(done.stdout + done.stderr))"
        )
        told: str = json.loads(run_cell(self.channels, cell))
        return told

    def terminal(self, command: str) -> None:
        """Type a command into a new terminal."""
        name = self.call("POST", "/api/terminals")["name"]
        socket = self.browser.websocket(f"{self.origin.replace('http', 'ws', 1)}/terminals/websocket/{name}")
        socket.send(json.dumps(["stdin", f"{command}\r"]))
        socket.recv()

    @property
    def row(self) -> Session:
        return Session.objects.get(host=self.host)

    @property
    def ticket(self) -> SlurmTicket:
        return SlurmTicket.objects.get(session__host=self.host)

    @property
    def folders(self) -> Folders:
        return Folders(self.stack.local_root, self.workspace, self.host)

    @property
    def live(self) -> list[str]:
        return (self.folders.tools / "live" / "slurm").read_text().splitlines()

    def renew(self) -> None:
        """Let its time come, and wait for another token."""
        before = self.live[0]
        time.sleep(1.1)  # a token of the same second is the same
        SlurmTicket.objects.filter(session__host=self.host).update(look_at=timezone.now() - timedelta(seconds=1))
        wait_until(lambda: self.live[0] not in ("", before), SOON, "a fresh token")
