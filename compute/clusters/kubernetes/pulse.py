"""Whether a cluster answers: one small question, asked again and again, that its API can't answer without its database."""

from __future__ import annotations

import time

from compute.clusters.base import ClusterError, Stop
from compute.clusters.kubernetes import labels
from compute.clusters.kubernetes.client import ApiError, Connection

PAUSE = 1.5
# An open watch that says nothing looks the same as a dead one, /version is answered without etcd, so: a list of one.
PATH = "/apis/apps/v1/statefulsets"


class Pulse:
    """Times are monotonic. ``error`` is that of the last question, None if it was answered (429 is an answer)."""

    def __init__(self, connection: Connection, pause: float = PAUSE) -> None:
        self.connection, self.pause = connection, pause
        self.answered_at: float | None = None
        self.error: ClusterError | None = None

    @property
    def silence(self) -> float | None:
        """Seconds since the last answer; None before the first."""
        return None if self.answered_at is None else time.monotonic() - self.answered_at

    def run(self, stop: Stop) -> None:
        while not stop.is_set():
            try:
                self.connection.call("GET", PATH, query={"limit": 1, "labelSelector": labels.SELECTOR})
            except ClusterError as error:
                self.error = None if isinstance(error, ApiError) and error.status == 429 else error
            else:
                self.error = None
            if self.error is None:
                self.answered_at = time.monotonic()
            stop.wait(self.pause)
